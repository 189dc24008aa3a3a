"""All that can be told of one model: by a server that has it, and by the catalogue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_admin.domain.callers import Rights
from ollama_admin.domain.models import Model
from ollama_admin.domain.names import ModelName, model_key
from ollama_admin.domain.pins import Pin
from ollama_admin.domain.running import RunningModel
from ollama_admin.domain.servers import Server
from ollama_admin.domain.shown import ShownBuild, ShownHolder, ShownModel
from ollama_admin.errors import AdminError, ModelNotFound, UpstreamError
from ollama_admin.ollama.running import running_models
from ollama_admin.ollama.showing import shown_build
from ollama_admin.services.catalogue import may_know, named_server
from ollama_admin.services.fleet import Answered, Failed, ask_each
from ollama_admin.services.health import HealthBook
from ollama_admin.services.managed import one_model
from ollama_admin.services.models import Models
from ollama_admin.services.servers import Connect
from ollama_admin.services.tasks import WorkLimit
from ollama_admin.services.upstream_auth import UpstreamAuth
from ollama_admin.store import models as store_models
from ollama_admin.store import servers as store_servers
from ollama_admin.store.database import Database

PATIENCE = 2.0  # seconds that a server is asked what it has in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What the database says of a name; `servers` are the holders, in the order of choice."""

    servers: Sequence[Server]
    rows: Mapping[int, Model]
    pin: Pin | None


class Shown:
    def __init__(
        self, db: Database, connect: Connect, auth: UpstreamAuth, health: HealthBook, rights: Rights
    ) -> None:
        self._db = db
        self._connect = connect
        self._auth = auth
        self._health = health
        self._rights = rights

    async def show(self, model: str, server: int | str | None = None) -> ShownModel:
        """What `server`, or the first active holder that answers, tells of a model, and where else
        it is. Raises ModelNotFound, ServerNotFound and UpstreamError.
        """
        name = one_model(model, self._rights)
        known = await self._db.read(_known, name, self._rights)
        if server is None:
            asked = [row for row in known.servers if row.is_active and row.is_ollama is not False]
        else:
            asked = [await self._db.read(named_server, server, self._rights)]
        if not asked:
            raise await self._nobody(name, known)
        told_by, build, digest = await self._first(asked, name)
        digests = {row.digest for row in known.rows.values() if row.digest}
        return ShownModel(
            name=name.text,
            server=told_by.ref,
            digest=digest,
            build=build,
            pinned=None if known.pin is None else known.pin.digest,
            builds=len(digests | {digest}),
            holders=tuple(await self._holders(known)),
        )

    async def _first(
        self, servers: Sequence[Server], name: ModelName
    ) -> tuple[Server, ShownBuild, str | None]:
        """What the first of the servers that answers tells, with the digest that it lists."""
        error: AdminError | None = None
        for server in servers:
            try:
                endpoint = self._connect(await self._auth.target(server), None)
                with self._health.kept(server):
                    listed = (await endpoint.listing()).only(name)
                if listed is None:
                    raise ModelNotFound(f"server {server.name} has no model {name.text!r}")
                return server, await shown_build(endpoint, listed.name), listed.digest
            except AdminError as exc:
                error = error or exc
        raise error or UpstreamError(f"nobody was asked for {name.text!r}")

    async def _holders(self, known: _Known) -> list[ShownHolder]:
        async def ask(server: Server) -> Sequence[RunningModel]:
            endpoint = self._connect(await self._auth.target(server), PATIENCE)
            return await running_models(endpoint)

        async def conclude(outcome: Answered[Sequence[RunningModel]] | Failed) -> ShownHolder:
            row, is_loaded = known.rows[outcome.server.id], None
            if isinstance(outcome, Answered):
                is_loaded = any(_is_of(running, row) for running in outcome.answer)
            return ShownHolder(
                server=outcome.server.ref,
                digest=row.digest,
                size=row.size,
                is_active=outcome.server.is_active,
                is_loaded=is_loaded,
            )

        return await ask_each(known.servers, ask, conclude, limit=WorkLimit())

    async def _nobody(self, name: ModelName, known: _Known) -> AdminError:
        if known.servers:
            names = ", ".join(server.name for server in known.servers[:3])
            return UpstreamError(
                f"no active Ollama server has model {name.text!r} to tell of it",
                f"it is on: {names}; ask one with --server S",
            )
        near = may_know(self._rights, list(await Models(self._db).near(name.text)))
        hint = "read what servers hold with: ollama-admin discover"
        if near:
            hint = f"nearest: {', '.join(near)}"
        return ModelNotFound(f"no server has model {name.text!r}", hint)


def _known(connection: Any, name: ModelName, rights: Rights) -> _Known:
    rows, pin = store_models.named(connection, name)
    by_server = {row.server_id: row for row in rows}
    servers = [
        server
        for server in store_servers.all_servers(connection)
        if server.id in by_server and rights.may_ask_server(server)
    ]
    return _Known(servers=servers, rows=by_server, pin=pin)


def _is_of(running: RunningModel, row: Model) -> bool:
    """Whether a model in memory is the row's build: by its digest, for one name may be two."""
    if running.digest is not None and row.digest is not None:
        return running.digest == row.digest
    return model_key(running.name) == model_key(row.name)
