"""What concerns several servers at once, in one place for all front doors.

A use case is loaded when it is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from ollama_admin.domain.callers import Caller
from ollama_admin.services.models import Models
from ollama_admin.services.resources import Resources
from ollama_admin.services.targets import Targets

if TYPE_CHECKING:
    from ollama_admin.domain.builds import RegistryResult, ServerDifference
    from ollama_admin.domain.pulls import Pull, PullProgress, PullReport, PullResult
    from ollama_admin.services.audit import Audit
    from ollama_admin.services.discover import Discovery
    from ollama_admin.services.pulls import Pulls
    from ollama_admin.services.servers import Connect


class Fleet:
    """`servers` are names and ids; without them `all`, `capability` and `labels` say which servers
    are meant, as `Targets` describes it.
    """

    def __init__(self, resources: Resources, connect: Connect, caller: Caller) -> None:
        self._resources = resources
        self._connect = connect
        self._caller = caller

    async def pull(
        self,
        model: str,
        servers: Sequence[int | str] = (),
        *,
        all: bool = False,
        capability: str | None = None,
        labels: Sequence[str] = (),
        digest: str | None = None,
        parallel: int | None = None,
        on_progress: Callable[[PullProgress], None] = lambda _: None,
        on_result: Callable[[PullResult], None] = lambda _: None,
    ) -> PullReport:
        """Have servers pull a model, and discover them. `digest`, or the beginning of it, is the
        build that has to come; without it that is what the name is pinned to, if it is.

        What fails at one server is its result. See `Pulls.run`.
        """
        targets = Targets(names=servers, all=all, capability=capability, labels=labels)
        pulls = await self.pulls_of(model, targets, digest)
        return await self.pulls.run(
            pulls, parallel=parallel, on_progress=on_progress, on_result=on_result
        )

    async def pulling(
        self,
        model: str,
        servers: Sequence[int | str] = (),
        *,
        all: bool = False,
        capability: str | None = None,
        labels: Sequence[str] = (),
        digest: str | None = None,
        parallel: int | None = None,
        every: float = 0.5,
    ) -> AsyncGenerator[PullProgress | PullResult | PullReport, None]:
        """What `pull` does, as it comes: see `Pulls.stream`. Closing it stops asking."""
        targets = Targets(names=servers, all=all, capability=capability, labels=labels)
        pulls = await self.pulls_of(model, targets, digest)
        async with aclosing(self.pulls.stream(pulls, parallel=parallel, every=every)) as events:
            async for event in events:
                yield event

    async def pulls_of(
        self, model: str, targets: Targets, digest: str | None = None
    ) -> Sequence[Pull]:
        """One pull for each of the servers that are meant. Raises InvalidInput where nothing says
        which, and ServerNotFound.
        """
        from ollama_admin.services.pulls import pulls_of

        return await self._resources.db.read(pulls_of, model, targets, digest, self._caller.rights)

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

    @property
    def pulls(self) -> Pulls:
        """Pulls that are already put together: one for each server and model."""
        from ollama_admin.services.pulls import Pulls

        resources = self._resources
        return Pulls(resources.db, self._connect, resources.auth, self._discovery, self._audit)

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
