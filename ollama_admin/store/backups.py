"""An SQLite database into a file, and back, while others use it."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ollama_admin.errors import Conflict, DatabaseBusy, DatabaseUnavailable, InvalidInput
from ollama_admin.settings import Settings
from ollama_admin.store import migrations, schema
from ollama_admin.store.engines import make_private_file, open_migration_engine
from ollama_admin.store.faults import translated

PATIENCE = 30.0  # seconds that another program may keep the file from being written


def back_up(settings: Settings, to: Path, *, replace: bool) -> str:
    """Write what the database holds now into a file that only its owner can read; the revision.

    The file is there whole or not at all. Raises Conflict where one is there, without `replace`.
    """
    _require_sqlite(settings)
    if not settings.sqlite_path.exists():
        raise DatabaseUnavailable(f"there is no database file {settings.sqlite_path}")
    if not to.parent.is_dir():
        raise InvalidInput(f"there is no folder {to.parent}", "create it, or name another file")
    if to.exists() and not replace:
        raise Conflict(f"the file {to} is there already", "name another one, or add --yes")
    with _private_copy(settings.sqlite_path, beside=to) as unfinished:
        revision = _checked(unfinished)
        _put(unfinished, to, replace=replace)
    return revision


def restore(settings: Settings, from_file: Path) -> str:
    """Make the database what the file holds; the revision. Programs that use the database go on
    with the restored rows.

    Raises DatabaseUnavailable for a file that is damaged or no backup of ours, before the database
    is touched.
    """
    _require_sqlite(settings)
    _require_file(from_file)
    with _private_copy(from_file, beside=settings.sqlite_path) as checked:
        revision = _checked(checked)
        _outrun(checked, settings.sqlite_path)
        make_private_file(settings.sqlite_path, folders=not settings.names_database)
        _overwrite(settings.sqlite_path, checked)
    return revision


def is_overwritten(settings: Settings, from_file: Path) -> bool:
    """Whether there is a database that `restore` would overwrite with what the file holds.

    Raises InvalidInput if `restore` would: on PostgreSQL, and for a file that is not there.
    """
    _require_sqlite(settings)
    _require_file(from_file)
    path = settings.sqlite_path
    return path.exists() and path.stat().st_size > 0


def _require_file(file: Path) -> None:
    if not file.is_file():
        raise InvalidInput(f"there is no file {file}", "name a file of `db backup`")


def _require_sqlite(settings: Settings) -> None:
    if settings.is_postgresql:
        raise InvalidInput(
            "db backup and db restore are for SQLite only",
            "use pg_dump, or: ollama-admin db copy SOURCE TARGET",
        )


@contextmanager
def _private_copy(path: Path, *, beside: Path) -> Iterator[Path]:
    """A copy of an SQLite file in the folder of another, that goes when it is not moved away."""
    copied = beside.with_name(f"{beside.name}.{os.getpid()}.tmp")
    make_private_file(copied)
    try:
        with _sqlite_errors(path), closing(_read_only(path)) as source:
            _pages(source, copied)
        yield copied
    finally:
        copied.unlink(missing_ok=True)


def _read_only(path: Path) -> sqlite3.Connection:
    # not mode=ro: a log that another program left behind has to be read into the file
    return sqlite3.connect(path.absolute().as_uri() + "?mode=rw", uri=True, timeout=PATIENCE)


def _pages(source: sqlite3.Connection, to: Path) -> None:
    """Copy in one step, so that no writer makes it begin again."""
    with closing(sqlite3.connect(to, timeout=PATIENCE)) as target:
        source.backup(target)
        target.execute("PRAGMA journal_mode = DELETE")  # one file, that reads without others


def _overwrite(path: Path, by: Path) -> None:
    """One transaction of the database that is overwritten: others see it before or after."""
    with (
        _sqlite_errors(path),
        closing(sqlite3.connect(by)) as source,
        closing(sqlite3.connect(path, timeout=PATIENCE)) as target,
    ):
        target.execute("PRAGMA journal_mode = WAL")
        source.backup(target)
        target.execute("PRAGMA journal_mode = WAL")


def _checked(path: Path) -> str:
    """The revision of a copy; raises DatabaseUnavailable for one that is damaged, or no database of
    ours.
    """
    with _sqlite_errors(path), closing(sqlite3.connect(path)) as connection:
        is_whole = connection.execute("PRAGMA integrity_check(1)").fetchone() == ("ok",)
        orphan = connection.execute("PRAGMA foreign_key_check").fetchone()
    if not is_whole or orphan:
        raise DatabaseUnavailable("the database in that file is damaged", "take another backup")
    settings = Settings.read({}, f"sqlite:///{path}")
    engine = open_migration_engine(settings, PATIENCE)
    with translated(settings), engine.connect() as reading:
        revision = schema.revision(reading)
    if revision is None:
        raise DatabaseUnavailable("that file holds no tables of ollama-admin")
    migrations.status(settings)  # raises for a revision that this build does not know
    return revision


def _outrun(copied: Path, path: Path) -> None:
    """Give the copy a registry revision that the database never had: what programs keep in memory
    of it must not be taken for what was restored.
    """
    known = max(_registry_revision(copied), _registry_revision(path))
    with closing(sqlite3.connect(copied)) as connection, connection:
        if _has_registry(connection):
            connection.execute("UPDATE ollama_registry SET revision = ?", (known + 1,))


def _registry_revision(path: Path) -> int:
    if not path.exists():
        return 0
    with _sqlite_errors(path), closing(sqlite3.connect(path, timeout=PATIENCE)) as connection:
        if not _has_registry(connection):
            return 0
        row = connection.execute("SELECT max(revision) FROM ollama_registry").fetchone()
        return row[0] or 0


def _has_registry(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute(_HAS_REGISTRY).fetchone())


_HAS_REGISTRY = "SELECT 1 FROM sqlite_master WHERE name = 'ollama_registry'"


def _put(unfinished: Path, to: Path, *, replace: bool) -> None:
    try:
        if replace:
            unfinished.replace(to)
        else:
            os.link(unfinished, to)
    except FileExistsError as exc:
        raise Conflict(f"the file {to} is there already", "name another one") from exc
    except OSError as exc:
        raise InvalidInput(f"the file {to} cannot be written: {exc.strerror}") from exc


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as exc:
        if (exc.sqlite_errorname or "").startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise DatabaseBusy(
                f"the file {path} is in use by another program", "try again when that has ended"
            ) from exc
        raise DatabaseUnavailable(
            f"the file {path} cannot be read or written ({exc.sqlite_errorname})",
            "check the permissions of the file and its folder, and the room on the disk",
        ) from exc
    except sqlite3.DatabaseError as exc:
        raise DatabaseUnavailable(
            f"the file {path} is damaged, or no SQLite database", "take another backup"
        ) from exc
