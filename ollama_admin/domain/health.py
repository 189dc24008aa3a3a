"""What is known of a server's health: who was told last that it answers, or fails."""

from dataclasses import dataclass
from datetime import datetime

from ollama_admin.domain.servers import Server, ServerStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The health of one server, by times of this host's clock.

    It has had its `status` since `since`, and that was seen last at `at`; None is not known.
    `good_at` is when it last answered well, `latency_ms` how long its last good check took,
    `failures` how often it failed in a row. Others are asked first until `asked_last_until`.
    """

    status: ServerStatus
    since: datetime | None = None
    at: datetime | None = None
    good_at: datetime | None = None
    error: str | None = None
    latency_ms: int | None = None
    failures: int = 0
    asked_last_until: datetime | None = None

    @classmethod
    def of(cls, server: Server) -> "Health":
        """What a row says."""
        return cls(
            status=server.status,
            since=server.status_since,
            at=server.status_at,
            good_at=server.last_seen_at,
            error=server.last_error,
            latency_ms=server.latency_ms,
            failures=server.failures,
            asked_last_until=server.asked_last_until,
        )
