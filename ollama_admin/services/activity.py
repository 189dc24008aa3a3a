"""What the fleet is doing now, as far as the database, the servers and this process tell it."""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ollama_admin.domain.activity import FleetActivity, RequestActivity, ServerActivity
from ollama_admin.domain.callers import Rights
from ollama_admin.domain.running import RunningModel
from ollama_admin.domain.servers import Server
from ollama_admin.errors import AdminError
from ollama_admin.ollama.running import running_models
from ollama_admin.services.fleet import Answered, Failed, ask_each
from ollama_admin.services.servers import Connect
from ollama_admin.services.tasks import WorkLimit
from ollama_admin.services.trail import Trail
from ollama_admin.services.upstream_auth import UpstreamAuth
from ollama_admin.store import contention, receipt_sums
from ollama_admin.store import servers as store
from ollama_admin.store.database import Database

EVERY = 5.0  # seconds between two reads of what a server has in memory
TIMEOUT = 2.0  # seconds for such a read
WINDOW = 60.0  # seconds that tokens are counted over

Models = tuple[RunningModel, ...]


class _Rows(NamedTuple):
    servers: Sequence[Server]
    waiting: Mapping[int, int]
    tokens: Mapping[int, float]


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a server had in memory, or why that was not told, at a monotonic time in seconds."""

    models: Models | None
    error: AdminError | None
    read: float


class Activity:
    """For one process: several readers do not ask servers more often than one. `running` are the
    requests on their way here.
    """

    def __init__(
        self,
        db: Database,
        connect: Connect,
        auth: UpstreamAuth,
        running: Callable[[], Collection[Trail]],
    ) -> None:
        self._db = db
        self._connect = connect
        self._auth = auth
        self._running = running
        self._memories: dict[int, _Memory] = {}
        self._reading: asyncio.Task[None] | None = None

    async def snapshot(self, rights: Rights, *, wait: bool = True) -> FleetActivity:
        """What is known of servers now. Without `wait` nobody waits for what they have in memory:
        the next snapshot tells it.
        """
        rows = await self._db.read(_rows)
        servers = [server for server in rows.servers if rights.may_ask_server(server)]
        self._read_due(servers)
        if wait and self._reading is not None:
            await asyncio.shield(self._reading)
        return FleetActivity(
            at=datetime.now(UTC),
            servers=tuple(self._of(server, rows, rights) for server in servers),
            requests=None,
        )

    def requests(self, rights: Rights) -> list[RequestActivity]:
        """The requests on their way here, the oldest first."""
        seen = [trail for trail in self._running() if may_see(trail, rights)]
        return [on_its_way(trail) for trail in sorted(seen, key=lambda each: each.started)]

    async def aclose(self) -> None:
        """End what is being read."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    def _of(self, server: Server, rows: _Rows, rights: Rights) -> ServerActivity:
        memory = self._memories.get(server.id, _Memory(None, None, 0))
        models = memory.models
        if models is not None:
            models = tuple(model for model in models if rights.may_ask_model(model.name))
        return ServerActivity(
            server=server.ref,
            is_active=server.is_active,
            is_draining=server.is_draining,
            status=server.status,
            status_since=server.status_since,
            in_flight=server.slots_in_use,
            max_concurrent=server.max_concurrent,
            waiting=rows.waiting.get(server.id, 0),
            tokens_per_second=round(rows.tokens.get(server.id, 0) / WINDOW, 1),
            models=models,
            error=memory.error,
        )

    def _read_due(self, servers: Sequence[Server]) -> None:
        """Begin to read the servers that were not read lately, unless some are being read."""
        now = time.monotonic()
        due = [server for server in servers if server.is_active and server.is_ollama is not False]
        due = [server for server in due if now - self._read_at(server) >= EVERY]
        if due and (self._reading is None or self._reading.done()):
            self._reading = asyncio.get_running_loop().create_task(self._read(due))

    def _read_at(self, server: Server) -> float:
        memory = self._memories.get(server.id)
        return -EVERY if memory is None else memory.read

    async def _read(self, servers: Sequence[Server]) -> None:
        async def ask(server: Server) -> Models:
            return await running_models(self._connect(await self._auth.target(server), TIMEOUT))

        async def conclude(outcome: Answered[Models] | Failed) -> None:
            models, error = None, None
            if isinstance(outcome, Failed):
                error = outcome.error
            else:
                models = outcome.answer
            self._memories[outcome.server.id] = _Memory(models, error, time.monotonic())

        await ask_each(servers, ask, conclude, limit=WorkLimit())


def _rows(connection: Any) -> _Rows:
    since = datetime.now(UTC) - timedelta(seconds=WINDOW)
    return _Rows(
        servers=store.all_servers(connection, inactive=True),
        waiting=contention.counts(connection),
        tokens=receipt_sums.tokens_since(connection, since),
    )


def with_requests(activity: FleetActivity, requests: Sequence[RequestActivity]) -> FleetActivity:
    """The activity with the requests on their way, whose tokens count for their servers, too."""
    tokens: dict[int | None, float] = defaultdict(float)
    for request in requests:
        if request.server is not None and request.output_tokens:
            share = min(1.0, WINDOW * 1000 / max(request.ms, 1))
            tokens[request.server.id] += request.output_tokens * share
    servers: list[ServerActivity] = []
    for server in activity.servers:
        speed = server.tokens_per_second + tokens[server.server.id] / WINDOW
        servers.append(replace(server, tokens_per_second=round(speed, 1)))
    return replace(activity, servers=tuple(servers), requests=tuple(requests))


def on_its_way(trail: Trail) -> RequestActivity:
    """What is known of a request now."""
    now = time.monotonic()
    caller, route = trail.request.caller, trail.request.route
    model, server, tokens = route.model, None, None
    if trail.candidate is not None:
        model, server = trail.candidate.name.text, trail.candidate.target.ref
    if trail.answer is not None:
        tokens = trail.answer.stats(now).output_tokens
    return RequestActivity(
        id=trail.request.id,
        started_at=datetime.fromtimestamp(trail.came_at, UTC),
        model=model,
        server=server,
        key=None if caller.key is None else caller.key.ref,
        client=caller.client,
        ms=round((now - trail.started) * 1000),
        output_tokens=tokens,
    )


def may_see(trail: Trail, rights: Rights) -> bool:
    """Whether the model and the server of a request are among those that may be asked."""
    model, server = trail.request.route.model, None
    if trail.candidate is not None:
        model, server = trail.candidate.name.text, trail.candidate.server
    if model is not None and not rights.may_ask_model(model):
        return False
    return server is None or rights.may_ask_server(server)
