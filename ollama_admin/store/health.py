"""What is known of the health of servers, in `ollama_servers`."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, update

from ollama_admin.domain.health import Health
from ollama_admin.domain.servers import ServerRef, ServerStatus
from ollama_admin.rules.health import FARTHEST, is_news
from ollama_admin.store import registry
from ollama_admin.store.dialects import storable
from ollama_admin.store.locks import hold_servers
from ollama_admin.store.tables import servers


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a process has seen of a server."""

    server: ServerRef
    health: Health


def of(row: Row[Any]) -> Health:
    """What a row of `hold_servers` says."""
    return Health(
        status=ServerStatus(row.status),
        since=row.status_since,
        at=row.status_at,
        good_at=row.last_seen_at,
        error=row.last_error,
        latency_ms=row.latency_ms,
        failures=row.failures,
        asked_last_until=row.asked_last_until,
    )


def columns(connection: Connection, health: Health) -> dict[str, Any]:
    """The columns of a row that say so."""
    return {
        "status": health.status,
        "status_since": health.since,
        "status_at": health.at,
        "last_seen_at": health.good_at,
        "last_error": health.error and storable(connection, health.error),
        "latency_ms": health.latency_ms,
        "failures": health.failures,
        "asked_last_until": health.asked_last_until,
    }


def store(connection: Connection, seen: Sequence[Seen]) -> None:
    """Keep what was seen of servers, but for those that are gone, have another URL by now, or were
    seen later by somebody else.
    """
    rows = hold_servers(connection, [each.server.id for each in seen])
    for each in seen:
        row, health = rows.get(each.server.id), each.health
        if row is None or row.url != each.server.url or health.at is None:
            continue
        before = of(row)
        if before.at is not None and before.at > health.at:
            continue
        if is_news(before, health):
            registry.touch(connection)
        values = columns(connection, health)
        if before.good_at is None:
            # a good answer without a version says that it is not Ollama: that is for a check to say
            del values["last_seen_at"]
        if before.failures == health.failures:  # a request may have taken the next try meanwhile
            del values["asked_last_until"]
        connection.execute(update(servers).where(servers.c.id == row.id).values(values))


def take_try(connection: Connection, server_id: int, now: datetime, until: datetime) -> bool:
    """Have others ask a server last `until` then, if the time in which they do is over `now`: of
    several requests that want to try the server, of whatever process, one gets True.
    """
    own = servers.c.asked_last_until
    is_over = own.is_(None) | (own <= now) | (own > now + timedelta(seconds=FARTHEST))
    taken = update(servers).where(servers.c.id == server_id, is_over)
    return connection.execute(taken.values(asked_last_until=until)).rowcount == 1
