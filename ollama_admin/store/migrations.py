"""Brings the schema to head, once, however many processes ask at the same time.

Alembic has no lock of its own. All pending revisions run in one transaction whose first statement
takes the lock: an advisory lock on PostgreSQL (released with the transaction, so it works behind a
pooler), `BEGIN IMMEDIATE` on SQLite. Afterwards the revision is read on a new connection: a
migration that silently did nothing must not look like success.
"""

import os
import re
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, text

from ollama_admin.errors import DatabaseUnavailable, InvalidInput, SchemaOutOfDate
from ollama_admin.settings import Settings
from ollama_admin.store import schema
from ollama_admin.store.engines import WRITE, make_private_file, open_migration_engine
from ollama_admin.store.faults import translated

LOCK_TIMEOUT = 60.0  # seconds

# what a file of a revision says of itself
_ASSIGNED = re.compile(r"""^(revision|down_revision)\b[^=\n]*= *["']?(\w+)""", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaStatus:
    """`applied` and `pending` are revisions, oldest first; `current` is None for a database without
    tables.
    """

    applied: tuple[str, ...]
    current: str | None
    head: str
    pending: tuple[str, ...]


def status(settings: Settings) -> SchemaStatus:
    """Where the database stands; changes nothing and does not create a missing SQLite file."""
    revisions = _revisions()
    current = None
    if settings.is_postgresql or os.path.lexists(settings.sqlite_path):
        with translated(settings):
            current = _current(open_migration_engine(settings, LOCK_TIMEOUT))
    done = _position(revisions, current)
    return SchemaStatus(
        applied=revisions[:done], current=current, head=revisions[-1], pending=revisions[done:]
    )


def upgrade(
    settings: Settings,
    to: str | None = None,
    lock_timeout: float = LOCK_TIMEOUT,
    on_revision: Callable[[str], None] = lambda _: None,
) -> SchemaStatus:
    """Run what is pending up to `to` (default: head); `applied` names what this call ran.

    Raises DatabaseBusy when the lock is not had within `lock_timeout` seconds; nothing is changed
    then.
    """
    revisions = _revisions()
    target = to or revisions[-1]
    with translated(settings):
        engine = open_migration_engine(settings, lock_timeout)
        wanted = _position(revisions, _existing(target, revisions))
        if _position(revisions, _current(engine)) > wanted:
            raise InvalidInput(
                f"the database is past revision {target}", "restore a backup to go back"
            )
        applied: list[str] = []
        if _position(revisions, _current(engine)) < wanted:
            applied = _run(engine, settings, target, lock_timeout, on_revision)
        current = _current(engine)
    done = _position(revisions, current)
    if done < wanted:
        raise SchemaOutOfDate(
            f"the migration to {target} left the database at {current}", "report this as a bug"
        )
    return SchemaStatus(
        applied=tuple(applied), current=current, head=revisions[-1], pending=revisions[done:]
    )


def pending_sql(settings: Settings) -> str:
    """The SQL that `upgrade` would run on this PostgreSQL; changes nothing."""
    if not settings.is_postgresql:
        raise InvalidInput("--sql prints SQL for PostgreSQL only", "run migrate itself on SQLite")
    now = status(settings)
    if not now.pending:
        return ""
    with translated(settings):
        moved = _adoption(open_migration_engine(settings, LOCK_TIMEOUT))
    buffer = StringIO("".join(f"{statement};\n\n" for statement in moved))
    buffer.seek(0, os.SEEK_END)
    config = _config(buffer)
    command.upgrade(config, f"{now.current}:head" if now.current else "head", sql=True)
    return buffer.getvalue()


def _run(
    engine: Engine,
    settings: Settings,
    target: str,
    lock_timeout: float,
    on_revision: Callable[[str], None],
) -> list[str]:
    applied: list[str] = []

    def note(*, step: object, **_: object) -> None:
        applied.append(str(getattr(step, "up_revision_id", "")))
        on_revision(applied[-1])

    def lock(connection: Connection) -> None:
        if settings.is_postgresql:
            _lock_postgresql(connection, lock_timeout)
        else:
            _back_up(connection, settings.sqlite_path)
        for statement in schema.adoption(connection):
            connection.execute(text(statement))

    with engine.connect().execution_options(**WRITE) as connection:
        config = _config()
        config.attributes.update(
            connection=connection, lock=lock, check=_check_rows, on_version_apply=note
        )
        try:
            command.upgrade(config, target)
        except CommandError as exc:
            raise SchemaOutOfDate(
                f"the migrations cannot be run: {exc}", "reinstall ollama-admin"
            ) from exc
    if not settings.is_postgresql:
        _use_write_ahead_log(engine)
    return applied


def _lock_postgresql(connection: Connection, lock_timeout: float) -> None:
    milliseconds = str(max(1, int(lock_timeout * 1000)))  # 0 would mean: wait for ever
    connection.execute(text("SELECT set_config('lock_timeout', :ms, true)"), {"ms": milliseconds})
    if connection.scalar(text("SELECT current_schema()")) is None:
        raise DatabaseUnavailable(
            "the database has no schema to make tables in",
            "check the user's search_path and its USAGE privilege",
        )
    key = "hashtextextended('ollama_admin ' || current_schema(), 0)"
    connection.execute(text(f"SELECT pg_advisory_xact_lock({key})"))


def _back_up(connection: Connection, path: Path) -> None:
    """Copy a database that holds something to `<file>.bak-<revision>` (read beside our lock)."""
    current = schema.revision(connection)
    if current is None:
        return
    backup = path.with_name(f"{path.name}.bak-{current}")
    unfinished = backup.with_name(f"{backup.name}.{os.getpid()}")
    make_private_file(unfinished)
    source, copy = sqlite3.connect(path), sqlite3.connect(unfinished)
    try:
        source.backup(copy)
    finally:
        copy.close()
        source.close()
    unfinished.replace(backup)


def _check_rows(connection: Connection) -> None:
    if (
        connection.dialect.name == "sqlite"
        and connection.execute(text("PRAGMA foreign_key_check")).first()
    ):
        raise SchemaOutOfDate(
            "the migration would leave rows without their parents; nothing was changed"
        )


def _use_write_ahead_log(engine: Engine) -> None:
    """Readers then never wait for a writer. The mode stays in the file; while others use it, it is
    left as it is.
    """
    connection = engine.raw_connection()
    try:
        connection.cursor().execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError:
        pass
    finally:
        connection.close()


def _current(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return schema.revision(connection)


def _adoption(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return schema.adoption(connection)


def _revisions() -> tuple[str, ...]:
    """All there are, oldest first. Alembic would only warn of a missing one, and to make an error
    of that would make errors of other threads' warnings too.
    """
    needs = dict(_revision(file) for file in script_location().glob("versions/*.py"))
    missing = set(needs.values()) - needs.keys() - {"None"}
    if missing:
        needing = [revision for revision, before in needs.items() if before in missing]
        raise SchemaOutOfDate(
            f"the migrations {_listed(missing)} are missing, which {_listed(needing)} need",
            "reinstall ollama-admin",
        )
    heads = needs.keys() - needs.values()
    if len(heads) != 1:
        raise SchemaOutOfDate(
            f"the migrations have {len(heads)} heads instead of one: {_listed(heads) or 'none'}",
            "reinstall ollama-admin",
        )
    newest_first = list(heads)
    while needs[newest_first[-1]] != "None":
        newest_first.append(needs[newest_first[-1]])
    return tuple(reversed(newest_first))


def _revision(file: Path) -> tuple[str, str]:
    """The revision of a file, and the one before it, "None" for the first."""
    text = file.read_text(encoding="utf-8")
    found = dict(_ASSIGNED.findall(text))
    try:
        return found["revision"], found["down_revision"]
    except KeyError as exc:
        raise SchemaOutOfDate(
            f"the migration {file.name} does not say its {exc.args[0]}", "reinstall ollama-admin"
        ) from exc


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _position(revisions: tuple[str, ...], current: str | None) -> int:
    """How many revisions are behind `current`, itself included."""
    if current is None:
        return 0
    if current not in revisions:
        raise schema.newer_than_this_build(current)
    return revisions.index(current) + 1


def _existing(target: str, revisions: tuple[str, ...]) -> str:
    if target not in revisions:
        raise InvalidInput(f"there is no revision {target!a}", f"there are: {', '.join(revisions)}")
    return target


def _config(buffer: StringIO | None = None) -> Config:
    config = Config()
    if buffer is not None:
        config.output_buffer = buffer
    config.set_main_option("script_location", str(script_location()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["version_table"] = schema.VERSION_TABLE
    return config


def script_location() -> Path:
    """The revisions: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent.parent
    packaged = package / "migrations"
    return packaged if packaged.is_dir() else package.parent / "migrations"
