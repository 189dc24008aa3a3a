"""PostgreSQL databases that are set up in other ways than ours: other dates, other encodings."""

from collections.abc import Iterator
from contextlib import ExitStack

import psycopg
import pytest
from psycopg import sql

from ollama_admin.client import Client
from ollama_admin.errors import InvalidInput
from ollama_admin.simulator.model import SimulatedModel
from tests.conftest import migrate
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread
from tests.postgres import PostgresServer

ODD_SETTINGS = [
    {"datestyle": "German"},
    {"datestyle": "SQL, DMY"},
    {"datestyle": "Postgres, MDY"},
    {"timezone": "Europe/Berlin"},
    {"timezone": "<+0545>-5:45", "datestyle": "German"},
    {"client_encoding": "LATIN1"},
]


def encoded(server: PostgresServer, encoding: str) -> str:
    """The URL of a migrated database with this encoding."""
    url = server.create_database()
    name = url.rpartition("/")[2]
    statement = (
        "CREATE DATABASE {} TEMPLATE template0 LOCALE_PROVIDER libc LOCALE 'C' "
        f"ENCODING '{encoding}'"
    )
    server.drop_database(url)
    server._execute(sql.SQL(statement).format(sql.Identifier(name)))
    migrate(url)
    return url


@pytest.fixture(params=["SQL_ASCII", "LATIN1", "WIN1251"])
def encoded_url(request: pytest.FixtureRequest, postgres_server: PostgresServer) -> Iterator[str]:
    url = encoded(postgres_server, request.param)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture
def fakes() -> Iterator[tuple[FakeOllamaThread, FakeOllamaThread]]:
    """One with names that every encoding has, and one with a name that few have."""
    with ExitStack() as stack:
        plain = stack.enter_context(FakeOllamaThread(FakeOllama(SimulatedModel("alpha"))))
        odd = SimulatedModel("模型", family="模型")
        foreign = stack.enter_context(FakeOllamaThread(FakeOllama(odd)))
        yield plain, foreign


async def use_everything(client: Client, url: str) -> None:
    """Every table is written and read, times too."""
    server = await client.servers.add(name="gpu", url=url)
    await client.discover()
    await client.servers.check()
    await client.pins.set("alpha", server="gpu")
    await client.generate(model="alpha", prompt="hi")
    await client.servers.update("gpu", priority=1)
    shown = await client.servers.show(server.id or 0)
    assert shown.last_seen_at is not None
    assert shown.last_seen_at >= shown.created_at


@pytest.mark.parametrize("odd", ODD_SETTINGS, ids=lambda odd: " ".join(odd.values()))
async def test_settings_of_the_database_do_not_matter(
    migrated_postgres_url: str,
    odd: dict[str, str],
    fakes: tuple[FakeOllamaThread, FakeOllamaThread],
) -> None:
    with psycopg.connect(migrated_postgres_url, autocommit=True) as admin:
        name = sql.Identifier(admin.info.dbname)
        for setting, value in odd.items():
            change = sql.SQL("ALTER DATABASE {} SET {} TO {}")
            admin.execute(change.format(name, sql.Identifier(setting), sql.Literal(value)))
    async with Client(database_url=migrated_postgres_url, environ={}) as client:
        await use_everything(client, fakes[0].url)
    async with Client(database_url=migrated_postgres_url, environ={}) as client:
        (receipt,) = await client.receipts.list()
        assert receipt.created_at.utcoffset() is not None
        assert len(await client.pins.list()) == 1


async def test_encoding_of_the_database_costs_only_what_it_cannot_hold(
    encoded_url: str, fakes: tuple[FakeOllamaThread, FakeOllamaThread]
) -> None:
    async with Client(database_url=encoded_url, environ={}) as client:
        await use_everything(client, fakes[0].url)
        await client.servers.add(name="foreign", url=fakes[1].url)
        results = {result.server.name: result for result in await client.discover()}
        assert results["gpu"].error is None
        failed = results["foreign"].error
        if "SQL_ASCII" in encoding_of(encoded_url):
            assert failed is None
            parts = [part async for part in client.models.stream()]
            models = [model for part in parts for model in part]
            assert "模型:latest" in [model.name for model in models]
        else:
            assert isinstance(failed, InvalidInput)
            assert "encoding" in failed.message
            with pytest.raises(InvalidInput, match="encoding"):
                await client.servers.add(name="模型", url="http://other")
        assert all(result.error is None for result in await client.servers.check())


def encoding_of(url: str) -> str:
    with psycopg.connect(url) as admin:
        return str(admin.info.parameter_status("server_encoding"))
