"""Pulls: what servers are to fetch from a registry, how far they are, and what came of it. Sizes
are bytes.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ollama_admin.domain.servers import Server, ServerRef
from ollama_admin.domain.values import fields_of
from ollama_admin.errors import AdminError


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """One model that one server is to pull. `digest` is the build, or the beginning of it, that has
    to come; None takes what the registry has.
    """

    server: Server
    model: str
    digest: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRecord:
    """What a server says of a pull: what it does, and of which layer how much is there.
    `is_success` is its last word.
    """

    status: str
    layer: str | None = None
    total: int | None = None
    completed: int = 0

    @property
    def is_success(self) -> bool:
        return self.status == "success"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullProgress:
    """How far one server is. `total` is the size of the layers that it has named so far,
    `completed` what is there of them, and `received` what came in this pull. `has_begun`: it has
    answered.
    """

    server: ServerRef
    model: str
    status: str
    completed: int = 0
    total: int = 0
    received: int = 0
    has_begun: bool = False

    @property
    def key(self) -> tuple[int | None, str]:
        """Which pull of a run it is of."""
        return self.server.id, self.model

    @property
    def share(self) -> str:
        """How much of what was named is there, in whole percent."""
        if not self.total:
            return "0 %"
        return f"{self.completed * 100 // self.total} %"

    def document(self) -> dict[str, Any]:
        fields = {"event": "progress"} | fields_of(self)
        del fields["has_begun"]
        return fields


@dataclass(frozen=True, slots=True, kw_only=True)
class PullResult:
    """What came of one pull. `before` is the digest that the name stood for, `digest` the one that
    it stands for now; `error` says what failed. Of the `total` that the server named, `completed`
    is there, and `received` came in this pull.
    """

    server: ServerRef
    model: str
    digest: str | None = None
    before: str | None = None
    completed: int = 0
    total: int = 0
    received: int = 0
    ms: int = 0
    error: AdminError | None = None

    @property
    def key(self) -> tuple[int | None, str]:
        """Which pull of a run it is of."""
        return self.server.id, self.model

    def document(self) -> dict[str, Any]:
        return {"event": "result"} | fields_of(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A build that servers have after a pull, by their names."""

    model: str
    digest: str
    servers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PullReport:
    """What came of pulls, in the order in which they were asked for."""

    results: tuple[PullResult, ...]

    @property
    def failed(self) -> int:
        return sum(result.error is not None for result in self.results)

    @property
    def builds(self) -> tuple[Build, ...]:
        """The builds of each model, that of most servers first."""
        return builds_of(self.results)

    @property
    def differs(self) -> bool:
        """Whether one model is two builds now."""
        return len(self.builds) > len({build.model for build in self.builds})

    @property
    def is_whole(self) -> bool:
        """Whether everything came, and each model is one build everywhere."""
        return not self.failed and not self.differs

    def document(self) -> dict[str, Any]:
        return {
            "event": "end",
            "results": [fields_of(result) for result in self.results],
            "failed": self.failed,
            "builds": self.builds,
        }


def builds_of(results: Iterable[PullResult]) -> tuple[Build, ...]:
    """The builds that results show, by model, that of most servers first."""
    servers: dict[tuple[str, str], list[str]] = defaultdict(list)
    for result in results:
        if result.digest is not None:
            servers[result.model, result.digest].append(str(result.server))
    builds = [
        Build(model=model, digest=digest, servers=tuple(names))
        for (model, digest), names in servers.items()
    ]
    return tuple(sorted(builds, key=lambda build: (build.model, -len(build.servers))))
