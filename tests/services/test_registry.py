"""What a process keeps of the database: true within an instant of any change, and no longer than it
can be known to be.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Connection, Engine, event, text

from ollama_admin.client import Client
from ollama_admin.errors import AdminError, Conflict, DatabaseUnavailable, SchemaOutOfDate
from ollama_admin.services import registry
from ollama_admin.services.registry import Registry
from ollama_admin.settings import Settings
from ollama_admin.store import pins
from ollama_admin.store.database import Database
from ollama_admin.store.tables import HEAD
from tests.conftest import migrate
from tests.postgres import OwnPostgresServer, TemplateDatabases
from tests.slot_rows import SECONDS, eventually

OFTEN = 0.02  # seconds between two looks
NEVER = 3600.0
DIGESTS = ["a" * 64, "b" * 64, "c" * 64]

Read = Callable[[], Awaitable[Any]]


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Held:
    """A read that has begun once `begun` is set, and ends with `outcome` once `let_go` is."""

    def __init__(self, outcome: Any) -> None:
        self.begun, self.let_go = asyncio.Event(), asyncio.Event()
        self.outcome = outcome
        self.times = 0

    async def __call__(self) -> Any:
        self.times += 1
        self.begun.set()
        await self.let_go.wait()
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


@asynccontextmanager
async def opened(
    url: str, notes: list[str], every: float = OFTEN, **limits: Any
) -> AsyncIterator[tuple[Database, Registry]]:
    db = Database(Settings.read({}, url), lambda: None)
    kept = Registry(db, notes.append, every, **limits)
    try:
        yield db, kept
    finally:
        await kept.aclose()
        db.close()


@pytest.fixture
def other(database_url: str) -> Iterator[Database]:
    """Another process's way to the same database."""
    db = Database(Settings.read({}, database_url), lambda: None)
    yield db
    db.close()


@pytest.fixture
def statements() -> Iterator[list[str]]:
    found: list[str] = []

    def hear(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    event.listen(Engine, "before_cursor_execute", hear)
    yield found
    event.remove(Engine, "before_cursor_execute", hear)


def digests(db: Database) -> Read:
    return lambda: db.read(pins.digests)


async def value_of(value: Any) -> Any:
    return value


async def looks(statements: list[str], count: int = 3) -> None:
    """Wait until the revision was read so many times from now."""
    before = len(statements)

    def made() -> int:
        return sum("SELECT ollama_registry" in statement for statement in statements[before:])

    await eventually(lambda: made() >= count)


# changes


async def test_change_by_another_process_is_seen(
    database_url: str, other: Database, notes: list[str]
) -> None:
    async with opened(database_url, notes) as (db, kept):
        for digest in DIGESTS:
            await other.write(pins.put, "m:latest", digest)
            revision = kept.revision
            await eventually(lambda known=revision: known is None or kept.revision != known)
            assert list((await kept.get("pins", digests(db))).values()) == [digest]
            assert list(kept.peek("pins").values()) == [digest]
    assert notes == []


async def test_value_is_kept_while_nothing_changes(
    database_url: str, other: Database, notes: list[str], statements: list[str]
) -> None:
    await other.write(pins.put, "m:latest", DIGESTS[0])

    def change_and_fail(connection: Connection) -> None:
        pins.put(connection, "m:latest", DIGESTS[1])
        raise Conflict("no")

    async with opened(database_url, notes) as (db, kept):
        value = await kept.get("pins", digests(db))
        await other.write(pins.put, "m:latest", DIGESTS[0])  # what is there
        with pytest.raises(Conflict):
            await other.write(change_and_fail)
        await looks(statements)
        assert kept.peek("pins") is value
        assert await kept.get("pins", digests(db)) is value


async def test_own_change_is_seen_at_once(database_url: str, notes: list[str]) -> None:
    async with opened(database_url, notes, every=NEVER) as (db, kept):
        for digest in DIGESTS:
            await kept.get("pins", digests(db))
            await db.write(pins.put, "m:latest", digest)
            assert kept.peek("pins") is None
            assert list((await kept.get("pins", digests(db))).values()) == [digest]


async def test_own_change_of_somebody_who_has_left_is_seen_too(
    database_url: str, notes: list[str]
) -> None:
    begun, has_left = threading.Event(), threading.Event()

    def change(connection: Connection) -> None:
        begun.set()
        has_left.wait(SECONDS)
        pins.put(connection, "m:latest", DIGESTS[0])

    async with opened(database_url, notes, every=NEVER) as (db, kept):
        await kept.get("pins", digests(db))
        writing = asyncio.ensure_future(db.write(change))
        await eventually(begun.is_set)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        has_left.set()
        await eventually(lambda: kept.peek("pins") is None)


async def test_value_that_was_begun_before_a_change_is_not_kept_after_it(
    database_url: str, other: Database, notes: list[str]
) -> None:
    held = Held("old")
    async with opened(database_url, notes) as (_, kept):
        asking = asyncio.ensure_future(kept.get("key", held))
        await held.begun.wait()
        revision = kept.revision
        await other.write(pins.put, "m:latest", DIGESTS[0])
        await eventually(lambda: kept.revision != revision)
        assert await kept.get("key", lambda: value_of("new")) == "new"  # does not join the old read
        held.let_go.set()
        assert await asking == "old"
        assert kept.peek("key") == "new"


async def test_first_value_is_read_after_the_revision(
    database_url: str, notes: list[str], statements: list[str]
) -> None:
    async with opened(database_url, notes) as (db, kept):
        await kept.get("pins", digests(db))
        asked = [s for s in statements if "ollama_registry" in s or "ollama_pins" in s]
        assert "ollama_registry" in asked[0]
        assert kept.peek("pins") == {}


# many who ask


async def test_those_who_ask_at_the_same_time_share_one_read(
    database_url: str, notes: list[str]
) -> None:
    held = Held("value")
    async with opened(database_url, notes) as (_, kept):
        asking = [asyncio.ensure_future(kept.get("key", held)) for _ in range(50)]
        await held.begun.wait()
        for asker in asking[:10]:  # the first one too
            asker.cancel()
        await asyncio.wait(asking[:10])
        held.let_go.set()
        assert await asyncio.gather(*asking[10:]) == ["value"] * 40
        assert (held.times, kept.peek("key")) == (1, "value")


async def test_error_is_handed_to_all_and_not_kept(database_url: str, notes: list[str]) -> None:
    held = Held(Conflict("no"))
    async with opened(database_url, notes) as (_, kept):
        asking = [asyncio.ensure_future(kept.get("key", held)) for _ in range(5)]
        await held.begun.wait()
        held.let_go.set()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Conflict] * 5
        assert kept.peek("key") is None
        assert await kept.get("key", lambda: value_of("value")) == "value"


async def test_none_is_a_value(database_url: str, notes: list[str]) -> None:
    held = Held(None)
    held.let_go.set()
    async with opened(database_url, notes) as (_, kept):
        assert [await kept.get("key", held) for _ in range(3)] == [None] * 3
        assert held.times == 1


async def test_least_recently_used_value_makes_room(
    database_url: str, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "MOST", 3)
    async with opened(database_url, notes, every=NEVER) as (_, kept):
        for key in "abc":
            await kept.get(key, lambda key=key: value_of(key))
        kept.peek("a")
        await kept.get("b", lambda: value_of("other"))
        await kept.get("d", lambda: value_of("d"))
        assert [kept.peek(key) for key in "abcd"] == ["a", "b", None, "d"]


# what it takes


async def test_a_thousand_questions_run_no_statement(
    database_url: str, notes: list[str], statements: list[str]
) -> None:
    async with opened(database_url, notes, every=NEVER) as (db, kept):
        await kept.get("pins", digests(db))
        statements.clear()
        for _ in range(1000):
            assert kept.peek("pins") == {}
            await kept.get("pins", digests(db))
        assert statements == []


async def test_look_is_one_statement_over_one_connection(
    migrated_postgres_url: str, notes: list[str], statements: list[str]
) -> None:
    async with opened(migrated_postgres_url, notes) as (_, kept):
        await kept.get("key", lambda: value_of("value"))
        await looks(statements)
        statements.clear()
        await looks(statements)
        assert {s for s in statements if "ollama_registry" not in s} == set()
        with psycopg.connect(migrated_postgres_url) as admin:
            row = admin.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%ollama_registry%'"
                " AND pid <> pg_backend_pid() AND datname = current_database()"
            ).fetchone()
        assert row is not None
        assert row[0] <= 1  # none, where it was just put back


async def test_client_that_keeps_nothing_does_not_look(
    client: Client, statements: list[str]
) -> None:
    await client.servers.add(name="gpu", url="http://gpu")
    await client.pins.list()
    assert "registry" not in vars(client._resources)
    assert not [s for s in statements if "SELECT ollama_registry" in s]


async def test_nobody_asks_for_a_while_so_nothing_is_kept_or_looked_at(
    database_url: str, notes: list[str], statements: list[str]
) -> None:
    clock = Clock()
    async with opened(database_url, notes, clock=clock) as (db, kept):
        await kept.get("pins", digests(db))
        await looks(statements)
        clock.now += registry.IDLE
        await eventually(lambda: not kept.is_watching)
        assert (kept.peek("pins"), kept.age) == (None, 0)
        statements.clear()
        assert await kept.get("pins", digests(db)) == {}
        assert kept.is_watching
        assert kept.peek("pins") == {}
        assert statements


async def test_who_peeks_keeps_it_alive(
    database_url: str, notes: list[str], statements: list[str]
) -> None:
    clock = Clock()
    async with opened(database_url, notes, clock=clock) as (db, kept):
        await kept.get("pins", digests(db))
        for _ in range(5):
            clock.now += registry.IDLE / 2
            kept.peek("pins")
            await looks(statements)
        assert kept.peek("pins") == {}


# the database away


def taken_away(url: str, stack: AsyncExitStack, server: OwnPostgresServer, how: str) -> None:
    """Make the database unusable; `stack` gives it back."""
    if how == "removed":
        path = Path(url.removeprefix("sqlite:///"))
        aside = path.rename(path.with_suffix(".aside"))
        stack.callback(aside.rename, path)
    elif how == "stopped":
        server.stop()
        stack.callback(server.start)
    else:
        stack.enter_context(server.standing_still())


@pytest.fixture
def away_url(
    stoppable_postgres: OwnPostgresServer, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """A database that a test may take away, for each way of doing so."""
    if request.getfixturevalue("how") == "removed":
        url = f"sqlite:///{tmp_path / 'one.db'}"
        migrate(url)
        yield url
        return
    url = TemplateDatabases(stoppable_postgres).copy(migrate)
    yield url
    stoppable_postgres.start()
    stoppable_postgres.drop_database(url)


@pytest.mark.parametrize(
    "how", ["removed", "stopped", pytest.param("still", marks=pytest.mark.chaos)]
)
async def test_values_stay_in_use_while_the_database_is_away_for_a_minute_at_most(
    stoppable_postgres: OwnPostgresServer, away_url: str, how: str, notes: list[str]
) -> None:
    clock = Clock()
    async with opened(away_url, notes, clock=clock, idle=NEVER) as (db, kept):
        value = await kept.get("pins", digests(db))
        async with AsyncExitStack() as stack:
            taken_away(away_url, stack, stoppable_postgres, how)
            await eventually(lambda: len(notes) == 1)
            clock.now += registry.LONGEST
            assert kept.age >= registry.LONGEST
            assert kept.peek("pins") is value
            assert await kept.get("pins", digests(db)) is value
            clock.now += 1
            assert kept.peek("pins") is None
            with pytest.raises(DatabaseUnavailable) as refused:
                await kept.get("pins", digests(db))
            assert refused.value.message == "what this process knows of the registry is 61 s old"
        await eventually(lambda: len(notes) == 2)
        assert await kept.get("pins", digests(db)) == {}
        assert kept.age == 0
    assert notes[0].startswith("changes of the registry cannot be seen: the database ")
    assert notes[0].endswith("; what is known of it stays in use for 60 s")
    assert notes[1] == "changes of the registry are seen again"


async def test_who_asks_first_after_a_standstill_of_this_process_is_answered(
    database_url: str, other: Database, notes: list[str]
) -> None:
    """No look has failed, there was none: the next one is waited for, not refused before."""
    clock = Clock()
    async with opened(database_url, notes, clock=clock, idle=NEVER) as (db, kept):
        assert await kept.get("pins", digests(db)) == {}
        for digest in DIGESTS:
            await other.write(pins.put, "m:latest", digest)
            clock.now += registry.LONGEST + 1
            assert kept.peek("pins") is None
            found, age = await asyncio.gather(
                kept.get("pins", digests(db)), kept.require_servable()
            )
            assert (list(found.values()), age) == ([digest], None)
    assert notes == []


async def test_who_waits_after_a_standstill_is_sent_away_by_the_end(
    database_url: str, notes: list[str]
) -> None:
    clock = Clock()
    async with opened(database_url, notes, NEVER, clock=clock, idle=2 * NEVER) as (db, kept):
        await kept.get("pins", digests(db))
        clock.now += registry.LONGEST + 1
        waiting = asyncio.create_task(kept.get("pins", digests(db)))
        await asyncio.sleep(0)
        await kept.aclose()
        with pytest.raises(DatabaseUnavailable):
            await waiting


@pytest.mark.parametrize("how", ["stopped"])
async def test_values_are_read_again_after_the_database_was_away(
    stoppable_postgres: OwnPostgresServer, away_url: str, how: str, notes: list[str]
) -> None:
    """After a failover another change may have the number of one that was lost."""
    async with opened(away_url, notes) as (db, kept):
        await kept.get("pins", digests(db))
        revision = kept.revision
        stoppable_postgres.stop()
        await eventually(lambda: len(notes) == 1)
        assert kept.peek("pins") == {}
        stoppable_postgres.start()
        await eventually(lambda: len(notes) == 2)
        assert (kept.peek("pins"), kept.revision) == (None, revision)


@pytest.mark.parametrize("how", ["stopped"])
async def test_nothing_is_kept_before_the_revision_was_read(
    stoppable_postgres: OwnPostgresServer, away_url: str, how: str, notes: list[str]
) -> None:
    async with opened(away_url, notes) as (db, kept):
        await db.check()
        stoppable_postgres.stop()
        with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
            await kept.get("pins", digests(db))
        assert await kept.get("key", lambda: value_of("value")) == "value"
        assert kept.peek("key") is None
        stoppable_postgres.start()
        await eventually(lambda: kept.revision is not None)
        assert await kept.get("key", lambda: value_of("value")) == "value"
        assert kept.peek("key") == "value"


async def test_nothing_is_used_while_the_schema_is_another_one(
    database_url: str, other: Database, notes: list[str]
) -> None:
    async with opened(database_url, notes) as (db, kept):
        await kept.get("pins", digests(db))
        await other.write(stamp, "9999")
        await eventually(lambda: len(notes) == 1)
        assert kept.peek("pins") is None
        with pytest.raises(SchemaOutOfDate, match="revision 9999"):
            await kept.get("pins", digests(db))
        async with opened(database_url, []) as (fresh_db, fresh):
            fresh_db._checked = True
            with pytest.raises(SchemaOutOfDate, match="revision 9999"):
                await fresh.get("key", lambda: value_of("value"))
        await other.write(stamp, HEAD)
        await eventually(lambda: len(notes) == 2)
        assert await kept.get("pins", digests(db)) == {}
    assert notes[0].endswith("; what is known of it is no longer used")


def stamp(connection: Connection, revision: str) -> None:
    connection.execute(text(f"UPDATE ollama_admin_version SET version_num = '{revision}'"))


async def test_note_that_fails_does_not_end_the_watch(database_url: str, other: Database) -> None:
    def fail(_: str) -> None:
        raise RuntimeError("no")

    db = Database(Settings.read({}, database_url), lambda: None)
    kept = Registry(db, fail, OFTEN)
    await kept.get("key", lambda: value_of("value"))
    await other.write(lambda c: c.execute(text("DELETE FROM ollama_registry")))
    await eventually(lambda: kept._is_away)
    await other.write(lambda c: c.execute(text("INSERT INTO ollama_registry VALUES (1, 7)")))
    await eventually(lambda: kept.revision == 7)
    await kept.aclose()
    db.close()


# the end


async def test_closing_leaves_nobody_waiting_and_nothing_running(
    database_url: str, notes: list[str]
) -> None:
    held = Held("value")
    before = len(asyncio.all_tasks())
    async with opened(database_url, notes) as (_, kept):
        asking = asyncio.ensure_future(kept.get("key", held))
        await held.begun.wait()
        await kept.aclose()
        for asked in (asking, kept.get("key", held)):
            with pytest.raises(AdminError, match="the client is closed"):
                await asked
        assert len(asyncio.all_tasks()) == before


async def test_client_closes_what_it_kept(database_url: str) -> None:
    async with Client(database_url=database_url, environ={}) as client:
        kept = client._resources.registry
        await kept.get("key", lambda: value_of("value"))
    assert not kept.is_watching
