"""Builds beside one another: those of two servers, and those of the fleet beside a registry's."""

from dataclasses import dataclass
from enum import StrEnum

from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import AdminError


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildPair:
    """A name that two servers hold, with the digest that each of them lists; None is not told."""

    name: str
    left: str | None
    right: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerDifference:
    """What two servers hold, as the last discovery found it.

    `only_left` and `only_right` are the names that one of them has, `different` those whose builds
    differ, `unknown` those for which one of the two tells no digest; `same` counts the rest.
    """

    left: ServerRef
    right: ServerRef
    only_left: tuple[str, ...]
    only_right: tuple[str, ...]
    different: tuple[BuildPair, ...]
    unknown: tuple[BuildPair, ...]
    same: int

    @property
    def is_none(self) -> bool:
        """Whether nothing is known to differ."""
        return not (self.only_left or self.only_right or self.different)


class BuildState(StrEnum):
    """What a registry says of an installed name.

    `current`: every server has its build. `outdated`: some server has another one. `missing`: the
    registry has no such name. `skipped`: it was not asked. `unknown`: asking it failed.
    """

    CURRENT = "current"
    OUTDATED = "outdated"
    MISSING = "missing"
    SKIPPED = "skipped"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledBuild:
    """What a server holds under a name. `is_current` is None where that cannot be told."""

    server: str
    digest: str | None
    is_current: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryResult:
    """A name, the digest that its registry has now, and what servers have; `registry` is the URL
    that was asked, `pinned` the digest that the name is pinned to.
    """

    name: str
    registry: str | None
    digest: str | None
    state: BuildState
    pinned: str | None
    servers: tuple[InstalledBuild, ...]
    error: AdminError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a registry has under a tag: the digest of its manifest, and every digest under which a
    server may list that same build.
    """

    digest: str
    digests: frozenset[str]
