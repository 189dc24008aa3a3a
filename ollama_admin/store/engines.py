"""How a connection is made: the options that every connection to either database has."""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, NullPool, create_engine, event
from sqlalchemy.exc import DisconnectionError

from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.settings import DATABASE_URL, Settings
from ollama_admin.store.tables import metadata
from ollama_admin.store.urls import parsed

# seconds that SQLite itself waits for another writer; `Database` tries again after that
SQLITE_PATIENCE = 0.2
ANSWER_TIMEOUT = 30.0  # seconds that an ordinary statement may take on PostgreSQL
MIGRATION_TIMEOUT = 600.0  # seconds that one of a migration may take, once it has its lock
READ = {"sqlite_begin": "DEFERRED"}  # execution options of a transaction
WRITE = {"sqlite_begin": "IMMEDIATE"}


def open_engine(
    settings: Settings,
    ended: threading.Event | None = None,
    *,
    sqlite_patience: float = SQLITE_PATIENCE,
) -> Engine:
    """The engine of ordinary commands. Connects to nothing yet.

    Once `ended` is set, nothing waits for PostgreSQL any more.
    """
    if settings.is_postgresql:
        return _postgres_engine(settings, ANSWER_TIMEOUT, ended, pool_pre_ping=True)
    return _sqlite_engine(settings, foreign_keys=True, busy_timeout=sqlite_patience)


def open_migration_engine(settings: Settings, lock_timeout: float) -> Engine:
    """Each connection is new, and on SQLite without foreign keys: a batch ALTER would delete child
    rows.
    """
    if settings.is_postgresql:
        patience = lock_timeout + MIGRATION_TIMEOUT
        return _postgres_engine(settings, patience, None, poolclass=NullPool)
    return _sqlite_engine(
        settings, foreign_keys=False, busy_timeout=lock_timeout, poolclass=NullPool
    )


def wait_up_to(connection: Connection, seconds: float) -> None:
    """Bound each statement that follows in this transaction on PostgreSQL."""
    driver_connection: Any = connection.connection.driver_connection
    driver_connection.patience = seconds


def is_file_missing(settings: Settings) -> bool:
    """Whether the database is an SQLite file that is not there, and that a command which writes
    could make.
    """
    if settings.is_postgresql:
        return False
    path = Path(os.path.realpath(settings.sqlite_path))
    try:
        if path.exists():
            return False
        if settings.names_database:
            return path.parent.is_dir()
        return next(folder for folder in path.parents if folder.exists()).is_dir()
    except OSError:
        return False


def make_private_file(path: Path, *, folders: bool = False) -> None:
    """Create a missing SQLite file so that only its owner can read it, whatever the umask; with
    `folders`, what is missing above it, too.

    A file that is there is never opened: closing it would drop the locks that SQLite holds on it in
    this process, and another process would then delete the log with what was just written.
    """
    try:
        if path.exists():
            return
        target = Path(os.path.realpath(path))  # of a symbolic link that leads to no file yet
        if folders:
            for folder in reversed(target.parents):
                folder.mkdir(mode=0o700, exist_ok=True)
        os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        # made by somebody else just now, or a folder's name is taken by a file: SQLite will say so
        pass
    except FileNotFoundError as exc:
        raise DatabaseUnavailable(
            f"the database file {path} cannot be created: there is no folder {target.parent}",
            _folder_hint(path),
        ) from exc
    except OSError as exc:
        raise DatabaseUnavailable(
            f"the database file {path} cannot be opened: {exc.strerror}",
            f"name another one with --database-url or {DATABASE_URL}",
        ) from exc


def _folder_hint(path: Path) -> str:
    if "~" in path.parts:
        return f"~ means nothing in a URL: write sqlite:///{Path.home()}/..."
    return f"create the folder, or name another file with --database-url or {DATABASE_URL}"


@contextmanager
def empty_tables() -> Iterator[Connection]:
    """A connection to tables without rows, for who reads a database that is not there."""
    engine = _create(URL.create("sqlite"))
    try:
        with engine.connect() as connection:
            metadata.create_all(connection)
            yield connection
    finally:
        engine.dispose()


def _postgres_engine(
    settings: Settings, patience: float, ended: threading.Event | None, **options: Any
) -> Engine:
    url = parsed(settings)
    from ollama_admin.store.waiting import open_postgres_engine  # loads the driver

    return open_postgres_engine(url, ended or threading.Event(), patience=patience, **options)


def _sqlite_engine(
    settings: Settings, *, foreign_keys: bool, busy_timeout: float, **options: Any
) -> Engine:
    path = settings.sqlite_path
    # isolation_level None: sqlite3 would otherwise commit behind our back around DDL
    connect_args = {"isolation_level": None, "timeout": busy_timeout, "check_same_thread": False}
    engine = _create(URL.create("sqlite", database=str(path)), connect_args=connect_args, **options)

    _keep_to_one_file(engine, path, folders=not settings.names_database)

    @event.listens_for(engine, "connect")
    def set_pragmas(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        connection.execute("PRAGMA synchronous = NORMAL")
        # KB, instead of 2,000 for each connection: the system has the file's pages in memory anyway
        connection.execute("PRAGMA cache_size = -512")
        # what a key that leaked could still open does not linger
        connection.execute("PRAGMA secure_delete = ON")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("sqlite_begin", "DEFERRED")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _keep_to_one_file(engine: Engine, path: Path, *, folders: bool) -> None:
    """Make a missing file on first use, and never again: what was in it would be lost in silence.
    With `folders`, make those above it, too.

    A connection to a file that was removed would go on to read and write what nobody else sees; one
    to a file that another took the place of is made anew.
    """
    opened: set[Path] = set()

    @event.listens_for(engine, "do_connect")
    def make_or_find(*_: object) -> None:
        if path not in opened:
            make_private_file(path, folders=folders)
        elif _identity(path) is None:
            raise DatabaseUnavailable(
                f"the database file {path} was removed while it was in use",
                "put it back, or start again to begin a new one",
            )

    @event.listens_for(engine, "connect")
    def remember(_: sqlite3.Connection, record: Any) -> None:
        opened.add(path)
        record.info["file"] = _identity(path)

    @event.listens_for(engine, "checkout")
    def look(_: sqlite3.Connection, record: Any, __: object) -> None:
        if record.info["file"] != _identity(path):
            raise DisconnectionError("the file is another one now")


def _identity(path: Path) -> tuple[int, int] | None:
    """The device and the number of a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _create(url: URL, **options: Any) -> Engine:
    return create_engine(url, hide_parameters=True, **options)
