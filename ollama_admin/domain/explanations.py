"""Which server would answer, and why no other."""

from dataclasses import dataclass

from ollama_admin.domain.servers import ServerRef, ServerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedServer:
    """What would become of one server if a request were made now; `reason` is None where nothing is
    to be said.

    `preference` is what speaks for and against a server that could answer as well as another one of
    the same priority: "loaded", "affinity", "2 of 4 slots free". It excludes nothing either.
    `status` and `catalogue_age_s` (seconds since its last discovery) are for people to read: they
    exclude nothing.
    """

    server: ServerRef
    eligible: bool
    reason: str | None
    digest: str | None = None
    priority: int | None = None
    slots_in_use: int | None = None
    max_concurrent: int | None = None
    status: ServerStatus | None = None
    catalogue_age_s: int | None = None
    preference: tuple[str, ...] = ()


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
    candidates: tuple[ExplainedServer, ...]
