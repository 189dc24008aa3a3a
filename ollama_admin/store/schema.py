"""Which revision a database is at, told without loading Alembic."""

import re

from sqlalchemy import Connection, Engine, text

from ollama_admin.errors import DatabaseUnavailable, SchemaOutOfDate
from ollama_admin.store.faults import MIGRATE_HINT
from ollama_admin.store.tables import HEAD, servers

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
    has_tables = _has_table(connection, servers.name)
    version = None
    if _has_table(connection, "alembic_version"):
        version = connection.scalar(text("SELECT max(version_num) FROM alembic_version"))
    if version is not None:
        return str(version)
    if has_tables:
        raise SchemaOutOfDate(
            f"the database has a table {servers.name}, and alembic_version does not say of which "
            "revision of ollama-admin",
            "if the table is another program's, use another database; if it is ours, restore a "
            "backup, or insert the revision into alembic_version",
        )
    return None


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
    if current > HEAD or not _OWN_REVISION.fullmatch(current):
        raise newer_than_this_build(current)
    raise SchemaOutOfDate(
        f"the database is at revision {current}, this version needs {HEAD}", MIGRATE_HINT
    )


def require_writable(connection: Connection) -> None:
    """Raise DatabaseUnavailable where a transaction can only read: on a standby of PostgreSQL."""
    if connection.dialect.name == "postgresql" and connection.scalar(text(_IS_READ_ONLY)):
        raise DatabaseUnavailable(
            "the database can only be read: it is a standby, or set to read only",
            "name the primary in OLLAMA_ADMIN_DATABASE_URL",
        )


def newer_than_this_build(current: str) -> SchemaOutOfDate:
    """The error for a revision that this build does not have."""
    if not _OWN_REVISION.fullmatch(current):
        return SchemaOutOfDate(
            f"alembic_version in this database is another program's: it says {current[:40]!a}",
            "use a database of its own, or on PostgreSQL a schema: "
            "postgresql://user@host/database?options=-csearch_path%3Dollama_admin",
        )
    return SchemaOutOfDate(
        f"the database is at revision {current}, this version knows only up to {HEAD}",
        "update ollama-admin",
    )


def _has_table(connection: Connection, name: str) -> bool:
    return bool(connection.scalar(text(_HAS_TABLE[connection.dialect.name]), {"name": name}))


_HAS_TABLE = {
    "postgresql": "SELECT to_regclass(:name) IS NOT NULL",
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = :name",
}

_IS_READ_ONLY = """
SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean
"""
