"""What health checks saw of servers, written to `ollama_servers`."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import Connection, update

from ollama_admin.domain.health import Health
from ollama_admin.domain.servers import CheckResult, ServerStatus
from ollama_admin.rules.health import answered, failed, is_news
from ollama_admin.store import health, registry
from ollama_admin.store.dialects import storable
from ollama_admin.store.locks import hold_servers
from ollama_admin.store.tables import servers


def record_checks(connection: Connection, results: Sequence[CheckResult]) -> Sequence[CheckResult]:
    """Note what checks saw, and give it back. An unreachable server keeps the version it had.

    It is a change of the registry unless the servers are what they were at the last check.
    """
    stored = hold_servers(connection, [result.server.id for result in results])
    now = datetime.now(UTC)
    for result in results:
        row = stored.get(result.server.id)
        if row is None or row.url != result.server.url:
            continue  # removed or moved to another URL meanwhile
        before = health.of(row)
        after = _after(before, result, now)
        values = health.columns(connection, after)
        if result.error is None:
            values["version"] = result.version and storable(connection, result.version)
        if is_news(before, after) or values.get("version", row.version) != row.version:
            registry.touch(connection)
        connection.execute(update(servers).where(servers.c.id == row.id).values(values))
    return results


def _after(before: Health, result: CheckResult, now: datetime) -> Health:
    if result.error is None or result.status is ServerStatus.ONLINE:
        by_model = result.error is None and result.model is not None
        return answered(before, now, by_model=by_model, latency_ms=result.ms)
    jitter = random.random()  # noqa: S311 (no secret)
    return failed(before, now, result.status, result.error.message, jitter)
