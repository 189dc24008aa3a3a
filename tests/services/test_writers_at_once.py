"""Many writers of the same rows on PostgreSQL: all of them succeed, and the database breaks no
deadlock.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import psycopg
import pytest

from ollama_admin.client import Client
from ollama_admin.domain.models import BuildDetails, ListedModel
from ollama_admin.errors import ServerNotFound
from ollama_admin.store import listings
from ollama_admin.store.database import Database
from ollama_admin.store.listings import Listing

ROWS = 5
ROUNDS = 12
DIGESTS = ("a" * 64, "b" * 64, "c" * 64)

Write = Callable[[Client, int], Coroutine[Any, Any, Any]]


async def set_default(client: Client, row: int) -> None:
    await client.servers.set_default(row)


async def update(client: Client, row: int) -> None:
    await client.servers.update(row, priority=row, max_concurrent=row)


async def update_to_default(client: Client, row: int) -> None:
    await client.servers.update(row, is_default=True, max_concurrent=row)


async def disable(client: Client, row: int) -> None:
    await client.servers.disable(row)


async def store_what_servers_list(client: Client, row: int) -> None:
    held = (await client.servers.list())[::-1]
    models = [ListedModel(name=f"m{digest[0]}", digest=digest) for digest in DIGESTS[:row]]
    found = [Listing(server=server.ref, version="1", models=models) for server in held]
    await database(client).write(listings.store_listings, found, prune=True)
    details = BuildDetails(capabilities=("completion",), context_length=row, embedding_length=row)
    builds = DIGESTS[::-1] if row % 2 else DIGESTS
    await database(client).write(listings.store_details, dict.fromkeys(builds, details))


def database(client: Client) -> Database:
    return client._resources.db


def deadlocks(url: str) -> int:
    """Broken by the database so far; a connection tells of its own when it is closed."""
    with psycopg.connect(url) as admin:
        row = admin.execute(
            "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        ).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.parametrize(
    "writes",
    [
        (set_default, update),
        (update_to_default, disable, update),
        (store_what_servers_list, set_default, update),
    ],
    ids=["defaults", "limits", "discovery"],
)
async def test_no_two_writers_wait_for_each_other(
    migrated_postgres_url: str, writes: tuple[Write, ...]
) -> None:
    async with (
        Client(database_url=migrated_postgres_url, environ={}) as one,
        Client(database_url=migrated_postgres_url, environ={}) as other,
    ):
        for number in range(1, ROWS + 1):
            await one.servers.add(name=f"gpu-{number}", url=f"http://gpu-{number}")

        async def work(client: Client, write: Write, first: int) -> None:
            for turn in range(ROUNDS):
                await write(client, 1 + (first + turn) % ROWS)

        await asyncio.gather(
            *(
                work(client, write, first)
                for client in (one, other)
                for write in writes
                for first in range(3)
            )
        )
        assert sum(server.is_default for server in await one.servers.list()) == 1
    assert deadlocks(migrated_postgres_url) == 0


async def test_server_is_removed_while_its_limit_is_changed(migrated_postgres_url: str) -> None:
    async with (
        Client(database_url=migrated_postgres_url, environ={}) as one,
        Client(database_url=migrated_postgres_url, environ={}) as other,
    ):

        async def change(client: Client, name: str) -> None:
            with suppress(ServerNotFound):
                for limit in range(1, 5):
                    await client.servers.update(name, max_concurrent=limit)

        for number in range(ROUNDS):
            name = f"gpu-{number}"
            await one.servers.add(name=name, url=f"http://{name}")
            await asyncio.gather(change(one, name), change(other, name), one.servers.remove(name))
        assert await one.servers.list() == []
    assert deadlocks(migrated_postgres_url) == 0
