"""Foreign errors become ours here, and nowhere else.

The drivers' own texts hold parameters and rows (a password among them), so they are sorted by code
and never shown.
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

# serialization failure, deadlock: the whole transaction may be run again
RETRYABLE = ("40001", "40P01")
MIGRATE_HINT = "run: ollama-admin migrate"

_BUSY = {
    "40001": "the database is busy: other writers were in the way",
    "40P01": "the database is busy: other writers were in the way",
    "53300": "the database accepts no more connections",
    "55P03": "the database is busy: another process holds the lock",
    "57014": "the database is busy: a statement took too long",
}
_UNAVAILABLE = {
    "25006": ("the database is read-only", "connect to the primary"),
    "28000": (
        "the database refused the user or password",
        "check the user, the password and pg_hba.conf",
    ),
    "28P01": ("the database refused the user or password", "check the user and the password"),
    "3D000": ("the database does not exist", "create it: createdb NAME"),
    "42501": (
        "the database user lacks a privilege",
        "grant it CREATE and USAGE on the schema, and its tables",
    ),
    "53100": ("the database's disk is full", None),
}
_FOREIGN_TEXT = (
    "the database holds a text that is not UTF-8; another program wrote it",
    "mend or delete that row in the database",
)
_FOREIGN_CHARACTER = (
    "the database's encoding has no such character as one of the values holds",
    "keep the tables in a database that was made with ENCODING 'UTF8'",
)
_CROWDED = (
    "too many clients",
    "too many connections",
    "connection slots are reserved",
    "no more connections allowed",
)
# of one row by itself
_BROKEN_RULES = ("23502", "23514", "SQLITE_CONSTRAINT_NOTNULL", "SQLITE_CONSTRAINT_CHECK")
_CONNECT_PROBLEMS = (
    ("password authentication failed", _UNAVAILABLE["28P01"]),
    (
        "no password supplied",
        ("the database wants a password", "put it into OLLAMA_ADMIN_DATABASE_URL"),
    ),
    ("does not exist", ("the database or its user does not exist", "create it: createdb NAME")),
    ("no pg_hba.conf entry", _UNAVAILABLE["28000"]),
    (
        "could not translate host name",
        ("the database's host name is not known", "check the host in the URL"),
    ),
    (
        "failed to resolve host",
        ("the database's host name is not known", "check the host in the URL"),
    ),
    (
        "certificate",
        (
            "the database's TLS certificate was not accepted",
            "check sslmode and sslrootcert in the URL",
        ),
    ),
    ("timeout", ("the database does not answer", "check host and port, and that it is running")),
    (
        "invalid connection option",
        ("the database URL has an unknown parameter", "check what follows the ? in it"),
    ),
)
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
    if getattr(exc.orig, "sqlstate", None) == "53300":
        return True
    # a failure to connect has no code
    text = str(exc.orig).lower()
    return isinstance(exc, sa.OperationalError) and any(mark in text for mark in _CROWDED)


def _translate(exc: sa.DBAPIError, settings: Settings) -> AdminError:
    if isinstance(exc, sa.IntegrityError):
        return _refused_by_constraint(exc.orig)
    if isinstance(exc.orig, sqlite3.Error):
        return _sqlite(exc.orig, settings)
    if exc.orig is not None and hasattr(exc.orig, "sqlstate"):
        state = exc.orig.sqlstate
        if is_crowded(exc):
            state = "53300"
        return _postgres(exc, state)
    return InvalidInput("the database does not accept one of the values")


def _refused_by_constraint(orig: Any) -> AdminError:
    if (
        getattr(orig, "sqlstate", None) in _BROKEN_RULES
        or getattr(orig, "sqlite_errorname", None) in _BROKEN_RULES
    ):
        return InvalidInput("the database does not accept one of the values")
    diagnostics = getattr(orig, "diag", None)
    subject = getattr(diagnostics, "constraint_name", None) or str(orig)
    if "name_key" in subject:
        return ServerExists("a server of that name was just added by somebody else")
    if "url" in subject:
        return ServerExists("a server with that URL was just added by somebody else")
    return Conflict(
        "the change conflicts with another one made at the same time", "run the command again"
    )


def _postgres(exc: sa.DBAPIError, state: str | None) -> AdminError:
    if state in _BUSY:
        return DatabaseBusy(_BUSY[state], "try again in a moment")
    if state in _UNAVAILABLE:
        problem, hint = _UNAVAILABLE[state]
        return DatabaseUnavailable(problem, hint)
    if state == "22P05" and "\\u0000" not in str(exc.orig):  # that one no encoding has
        return InvalidInput(*_FOREIGN_CHARACTER)
    if state in ("42P01", "42703"):
        return SchemaOutOfDate("the database's tables are not those of this version", MIGRATE_HINT)
    if isinstance(exc, (sa.OperationalError, sa.InterfaceError)):
        text = str(exc.orig).lower()
        for mark, (problem, hint) in _CONNECT_PROBLEMS:
            if mark in text:
                return DatabaseUnavailable(problem, hint)
        return DatabaseUnavailable(
            "the database cannot be reached", "check host and port, and that it is running"
        )
    if isinstance(exc, sa.ProgrammingError) and state is None:
        return InvalidInput("the database URL cannot be used", "check what follows the ? in it")
    if isinstance(exc, sa.DataError):
        return InvalidInput("the database does not accept one of the values")
    return DatabaseUnavailable(
        f"the database failed with code {state}", "look for it in the database's log"
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
    return InvalidInput("the database does not accept one of the values")
