"""Servers brought to what another one holds: by pulls, and by removals only where that is asked
for.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from ollama_admin.domain.callers import Rights
from ollama_admin.domain.models import ListedModel, Listing
from ollama_admin.domain.names import matches_model, model_key
from ollama_admin.domain.pulls import PullProgress, PullReport, PullResult
from ollama_admin.domain.servers import Server
from ollama_admin.domain.sync import (
    SyncAction,
    SyncPlan,
    SyncReport,
    SyncResult,
    SyncStep,
    not_done,
)
from ollama_admin.errors import AdminError, InvalidInput, ModelNotFound, UpstreamError
from ollama_admin.rules import arguments
from ollama_admin.services.catalogue import named_server
from ollama_admin.services.fleet import Answered, Failed, ask_each
from ollama_admin.services.health import HealthBook
from ollama_admin.services.holdings import Holdings
from ollama_admin.services.managed import meant
from ollama_admin.services.pulls import EVERY, Pulls
from ollama_admin.services.servers import Connect
from ollama_admin.services.targets import Targets
from ollama_admin.services.tasks import WorkLimit
from ollama_admin.services.upstream_auth import UpstreamAuth
from ollama_admin.store.database import Database

Event = PullProgress | PullResult | SyncReport


@dataclass(slots=True)
class _Comparison:
    """What is found at one server, or at all that have answered so far."""

    pulls: list[SyncStep] = field(default_factory=list)
    extra: list[SyncStep] = field(default_factory=list)
    failures: list[SyncResult] = field(default_factory=list)
    same: int = 0

    def add(self, other: "_Comparison") -> None:
        """Add what was found at another server."""
        self.pulls += other.pulls
        self.extra += other.extra
        self.same += other.same


class Sync:
    """Servers are asked what they hold now; the catalogue may be old."""

    def __init__(
        self,
        db: Database,
        connect: Connect,
        auth: UpstreamAuth,
        health: HealthBook,
        pulls: Pulls,
        holdings: Holdings,
        rights: Rights,
    ) -> None:
        self._db = db
        self._connect = connect
        self._auth = auth
        self._health = health
        self._pulls = pulls
        self._holdings = holdings
        self._rights = rights

    async def plan(self, source: int | str, targets: Targets, model: str | None = None) -> SyncPlan:
        """What the servers lack of the source, of models whose name matches (a glob, or a name).
        Nothing is changed. A server that does not answer is among the failures; the source has to.

        Raises InvalidInput where nothing says which servers, ServerNotFound, UpstreamError, and
        ModelNotFound where no server has a model whose name matches.
        """
        arguments.need(server=source)
        arguments.check(model=model)
        first, servers = await self._db.read(_servers, source, targets, self._rights)
        held = await self._listing(first)
        # there may be ten thousand: not on the loop
        wanted, skipped = await asyncio.to_thread(self._wanted, held, model)
        found = _Comparison()

        async def conclude(outcome: Answered[Listing] | Failed) -> None:
            if isinstance(outcome, Failed):
                found.failures.append(_failure(outcome))
            else:
                found.add(await asyncio.to_thread(self._compared, outcome, wanted, model))

        await ask_each(servers, self._listing, conclude, limit=WorkLimit())
        is_any_meant = bool(wanted or skipped or found.extra or found.failures)
        if model is not None and not is_any_meant:
            raise ModelNotFound(
                f"server {first.name} has no model {model!r}",
                f"see what it has with: ollama-admin models {first.ref.word}",
            )
        return SyncPlan(
            source=first,
            pulls=tuple(sorted(found.pulls, key=_order)),
            extra=tuple(sorted(found.extra, key=_order)),
            same=found.same,
            skipped=tuple(skipped),
            failures=tuple(found.failures),
        )

    async def run(
        self,
        plan: SyncPlan,
        *,
        prune: bool = False,
        parallel: int | None = None,
        every: float = EVERY,
    ) -> AsyncGenerator[Event, None]:
        """Do what the plan says: the events of the pulls, then with `prune` the removals, and the
        report as the last. A server at which a pull failed keeps what it has. Closing it stops
        asking.
        """
        if prune:
            plan.require_prunable()
        report = PullReport(results=())
        events = self._pulls.stream(plan.as_pulls(), parallel=parallel, every=every)
        async with aclosing(events):
            async for event in events:
                if isinstance(event, PullReport):
                    report = event
                else:
                    yield event
        results = [_pulled(result) for result in report.results]
        failed = {result.server.id for result in results if result.error is not None}
        for step in plan.extra:
            if prune and step.server.id not in failed:
                results.append(await self._removed(step))
            else:
                results.append(not_done(step, SyncAction.KEEP))
        yield plan.report_of(results)

    async def _listing(self, server: Server) -> Listing:
        if server.is_ollama is False:
            raise UpstreamError(f"server {server.name} is not Ollama: it pulls nothing")
        endpoint = self._connect(await self._auth.target(server), None)
        with self._health.kept(server):
            return await endpoint.listing()

    def _wanted(self, listing: Listing, pattern: str | None) -> tuple[list[ListedModel], list[str]]:
        """The models of the source that others can have, and the names of those that they cannot
        pull.
        """
        models = [model for model in listing.models if self._is_meant(model.name, pattern)]
        wanted = [model for model in models if model.digest and not model.is_remote]
        skipped = [model.name for model in models if model.is_remote or not model.digest]
        return wanted, skipped

    def _is_meant(self, name: str, pattern: str | None) -> bool:
        if not self._rights.may_ask_model(name):
            return False
        return pattern is None or matches_model(name, pattern)

    def _compared(
        self, outcome: Answered[Listing], wanted: Sequence[ListedModel], pattern: str | None
    ) -> _Comparison:
        """What a server lacks, and what it has beside that."""
        found = _Comparison()
        server, held = outcome.server, _by_key(outcome.answer)
        for model in wanted:
            there = held.get(model_key(model.name), ())
            before = there[0].digest if len(there) == 1 else None
            step = SyncStep(server=server, model=model.name, before=before, wanted=model.digest)
            if before == model.digest:
                found.same += 1
            else:
                found.pulls.append(step)
        keys = {model_key(model.name) for model in wanted}
        for model in outcome.answer.models:
            is_extra = model_key(model.name) not in keys and not model.is_remote
            if is_extra and self._is_meant(model.name, pattern):
                found.extra.append(
                    SyncStep(server=server, model=model.name, before=model.digest, wanted=None)
                )
        return found

    async def _removed(self, step: SyncStep) -> SyncResult:
        try:
            changes = await self._holdings.remove(step.model, Targets(names=[step.server.id]))
            error = changes[0].error
        except AdminError as exc:
            error = exc
        return SyncResult(
            server=step.server.ref,
            model=step.model,
            action=SyncAction.REMOVE,
            before=step.before,
            is_done=error is None,
            error=error,
        )


def _servers(
    connection: Any, source: int | str, targets: Targets, rights: Rights
) -> tuple[Server, list[Server]]:
    """The source, and the servers that are meant beside it."""
    if not targets.is_given:
        raise InvalidInput(
            "no server is named to be brought to the state of another one",
            "say which: --to S, --capability C, --label K=V, or --all for every one",
        )
    first = named_server(connection, source, rights)
    servers = meant(connection, targets, rights)
    others = [server for server in servers if server.id != first.id]
    if targets.names and len(others) < len(servers):
        raise InvalidInput(f"{first.name!a} is to be synced with itself", "name other servers")
    return first, others


def _by_key(listing: Listing) -> Mapping[str, Sequence[ListedModel]]:
    """The models of a server by what their names mean, in whatever spelling."""
    models: dict[str, list[ListedModel]] = {}
    for model in listing.models:
        models.setdefault(model_key(model.name), []).append(model)
    return models


def _failure(failed: Failed) -> SyncResult:
    return SyncResult(
        server=failed.server.ref, model=None, action=SyncAction.NONE, error=failed.error
    )


def _pulled(result: PullResult) -> SyncResult:
    return SyncResult(
        server=result.server,
        model=result.model,
        action=SyncAction.PULL,
        before=result.before,
        digest=result.digest,
        is_done=result.error is None,
        error=result.error,
    )


def _order(step: SyncStep) -> tuple[str, str]:
    return step.server.name.casefold(), step.model.casefold()
