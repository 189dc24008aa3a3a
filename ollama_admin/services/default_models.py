"""Whether a server lists the model that it is asked for where none is named."""

import asyncio

from ollama_admin.domain.names import ModelName
from ollama_admin.rules import absence, routing
from ollama_admin.services.servers import Connect
from ollama_admin.services.upstream_auth import UpstreamAuth
from ollama_admin.store import servers as store
from ollama_admin.store.database import Database


async def require_default_model(
    db: Database, connect: Connect, auth: UpstreamAuth, server: int | str
) -> None:
    """Ask a server that was checked for its list; raises ModelNotFound where its default model is
    not in it, and UpstreamError.
    """
    row = await db.read(store.find, server)
    if row.default_model is None:
        return
    is_ollama = row.version is not None
    listed = await connect(await auth.target(row), None).models(is_ollama=is_ollama)
    name = ModelName.parse(row.default_model)
    if not routing.named(listed, name, is_ollama=is_ollama):
        names = [model.name for model in listed]
        raise await asyncio.to_thread(absence.not_listed, name.text, row.ref, names)
