"""What runs where: the models that servers have in memory, beside our requests there."""

from collections.abc import Mapping
from typing import Any

from ollama_admin.domain.callers import Rights
from ollama_admin.domain.running import RunningModel, RunningResult
from ollama_admin.domain.servers import Server
from ollama_admin.ollama.running import running_models
from ollama_admin.services.fleet import Answered, Failed, ask_each
from ollama_admin.services.health import HealthBook
from ollama_admin.services.managed import meant
from ollama_admin.services.servers import Connect
from ollama_admin.services.targets import Targets
from ollama_admin.services.tasks import WorkLimit
from ollama_admin.services.upstream_auth import UpstreamAuth
from ollama_admin.store import contention
from ollama_admin.store.database import Database


class Running:
    def __init__(
        self, db: Database, connect: Connect, auth: UpstreamAuth, health: HealthBook, rights: Rights
    ) -> None:
        self._db = db
        self._connect = connect
        self._auth = auth
        self._health = health
        self._rights = rights

    async def list(self, targets: Targets, timeout: float | None = None) -> list[RunningResult]:
        """What the servers have in memory now, in their order; `timeout` is seconds for each. A
        server that does not answer is a result with its error. Raises ServerNotFound.
        """
        servers, waiting = await self._db.read(_read, targets, self._rights)

        async def ask(server: Server) -> tuple[RunningModel, ...] | None:
            if server.is_ollama is False:
                return None
            endpoint = self._connect(await self._auth.target(server), timeout)
            with self._health.kept(server):
                return await running_models(endpoint)

        async def conclude(
            outcome: Answered[tuple[RunningModel, ...] | None] | Failed,
        ) -> RunningResult:
            return self._result(outcome, waiting)

        return await ask_each(servers, ask, conclude, limit=WorkLimit())

    def _result(
        self,
        outcome: Answered[tuple[RunningModel, ...] | None] | Failed,
        waiting: Mapping[int, int],
    ) -> RunningResult:
        server, models, error = outcome.server, None, None
        if isinstance(outcome, Failed):
            error = outcome.error
        elif outcome.answer is not None:
            models = tuple(
                model for model in outcome.answer if self._rights.may_ask_model(model.name)
            )
        return RunningResult(
            server=server.ref,
            models=models,
            in_flight=server.slots_in_use,
            waiting=waiting.get(server.id, 0),
            max_concurrent=server.max_concurrent,
            error=error,
        )


def _read(
    connection: Any, targets: Targets, rights: Rights
) -> tuple[list[Server], Mapping[int, int]]:
    return meant(connection, targets, rights), contention.counts(connection)
