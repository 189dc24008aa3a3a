"""The registry's revision: a number that each transaction raises by one which changes what people
and discovery write of servers, models, pins and keys.

What a process keeps in memory of them is true as long as the number is the same. Not counted is
what changes with every request or look: leases, receipts, and when a row was last seen, discovered
or written.
"""

from sqlalchemy import Connection, Text, column, func, select, table, update

from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.store import schema
from ollama_admin.store.tables import registry

_CHANGED = "registry_changed"
# put together once: one is run twice a second
_SCHEMA = select(func.max(column("version_num", Text))).select_from(table("ollama_admin_version"))
_REVISION = select(registry.c.revision, _SCHEMA.scalar_subquery().label("schema"))
_RAISE = update(registry).values(revision=registry.c.revision + 1)


def touch(connection: Connection) -> None:
    """Mark the transaction as one that changes the registry; `Database` raises the revision as its
    last statement.
    """
    connection.execution_options(**{_CHANGED: True})


def is_touched(connection: Connection) -> bool:
    return _CHANGED in connection.get_execution_options()


def raise_revision(connection: Connection) -> None:
    """Count the change. The row stays locked until the transaction ends, so nothing may follow: who
    held it and waited for another lock could wait for one that waits for this row.
    """
    if connection.execute(_RAISE).rowcount != 1:
        raise _without_row()


def revision(connection: Connection) -> int:
    """The number of changes so far. Raises DatabaseUnavailable where it is not there, and
    SchemaOutOfDate where the tables are not those of this version any more.
    """
    row = connection.execute(_REVISION).first()
    if row is None:
        raise _without_row()
    schema.require(row.schema)
    return int(row.revision)


def _without_row() -> DatabaseUnavailable:
    return DatabaseUnavailable(
        "ollama_registry has no row; another program deleted it",
        "insert one with a revision that was not there before: "
        "INSERT INTO ollama_registry VALUES (1, 1000000)",
    )
