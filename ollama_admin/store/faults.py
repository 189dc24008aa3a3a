"""Foreign errors become ours here, and nowhere else.

The drivers' own texts hold parameters and rows (a password among them): what SQLite says is sorted
by code and never shown, and of what PostgreSQL says they are taken out.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import exc as sa

from ollama_admin.errors import (
    AdminError,
    Conflict,
    DatabaseBusy,
    DatabaseUnavailable,
    InvalidInput,
    SchemaOutOfDate,
    ServerExists,
)
from ollama_admin.settings import Settings
from ollama_admin.store import postgres_faults
from ollama_admin.store.postgres_faults import MIGRATE_HINT, RETRYABLE

_FOREIGN_TEXT = (
    "the database holds a text that is not UTF-8; another program wrote it",
    "mend or delete that row in the database",
)
# of one row by itself
_BROKEN_RULES = ("23502", "23514", "SQLITE_CONSTRAINT_NOTNULL", "SQLITE_CONSTRAINT_CHECK")
_SQLITE = {
    "SQLITE_BUSY": (
        DatabaseBusy,
        "is locked by another process",
        "try again when that process has ended",
    ),
    "SQLITE_LOCKED": (
        DatabaseBusy,
        "is locked by another process",
        "try again when that process has ended",
    ),
    "SQLITE_NOTADB": (
        DatabaseUnavailable,
        "is not an SQLite database",
        "name another file with --database-url",
    ),
    "SQLITE_CORRUPT": (DatabaseUnavailable, "is damaged", "restore it from a backup"),
    "SQLITE_CANTOPEN": (
        DatabaseUnavailable,
        "cannot be opened",
        "check the path and its permissions",
    ),
    "SQLITE_READONLY": (
        DatabaseUnavailable,
        "cannot be written",
        "check the permissions of the file and its folder",
    ),
    "SQLITE_FULL": (DatabaseUnavailable, "cannot grow: the disk is full", None),
    "SQLITE_IOERR": (
        DatabaseUnavailable,
        "cannot be read or written",
        "check the disk and the permissions",
    ),
}


@contextmanager
def translated(settings: Settings) -> Iterator[None]:
    """Raise our errors for those of SQLAlchemy and the drivers."""
    try:
        yield
    except sa.DBAPIError as exc:
        raise _translate(exc, settings) from exc
    except UnicodeDecodeError as exc:  # a database with the encoding SQL_ASCII keeps any bytes
        raise DatabaseUnavailable(*_FOREIGN_TEXT) from exc
    except sa.TimeoutError as exc:
        raise DatabaseBusy("the database is busy: no connection became free") from exc


def is_retryable(exc: sa.DBAPIError) -> bool:
    """Whether the database itself asked for the transaction to be tried again."""
    return getattr(exc.orig, "sqlstate", None) in RETRYABLE


def is_crowded(exc: sa.DBAPIError) -> bool:
    """Whether others keep the database busy now: a writer of an SQLite file, or too many
    connections.
    """
    name = getattr(exc.orig, "sqlite_errorname", None) or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return True
    return postgres_faults.is_crowded(exc)


def _translate(exc: sa.DBAPIError, settings: Settings) -> AdminError:
    if isinstance(exc, sa.IntegrityError):
        return _refused_by_constraint(exc.orig)
    if isinstance(exc.orig, sqlite3.Error):
        return _sqlite(exc.orig, settings)
    if exc.orig is not None and hasattr(exc.orig, "sqlstate"):
        return postgres_faults.translate(exc, settings)
    return InvalidInput("the database rejected one of the values")


def _refused_by_constraint(orig: Any) -> AdminError:
    if (
        getattr(orig, "sqlstate", None) in _BROKEN_RULES
        or getattr(orig, "sqlite_errorname", None) in _BROKEN_RULES
    ):
        return InvalidInput("the database rejected one of the values")
    diagnostics = getattr(orig, "diag", None)
    subject = getattr(diagnostics, "constraint_name", None) or str(orig)
    if "name_key" in subject:
        return ServerExists("somebody else just added a server with that name")
    if "url" in subject:
        return ServerExists("somebody else just added a server with that URL")
    return Conflict(
        "the change conflicts with another one made at the same time", "run the command again"
    )


def _sqlite(orig: sqlite3.Error, settings: Settings) -> AdminError:
    name = getattr(orig, "sqlite_errorname", None) or ""
    for prefix, (kind, problem, hint) in _SQLITE.items():
        if name.startswith(prefix):
            return kind(f"the database file {settings.sqlite_path} {problem}", hint)
    if "could not decode to utf-8" in str(orig).lower():
        return DatabaseUnavailable(*_FOREIGN_TEXT)
    if "no such table" in str(orig) or "no such column" in str(orig):
        return SchemaOutOfDate("the database's tables are not those of this version", MIGRATE_HINT)
    return InvalidInput("the database rejected one of the values")
