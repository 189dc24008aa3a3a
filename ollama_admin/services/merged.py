"""The fleet as if it were one server: what all of its servers list, run and tell, put together."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ollama_admin.documents import document
from ollama_admin.domain.callers import Rights
from ollama_admin.domain.models import Model
from ollama_admin.domain.names import model_key
from ollama_admin.domain.servers import ApiVersion, Server, ServerStatus
from ollama_admin.errors import AdminError
from ollama_admin.rules.versions import version_key
from ollama_admin.services.lists import Lists
from ollama_admin.services.registry import Registry
from ollama_admin.services.servers import Connect
from ollama_admin.services.tasks import SharedReads
from ollama_admin.services.upstream_auth import UpstreamAuth
from ollama_admin.store import models as store_models
from ollama_admin.store import servers as store_servers
from ollama_admin.store.database import Database

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint

T = TypeVar("T")

PATIENCE = 2.0  # seconds that a list of all waits for a server
RECENT = 5.0  # seconds that a server's own list is used again
LONG = 2**18  # bytes; longer lists are not read on the loop


class Merged:
    def __init__(
        self,
        db: Database,
        registry: Registry,
        lists: Lists,
        connect: Connect,
        auth: UpstreamAuth,
    ) -> None:
        self._db = db
        self._registry = registry
        self._lists = lists
        self._connect = connect
        self._auth = auth
        self._reads = SharedReads[Sequence[Mapping[str, Any]]]()

    async def models(self, rights: Rights) -> Sequence[Model]:
        """The models that may be asked with these rights, each name once: of the server that is
        preferred. A prompt to none of them leaves the fleet unless they allow that.
        """
        key = ("models", rights)
        return await self._registry.get(key, lambda: self._read_models(rights))

    async def tags(self, rights: Rights) -> list[Mapping[str, Any]]:
        """The entries of `/api/tags`: the preferred server's own, whole. Where its list cannot be
        read, what discovery stored stands for it.
        """
        models = [model for model in await self.models(rights) if model.digest is not None]
        servers = await self._by_id()
        holders = {model.server_id for model in models}
        entries = await self._each(
            [server for id_, server in servers.items() if id_ in holders], self._entries
        )
        return await asyncio.to_thread(
            lambda: [
                entries.get(model.server_id, {}).get(model.name) or _entry(model)
                for model in models
            ]
        )

    async def running(self, rights: Rights) -> list[Mapping[str, Any]]:
        """The entries of `/api/ps` of all servers that answer and may be asked, one for each server
        and model.
        """
        servers = [server for server in (await self._by_id()).values() if _is_native(server)]
        asked = [server for server in servers if rights.may_ask_server(server)]
        by_server = await self._each(asked, self._running)
        entries = [entry for entries in by_server.values() for entry in entries]
        return [entry for entry in entries if rights.may_ask_model(str(entry.get("model", "")))]

    async def version(self) -> str | None:
        """The lowest version among the servers that were online when they were last looked at,
        else among all; None where none is known.
        """
        servers = [server for server in (await self._by_id()).values() if server.version]
        online = [server for server in servers if server.status is ServerStatus.ONLINE]
        versions = [server.version for server in online or servers if server.version]
        plain = [text for text in map(_plain, versions) if text]
        return min(plain, key=version_key, default=None)

    async def _by_id(self) -> Mapping[int, Server]:
        """The active servers."""

        async def read() -> Mapping[int, Server]:
            servers = await self._db.read(store_servers.all_servers, inactive=False)
            return {server.id: server for server in servers}

        return await self._registry.get("servers", read)

    async def _read_models(self, rights: Rights) -> Sequence[Model]:
        servers = await self._db.read(store_servers.all_servers, inactive=False)
        may_ask = {server.id for server in servers if rights.may_ask_server(server)}
        by_name: dict[str, Model] = {}
        async for batch in self._db.stream(store_models.each, server_ids=None, everything=False):
            for model in batch:
                key = model_key(model.name) if model.digest else model.name
                if model.server_id in may_ask and _is_for(rights, model):
                    by_name.setdefault(key, model)
        return tuple(by_name.values())

    async def _entries(
        self, server: Server, endpoint: "Endpoint"
    ) -> Mapping[str, Mapping[str, Any]]:
        """The entries of a server's own list, by their names."""
        listing = await self._lists.recent(server.ref, endpoint, within=RECENT)
        if len(listing.body) > LONG:
            return await asyncio.to_thread(_by_name, listing.body)
        return _by_name(listing.body)

    async def _running(self, server: Server, endpoint: "Endpoint") -> Sequence[Mapping[str, Any]]:
        """What a server runs: one read for all who ask at the same time."""
        return await self._reads.of(server.id, endpoint.running)

    async def _each(
        self, servers: Sequence[Server], ask: Callable[[Server, "Endpoint"], Awaitable[T]]
    ) -> dict[int, T]:
        """What servers answer within `PATIENCE`, side by side; the others are left out."""
        asking = {asyncio.ensure_future(self._asked(server, ask)): server.id for server in servers}
        if not asking:
            return {}
        done, late = await asyncio.wait(asking, timeout=PATIENCE)
        for task in late:
            task.cancel()
        answers = {asking[task]: task.result() for task in done}
        return {id_: answer for id_, answer in answers.items() if answer is not None}

    async def _asked(
        self, server: Server, ask: Callable[[Server, "Endpoint"], Awaitable[T]]
    ) -> T | None:
        try:
            target = await self._auth.target(server)
            return await ask(server, self._connect(target, PATIENCE))
        except AdminError:
            return None


def _is_for(rights: Rights, model: Model) -> bool:
    if model.is_remote and not rights.remote:
        return False
    return rights.may_ask_model(model.name)


def _is_native(server: Server) -> bool:
    return server.api_version is ApiVersion.NATIVE and server.is_ollama is not False


def _by_name(body: bytes) -> Mapping[str, Mapping[str, Any]]:
    return {entry["name"]: entry for entry in json.loads(body)["models"] or ()}


def _entry(model: Model) -> dict[str, Any]:
    """What discovery stored of a model, in the shape of Ollama 0.33."""
    shown = document(model)
    details = ("format", "family", "families", "parameter_size", "quantization_level")
    lengths = ("context_length", "embedding_length")
    entry = {
        "name": model.name,
        "model": model.name,
        **{name: shown[name] for name in ("modified_at", "size", "digest")},
        "details": {"parent_model": ""}
        | {name: shown[name] for name in details}
        | {name: shown[name] for name in lengths if shown[name] is not None},
    }
    if model.capabilities is not None:
        entry["capabilities"] = list(model.capabilities)
    return entry


def _plain(version: str) -> str:
    """`x.y.z` without what may follow it: some clients read numbers between dots."""
    return version.partition("-")[0].partition("+")[0].strip()
