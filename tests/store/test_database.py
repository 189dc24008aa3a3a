"""What goes wrong between the program and its database: every failure is one line, one of ours,
without a secret.
"""

import asyncio
import itertools
import os
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, insert, text

from ollama_admin.client import Client
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
from ollama_admin.store import database, waiting
from ollama_admin.store.database import Database
from ollama_admin.store.migrations import upgrade
from ollama_admin.store.tables import HEAD, models, servers

CANARY = "hunter2"
NOW = "2026-01-01 00:00:00"
INT_LIMIT = 2**31 - 1


@contextmanager
def opened(url: str) -> Iterator[Database]:
    """The seam by itself, on an existing database."""
    settings = Settings.read({}, url)
    db = Database(settings, lambda: None)
    try:
        yield db
    finally:
        db.close()


async def failure(url: str) -> AdminError:
    """How the first command on a database fails; secrets are nowhere in it."""
    with pytest.raises(AdminError) as failed:
        async with Client(database_url=url, environ={}) as client:
            await client.servers.list()
    assert CANARY not in f"{failed.value.message} {failed.value.hint}"
    return failed.value


def with_password(url: str, password: str) -> str:
    user, _, place = url.removeprefix("postgresql://").rpartition("@")
    return f"postgresql://{user.partition(':')[0]}:{password}@{place}"


# a server that cannot be used


async def test_closed_port_is_unavailable() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        error = await failure(f"postgresql://u:{CANARY}@127.0.0.1:{port}/db")
    assert type(error) is DatabaseUnavailable
    assert (error.message, error.hint) == (
        f'the database cannot be reached: Connection refused ("db" at 127.0.0.1:{port})',
        "check host and port, and that it is running",
    )


async def test_silent_server_is_given_up_after_the_connect_timeout() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        error = await failure(f"postgresql://u:{CANARY}@127.0.0.1:{silent.getsockname()[1]}/db")
    assert type(error) is DatabaseUnavailable
    assert error.message.startswith("the database does not answer: ")
    assert time.monotonic() - started < waiting.CONNECT_TIMEOUT + 3


async def test_wrong_password_is_told_and_not_shown(migrated_postgres_url: str) -> None:
    error = await failure(with_password(migrated_postgres_url, CANARY))
    assert type(error) is DatabaseUnavailable
    assert error.message.startswith("the database refused the user or password: ")


async def test_missing_database_is_told(migrated_postgres_url: str) -> None:
    error = await failure(f"{migrated_postgres_url}_missing")
    assert type(error) is DatabaseUnavailable
    assert "does not exist" in error.message


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://u:{CANARY}@127.0.0.1:port/db",
        f"postgresql://u:{CANARY}@127.0.0.1:99999999/db",
        f"postgresql://u:{CANARY}@[::1/db",
        f"postgresql://u:{CANARY}@127.0.0.1:9/db?nonsense={CANARY}",
        f"postgresql://u:{CANARY}%00@127.0.0.1:9/db",
        f"postgresql://u:{CANARY}@127.0.0.1%00:9/db",
        f"oracle+oracledb://u:{CANARY}@127.0.0.1/db",
        f"mysql://u:{CANARY}@127.0.0.1/db",
        f"sqlite:///file:{CANARY}?mode=rw",
        CANARY,
    ],
)
async def test_malformed_url_is_invalid_input_without_the_password(url: str) -> None:
    error = await failure(url)
    assert type(error) is InvalidInput


async def test_connection_ended_by_the_server_between_two_uses_is_replaced(
    migrated_postgres_url: str,
) -> None:
    async with Client(database_url=migrated_postgres_url, environ={}) as client:
        await client.servers.list()
        with psycopg.connect(migrated_postgres_url) as admin:
            ended = admin.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name = 'ollama-admin'"
            ).fetchall()
        assert ended == [(True,)]
        assert await client.servers.list() == []


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        ("25006", DatabaseUnavailable, "read-only"),
        ("42501", DatabaseUnavailable, "lacks a privilege"),
        ("53100", DatabaseUnavailable, "disk is full"),
        ("57P01", DatabaseUnavailable, "cannot be reached"),
        ("40001", DatabaseBusy, "other writers"),
        ("40P01", DatabaseBusy, "other writers"),
        ("53300", DatabaseBusy, "no more connections"),
        ("55P03", DatabaseBusy, "holds the lock"),
        ("57014", DatabaseBusy, "took too long"),
        ("42P01", SchemaOutOfDate, "tables are not those"),
        ("22021", InvalidInput, "rejected one of the values"),
        ("XX000", DatabaseUnavailable, "failed with code XX000"),
    ],
)
async def test_postgresql_failure_is_sorted_by_its_code(
    migrated_postgres_url: str, code: str, kind: type[AdminError], message: str
) -> None:
    def fail(connection: Connection) -> None:
        connection.execute(
            text(f"DO $$ BEGIN RAISE EXCEPTION 'a sentence' USING ERRCODE = '{code}'; END $$")
        )

    with opened(migrated_postgres_url) as db, pytest.raises(kind, match=message) as failed:
        await db.write(fail)
    assert type(failed.value) is kind
    # what it says of a value may hold the value
    is_said = kind is DatabaseUnavailable or code == "53300"
    assert ("a sentence" in failed.value.message) == is_said


# a schema that is not there, or not this one


async def test_postgresql_without_tables_asks_for_migrate(empty_postgres_url: str) -> None:
    error = await failure(empty_postgres_url)
    assert type(error) is SchemaOutOfDate
    assert error.hint == "run: ollama-admin migrate"
    with psycopg.connect(empty_postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_stat_user_tables").fetchone() == (0,)


async def test_older_schema_asks_for_migrate(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ollama_admin.store.schema.HEAD", "0042")
    error = await failure(database_url)
    assert type(error) is SchemaOutOfDate
    assert error.message == f"the database is at revision {HEAD}, this version needs 0042"
    assert error.hint == "run: ollama-admin migrate"


async def test_sqlite_file_is_made_with_its_tables_on_first_use(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    async with Client(database_url=f"sqlite:///{path}", environ={}) as client:
        assert await client.servers.list() == []
        assert not path.exists()
        assert (await client.servers.add(name="one", url="one")).id == 1
    async with Client(database_url=f"sqlite:///{path}", environ={}) as client:
        assert [server.name for server in await client.servers.list()] == ["one"]


async def test_empty_sqlite_file_gets_tables_on_first_use(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    path.touch()
    async with Client(database_url=f"sqlite:///{path}", environ={}) as client:
        assert await client.servers.list() == []


async def test_sqlite_file_of_another_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with_tables(path, "CREATE TABLE theirs (id)")
    before = path.read_bytes()
    error = await failure(f"sqlite:///{path}")
    assert type(error) is SchemaOutOfDate
    assert path.read_bytes() == before


def test_first_use_by_several_processes_at_once_makes_the_tables_once(tmp_path: Path) -> None:
    code = (
        "import asyncio, sys\nfrom ollama_admin.client import Client\n"
        "async def main():\n"
        "    async with Client(database_url=sys.argv[1], environ={}) as client:\n"
        "        await client.servers.add(name=sys.argv[2], url=sys.argv[2])\n"
        "asyncio.run(main())"
    )
    url = f"sqlite:///{tmp_path / 'one.db'}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, url, f"n{number}"], stderr=subprocess.PIPE, text=True
        )
        for number in range(5)
    ]
    ended = [(process.communicate()[1], process.returncode) for process in processes]
    assert ended == [("", 0)] * 5
    with opened(url) as db:
        found = asyncio.run(
            db.read(
                lambda connection: list(connection.scalars(text("SELECT id FROM ollama_servers")))
            )
        )
    assert sorted(found) == [1, 2, 3, 4, 5]


# an SQLite file that cannot be used


def with_tables(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        connection.execute(statement)
    connection.close()


def damaged(path: Path) -> None:
    with_tables(path, "CREATE TABLE a (b)", "INSERT INTO a VALUES (zeroblob(20000))")
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * 4000 + content[4100:])


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (
            lambda path: path.write_text("these are my notes, not a database\n" * 50),
            "is not an SQLite database",
        ),
        (damaged, "is damaged"),
    ],
)
async def test_file_that_is_no_database_is_unavailable_and_untouched(
    tmp_path: Path, make: Any, problem: str
) -> None:
    path = tmp_path / "one.db"
    make(path)
    before = path.read_bytes()
    for _ in range(2):
        error = await failure(f"sqlite:///{path}")
        assert type(error) is DatabaseUnavailable
        assert error.message == f"the database file {path} {problem}"
    with pytest.raises(DatabaseUnavailable, match=problem):
        upgrade(Settings.read({}, f"sqlite:///{path}"))
    assert path.read_bytes() == before


async def test_folder_in_place_of_the_file_is_unavailable(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    error = await failure(f"sqlite:///{folder}")
    assert type(error) is DatabaseUnavailable
    assert str(folder) in error.message


@pytest.mark.parametrize("below", ["one.db", "deeper/one.db"])
async def test_file_in_place_of_the_folder_is_unavailable(tmp_path: Path, below: str) -> None:
    path = tmp_path / "file" / below
    (tmp_path / "file").write_text("text")
    error = await failure(f"sqlite:///{path}")
    assert type(error) is DatabaseUnavailable
    assert str(path) in error.message
    assert (tmp_path / "file").read_text() == "text"


async def test_full_disk_is_told(tmp_path: Path, migrated_sqlite_file: Path) -> None:
    def fill(connection: Connection) -> None:
        connection.execute(text("PRAGMA max_page_count = 1"))
        connection.execute(text("CREATE TABLE big AS SELECT zeroblob(10000000)"))

    path = tmp_path / "one.db"
    path.write_bytes(migrated_sqlite_file.read_bytes())
    with (
        opened(f"sqlite:///{path}") as db,
        pytest.raises(DatabaseUnavailable, match="the disk is full"),
    ):
        await db.write(fill)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_files_and_new_folders_are_their_owner_s_alone(
    tmp_path: Path, umask: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "new"))
    old = os.umask(umask)
    try:
        async with Client(environ={}) as client:
            await client.servers.add(name="one", url="one")
            found = {
                place.name: stat.S_IMODE(place.stat().st_mode)
                for place in (tmp_path / "new").rglob("*")
            }
    finally:
        os.umask(old)
    files = {f"ollama-admin.db{end}": 0o600 for end in ("", "-wal", "-shm")}
    assert found == {"ollama-admin": 0o700, **files}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


async def test_file_behind_a_symbolic_link_is_its_owner_s_alone(tmp_path: Path) -> None:
    link, path = tmp_path / "link.db", tmp_path / "elsewhere" / "one.db"
    link.symlink_to(path)
    path.parent.mkdir()
    async with Client(database_url=f"sqlite:///{link}", environ={}) as client:
        await client.servers.add(name="one", url="one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


# others at work in the same SQLite file


@contextmanager
def held_by_another(path: Path) -> Iterator[None]:
    """Another connection is in the middle of writing."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


async def test_file_locked_by_another_writer_is_busy_and_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    path = tmp_path / "one.db"
    async with Client(database_url=f"sqlite:///{path}", environ={}) as client:
        await client.servers.add(name="one", url="one")
        with held_by_another(path):
            with pytest.raises(
                DatabaseBusy, match=f"the database file {path} is locked by another process"
            ):
                await client.servers.add(name="two", url="two")
            assert [server.name for server in await client.servers.list()] == ["one"]
        assert (await client.servers.add(name="two", url="two")).id == 2


async def test_write_transaction_holds_the_lock_from_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "one.db"

    def another_writes(_: Connection) -> bool:
        other = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        finally:
            other.close()
        return True

    upgrade(Settings.read({}, f"sqlite:///{path}"))
    with opened(f"sqlite:///{path}") as db:
        assert not await db.write(another_writes)
        assert await db.read(another_writes)


async def test_second_connection_of_a_process_keeps_the_locks_of_the_first(tmp_path: Path) -> None:
    """Opening and closing the file once more would drop them, and the next program to leave would
    delete the log.
    """
    path = tmp_path / "one.db"
    both = threading.Barrier(2)

    def read_beside_another(connection: Connection) -> None:
        connection.execute(text("SELECT * FROM ollama_servers")).all()
        both.wait(10)

    async with Client(database_url=f"sqlite:///{path}", environ={}) as client:
        await client.servers.add(name="one", url="one")
        with opened(f"sqlite:///{path}") as db:
            await asyncio.gather(db.read(read_beside_another), db.read(read_beside_another))
            code = (
                "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT 1 "
                "FROM ollama_servers')"
            )
            subprocess.run([sys.executable, "-c", f"{code}; c.close()", path], check=True)
            assert path.with_name("one.db-wal").exists()


# transactions


async def test_failed_work_leaves_nothing_behind(database_url: str) -> None:
    def fail(connection: Connection) -> None:
        connection.execute(insert(servers).values(**row("one")))
        raise RuntimeError

    with opened(database_url) as db:
        with pytest.raises(RuntimeError):
            await db.write(fail)
        assert (
            await db.read(
                lambda connection: connection.execute(text("SELECT 1 FROM ollama_servers")).all()
            )
            == []
        )


async def test_two_deadlocked_writers_both_succeed(migrated_postgres_url: str) -> None:
    first_try = {"one", "two"}
    both_hold_one = threading.Barrier(2)

    def lock_in_order(connection: Connection, mine: str, theirs: str) -> None:
        statement = text("UPDATE ollama_servers SET priority = priority + 1 WHERE name = :name")
        connection.execute(statement, {"name": mine})
        if mine in first_try:
            first_try.remove(mine)
            both_hold_one.wait(10)
        connection.execute(statement, {"name": theirs})

    with opened(migrated_postgres_url) as db:
        for name in ("one", "two"):
            await db.write(
                lambda connection, name=name: connection.execute(
                    insert(servers).values(**row(name))
                )
            )
        await asyncio.gather(
            db.write(lock_in_order, "one", "two"), db.write(lock_in_order, "two", "one")
        )
        found = await db.read(
            lambda connection: connection.execute(text("SELECT priority FROM ollama_servers")).all()
        )
    assert [tuple(line) for line in found] == [(2,), (2,)]


async def test_transaction_that_always_fails_is_tried_a_few_times(
    migrated_postgres_url: str,
) -> None:
    tries = itertools.count()

    def fail(connection: Connection) -> None:
        next(tries)
        connection.execute(text("DO $$ BEGIN RAISE EXCEPTION '' USING ERRCODE = '40P01'; END $$"))

    with opened(migrated_postgres_url) as db, pytest.raises(DatabaseBusy):
        await db.write(fail)
    assert next(tries) == database.TRIES


# constraints


def row(name: str, **values: Any) -> dict[str, Any]:
    now = text(f"'{NOW}'")
    given = {
        "name": name,
        "name_key": name,
        "url": f"http://{name}",
        "api_version": "native",
        "capabilities": [],
    }
    secrets = {"auth_config": {"token": CANARY}, "headers": {"X-Secret": CANARY}}
    return given | secrets | {"created_at": now, "updated_at": now} | values


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ({"name_key": "one"}, ServerExists),
        ({"url": "http://one"}, ServerExists),
        ({"is_default": True}, Conflict),
        ({"id": 1}, Conflict),
        ({"api_version": CANARY}, InvalidInput),
        ({"auth_type": CANARY}, InvalidInput),
        ({"status": CANARY}, InvalidInput),
        ({"max_concurrent": 0}, InvalidInput),
        ({"name": None}, InvalidInput),
        ({"auth_config": None}, InvalidInput),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_broken_constraint_is_told_in_our_words(
    database_url: str, values: dict[str, Any], kind: type[AdminError]
) -> None:
    def add(connection: Connection, **values: Any) -> None:
        connection.execute(insert(servers).values(**values))

    with opened(database_url) as db:
        await db.write(add, **row("one", is_default=True))
        with pytest.raises(AdminError) as failed:
            await db.write(add, **row("two") | values)
    assert type(failed.value) is kind
    said = f"{failed.value.message} {failed.value.hint}"
    assert not [
        word for word in (CANARY, "constraint", "ollama_servers", "key") if word in said.lower()
    ]


async def test_model_without_a_server_is_a_conflict(database_url: str) -> None:
    def add(connection: Connection) -> None:
        now = row("one")["created_at"]
        values = {
            "server_id": 7,
            "name": "alpha",
            "name_key": "alpha",
            "first_seen_at": now,
            "last_seen_at": now,
        }
        connection.execute(insert(models).values(**values))

    with opened(database_url) as db, pytest.raises(Conflict):
        await db.write(add)


# streams


@pytest.fixture
def db(database_url: str) -> Iterator[Database]:
    with opened(database_url) as one:
        yield one


def numbers(connection: Connection, count: int, closed: list[bool]) -> Iterator[int]:
    try:
        for number in range(1, count + 1):
            connection.execute(text("SELECT 1"))
            yield number
    finally:
        closed.append(connection.in_transaction())


async def test_stream_gives_item_after_item_in_one_transaction(db: Database) -> None:
    closed: list[bool] = []
    assert [number async for number in db.stream(numbers, 5, closed)] == [1, 2, 3, 4, 5]
    assert closed == [True]


async def test_stream_that_is_left_early_gives_its_connection_back(db: Database) -> None:
    closed: list[bool] = []
    for _ in range(30):  # more often than there are connections
        async with aclosing(db.stream(numbers, 5, closed)) as found:
            assert await anext(found) == 1
    assert closed == [True] * 30


async def test_stream_that_is_cancelled_while_it_reads_gives_its_connection_back(
    db: Database,
) -> None:
    begun, go_on, closed = threading.Event(), threading.Event(), []

    def slow(connection: Connection) -> Iterator[int]:
        try:
            begun.set()
            assert go_on.wait(20)
            yield 1
        finally:
            closed.append(connection.in_transaction())

    async def first() -> int:
        async with aclosing(db.stream(slow)) as found:
            return await anext(found)

    task = asyncio.create_task(first())
    assert await asyncio.to_thread(begun.wait, 20)
    task.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert closed == [True]


async def test_many_streams_at_once_all_end_and_hold_up_nobody(db: Database) -> None:
    async def whole() -> list[int]:
        return [number async for number in db.stream(numbers, 20, [])]

    async with asyncio.timeout(25):
        found = await asyncio.gather(*(whole() for _ in range(60)), db.read(lambda connection: [0]))
    assert found == [list(range(1, 21))] * 60 + [[0]]


async def test_stream_says_what_the_database_says_as_everywhere(db: Database) -> None:
    def wrong(connection: Connection) -> Iterator[int]:
        connection.execute(text("SELECT 1 FROM not_there"))
        yield 1

    with pytest.raises(SchemaOutOfDate):
        await anext(db.stream(wrong))
