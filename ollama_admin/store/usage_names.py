"""How models, keys and servers were called, as the usage tells it: receipts may be millions."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from sqlalchemy import Column, ColumnElement, Connection, Row, select, true

from ollama_admin.domain.names import server_key
from ollama_admin.store.servers import row_id
from ollama_admin.store.tables import usage


def since_day(since: datetime | None) -> ColumnElement[bool]:
    """Of the day of UTC that a time is in, or of a later one."""
    if since is None:
        return true()
    return usage.c.day >= since.astimezone(UTC).date().isoformat()


def spellings(
    connection: Connection,
    column: Column[str],
    meant: str,
    folded: Callable[[str], str],
    since: datetime | None,
) -> list[str]:
    """The names in a column, of that time, that mean this one."""
    spelt = select(column).distinct().where(since_day(since), column != "")
    names: Iterable[str] = connection.scalars(spelt)
    return [name for name in names if folded(name) == folded(meant)]


def former(
    connection: Connection, noun: str, word: str, since: datetime | None = None
) -> list[tuple[int, str]]:
    """Ids, zero for none, and names of the keys or servers that this id or name has meant: in that
    time, or else ever.
    """
    times = (since,) if since is None else (since, None)
    for time in times:
        found = _former(connection, noun, word, since_day(time))
        if found:
            return found
    return []


def _former(
    connection: Connection, noun: str, word: str, is_of_time: ColumnElement[bool]
) -> list[tuple[int, str]]:
    ids, names = usage.c[f"{noun}_id"], usage.c[f"{noun}_name"]
    pairs = select(ids, names).distinct().where(is_of_time, names != "")
    if word.isdecimal():  # which no id is that stands for none
        rows: Iterable[Row[int, str]] = connection.execute(
            pairs.where(ids == row_id(word), ids != 0)
        )
        return [(row[0], row[1]) for row in rows]
    rows = connection.execute(pairs)
    return [(row[0], row[1]) for row in rows if server_key(row[1]) == server_key(word)]
