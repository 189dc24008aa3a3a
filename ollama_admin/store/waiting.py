"""Connections to PostgreSQL: how long anything waits for it, and what each connection needs set.

The driver waits for an answer as long as the connection lives, and the kernel keeps it alive for a
database that stands still.
"""

import json
import threading
from collections.abc import Generator
from time import monotonic
from typing import Any

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event

CONNECT_TIMEOUT = 3  # seconds, for each address of the host
CANCEL_TIMEOUT = 1.0  # seconds to cancel a statement, and as many until the database obeys

_CONNECT_ARGS = {
    "connect_timeout": CONNECT_TIMEOUT,
    "application_name": "ollama-admin",
    "tcp_user_timeout": 4000,  # ms until a cut connection is noticed
    "prepare_threshold": None,  # prepared statements break behind a pooler in transaction mode
    "client_encoding": "utf8",
}
# what the driver can read, whatever a database, a user or a variable says; a pooler in transaction
# mode keeps these for each of its clients
_READABLE = "SET datestyle TO ISO; SET timezone TO UTC"


class BoundedConnection(psycopg.Connection[Any]):
    """A connection on which nothing waits for longer than `patience` seconds, nor once `ended` is
    set.

    A statement that takes longer is cancelled, so that it holds no lock of the database for nobody.
    A database that does not obey stands still: the connection is closed, and OperationalError is
    raised.
    """

    patience: float = CONNECT_TIMEOUT
    ended: threading.Event

    def wait(self, gen: Any, *args: Any, **kwargs: Any) -> Any:
        return super().wait(self._bounded(gen), *args, **kwargs)

    def _bounded(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Pass on what the driver waits for; it comes back with nothing ten times a second."""
        ends = monotonic() + self.patience
        is_cancelled = False
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if self.ended.is_set():
                    raise self._given_up("the wait for the database was given up")
                if monotonic() > ends:
                    if is_cancelled or not self._cancel():
                        raise self._given_up("timed out: the database does not answer")
                    is_cancelled, ends = True, monotonic() + CANCEL_TIMEOUT
                wanted = gen.send(ready)
        except StopIteration as end:
            return end.value

    def _cancel(self) -> bool:
        """Whether the database took the request to cancel the statement."""
        if self.autocommit:  # nothing but the look whether the connection lives
            return False
        try:
            self.cancel_safe(timeout=CANCEL_TIMEOUT)
        except psycopg.Error:
            return False
        return True

    def _given_up(self, message: str) -> psycopg.OperationalError:
        self.close()
        return psycopg.OperationalError(message)


def open_postgres_engine(
    url: URL, ended: threading.Event, *, patience: float, **options: Any
) -> Engine:
    """An engine whose statements wait up to `patience` seconds; connecting, and the look whether a
    connection that was used before still lives, wait up to CONNECT_TIMEOUT.
    """
    options |= {"connect_args": _CONNECT_ARGS, "json_serializer": _json}
    # READ COMMITTED, whatever the database's default is: what has waited for a lock must see what
    # was done before it
    engine = create_engine(url, hide_parameters=True, isolation_level="READ COMMITTED", **options)

    @event.listens_for(engine, "do_connect")
    def connect(_: Any, __: Any, args: Any, kwargs: Any) -> BoundedConnection:
        connection = BoundedConnection.connect(*args, **kwargs)
        connection.ended = ended
        connection.patience = patience
        _make_readable(connection)
        return connection

    @event.listens_for(engine, "begin")
    def be_patient(connection: Connection) -> None:
        driver_connection: Any = connection.connection.driver_connection
        driver_connection.patience = patience

    @event.listens_for(engine, "checkin")
    def be_impatient(connection: BoundedConnection | None, _: Any) -> None:
        if connection is not None:
            connection.patience = CONNECT_TIMEOUT

    return engine


def _make_readable(connection: BoundedConnection) -> None:
    known = connection.info.parameter_status
    if (known("DateStyle") or "").startswith("ISO") and known("TimeZone") == "UTC":
        return
    connection.autocommit = True
    connection.execute(_READABLE)
    connection.autocommit = False


def _json(value: Any) -> str:
    """JSON with every character as itself: of an escaped one, a database whose encoding is not UTF8
    wants to know what it is in its own.
    """
    document = json.dumps(value, ensure_ascii=False)
    try:
        document.encode()
    except UnicodeEncodeError:  # half a character, which the database refuses by itself
        return json.dumps(value)
    return document
