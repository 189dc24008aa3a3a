"""What only one of the two databases has, without loading the other one's dialect: that takes 30 ms
and more.
"""

from importlib import import_module
from typing import Any

from sqlalchemy import JSON, Connection, Dialect, Table, TypeDecorator
from sqlalchemy.types import TypeEngine


class JSONDocument(TypeDecorator[Any]):
    """JSONB on PostgreSQL, JSON on SQLite; None is NULL.

    `shape` is what the column's CHECK constraint lets in: "object", or "texts" for an array of
    strings.
    """

    impl = JSON(none_as_null=True)
    cache_ok = True

    def __init__(self, shape: str) -> None:
        super().__init__()
        self.shape = shape

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name != "postgresql":
            return super().load_dialect_impl(dialect)
        return _dialect(dialect).JSONB(none_as_null=True)  # type: ignore[no-any-return]


class UnreadJSON(TypeDecorator[Any]):
    """JSON as the driver gives it: text on SQLite, read on PostgreSQL. Rows by the thousand repeat
    a few texts.
    """

    impl = JSON
    cache_ok = True

    def result_processor(self, *_: Any) -> None:
        return None


def storable(connection: Connection, text: str) -> str:
    """The text, with what the database's encoding cannot hold escaped: for what only people
    read.
    """
    if connection.dialect.name != "postgresql":
        return text
    driver_connection: Any = connection.connection.driver_connection
    encoding = driver_connection.info.parameter_status("server_encoding")
    if encoding in ("UTF8", "SQL_ASCII"):
        return text
    try:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    except LookupError:  # Python has another name for it
        return text.encode("ascii", "backslashreplace").decode("ascii")


def insert_or(connection: Connection, table: Table) -> Any:
    """An INSERT that has `on_conflict_do_nothing` and `on_conflict_do_update`."""
    return _dialect(connection.dialect).insert(table)


def _dialect(dialect: Dialect) -> Any:
    return import_module(f"sqlalchemy.dialects.{dialect.name}")
