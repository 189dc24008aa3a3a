"""What health checks saw of servers, written to `ollama_servers`."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, update

from ollama_admin.domain.servers import CheckResult
from ollama_admin.store import registry
from ollama_admin.store.dialects import storable
from ollama_admin.store.locks import hold_servers
from ollama_admin.store.tables import servers


def record_checks(connection: Connection, results: Sequence[CheckResult]) -> Sequence[CheckResult]:
    """Note what checks saw, and give it back. An unreachable server keeps the version it had.

    It is a change of the registry unless the servers are what they were at the last check.
    """
    stored = hold_servers(connection, [result.server.id for result in results])
    for result in results:
        row = stored.get(result.server.id)
        if row is None or row.url != result.server.url:
            continue  # removed or moved to another URL meanwhile
        values = _seen(connection, result)
        if any(getattr(row, name) != value for name, value in values.items()):
            registry.touch(connection)
        if result.error is None:
            values["last_seen_at"] = datetime.now(UTC)
        connection.execute(update(servers).where(servers.c.id == row.id).values(values))
    return results


def _seen(connection: Connection, result: CheckResult) -> dict[str, Any]:
    """The columns that a check writes, but for when."""
    values: dict[str, Any] = {"status": result.status}
    if result.error is None:
        values["last_error"] = None
        values["version"] = result.version and storable(connection, result.version)
    else:
        values["last_error"] = storable(connection, result.error.message)
    return values
