"""Locks on the table of servers, and the one order of all locks on PostgreSQL.

First the table of servers, then rows of servers by id, then the limit of a server
(`slots.hold_off_leases`), then its models and slots, and the registry's revision last of all: in
two orders two writers would wait for each other. To lock a row locks the table less than to write
that row, so the table comes before it. SQLite has one writer at a time.
"""

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import ARRAY, Connection, Row, Select, Text, any_, literal, select, text

from ollama_admin.store.tables import models, servers


def lock_writers(connection: Connection) -> None:
    """Hold off other writers of servers until the transaction ends: the default is one row for all
    of them.
    """
    _lock_servers(connection, "SHARE ROW EXCLUSIVE")


def lock_for_rows(connection: Connection) -> None:
    """Hold off `lock_writers`, but no writer of other rows, until the transaction ends."""
    _lock_servers(connection, "ROW EXCLUSIVE")


def hold_servers(
    connection: Connection, server_ids: Collection[int | None]
) -> Mapping[int | None, Row[Any]]:
    """Hold the rows of these servers until the transaction ends; gives back, by id, their URL,
    their version and what `store/health.py` reads.
    """
    lock_for_rows(connection)
    query: Select[Any] = select(
        servers.c.id,
        servers.c.url,
        servers.c.version,
        servers.c.status,
        servers.c.status_since,
        servers.c.status_at,
        servers.c.last_seen_at,
        servers.c.last_error,
        servers.c.latency_ms,
        servers.c.failures,
        servers.c.asked_last_until,
    )
    query = query.where(servers.c.id.in_(server_ids))
    rows = connection.execute(query.order_by(servers.c.id).with_for_update(key_share=True))
    return {row.id: row for row in rows}


def hold_holders(connection: Connection, digests: Collection[str]) -> None:
    """Hold the rows of the servers that hold these builds until the transaction ends: whoever
    writes their models holds them.
    """
    if connection.dialect.name != "postgresql":
        return
    lock_for_rows(connection)
    is_one = models.c.digest == any_(literal(list(digests), ARRAY(Text)))
    holders = select(models.c.server_id).where(is_one)
    rows = select(servers.c.id).where(servers.c.id.in_(holders)).order_by(servers.c.id)
    connection.execute(rows.with_for_update(of=servers, key_share=True))


def _lock_servers(connection: Connection, mode: str) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"LOCK TABLE ollama_servers IN {mode} MODE"))
