"""What was changed of what a server holds or has in memory."""

from dataclasses import dataclass
from enum import StrEnum

from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import AdminError


class Change(StrEnum):
    """What came of a change at a server."""

    REMOVED = "removed"
    COPIED = "copied"
    LOADED = "loaded"
    UNLOADED = "unloaded"
    NOT_LOADED = "not loaded"
    NOT_THERE = "not there"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeResult:
    """One server: what became of the model there; `error` says why nothing did. `ms` is the time
    that it took.
    """

    server: ServerRef
    model: str
    change: Change
    digest: str | None = None
    ms: int = 0
    error: AdminError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removal:
    """What a removal is about, before anything is done: the servers, those of them that are known
    to hold the model, and what would break, in words.
    """

    model: str
    servers: tuple[ServerRef, ...]
    holders: tuple[ServerRef, ...]
    breaks: tuple[str, ...]
