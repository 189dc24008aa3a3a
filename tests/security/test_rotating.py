"""Requests while the key of an SQLite database is changed: none of them fails."""

import asyncio
from pathlib import Path

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.secret import Secret
from ollama_admin.domain.servers import Server
from ollama_admin.errors import SecretUnavailable
from ollama_admin.store import servers as store

SERVERS = 5
ROTATIONS = 10


async def add_servers(client: Client) -> None:
    for number in range(SERVERS):
        await client.servers.add(
            name=f"gpu-{number}",
            url=f"http://gpu-{number}",
            auth_type="bearer",
            auth_config={"token": Secret(f"secret-{number}")},
            headers={"X-Id": Secret(f"id-{number}")},
        )


async def rows(client: Client) -> list[Server]:
    return await client._resources.db.read(store.all_servers)


@pytest.fixture
def url(migrated_sqlite_file: Path, tmp_path: Path) -> str:
    path = tmp_path / "one.db"
    path.write_bytes(migrated_sqlite_file.read_bytes())
    return f"sqlite:///{path}"


async def test_row_that_was_read_before_the_rotation_is_opened_after_it(url: str) -> None:
    async with Client(database_url=url, environ={}) as client:
        await add_servers(client)
        before = await rows(client)
        await client.secrets.rotate()
        for number, server in enumerate(before):
            opened = client._resources.auth.opened(server)
            assert opened.secret == Secret(f"secret-{number}")
            assert opened.headers == {"X-Id": Secret(f"id-{number}")}


async def test_credentials_of_a_row_that_moved_meanwhile_are_not_used(url: str) -> None:
    async with Client(database_url=url, environ={}) as client:
        await add_servers(client)
        before = (await rows(client))[0]
        await client.secrets.rotate()
        await client.servers.update(
            before.id or 0,
            url="http://elsewhere",
            auth_type="bearer",
            auth_config={"token": Secret("of elsewhere")},
        )
        with pytest.raises(SecretUnavailable):
            client._resources.auth.opened(before)


async def test_no_reader_fails_while_keys_are_rotated(url: str) -> None:
    async with (
        Client(database_url=url, environ={}) as rotating,
        Client(database_url=url, environ={}) as reading,
    ):
        await add_servers(rotating)
        done = asyncio.Event()

        async def read() -> int:
            count = 0
            while not done.is_set():
                for server in await rows(reading):
                    reading._resources.auth.opened(server)
                    count += 1
                status = await reading.secrets.status()
                assert status.unreadable == ()
                assert status.problem is None
            return count

        readers = [asyncio.create_task(read()) for _ in range(4)]
        for _ in range(ROTATIONS):
            await rotating.secrets.rotate()
        done.set()
        assert all(count > 0 for count in await asyncio.gather(*readers))
