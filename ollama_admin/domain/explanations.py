"""Which server would answer, and why no other."""

from dataclasses import dataclass

from ollama_admin.domain.servers import ServerRef, ServerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What would become of one server if a request were made now; `reason` is None where nothing is
    to be said.

    `status` and `catalogue_age_s` (seconds since its last discovery) are for people to read: they
    exclude nothing.
    """

    server: ServerRef
    eligible: bool
    reason: str | None
    digest: str | None
    priority: int | None
    slots_in_use: int | None
    max_concurrent: int | None
    status: ServerStatus | None
    catalogue_age_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The server that would answer; `digest` is None where it is not known."""

    server: ServerRef
    digest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Which server would answer, and why each other one would not, in the order in which they are
    preferred.
    """

    chosen: Chosen | None
    candidates: tuple[Candidate, ...]
