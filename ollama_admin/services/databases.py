"""Databases as a whole: copied to another one, backed up to a file, restored from it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ollama_admin import vault
from ollama_admin.settings import SECRET_KEY, SECRET_KEY_FILE, Settings
from ollama_admin.store import backups, copying
from ollama_admin.store.copying import OnRows, TableCopy
from ollama_admin.store.tables import HEAD


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseCopy:
    """What `copy` copied and compared, by table."""

    revision: str
    rows: int
    tables: tuple[TableCopy, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A file that holds a database at a revision; `database` is the file of the database."""

    file: Path
    revision: str
    database: Path


def copy(
    source: Settings, target: Settings, on_rows: OnRows, on_note: Callable[[str], None]
) -> DatabaseCopy:
    """Copy a database into an empty one of either kind; `on_note` hears which key it needs."""
    tables = copying.copy(source, target, on_rows)
    on_note(f"secrets stay encrypted: the target needs the key of the source, {_key_of(source)}")
    return DatabaseCopy(revision=HEAD, rows=sum(table.rows for table in tables), tables=tables)


def back_up(
    settings: Settings, file: Path, *, replace: bool, on_note: Callable[[str], None]
) -> Backup:
    """Write an SQLite database into a file; `on_note` hears that the key is not in it."""
    revision = backups.back_up(settings, file, replace=replace)
    on_note(f"the key of stored secrets is not in the backup; keep it too: {_key_of(settings)}")
    return Backup(file=file, revision=revision, database=settings.sqlite_path)


def restore(settings: Settings, file: Path, on_note: Callable[[str], None]) -> Backup:
    """Make an SQLite database what a file holds; `on_note` hears when it has to be migrated."""
    revision = backups.restore(settings, file)
    if revision != HEAD:
        on_note(f"the backup is of revision {revision}; run: ollama-admin migrate")
    return Backup(file=file, revision=revision, database=settings.sqlite_path)


def is_overwritten(settings: Settings, file: Path) -> bool:
    """Whether `restore` would overwrite a database; raises what `restore` would for such a file."""
    return backups.is_overwritten(settings, file)


def _key_of(settings: Settings) -> str:
    if settings.secret_key is not None:
        return SECRET_KEY
    if settings.secret_key_file is not None:
        return str(settings.secret_key_file)
    if settings.is_postgresql:
        return f"{SECRET_KEY} or {SECRET_KEY_FILE}"
    return str(vault.own_key_file(settings))
