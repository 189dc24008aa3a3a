"""The database behind a real PgBouncer in transaction mode."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import psycopg
import pytest

from ollama_admin.client import Client
from tests.chaos.slots import LIMIT, Storm, weather
from tests.slot_rows import eventually
from tests.system.pgbouncer import pgbouncer

pytestmark = pytest.mark.system


@pytest.fixture
def pooled_url(migrated_postgres_url: str) -> Iterator[str]:
    with pgbouncer(migrated_postgres_url) as url:
        yield url


async def test_limit_holds_while_processes_are_killed(
    pooled_url: str, migrated_postgres_url: str, tmp_path: Path
) -> None:
    storm = Storm(processes=8, tasks=10, seconds=10, ttl=3)
    await weather(storm, pooled_url, migrated_postgres_url, tmp_path)


async def test_settings_of_leases_stay_in_their_transactions(pooled_url: str) -> None:
    """The connection goes to somebody else after each of them."""
    async with Client(database_url=pooled_url, environ={}) as client:
        server = await client.servers.add(name="gpu", url="http://gpu", max_concurrent=LIMIT)
        leases = [await client._resources.slots.first_free([server], wait=0) for _ in range(LIMIT)]
        with psycopg.connect(pooled_url, autocommit=True, prepare_threshold=None) as connection:
            for _ in range(20):
                shown = connection.execute("SELECT current_setting('statement_timeout')").fetchone()
                assert shown == ("0",)
        assert (await client.servers.show(1)).slots_in_use == len(leases)


async def test_every_client_reads_times_where_the_database_writes_them_in_another_way(
    migrated_postgres_url: str,
) -> None:
    with psycopg.connect(migrated_postgres_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {admin.info.dbname} SET datestyle TO German")
    with pgbouncer(migrated_postgres_url) as url:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(Client(database_url=url, environ={}))
                for _ in range(5)
            ]
            await clients[0].servers.add(name="gpu", url="http://gpu")
            for _ in range(3):
                await asyncio.gather(*(client.servers.list() for client in clients * 4))


async def test_change_is_seen_through_it(pooled_url: str, migrated_postgres_url: str) -> None:
    async with (
        Client(database_url=pooled_url, environ={}) as client,
        Client(database_url=migrated_postgres_url, environ={}) as other,
    ):
        kept = client._resources.registry
        for number in range(3):
            assert len(await kept.get("servers", client.servers.list)) == number
            revision = kept.revision
            await other.servers.add(name=f"gpu-{number}", url=f"http://gpu-{number}")
            await eventually(lambda known=revision: kept.revision != known)  # type: ignore[misc]


@pytest.mark.chaos
@pytest.mark.timeout(200)
async def test_limit_holds_for_a_minute_while_processes_are_killed(
    pooled_url: str, migrated_postgres_url: str, tmp_path: Path
) -> None:
    storm = Storm(processes=8, tasks=10, seconds=60, ttl=3)
    await weather(storm, pooled_url, migrated_postgres_url, tmp_path)
