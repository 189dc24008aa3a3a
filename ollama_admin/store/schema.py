"""Which revision a database is at, told without loading Alembic."""

import os
import re
from pathlib import Path

from sqlalchemy import Connection, Engine, select, text
from sqlalchemy.exc import ProgrammingError

from ollama_admin.errors import DatabaseUnavailable, SchemaOutOfDate
from ollama_admin.store.engines import wait_up_to
from ollama_admin.store.postgres_faults import MIGRATE_HINT
from ollama_admin.store.tables import HEAD, servers

LOOK_PATIENCE = 3.0  # seconds that a look whether the database can be used waits for a lock
VERSION_TABLE = "ollama_admin_version"
OLD_VERSION_TABLE = "alembic_version"
_OWN_REVISION = re.compile(r"\d{4}")


def is_empty(engine: Engine) -> bool:
    """Whether an SQLite file has no tables yet."""
    with engine.connect() as connection:
        return not connection.scalar(text("SELECT count(*) FROM sqlite_master"))


def revision(connection: Connection) -> str | None:
    """The revision written in the database; None where there is none, and no table of ours.

    Raises SchemaOutOfDate for tables that nothing says the revision of.
    """
    # looked for first: a migration that commits in between makes the tables and the revision
    if not _has_table(connection, servers.name):
        return None
    # the old one first: a migration that commits in between moves its row
    old = _version_in(connection, OLD_VERSION_TABLE)
    version = _version_in(connection, VERSION_TABLE)
    if version is not None:
        return version
    if old is not None and _OWN_REVISION.fullmatch(old):  # else it is another program's
        return old
    raise SchemaOutOfDate(
        f"the database has a table {servers.name}, and {VERSION_TABLE} does not say of which "
        "revision of ollama-admin",
        "if the table is another program's, use another database; if it is ours, restore a "
        f"backup, or insert the revision into {VERSION_TABLE}",
    )


def adoption(connection: Connection) -> list[str]:
    """The statements that give a database of an earlier version a version table of our own.

    Its revision stood in `alembic_version`, which another program in the same schema takes for its
    own. That table goes with its last row.
    """
    if not _has_table(connection, servers.name) or _has_table(connection, VERSION_TABLE):
        return []
    current = revision(connection)
    column = "version_num VARCHAR(32) NOT NULL"
    key = f"CONSTRAINT {VERSION_TABLE}_pkc PRIMARY KEY (version_num)"
    statements = [
        f"CREATE TABLE {VERSION_TABLE} ({column}, {key})",
        f"INSERT INTO {VERSION_TABLE} (version_num) VALUES ('{current}')",  # noqa: S608
        f"DELETE FROM {OLD_VERSION_TABLE} WHERE version_num = '{current}'",  # noqa: S608
    ]
    rows = connection.scalar(text(f"SELECT count(*) FROM {OLD_VERSION_TABLE}"))  # noqa: S608
    if rows == 1:
        statements.append(f"DROP TABLE {OLD_VERSION_TABLE}")
    return statements


def require_head(engine: Engine) -> None:
    """Raise SchemaOutOfDate unless the database is at this build's revision."""
    with engine.connect() as connection:
        current = revision(connection)
    require(current)


def require(current: str | None) -> None:
    """Raise SchemaOutOfDate unless this is this build's revision; None is that of no tables."""
    if current == HEAD:
        return
    if current is None:
        raise SchemaOutOfDate("the database has no tables of ollama-admin yet", MIGRATE_HINT)
    if current > HEAD:
        raise newer_than_this_build(current)
    raise SchemaOutOfDate(
        f"the database is at revision {current}, this version needs {HEAD}", MIGRATE_HINT
    )


def require_writable(connection: Connection) -> None:
    """Raise DatabaseUnavailable where a transaction can only read, as on a standby of PostgreSQL or
    in a file that is write-protected; DatabaseBusy while another session keeps the table of servers
    locked.
    """
    if connection.dialect.name != "postgresql":
        _require_writable_file(connection)
        return
    wait_up_to(connection, LOOK_PATIENCE)
    if connection.scalar(text(_IS_READ_ONLY)):
        raise DatabaseUnavailable(
            "the database is read-only: it is a standby, or set to read-only",
            "name the primary in OLLAMA_ADMIN_DATABASE_URL",
        )
    connection.execute(select(servers.c.id).limit(1))


def newer_than_this_build(current: str) -> SchemaOutOfDate:
    """The error for a revision that this build does not have."""
    return SchemaOutOfDate(
        f"the database is at revision {current}, this version knows only up to {HEAD}",
        "update ollama-admin",
    )


def _require_writable_file(connection: Connection) -> None:
    """SQLite writes to the file, and to others that it makes beside it."""
    path = Path(connection.scalar(text(_FILE)) or "")
    for part in (path, path.parent):
        if not os.access(part, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
            raise DatabaseUnavailable(
                f"the database file {path} cannot be written",
                "check the permissions of the file and its folder",
            )


def _version_in(connection: Connection, table: str) -> str | None:
    if not _has_table(connection, table):
        return None
    try:
        with connection.begin_nested():
            version = connection.scalar(text(f"SELECT max(version_num) FROM {table}"))  # noqa: S608
    except ProgrammingError:
        if _has_table(connection, table):
            raise
        return None  # a migration that committed in between dropped it
    return version and str(version)


def _has_table(connection: Connection, name: str) -> bool:
    return bool(connection.scalar(text(_HAS_TABLE[connection.dialect.name]), {"name": name}))


_HAS_TABLE = {
    "postgresql": "SELECT to_regclass(:name) IS NOT NULL",
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = :name",
}

_FILE = "SELECT file FROM pragma_database_list WHERE name = 'main'"

_IS_READ_ONLY = """
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean
"""
