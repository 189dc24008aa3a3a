"""Models beside servers: which name is which build where. Pure data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ollama_admin.domain.servers import Server


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelLine:
    """A name at the servers of a matrix. `digests` has what each server lists, by its id, None
    where it tells no digest; a server that does not hold the name is not in it. `builds` are all
    known digests of the fleet, that of most servers first.
    """

    name: str
    digests: Mapping[int, str | None]
    builds: Sequence[str]
    pinned: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMatrix:
    """Some of the names at some of the servers; `names` and `servers_in_all` count all that were
    asked for.
    """

    servers: Sequence[Server]
    lines: Sequence[ModelLine]
    names: int
    servers_in_all: int
