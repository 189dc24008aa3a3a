"""The registry's revision: a number that each transaction raises by one which changes what people
and discovery write of servers, models and pins.

What a process keeps in memory of them is true as long as the number is the same. Not counted is
what changes with every request or look: leases, receipts, and when a row was last seen, discovered
or written.
"""

from sqlalchemy import Connection, select, update

from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.store.tables import registry

_CHANGED = "registry_changed"
# put together once: one is run twice a second
_REVISION = select(registry.c.revision)
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
    """The number of changes so far; raises DatabaseUnavailable where it is not there."""
    number = connection.scalar(_REVISION)
    if number is None:
        raise _without_row()
    return int(number)


def _without_row() -> DatabaseUnavailable:
    return DatabaseUnavailable(
        "ollama_registry has no row; another program deleted it",
        "insert one with a revision that was not there before: "
        "INSERT INTO ollama_registry VALUES (1, 1000000)",
    )
