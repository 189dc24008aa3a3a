"""What PostgreSQL, a pooler before it or the driver says, as an error of ours.

Their own sentence is always part of it, without the secrets that were near: the reason is in it,
and nowhere else. A hint is only given where the sentence leaves no doubt.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import exc as sa

from ollama_admin.errors import (
    AdminError,
    DatabaseBusy,
    DatabaseUnavailable,
    InvalidInput,
    SchemaOutOfDate,
)
from ollama_admin.settings import Settings
from ollama_admin.store import urls

# serialization failure, deadlock: the whole transaction may be run again
RETRYABLE = ("40001", "40P01")
MIGRATE_HINT = "run: ollama-admin migrate"
SENTENCE_LIMIT = 300  # characters of what the database says
_AGAIN = "try again in a moment"

_BUSY = {
    "40001": "the database is busy: other writers were in the way",
    "40P01": "the database is busy: other writers were in the way",
    "55P03": "the database is busy: another process holds the lock",
    "57014": "the database is busy: a statement took too long, or waited for another one's lock",
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
_FOREIGN_CHARACTER = (
    "the database's encoding has no such character as one of the values holds",
    "keep the tables in a database that was made with ENCODING 'UTF8'",
)
_CROWDED = re.compile(
    r"too many (clients|connections)|connection slots are reserved|no more connections allowed"
)
_REFUSED = "the database refused the user or password"
# what a sentence says of a connection that was not made: pattern, problem, hint
_CONNECT_PROBLEMS = (
    (r"password authentication failed", _REFUSED, "check the user and the password"),
    (
        r"no password supplied",
        "the database needs a password",
        "put it into OLLAMA_ADMIN_DATABASE_URL",
    ),
    (r"not permitted to log in", _REFUSED, "let it log in: ALTER ROLE NAME LOGIN"),
    (r'role ".*" does not exist', "the database has no such user", "create it: createuser NAME"),
    (
        r"does not exist \(root\.crt\)|root certificate file .* does not exist",
        "the database's TLS certificate cannot be checked",
        "name the authority's file in the URL with sslrootcert; system takes the system's",
    ),
    (r"does not exist", "the database does not exist", "create it: createdb NAME"),
    (
        r"not currently accepting connections",
        "the database accepts no connections",
        "allow it: ALTER DATABASE NAME ALLOW_CONNECTIONS true",
    ),
    (
        r"no pg_hba\.conf entry .*no encryption",
        "the database refused the connection",
        "with TLS it may let it in: sslmode=require in the URL; else add a line to pg_hba.conf",
    ),
    (
        r"no pg_hba\.conf entry",
        "the database refused the connection",
        "add a line for this user, database and address to pg_hba.conf",
    ),
    (
        r"server does not support ssl",
        "the database does not speak TLS",
        "set ssl = on there, or leave sslmode out of the URL",
    ),
    (
        r"could not translate host name|failed to resolve host|name or service not known",
        "the database's host name is not known",
        "check the host in the URL",
    ),
    (
        r"certificate",
        "the database's TLS certificate was not accepted",
        "check sslmode and sslrootcert in the URL",
    ),
    (
        r"statement pooling mode",
        "the pooler in front of the database does not keep a transaction together",
        "set pool_mode = transaction there",
    ),
    (
        r"unsupported startup parameter",
        "the pooler in front of the database does not accept a parameter",
        "leave it out of the URL, or name it in its ignore_startup_parameters",
    ),
    (
        r"query_wait_timeout|server login|server_login_retry",
        "the pooler has no connection to the database",
        "see the pooler's log: the database may be down, or all its connections in use",
    ),
    (r"timeout", "the database does not answer", "check host and port, and that it is running"),
)
_UNREACHABLE = (
    r"connection refused|no such file|no route|unreachable|terminating|closed|shutting down"
    r"|starting up"
)
# of a parameter in the URL
_URL_PROBLEMS = (
    (
        r"invalid sslmode value",
        "the database URL has an unknown sslmode",
        f"write one of {', '.join(urls.SSL_MODES)}",
    ),
    (
        r"invalid connection option|invalid uri query parameter",
        "the database URL has an unknown parameter",
        "check what follows the ? in it",
    ),
)
# how libpq begins, before the sentence that came from the server
_PREAMBLE = re.compile(
    r"(connection (failed|is bad): )?(connection to server .*? failed: )?([^\W\d_]{4,}:\s{2,})?"
)


def translate(exc: sa.DBAPIError, settings: Settings) -> AdminError:
    """Our error for one of PostgreSQL or its driver."""
    state = getattr(exc.orig, "sqlstate", None)
    if is_crowded(exc):
        return DatabaseBusy(_crowded(exc, settings), f"{_AGAIN}, or raise its connection limit")
    if state in _BUSY:
        return DatabaseBusy(_BUSY[state], _AGAIN)
    if state in _UNAVAILABLE:
        problem, hint = _UNAVAILABLE[state]
        return DatabaseUnavailable(_told(problem, exc, settings), hint)
    if state == "22P05" and "\\u0000" not in str(exc.orig):  # that one no encoding has
        return InvalidInput(*_FOREIGN_CHARACTER)
    if state in ("42P01", "42703"):
        return SchemaOutOfDate("the database's tables are not those of this version", MIGRATE_HINT)
    if isinstance(exc, (sa.OperationalError, sa.InterfaceError)):
        return _unusable(exc, settings)
    if isinstance(exc, sa.ProgrammingError) and state is None:
        return _wrong_parameter(exc, settings) or InvalidInput(
            "the database URL cannot be used", "check what follows the ? in it"
        )
    if isinstance(exc, sa.DataError):
        return InvalidInput("the database rejected one of the values")
    return DatabaseUnavailable(
        _told(f"the database failed with code {state}", exc, settings),
        "look for it in the database's log",
    )


def is_crowded(exc: sa.DBAPIError) -> bool:
    """Whether too many connections are open; a failure to connect has no code."""
    if getattr(exc.orig, "sqlstate", None) == "53300":
        return True
    return isinstance(exc, sa.OperationalError) and bool(_CROWDED.search(str(exc.orig).lower()))


def _crowded(exc: sa.DBAPIError, settings: Settings) -> str:
    return _told("the database accepts no more connections", exc, settings)


def _unusable(exc: sa.DBAPIError, settings: Settings) -> AdminError:
    """The error of a database to which there is no connection, or none any more."""
    text = _first_line(exc).lower()
    wrong = _wrong_parameter(exc, settings)
    if wrong is not None:
        return wrong
    for pattern, problem, hint in _CONNECT_PROBLEMS:
        if re.search(pattern, text):
            return DatabaseUnavailable(_told(problem, exc, settings), hint)
    problem = _told("the database cannot be reached", exc, settings)
    if re.search(_UNREACHABLE, text):
        return DatabaseUnavailable(problem, "check host and port, and that it is running")
    return DatabaseUnavailable(problem)


def _wrong_parameter(exc: sa.DBAPIError, settings: Settings) -> InvalidInput | None:
    for pattern, problem, hint in _URL_PROBLEMS:
        if re.search(pattern, _first_line(exc).lower()):
            return InvalidInput(_told(problem, exc, settings), hint)
    return None


def _told(problem: str, exc: sa.DBAPIError, settings: Settings) -> str:
    """The problem, what was said of it, and of which database."""
    location = urls.location(settings)
    if location is None:
        return problem
    sentence = _PREAMBLE.sub("", _first_line(exc), count=1)
    values = urls.secrets(settings) + list(_texts(exc.params))
    return f"{problem}: {urls.masked(sentence, values)[:SENTENCE_LIMIT]} ({location})"


def _first_line(exc: sa.DBAPIError) -> str:
    """The reason; below it are advice, context and the other hosts."""
    diagnostics = getattr(exc.orig, "diag", None)
    primary = getattr(diagnostics, "message_primary", None)
    return str(primary or exc.orig).strip().partition("\n")[0]


def _texts(values: Any) -> Iterator[str]:
    """The texts among the parameters of a statement, however deep."""
    if isinstance(values, str):
        yield values
        return
    parts: Iterable[Any] = ()
    if isinstance(values, Mapping):
        parts = values.values()
    elif isinstance(values, Sequence) and not isinstance(values, bytes):
        parts = values
    for part in parts:
        yield from _texts(part)
