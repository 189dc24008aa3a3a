"""Pulls: several servers fetch a model from the registry at once, and are discovered after it."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any

from ollama_admin.domain.audit import OK
from ollama_admin.domain.callers import Rights
from ollama_admin.domain.digests import digest_prefix, short
from ollama_admin.domain.names import ModelName
from ollama_admin.domain.pulls import Pull, PullProgress, PullReport, PullResult
from ollama_admin.errors import AdminError, InvalidInput, ModelMismatch, UpstreamError
from ollama_admin.ollama import managing
from ollama_admin.rules import arguments
from ollama_admin.rules.pulling import PullTally
from ollama_admin.services.audit import Audit
from ollama_admin.services.discover import Discovery
from ollama_admin.services.health import HealthBook
from ollama_admin.services.latest import Latest
from ollama_admin.services.managed import changeable, one_model, require_said
from ollama_admin.services.servers import Connect
from ollama_admin.services.targets import Targets
from ollama_admin.services.tasks import WorkLimit, together
from ollama_admin.services.upstream_auth import UpstreamAuth
from ollama_admin.store import models as store_models
from ollama_admin.store import pins as store_pins
from ollama_admin.store.database import Database

EVERY = 0.5  # seconds between two events of one stream
LOOK = 5.0  # seconds in which a server that broke off a pull says whether it is there

Event = PullProgress | PullResult


@dataclass(frozen=True, slots=True, kw_only=True)
class _Builds:
    """The digests that a name stood for before a pull, and after it."""

    before: str | None
    after: str | None


class Pulls:
    """Nothing is pulled unless this is asked for it."""

    def __init__(
        self,
        db: Database,
        connect: Connect,
        auth: UpstreamAuth,
        health: HealthBook,
        discovery: Discovery,
        audit: Audit,
    ) -> None:
        self._db = db
        self._connect = connect
        self._auth = auth
        self._health = health
        self._discovery = discovery
        self._audit = audit

    async def run(
        self,
        pulls: Sequence[Pull],
        *,
        parallel: int | None = None,
        on_progress: Callable[[PullProgress], None] = lambda _: None,
        on_result: Callable[[PullResult], None] = lambda _: None,
    ) -> PullReport:
        """Have each pulled, `parallel` of them at once (None leaves it to WorkLimit), and discover
        each server when it is done. What fails is the result of that one pull.

        `on_progress` hears of every record of a server, several in a second. When this is
        cancelled nobody is asked any more, and a later pull goes on where this one stopped.
        """
        arguments.check(parallel=parallel)
        if parallel is not None and parallel < 1:
            raise InvalidInput("the number of pulls at once must be 1 or more")
        limit = WorkLimit(parallel)

        async def result_of(pull: Pull) -> PullResult:
            async with limit.take():
                result = await self._result_of(pull, on_progress)
            on_result(result)
            return result

        return PullReport(results=tuple(await together(result_of(pull) for pull in pulls)))

    async def stream(
        self, pulls: Sequence[Pull], *, parallel: int | None = None, every: float = EVERY
    ) -> AsyncGenerator[Event | PullReport, None]:
        """The progress of each pull, at most once in `every` seconds and first before it begins,
        its result as it comes, and the report of all as the last. A slow reader gets the latest
        progress and misses what was before. Closing it stops asking.
        """
        latest: Latest[Any, Event] = Latest(every)
        for pull in pulls:
            progress = PullTally(pull).progress
            latest.put(progress.key, progress)
        work = asyncio.create_task(
            self.run(
                pulls,
                parallel=parallel,
                on_progress=lambda progress: latest.put(progress.key, progress),
                on_result=lambda result: latest.put_last(result.key, result),
            )
        )
        work.add_done_callback(lambda _: latest.end())
        try:
            async for event in latest:
                yield event
            yield await work
        finally:
            work.cancel()
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # was raised, or nobody hears it any more

    async def _result_of(
        self, pull: Pull, on_progress: Callable[[PullProgress], None]
    ) -> PullResult:
        started, tally = time.monotonic(), PullTally(pull)
        result = PullResult(server=pull.server.ref, model=pull.model)
        try:
            builds = await self._pulled(pull, tally, on_progress)
            error = _another_build(pull, builds)
            result = replace(result, before=builds.before, digest=builds.after, error=error)
        except AdminError as exc:
            result = replace(result, error=exc)
        except asyncio.CancelledError:
            if tally.has_begun:
                await self._record(pull, result, "interrupted")
            raise
        progress = tally.progress
        result = replace(
            result,
            completed=progress.completed,
            total=progress.total,
            received=progress.received,
            ms=round((time.monotonic() - started) * 1000),
        )
        if result.error is not None:
            await self._record(pull, result, result.error.code)
        elif tally.has_begun:
            await self._record(pull, result, OK)
        return result

    async def _pulled(
        self, pull: Pull, tally: PullTally, on_progress: Callable[[PullProgress], None]
    ) -> _Builds:
        server, name = pull.server, ModelName.parse(pull.model)
        if server.is_ollama is False:
            raise UpstreamError(f"server {server.name} is not Ollama: it pulls nothing")
        endpoint = self._connect(await self._auth.target(server), None)
        with self._health.kept(server):
            listed = (await endpoint.listing()).only(name)
        before = None if listed is None else listed.digest
        if pull.digest is not None and before is not None and before.startswith(pull.digest):
            return _Builds(before=before, after=before)
        try:
            async with aclosing(managing.pull(endpoint, pull.model, tally)) as records:
                async for _ in records:
                    on_progress(tally.progress)
        except UpstreamError:
            await self._look(pull)
            raise
        return _Builds(before=before, after=await self._discovered(pull, name))

    async def _look(self, pull: Pull) -> None:
        """See whether the server can still be reached: what ended a pull may be the registry."""
        with suppress(AdminError), self._health.kept(pull.server):
            await self._connect(await self._auth.target(pull.server), LOOK).version()

    async def _discovered(self, pull: Pull, name: ModelName) -> str | None:
        """The digest that the name stands for at the server, which is discovered to tell it."""
        [result] = await self._discovery.run(Targets(names=[pull.server.id]))
        if result.error is not None:
            raise result.error
        rows, _ = await self._db.read(store_models.named, name, pull.server.id)
        if not rows:
            raise UpstreamError(
                f"server {pull.server.name} says that it pulled {pull.model!r}, and does not list "
                "it",
                "look at its own log",
            )
        return rows[0].digest

    async def _record(self, pull: Pull, result: PullResult, outcome: str) -> None:
        subject = f"model {pull.model} on server {pull.server.name}"
        before = after = None
        if result.digest is not None:
            before, after = {"digest": result.before}, {"digest": result.digest}
        await self._audit.record("model.pull", subject, outcome, before=before, after=after)


def pulls_of(
    connection: Any, model: str, targets: Targets, digest: str | None, rights: Rights
) -> list[Pull]:
    """One pull for each of the servers that are meant, of the build that is demanded, else of the
    pinned one. Raises InvalidInput, ModelNotFound and ServerNotFound.
    """
    arguments.check(digest=digest)
    name = one_model(model, rights)
    require_said(targets)
    demanded = None
    if digest is not None:
        demanded = digest_prefix(digest)
    elif (pin := store_pins.for_name(connection, name)) is not None:
        demanded = pin.digest
    servers = changeable(connection, targets, rights)
    return [Pull(server=server, model=model, digest=demanded) for server in servers]


def _another_build(pull: Pull, builds: _Builds) -> ModelMismatch | None:
    """The error of a pull that brought another build than the one that was demanded."""
    demanded, came = pull.digest, builds.after
    if demanded is None or (came is not None and came.startswith(demanded)):
        return None
    return ModelMismatch(
        f"server {pull.server.name} has build {short(came)} of {pull.model!r} now, not "
        f"{short(demanded)}",
        "the registry's name stands for another build by now; a server that still has the one you "
        "want can be seen with: ollama-admin models --by-model",
    )
