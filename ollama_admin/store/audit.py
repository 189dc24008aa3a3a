"""SQL on `ollama_audit`."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, func, insert, select

from ollama_admin.domain.audit import OK, AuditEntry
from ollama_admin.domain.callers import Way
from ollama_admin.domain.values import fields_of
from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.store import readers
from ollama_admin.store.dialects import storable
from ollama_admin.store.tables import audit

TEXT_LIMIT = 300  # characters of what is called how
_OPTIONAL_TEXT = readers.optional(readers.text)
_READERS: readers.Readers = {
    "way": Way,
    "who": readers.text,
    "key_id": readers.optional(readers.number),
    "action": readers.text,
    "subject": _OPTIONAL_TEXT,
    "before": readers.optional(readers.json_object),
    "after": readers.optional(readers.json_object),
    "outcome": readers.text,
    "request_id": _OPTIONAL_TEXT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which entries are meant; None is every one. `action` begins so, as `key` or `key.add`."""

    since: datetime | None = None
    who: str | None = None
    action: str | None = None
    refused: bool = False


def add(connection: Connection, entry: AuditEntry) -> None:
    row = fields_of(entry)
    del row["id"]
    for name in ("who", "subject"):
        if row[name] is not None:
            row[name] = storable(connection, row[name].replace("\0", "")[:TEXT_LIMIT])
    connection.execute(insert(audit).values(row))


def newest(
    connection: Connection, wanted: Wanted, limit: int, *, below: int | None = None
) -> list[AuditEntry]:
    """The newest first; with `below` those before the entry with this id."""
    query = select(audit)
    if wanted.since is not None:
        query = query.where(audit.c.created_at >= wanted.since)
    if wanted.who is not None:
        query = query.where(audit.c.who == wanted.who)
    if wanted.action is not None:
        query = query.where(audit.c.action.startswith(wanted.action, autoescape=True))
    if wanted.refused:
        query = query.where(audit.c.outcome != OK)
    if below is not None:
        query = query.where(audit.c.id < below)
    return _read(connection, query.order_by(audit.c.id.desc()).limit(limit))


def count_before(connection: Connection, time: datetime) -> int:
    """How many entries are older."""
    count = select(func.count()).select_from(audit).where(audit.c.created_at < time)
    return connection.scalar(count) or 0


def delete_before(connection: Connection, time: datetime) -> int:
    """Delete the entries that are older; gives back how many."""
    return connection.execute(delete(audit).where(audit.c.created_at < time)).rowcount


def _read(connection: Connection, query: Select[Any]) -> list[AuditEntry]:
    try:
        return [_entry(row) for row in connection.execute(query)]
    except readers.UNREADABLE as exc:
        ids = connection.scalars(query.with_only_columns(audit.c.id)).all()
        hint = "mend or delete that row of ollama_audit in the database"
        rows = ((entry_id, f"audit entry {entry_id}", hint) for entry_id in ids)
        error: DatabaseUnavailable = readers.first_unreadable(connection, audit, rows, _READERS)
        raise error from exc


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(**readers.read_values(zip(row._fields, row, strict=True), _READERS))
