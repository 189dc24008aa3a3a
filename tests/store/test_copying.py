"""A database copied into another one holds the same, or is as it was."""

import shutil
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, insert, text

from ollama_admin.client import Client
from ollama_admin.domain.secret import Secret
from ollama_admin.errors import AdminError, Conflict, InvalidInput, SchemaOutOfDate
from ollama_admin.settings import Settings
from ollama_admin.store.copying import copy
from ollama_admin.store.engines import WRITE, open_engine
from ollama_admin.store.tables import HEAD, metadata, receipts, servers
from ollama_admin.vault import new_key

AT = datetime(2026, 11, 28, 12, 0, 0, 123456, tzinfo=UTC)
TEXT = "naïve \u2028 日本 \x7f ' \" \\ %"
BY_TYPE: dict[str, Any] = {
    "Text": TEXT,
    "BigInteger": 2**53 + 1,
    "Integer": 7,
    "Boolean": True,
    "Double": 0.1 + 0.2,
    "UTCDateTime": AT,
}
CHOSEN: dict[str, Any] = {
    "url": "https://gpu.example:11434",
    "api_version": "v1",
    "auth_type": "bearer",
    "status": "online",
    "way": "api",
    "proof": "digest",
    "kind": "tokens",
    "server_id": 1,
    "is_default": False,
}


def quietly(*_: object) -> None:
    """Progress that nobody looks at."""


def value(column: Any) -> Any:
    if column.name in CHOSEN:
        return CHOSEN[column.name]
    shape = getattr(column.type, "shape", None)
    if shape is not None:
        return {"object": {"a": "", TEXT: "b"}, "texts": ["z", TEXT, ""]}[shape]
    return BY_TYPE[type(column.type).__name__]


def fill(connection: Connection) -> None:
    """A row in every table, with a value in every column, and one with NULL where that may be."""
    for table in metadata.sorted_tables:
        if table.name == "ollama_registry":
            connection.execute(text("UPDATE ollama_registry SET revision = 41"))
            continue
        row = {column.name: value(column) for column in table.columns}
        if table.autoincrement_column is not None:
            row["id"] = 1
        connection.execute(insert(table), row)
    connection.execute(insert(receipts), [sparse(number) for number in range(2, 2500)])


def sparse(number: int) -> dict[str, Any]:
    return {"id": number, "created_at": AT, "way": "cli", "verified": False, "attempts": 0} | {
        "outcome": f"outcome {number}"
    }


def settings(url: str) -> Settings:
    return Settings.read({}, url)


def run(url: str, work: Any) -> Any:
    engine = open_engine(settings(url))
    try:
        with engine.connect().execution_options(**WRITE) as connection, connection.begin():
            return work(connection)
    finally:
        engine.dispose()


def rows(url: str) -> dict[str, int]:
    names = [table.name for table in metadata.sorted_tables]
    return run(
        url, lambda c: {name: c.scalar(text(f"SELECT count(*) FROM {name}")) for name in names}
    )


@pytest.fixture
def sqlite_url(migrated_sqlite_file: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(migrated_sqlite_file, tmp_path / 'source.db')}"


@pytest.fixture
def new_url(tmp_path: Path) -> str:
    """An SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'new.db'}"


def test_every_table_comes_back_equal_from_the_other_kind_of_database(
    sqlite_url: str, empty_postgres_url: str, new_url: str
) -> None:
    run(sqlite_url, fill)
    there = copy(settings(sqlite_url), settings(empty_postgres_url), quietly)
    back = copy(settings(empty_postgres_url), settings(new_url), quietly)
    assert there == back
    assert {table.table for table in there} == {table.name for table in metadata.sorted_tables}
    assert all(table.rows for table in there)
    assert dump(sqlite_url) == dump(new_url)


def dump(url: str) -> list[str]:
    """All that an SQLite file holds, numbers of ids to come among it, in an order of its own."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"))
    lines = list(connection.iterdump())
    lines += [str(row) for row in connection.execute("SELECT * FROM sqlite_sequence")]
    connection.close()
    return sorted(lines)


@pytest.fixture(params=["sqlite", "postgresql"])
def target_url(request: pytest.FixtureRequest) -> Iterator[str]:
    fixture = {"sqlite": "new_url", "postgresql": "empty_postgres_url"}[request.param]
    return request.getfixturevalue(fixture)


async def test_an_id_that_was_given_out_is_not_given_out_by_the_copy(
    database_url: str, target_url: str
) -> None:
    async with Client(database_url=database_url, environ={}) as client:
        for name in ("one", "two"):
            await client.servers.add(name=name, url=f"http://{name}.example")
        await client.servers.remove("two")
    copy(settings(database_url), settings(target_url), quietly)
    async with Client(database_url=target_url, environ={}) as client:
        await client.servers.add(name="three", url="http://three.example")
        assert [server.id for server in await client.servers.list()] == [1, 3]


async def test_a_secret_opens_in_the_copy_with_the_key_of_the_source(
    database_url: str, target_url: str
) -> None:
    environ = {"OLLAMA_ADMIN_SECRET_KEY": new_key().reveal()}
    async with Client(database_url=database_url, environ=environ) as client:
        await client.servers.add(
            name="one", url="http://one.example", headers={"X-Key": Secret("canary")}
        )
    copy(settings(database_url), settings(target_url), quietly)
    async with Client(database_url=target_url, environ=environ) as client:
        status = await client.secrets.status()
    assert (status.secrets, status.unreadable) == (1, ())


def test_a_target_that_holds_a_row_is_refused_and_left_alone(
    sqlite_url: str, database_url: str
) -> None:
    run(sqlite_url, fill)
    run(database_url, lambda c: c.execute(insert(receipts), sparse(5)))
    with pytest.raises(Conflict, match="rows in ollama_receipts"):
        copy(settings(sqlite_url), settings(database_url), quietly)
    assert rows(database_url)["ollama_receipts"] == 1
    assert rows(database_url)["ollama_servers"] == 0


def test_a_row_that_the_target_does_not_take_leaves_it_empty(
    sqlite_url: str, empty_postgres_url: str
) -> None:
    run(sqlite_url, fill)
    nul = text("UPDATE ollama_receipts SET client = 'a' || char(0) WHERE id = 2000")
    run(sqlite_url, lambda c: c.execute(nul))
    with pytest.raises(InvalidInput, match="every row of ollama_receipts"):
        copy(settings(sqlite_url), settings(empty_postgres_url), quietly)
    assert sum(rows(empty_postgres_url).values()) == 1  # that of the registry
    run(sqlite_url, lambda c: c.execute(text("UPDATE ollama_receipts SET client = NULL")))
    copy(settings(sqlite_url), settings(empty_postgres_url), quietly)


def test_what_is_written_to_the_source_meanwhile_is_not_half_copied(
    database_url: str, target_url: str
) -> None:
    run(database_url, fill)
    before = rows(database_url)
    written: list[str] = []

    def write(table: str, *_: object) -> None:
        if not written:
            run(database_url, lambda c: c.execute(insert(receipts), sparse(9000)))
            run(database_url, lambda c: c.execute(servers.delete()))
            written.append(table)

    copied = copy(settings(database_url), settings(target_url), write)
    assert {table.table: table.rows for table in copied} == before == rows(target_url)


def test_nobody_else_writes_to_the_target_meanwhile(
    sqlite_url: str, migrated_postgres_url: str
) -> None:
    def look(*_: object) -> None:
        with psycopg.connect(migrated_postgres_url) as other:
            other.execute("SET lock_timeout = 10")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                other.execute("DELETE FROM ollama_servers")

    copy(settings(sqlite_url), settings(migrated_postgres_url), look)


def test_a_checksum_is_that_of_the_rows_and_not_of_their_order(
    sqlite_url: str, empty_postgres_url: str
) -> None:
    run(sqlite_url, lambda c: c.execute(insert(receipts), [sparse(2), sparse(3)]))
    there = copy(settings(sqlite_url), settings(empty_postgres_url), quietly)
    changed = text("UPDATE ollama_receipts SET attempts = 1 WHERE id = 3")
    run(empty_postgres_url, lambda c: c.execute(changed))
    other = copy(settings(empty_postgres_url), settings(f"{sqlite_url}.2"), quietly)
    differing = {one.table for one, two in zip(there, other, strict=True) if one != two}
    assert differing == {"ollama_receipts"}


@pytest.mark.parametrize("place", ["source", "target"])
def test_a_database_of_another_revision_is_refused(
    place: str, sqlite_url: str, migrated_sqlite_file: Path, tmp_path: Path
) -> None:
    other = f"sqlite:///{shutil.copy(migrated_sqlite_file, tmp_path / 'other.db')}"
    older = text("UPDATE ollama_admin_version SET version_num = '0010'")
    run({"source": sqlite_url, "target": other}[place], lambda c: c.execute(older))
    with pytest.raises(SchemaOutOfDate, match=f"needs {HEAD}"):
        copy(settings(sqlite_url), settings(other), quietly)


def test_a_source_that_is_not_there_is_not_made(tmp_path: Path, new_url: str) -> None:
    with pytest.raises(AdminError, match="no database file"):
        copy(settings(f"sqlite:///{tmp_path / 'missing.db'}"), settings(new_url), quietly)
    assert not list(tmp_path.glob("*.db"))


def test_a_database_is_not_copied_into_itself(sqlite_url: str) -> None:
    with pytest.raises(InvalidInput, match="the same database"):
        copy(settings(sqlite_url), settings(sqlite_url), quietly)


@pytest.mark.chaos
def test_a_million_receipts_come_back_equal(
    sqlite_url: str, empty_postgres_url: str, new_url: str
) -> None:
    run(sqlite_url, fill)
    run(
        sqlite_url,
        lambda c: [
            c.execute(insert(receipts), [sparse(at + number) for number in range(10_000)])
            for at in range(10_000, 1_010_000, 10_000)
        ],
    )
    there = copy(settings(sqlite_url), settings(empty_postgres_url), quietly)
    assert copy(settings(empty_postgres_url), settings(new_url), quietly) == there
    assert {table.table: table.rows for table in there} == rows(new_url)
