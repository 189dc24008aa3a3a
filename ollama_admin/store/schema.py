"""Which revision a database is at, told without loading Alembic."""

from sqlalchemy import Connection, Engine, text

from ollama_admin.errors import SchemaOutOfDate
from ollama_admin.store.faults import MIGRATE_HINT
from ollama_admin.store.tables import HEAD


def is_empty(engine: Engine) -> bool:
    """Whether an SQLite file has no tables yet."""
    with engine.connect() as connection:
        return not connection.scalar(text("SELECT count(*) FROM sqlite_master"))


def revision(connection: Connection) -> str | None:
    """The revision written in the database, None where there is none."""
    if not connection.scalar(text(_HAS_VERSION_TABLE[connection.dialect.name])):
        return None
    version = connection.scalar(text("SELECT max(version_num) FROM alembic_version"))
    return None if version is None else str(version)


def require_head(engine: Engine) -> None:
    """Raise SchemaOutOfDate unless the database is at this build's revision."""
    with engine.connect() as connection:
        current = revision(connection)
    if current == HEAD:
        return
    if current is None:
        raise SchemaOutOfDate("the database has no tables of ollama-admin yet", MIGRATE_HINT)
    if current > HEAD:
        raise newer_than_this_build(current)
    raise SchemaOutOfDate(
        f"the database is at revision {current}, this version needs {HEAD}", MIGRATE_HINT
    )


def newer_than_this_build(current: str) -> SchemaOutOfDate:
    """The error for a revision that this build does not have."""
    return SchemaOutOfDate(
        f"the database is at revision {current}, this version knows only up to {HEAD}",
        "update ollama-admin",
    )


_HAS_VERSION_TABLE = {
    "postgresql": "SELECT to_regclass('alembic_version') IS NOT NULL",
    "sqlite": "SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = "
    "'alembic_version'",
}
