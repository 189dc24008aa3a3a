"""Many commands at once: a busy database is waited for, by each with pauses of its own."""

import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from ollama_admin.client import Client
from ollama_admin.domain.callers import OWNER, Caller, Way
from ollama_admin.errors import DatabaseBusy
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import HoldAt
from ollama_admin.store import database
from tests.chaos.commands import run_at_once
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread
from tests.postgres import PostgresServer

CONNECTIONS = 3
PROCESSES = 20
MANY = 1000  # requests that a server answers at once


@pytest.fixture
def fake() -> Iterator[FakeOllamaThread]:
    with FakeOllamaThread(FakeOllama(SimulatedModel("alpha"))) as fakes:
        yield fakes


async def fill(url: str, server_url: str) -> None:
    async with Client(database_url=url, environ={}) as client:
        await client.servers.add(name="gpu", url=server_url, max_concurrent=MANY)
        await client.discover()


async def generate_at_once(url: str, count: int, server_url: str, folder: Path) -> None:
    """None of them fails, and all that they wrote is there."""
    await fill(url, server_url)
    ended = run_at_once(url, count, folder, "generate", "-m", "alpha", "hi")
    assert [one.errors for one in ended if one.code] == []
    assert [one.output for one in ended] == ["I am alpha"] * count
    async with Client(database_url=url, environ={}) as client:
        assert len(await client.receipts.list(limit=2 * count)) == count
        assert (await client.servers.show("gpu")).slots_in_use == 0


async def test_many_commands_at_once_all_succeed(
    database_url: str, fake: FakeOllamaThread, tmp_path: Path
) -> None:
    await generate_at_once(database_url, PROCESSES, fake.url, tmp_path)


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("count", [50, 100, 150])
async def test_very_many_commands_at_once_all_succeed(
    database_url: str, fake: FakeOllamaThread, tmp_path: Path, count: int
) -> None:
    await generate_at_once(database_url, count, fake.url, tmp_path)


@pytest.fixture
def narrow_url(postgres_server: PostgresServer, migrated_postgres_url: str) -> Iterator[str]:
    """The database for a user who may have few connections."""
    name = f"narrow_{urlsplit(migrated_postgres_url).path.rpartition('_')[2]}"
    with psycopg.connect(migrated_postgres_url, autocommit=True) as admin:
        admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'narrow' CONNECTION LIMIT {CONNECTIONS}")
        admin.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
        admin.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}")
    parts = urlsplit(migrated_postgres_url)
    place = parts.netloc.rpartition("@")[2]
    yield urlunsplit(parts._replace(netloc=f"{name}:narrow@{place}"))
    with psycopg.connect(migrated_postgres_url, autocommit=True) as admin:
        admin.execute(f"DROP OWNED BY {name}")
        admin.execute(f"DROP ROLE {name}")


async def test_database_that_accepts_no_more_connections_is_waited_for(
    narrow_url: str, migrated_postgres_url: str, fake: FakeOllamaThread, tmp_path: Path
) -> None:
    await fill(migrated_postgres_url, fake.url)
    ended = run_at_once(narrow_url, PROCESSES, tmp_path, "server", "list")
    assert [one.errors for one in ended if one.code] == []
    assert all("gpu" in one.output for one in ended)


async def test_database_that_stays_full_is_busy(
    narrow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.3)
    held = [psycopg.connect(narrow_url) for _ in range(CONNECTIONS)]
    async with Client(database_url=narrow_url, environ={}) as client:
        with pytest.raises(DatabaseBusy, match="the database accepts no more connections"):
            await client.servers.list()
        freed = threading.Timer(0.1, lambda: [connection.close() for connection in held])
        monkeypatch.setattr(database, "BUSY_TIMEOUT", 30)
        freed.start()
        assert await client.servers.list() == []
        freed.join()


async def test_command_holds_one_connection_while_it_is_answered(
    migrated_postgres_url: str,
) -> None:
    hold = HoldAt(1)
    model = SimulatedModel("alpha", says="one two")
    with FakeOllamaThread(FakeOllama(model, before_token=hold)) as fake:
        await fill(migrated_postgres_url, fake.url)
        command = Caller(way=Way.CLI, rights=OWNER, note=lambda _: None)
        async with (
            Client(database_url=migrated_postgres_url, environ={}, caller=command) as client,
            client.stream(model="alpha", prompt="hi") as stream,
        ):
            async for _ in stream:
                break
            with psycopg.connect(migrated_postgres_url) as admin:
                row = admin.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND application_name = 'ollama-admin'"
                ).fetchone()
            assert row == (1,)
