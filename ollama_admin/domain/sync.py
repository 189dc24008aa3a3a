"""One server as the model of others: what they lack of it, and what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ollama_admin.domain.pulls import Pull
from ollama_admin.domain.servers import Server, ServerRef
from ollama_admin.domain.values import fields_of
from ollama_admin.errors import AdminError, Conflict


class SyncAction(StrEnum):
    """What is to be done with a model at a server. `keep`: only this server has it, and it stays.
    `none`: nothing could be found out of the server.
    """

    PULL = "pull"
    REMOVE = "remove"
    KEEP = "keep"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncStep:
    """One model at one server: the digest that it has there, and the one that the source has; None
    where it is not there.
    """

    server: Server
    model: str
    before: str | None
    wanted: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncResult:
    """What became of one model at one server. `digest` is what the name stands for there now, or
    where it was not done, what it is to stand for.
    """

    server: ServerRef
    model: str | None
    action: SyncAction
    before: str | None = None
    digest: str | None = None
    is_done: bool = False
    error: AdminError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncPlan:
    """What servers lack of the source, and what they have beside it. `same` counts the models that
    they have as it has them, `skipped` are those that cannot be pulled: they run elsewhere, or tell
    no digest. `failures` are the servers that could not be read.
    """

    source: Server
    pulls: tuple[SyncStep, ...]
    extra: tuple[SyncStep, ...]
    same: int
    skipped: tuple[str, ...]
    failures: tuple[SyncResult, ...]

    def as_pulls(self) -> Sequence[Pull]:
        """The pulls, each of the build that the source has."""
        return [
            Pull(server=step.server, model=step.model, digest=step.wanted) for step in self.pulls
        ]

    def require_prunable(self) -> None:
        """Raise Conflict where all would be removed, for a source that holds nothing."""
        if self.extra and not (self.pulls or self.same):
            raise Conflict(
                f"server {self.source.name} has no model that matches: nothing is removed for that",
                "is it the right one?",
            )

    def report(self, *, prune: bool) -> "SyncReport":
        """What would be done, and is not."""
        extra = SyncAction.REMOVE if prune else SyncAction.KEEP
        results = [not_done(step, SyncAction.PULL) for step in self.pulls]
        results += [not_done(step, extra) for step in self.extra]
        return self.report_of(results)

    def report_of(self, results: Sequence[SyncResult]) -> "SyncReport":
        """The report of these results, and of what failed already."""
        return SyncReport(
            source=self.source.ref,
            results=tuple(results) + self.failures,
            same=self.same,
            skipped=self.skipped,
        )


def not_done(step: SyncStep, action: SyncAction) -> SyncResult:
    """A step that is not taken."""
    return SyncResult(
        server=step.server.ref,
        model=step.model,
        action=action,
        before=step.before,
        digest=step.wanted,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncReport:
    """What became of all steps, and of the servers that could not be read."""

    source: ServerRef
    results: tuple[SyncResult, ...]
    same: int
    skipped: tuple[str, ...]

    @property
    def failed(self) -> int:
        return sum(result.error is not None for result in self.results)

    def document(self) -> dict[str, Any]:
        return {"event": "end"} | fields_of(self) | {"failed": self.failed}
