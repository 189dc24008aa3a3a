"""A whole database into another one, of either kind: rows, ids, the numbers of ids to come.

The source is read in one snapshot, the target is written in one transaction, and what the target
then holds is read back and compared before it is committed.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, func, insert, select, text

from ollama_admin.errors import Conflict, DatabaseUnavailable, InvalidInput, SchemaOutOfDate
from ollama_admin.settings import Settings
from ollama_admin.store import migrations, schema
from ollama_admin.store.engines import READ, WRITE, open_engine
from ollama_admin.store.faults import translated
from ollama_admin.store.tables import metadata, registry

BATCH = 1000  # rows of one INSERT
PATIENCE = 30.0  # seconds that another program may keep an SQLite file from being used
_ALL_BITS = 2**256
_SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}

# the name of a table, how many of its rows are copied, and how many it has
OnRows = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCopy:
    """`checksum` is the sum of the SHA-256 of all rows, in hexadecimal digits: it depends on what
    the rows hold, and not on their order or on the kind of database.
    """

    table: str
    rows: int
    checksum: str


class _Sum:
    """Counts rows and adds up their hashes."""

    def __init__(self) -> None:
        self.rows = 0
        self._sum = 0

    def add(self, row: Row[Any]) -> None:
        document = json.dumps(list(row), default=str, sort_keys=True)
        self._sum += int.from_bytes(sha256(document.encode()).digest())
        self.rows += 1

    def of(self, table: Table) -> TableCopy:
        checksum = f"{self._sum % _ALL_BITS:064x}"
        return TableCopy(table=table.name, rows=self.rows, checksum=checksum)


def copy(source: Settings, target: Settings, on_rows: OnRows) -> tuple[TableCopy, ...]:
    """Copy every table; a target without tables gets them first.

    Raises Conflict for a target that holds something, and leaves it as it was whatever goes wrong.
    """
    _require_file(source)
    if source.database_url == target.database_url:
        raise InvalidInput("the source and the target are the same database")
    with _snapshot(source) as reading:
        with translated(source):
            schema.require(schema.revision(reading))
        _make_tables(target)
        with _transaction(target) as writing:
            _require_empty(writing)
            way = _Way(source, reading, target, writing)
            return tuple(_copy_table(way, table, on_rows) for table in metadata.sorted_tables)


@dataclass(frozen=True, slots=True)
class _Way:
    source: Settings
    reading: Connection
    target: Settings
    writing: Connection


@contextmanager
def _snapshot(source: Settings) -> Iterator[Connection]:
    """A connection whose every statement sees the source as it was at the first one."""
    engine = open_engine(source, sqlite_patience=PATIENCE)
    options: dict[str, Any] = READ
    if source.is_postgresql:
        options = _SNAPSHOT
    try:
        with translated(source):
            connection = engine.connect().execution_options(**options)
        with connection:
            yield connection
    finally:
        engine.dispose()


@contextmanager
def _transaction(target: Settings) -> Iterator[Connection]:
    """A connection whose statements are kept all together, or not at all."""
    engine = open_engine(target, sqlite_patience=PATIENCE)
    try:
        with (
            translated(target),
            engine.connect().execution_options(**WRITE) as connection,
            connection.begin(),
        ):
            yield connection
    finally:
        engine.dispose()


def _require_file(source: Settings) -> None:
    if not source.is_postgresql and not source.sqlite_path.exists():
        raise DatabaseUnavailable(
            f"there is no database file {source.sqlite_path}", "check the path of the source"
        )


def _make_tables(target: Settings) -> None:
    status = migrations.status(target)
    if status.current is None:
        migrations.upgrade(target)
    elif status.pending:
        raise SchemaOutOfDate(
            f"the target is at revision {status.current}, this version needs {status.head}",
            "name a database without tables, or run migrate on the target first",
        )


def _require_empty(writing: Connection) -> None:
    """Keep others from writing to the target, and refuse it if they have."""
    names = [table.name for table in metadata.sorted_tables]
    if writing.dialect.name == "postgresql":
        writing.execute(text(f"LOCK TABLE {', '.join(names)} IN EXCLUSIVE MODE"))
    filled = [
        table.name
        for table in metadata.sorted_tables
        if table is not registry and writing.execute(select(table).limit(1)).first()
    ]
    if filled:
        raise Conflict(
            f"the target is not empty: there are rows in {', '.join(filled)}",
            "name a new database: nothing is merged or overwritten",
        )
    writing.execute(delete(registry))  # the row that each new database has


def _copy_table(way: _Way, table: Table, on_rows: OnRows) -> TableCopy:
    with translated(way.source):
        total = way.reading.scalar(select(func.count()).select_from(table)) or 0
    on_rows(table.name, 0, total)
    read = _Sum()
    for batch in _batches(way.source, way.reading, table):
        for row in batch:
            read.add(row)
        _insert(way.target, way.writing, table, batch)
        on_rows(table.name, read.rows, total)
    _keep_sequence(way, table)
    return _compared(way, table, read.of(table))


def _batches(
    settings: Settings, connection: Connection, table: Table
) -> Iterator[Sequence[Row[Any]]]:
    with translated(settings):
        result = connection.execute(select(table).execution_options(yield_per=BATCH))
        yield from result.partitions()


def _insert(target: Settings, writing: Connection, table: Table, batch: Sequence[Row[Any]]) -> None:
    rows = [dict(row._mapping) for row in batch]
    try:
        with translated(target):
            writing.execute(insert(table), rows)
    except InvalidInput as exc:
        raise InvalidInput(
            f"the target takes not every row of {table.name}: {exc.message}",
            "mend or delete that row in the source; the target is as it was",
        ) from exc


def _compared(way: _Way, table: Table, read: TableCopy) -> TableCopy:
    """Read back what the target holds now, and raise unless it is what was read."""
    written = _Sum()
    for batch in _batches(way.target, way.writing, table):
        for row in batch:
            written.add(row)
    if written.of(table) != read:
        raise DatabaseUnavailable(
            f"the target does not hold {table.name} as the source does; nothing was kept there",
            "report this as a bug",
        )
    return read


def _keep_sequence(way: _Way, table: Table) -> None:
    """Have the target give out no id that the source gave out, also of rows that are gone."""
    if table.autoincrement_column is None:
        return
    with translated(way.source):
        last = way.reading.scalar(*_LAST_ID[way.reading.dialect.name](way.reading, table)) or 0
    if way.writing.dialect.name == "postgresql":
        sequence = _sequence(way.writing, table)
        values = {"name": sequence, "last": max(last, 1), "used": last > 0}
        way.writing.execute(text("SELECT setval(CAST(:name AS regclass), :last, :used)"), values)
        return
    name = {"name": table.name, "last": last}
    way.writing.execute(text("DELETE FROM sqlite_sequence WHERE name = :name"), name)
    way.writing.execute(text("INSERT INTO sqlite_sequence VALUES (:name, :last)"), name)


def _last_on_postgresql(connection: Connection, table: Table) -> tuple[Any, ...]:
    sequence = _sequence(connection, table)
    last = "CASE WHEN is_called THEN last_value ELSE 0 END"
    return (text(f"SELECT {last} FROM {sequence}"),)  # noqa: S608 (quoted by PostgreSQL)


def _last_on_sqlite(_: Connection, table: Table) -> tuple[Any, ...]:
    return text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table.name}


_LAST_ID = {"postgresql": _last_on_postgresql, "sqlite": _last_on_sqlite}


def _sequence(connection: Connection, table: Table) -> str:
    name = connection.scalar(
        text("SELECT pg_get_serial_sequence(:name, 'id')"), {"name": table.name}
    )
    return str(name)
