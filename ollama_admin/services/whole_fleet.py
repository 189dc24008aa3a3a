"""What concerns several servers at once, in one place for all front doors.

A use case is loaded when it is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from ollama_admin.domain.callers import Caller, Way
from ollama_admin.domain.pulls import PullProgress, PullResult
from ollama_admin.services.models import Models
from ollama_admin.services.resources import Resources
from ollama_admin.services.targets import Targets

if TYPE_CHECKING:
    from ollama_admin.domain.activity import FleetActivity, RequestActivity
    from ollama_admin.domain.builds import RegistryResult, ServerDifference
    from ollama_admin.domain.holdings import ChangeResult, Removal
    from ollama_admin.domain.keys import KeyRef
    from ollama_admin.domain.pulls import Pull, PullReport
    from ollama_admin.domain.running import RunningResult
    from ollama_admin.domain.secret import Secret
    from ollama_admin.domain.shown import ShownModel
    from ollama_admin.domain.sync import SyncPlan, SyncReport
    from ollama_admin.services.audit import Audit
    from ollama_admin.services.discover import Discovery
    from ollama_admin.services.fleet_file import FleetFiles
    from ollama_admin.services.holdings import Holdings
    from ollama_admin.services.metrics import Metrics
    from ollama_admin.services.on_their_way import OnTheirWay
    from ollama_admin.services.pulls import Pulls
    from ollama_admin.services.servers import Connect
    from ollama_admin.services.sync import Sync


class Where(TypedDict, total=False):
    """Which servers are meant where none is named; see `Targets`."""

    all: bool
    capability: str | None
    labels: Sequence[str]


class Fleet:
    """`servers` are names and ids; without them, `all`, `capability` and `labels` say which servers
    are meant, as `Targets` describes it. What fails at one server is its result.
    """

    def __init__(self, resources: Resources, connect: Connect, caller: Caller) -> None:
        self._resources = resources
        self._connect = connect
        self._caller = caller

    async def ps(
        self,
        servers: Sequence[int | str] = (),
        *,
        timeout: float | None = None,
        **where: Unpack[Where],
    ) -> list[RunningResult]:
        """What servers (default: the active ones) have in memory, and how busy they are; see
        `Running.list`.
        """
        from ollama_admin.services.running import Running

        resources = self._resources
        running = Running(
            resources.db, self._connect, resources.auth, resources.health, self._caller.rights
        )
        return await running.list(Targets(names=servers, **where), timeout)

    async def show(self, model: str, server: int | str | None = None) -> ShownModel:
        """What is known of a model, told by a server that has it; see `Shown.show`."""
        from ollama_admin.services.shown import Shown

        resources = self._resources
        shown = Shown(
            resources.db, self._connect, resources.auth, resources.health, self._caller.rights
        )
        return await shown.show(model, server)

    async def pull(
        self,
        model: str,
        servers: Sequence[int | str] = (),
        *,
        digest: str | None = None,
        parallel: int | None = None,
        on_progress: Callable[[PullProgress], None] = lambda _: None,
        on_result: Callable[[PullResult], None] = lambda _: None,
        **where: Unpack[Where],
    ) -> PullReport:
        """Have servers pull a model, and discover them. `digest`, or the beginning of it, is the
        build that has to come; without it that is what the name is pinned to, if it is. See
        `Pulls.run`.
        """
        pulls = await self.pulls_of(model, servers, digest=digest, **where)
        return await self.pulls.run(
            pulls, parallel=parallel, on_progress=on_progress, on_result=on_result
        )

    async def pulling(
        self,
        model: str,
        servers: Sequence[int | str] = (),
        *,
        digest: str | None = None,
        parallel: int | None = None,
        every: float = 0.5,
        **where: Unpack[Where],
    ) -> AsyncGenerator[PullProgress | PullResult | PullReport, None]:
        """What `pull` does, as it comes: see `Pulls.stream`. Closing it stops asking."""
        pulls = await self.pulls_of(model, servers, digest=digest, **where)
        async with aclosing(self.pulls.stream(pulls, parallel=parallel, every=every)) as events:
            async for event in events:
                yield event

    async def pulls_of(
        self,
        model: str,
        servers: Sequence[int | str] = (),
        *,
        digest: str | None = None,
        **where: Unpack[Where],
    ) -> Sequence[Pull]:
        """One pull for each of the servers that are meant. Raises InvalidInput where nothing says
        which, and ServerNotFound.
        """
        from ollama_admin.services.pulls import pulls_of

        targets, rights = Targets(names=servers, **where), self._caller.rights
        return await self._resources.db.read(pulls_of, model, targets, digest, rights)

    async def diff(self, left: int | str, right: int | str) -> ServerDifference:
        """What two servers hold that differs; see `Differences.between`."""
        from ollama_admin.services.differences import Differences

        return await Differences(self._resources.db, self._models).between(left, right)

    async def outdated(
        self, models: Sequence[str] = (), *, registry: str | None = None, all: bool = False
    ) -> list[RegistryResult]:
        """Which installed builds are not those that registries have now; see `Outdated.run`."""
        from ollama_admin.services.outdated import Outdated

        outdated = Outdated(self._models, self._connect, self._caller.rights)
        return await outdated.run(models, registry=registry, all=all)

    async def activity(self, *, wait: bool = True) -> FleetActivity:
        """What the fleet is doing now; see `Activity.snapshot`."""
        from ollama_admin.services.activity import with_requests

        resources, rights = self._resources, self._caller.rights
        activity = await resources.activity.snapshot(rights, wait=wait)
        if self._caller.way is Way.CLI:
            return activity
        requests = resources.activity.requests(rights)
        if resources.neighbours is not None:
            requests += await self._on_their_way.elsewhere()
            # the others tell whole seconds
            requests.sort(key=lambda one: (one.started_at.replace(microsecond=0), one.id or ""))
        return with_requests(activity, requests)

    def meet(self, folder: Path) -> None:
        """Know the other workers of a service, which have the same folder."""
        from ollama_admin.services.neighbours import Neighbours
        from ollama_admin.services.on_their_way import answer_to

        running = self._resources.recorder.running.values
        neighbours = Neighbours(folder, answer_to(running))
        neighbours.start()
        self._resources.neighbours = neighbours

    @property
    def metrics(self) -> Metrics:
        """The numbers of a process that serves."""
        return self._resources.metrics

    async def activity_at(self, url: str, token: Secret) -> dict[str, Any]:
        """What `activity` tells in the process that serves at a URL, as its JSON."""
        from ollama_admin.services.remote_activity import activity_at

        return await activity_at(self._connect, url, token)

    @property
    def file(self) -> FleetFiles:
        """The fleet as a file: what is to be done for it, and doing it."""
        from ollama_admin.services.fleet_file import FleetFiles

        db, auth = self._resources.db, self._resources.auth
        return FleetFiles(db, auth, self._discovery, self.pulls, self._audit, self._caller)

    @property
    def pulls(self) -> Pulls:
        """Pulls that are already put together: one for each server and model."""
        from ollama_admin.services.pulls import Pulls

        resources = self._resources
        return Pulls(
            resources.db,
            self._connect,
            resources.auth,
            resources.health,
            self._discovery,
            self._audit,
        )

    async def removal(
        self, model: str, servers: Sequence[int | str] = (), **where: Unpack[Where]
    ) -> Removal:
        """What `remove` would be about, and what it would break; nobody is asked."""
        return await self._holdings.removal(model, Targets(names=servers, **where))

    async def remove(
        self, model: str, servers: Sequence[int | str] = (), **where: Unpack[Where]
    ) -> list[ChangeResult]:
        """Delete a model at servers, without a question; see `Holdings.remove`."""
        return await self._holdings.remove(model, Targets(names=servers, **where))

    async def cancel(self, request_id: str, *, of: KeyRef | None = None) -> RequestActivity:
        """End a request that is on its way; see `OnTheirWay.cancel`."""
        return await self._on_their_way.cancel(request_id, of=of)

    async def copy(
        self,
        source: str,
        destination: str,
        servers: Sequence[int | str] = (),
        **where: Unpack[Where],
    ) -> list[ChangeResult]:
        """Give a model a second name at servers; see `Holdings.copy`."""
        return await self._holdings.copy(source, destination, Targets(names=servers, **where))

    async def load(
        self,
        model: str,
        servers: Sequence[int | str] = (),
        *,
        keep_alive: float | str | None = None,
        **where: Unpack[Where],
    ) -> list[ChangeResult]:
        """Have a model in memory at servers; see `Holdings.load`."""
        return await self._holdings.load(model, Targets(names=servers, **where), keep_alive)

    async def unload(
        self, model: str, servers: Sequence[int | str] = (), **where: Unpack[Where]
    ) -> list[ChangeResult]:
        """Let go of a model in memory at servers; see `Holdings.unload`."""
        return await self._holdings.unload(model, Targets(names=servers, **where))

    async def sync_plan(
        self,
        source: int | str,
        servers: Sequence[int | str] = (),
        *,
        model: str | None = None,
        **where: Unpack[Where],
    ) -> SyncPlan:
        """What servers lack of another one, the source; nothing is changed. See `Sync.plan`."""
        return await self._sync.plan(source, Targets(names=servers, **where), model)

    def syncing(
        self,
        plan: SyncPlan,
        *,
        prune: bool = False,
        parallel: int | None = None,
        every: float = 0.5,
    ) -> AsyncGenerator[PullProgress | PullResult | SyncReport, None]:
        """Do what a plan says, as it comes: see `Sync.run`. Closing it stops asking."""
        return self._sync.run(plan, prune=prune, parallel=parallel, every=every)

    async def sync(
        self,
        source: int | str,
        servers: Sequence[int | str] = (),
        *,
        model: str | None = None,
        prune: bool = False,
        parallel: int | None = None,
        **where: Unpack[Where],
    ) -> SyncReport:
        """Have servers pull what another one, the source, has; with `prune` also delete what only
        they have, without a question.
        """
        plan = await self.sync_plan(source, servers, model=model, **where)
        report = plan.report(prune=prune)
        async with aclosing(self.syncing(plan, prune=prune, parallel=parallel)) as events:
            async for event in events:
                if not isinstance(event, (PullProgress, PullResult)):
                    report = event
        return report

    @property
    def _on_their_way(self) -> OnTheirWay:
        from ollama_admin.services.on_their_way import OnTheirWay

        resources = self._resources
        running, rights = resources.recorder.running.values, self._caller.rights
        return OnTheirWay(running, resources.neighbours, rights, self._audit)

    @property
    def _sync(self) -> Sync:
        from ollama_admin.services.sync import Sync

        resources, rights = self._resources, self._caller.rights
        return Sync(
            resources.db,
            self._connect,
            resources.auth,
            resources.health,
            self.pulls,
            self._holdings,
            rights,
        )

    @property
    def _holdings(self) -> Holdings:
        from ollama_admin.services.holdings import Holdings

        resources, rights = self._resources, self._caller.rights
        return Holdings(
            resources.db,
            self._connect,
            resources.auth,
            resources.health,
            self._discovery,
            self._audit,
            rights,
        )

    @property
    def _discovery(self) -> Discovery:
        from ollama_admin.services.discover import Discovery

        return Discovery(self._resources.db, self._connect, self._resources.auth)

    @property
    def _models(self) -> Models:
        return Models(self._resources.db)

    @property
    def _audit(self) -> Audit:
        from ollama_admin.services.audit import Audit

        return Audit(self._resources.db, self._caller)
