"""A PostgreSQL that stands still, or takes too long: no wait for it is without an end, and none
outlives its reason.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from sqlalchemy import Connection, text

from ollama_admin.client import Client
from ollama_admin.errors import DatabaseBusy, DatabaseUnavailable
from ollama_admin.settings import Settings
from ollama_admin.store import engines
from ollama_admin.store.database import Database
from tests.conftest import migrate
from tests.postgres import OwnPostgresServer, TemplateDatabases
from tests.slot_rows import eventually

FOREVER = 3600  # seconds


@pytest.fixture
def url(stoppable_postgres: OwnPostgresServer) -> Iterator[str]:
    url = TemplateDatabases(stoppable_postgres).copy(migrate)
    yield url
    stoppable_postgres.drop_database(url)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Database]:
    """A database that was used before, so a connection is in the pool."""
    db = Database(Settings.read({}, url), lambda: None)
    try:
        await db.read(one)
        yield db
    finally:
        db.close()


def one(connection: Connection) -> int:
    return int(connection.scalar(text("SELECT 1")) or 0)


def sleep(connection: Connection) -> None:
    connection.execute(text(f"SELECT pg_sleep({FOREVER})"))


def running(url: str, what: str) -> int:
    """How many statements that contain this run at the database now."""
    with psycopg.connect(url) as admin:
        row = admin.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"
            " AND pid <> pg_backend_pid() AND datname = current_database()",
            (f"%{what}%",),
        ).fetchone()
    assert row is not None
    return int(row[0])


async def test_database_that_stands_still_is_unavailable_and_recovers_by_itself(
    stoppable_postgres: OwnPostgresServer, url: str
) -> None:
    async with opened(url) as db:
        with stoppable_postgres.standing_still():
            for ask in (db.read, db.lease):
                with pytest.raises(DatabaseUnavailable, match="the database does not answer"):
                    await ask(one)
        assert await db.read(one) == 1
        assert await db.lease(one) == 1


async def test_standstill_in_the_middle_of_a_statement_is_unavailable(
    stoppable_postgres: OwnPostgresServer, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "ANSWER_TIMEOUT", 1.0)
    async with opened(url) as db:
        asked = asyncio.ensure_future(db.write(sleep))
        await eventually(lambda: running(url, "pg_sleep") == 1)
        with (
            stoppable_postgres.standing_still(),
            pytest.raises(DatabaseUnavailable, match="the database does not answer"),
        ):
            await asked
        assert await db.read(one) == 1


async def test_statement_that_takes_too_long_is_cancelled_at_the_database(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "ANSWER_TIMEOUT", 0.3)
    async with opened(url) as db:
        with pytest.raises(DatabaseBusy, match="a statement took too long"):
            await db.write(sleep)
        assert running(url, "pg_sleep") == 0
        assert await db.read(one) == 1


async def test_closing_gives_up_what_still_waits(url: str) -> None:
    async with opened(url) as db:
        asked = asyncio.ensure_future(db.read(sleep))
        await eventually(lambda: running(url, "pg_sleep") == 1)
        db.close()
        with pytest.raises(DatabaseUnavailable):
            await asked


async def test_threads_of_cancelled_work_end_when_the_database_is_closed(url: str) -> None:
    before = threading.active_count()
    async with opened(url) as db:
        asked = asyncio.ensure_future(db.lease(hold_until_closed))
        await eventually(lambda: running(url, "pg_sleep") == 1)
        asked.cancel()
    assert threading.active_count() <= before + 1  # the loop's own thread for reads


def hold_until_closed(connection: Connection) -> None:
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    engines.wait_up_to(connection, FOREVER)
    sleep(connection)


@pytest.mark.chaos
async def test_lease_outlives_a_standstill_that_costs_one_renewal(
    stoppable_postgres: OwnPostgresServer, url: str
) -> None:
    failed = asyncio.Event()
    heard: list[str] = []

    def note(text: str) -> None:
        heard.append(text)
        failed.set()

    async with Client(database_url=url, environ={}, on_note=note) as client:
        server = await client.servers.add(name="gpu", url="http://gpu")
        lease = await client._resources.slots.first_free([server], wait=0)
        before = lease.held.renewed
        with stoppable_postgres.standing_still():
            await failed.wait()
        await eventually(lambda: lease.held.renewed > before)
        assert not lease.lost
        assert [text.partition(":")[0] for text in heard] == ["slots cannot be renewed"]
        await lease.release()
