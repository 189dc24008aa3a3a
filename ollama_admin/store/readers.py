"""What columns are read by: another program may have written what none of them can mean.

The database's own checks keep out what SQL can judge. What it cannot, and rows that got past the
checks, is found here, and is an error that names the row.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, TypeVar

from sqlalchemy import Connection, Table, select

from ollama_admin.domain.urls import server_url
from ollama_admin.errors import DatabaseUnavailable, InvalidInput

T = TypeVar("T")

UNREADABLE = (ValueError, TypeError)  # what the types of columns, and the functions below, raise
Readers = Mapping[str, Callable[[Any], Any]]


def read_values(row: Iterable[tuple[str, Any]], readers: Readers) -> dict[str, Any]:
    """The columns of a row as the domain has them; raises one of UNREADABLE."""
    values = dict(row)
    return values | {name: read(values[name]) for name, read in readers.items() if name in values}


def unreadable_column(
    connection: Connection, table: Table, key: Any, readers: Readers
) -> str | None:
    """The first column that cannot be read of the row with this primary key; None when all can."""
    (key_column,) = table.primary_key.columns
    for column in table.columns:
        try:
            value = connection.execute(select(column).where(key_column == key)).scalar_one()
            read_values([(column.name, value)], readers)
        except UNREADABLE:
            return column.name
    return None


def text(value: Any) -> str:
    return _of(str, value)


def first_unreadable(
    connection: Connection, table: Table, rows: Iterable[tuple[Any, str, str]], readers: Readers
) -> DatabaseUnavailable:
    """The error for the first of some rows that cannot be read: SQL cannot check every value.

    `rows` are primary keys, each with what the row is called and what to do about it.
    """
    for key, called, hint in rows:
        column = unreadable_column(connection, table, key, readers)
        if column is not None:
            return DatabaseUnavailable(
                f"{called}: its {column} cannot be read; another program wrote it", hint
            )
    return DatabaseUnavailable(f"a row of {table.name} could not be read", "run the command again")


def number(value: Any) -> int:
    return _of(int, value)


def real(value: Any) -> float:
    return _of(float, value)


def json_object(value: Any) -> dict[str, Any]:
    read: dict[str, Any] = _of(dict, value)
    return read


def texts(value: Any) -> tuple[str, ...]:
    return tuple(text(item) for item in _of(list, value))


def url(value: Any) -> str:
    _check_url(text(value))
    return text(value)


# a process that serves reads the same few rows again and again: a fifth of the time of reading one
@lru_cache(2048)
def _check_url(value: str) -> None:
    if not value.startswith(("http://", "https://")):  # it could be typed so, but not stored
        raise ValueError("a server URL without its scheme")
    try:
        server_url(value)
    except InvalidInput as exc:
        raise ValueError("not a server URL") from exc


def optional(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A reader for a column that may be NULL."""
    return lambda value: None if value is None else read(value)


def _of(kind: type[T], value: Any) -> T:
    if type(value) is not kind:  # a truth value is no number
        raise TypeError(f"not a {kind.__name__}")
    return value
