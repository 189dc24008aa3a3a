"""What a service looks at in the background, one process for all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.servers import ServerStatus
from ollama_admin.errors import InvalidInput
from ollama_admin.settings import SETTINGS, Settings
from ollama_admin.store import task_leases
from ollama_admin.store.database import Database
from tests.fake_ollama import FakeOllama, SimulatedModel
from tests.services.asking import TAGS, ask, register
from tests.slot_rows import SECONDS, eventually

OFTEN = {
    "OLLAMA_ADMIN_CHECK_EVERY": "1s",
    "OLLAMA_ADMIN_DISCOVER_EVERY": "off",
}
VERSION = "/api/version"


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        yield fake


@asynccontextmanager
async def looking(client: Client) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(client.lookout.run())
    yield task
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def status(client: Client, name: str = "one") -> ServerStatus:
    return (await client.servers.show(name)).status


async def until(client: Client, wanted: ServerStatus) -> None:
    async with asyncio.timeout(SECONDS):
        while await status(client) is not wanted:
            await asyncio.sleep(0.1)


async def test_the_list_of_servers_is_true_while_a_service_looks(
    database_url: str, fake: FakeOllama
) -> None:
    async with Client(database_url=database_url, environ=OFTEN) as client:
        await client.servers.add(name="one", url=fake.url)
        async with looking(client):
            await until(client, ServerStatus.ONLINE)
            await fake.stop()
            await until(client, ServerStatus.OFFLINE)
            await fake.__aenter__()
            await until(client, ServerStatus.ONLINE)
        row = await client.servers.show("one")
        assert (row.failures, row.asked_last_until, row.last_error) == (0, None, None)
        assert row.latency_ms is not None


async def test_a_server_that_is_back_is_asked_first_again_without_anyones_doing(
    database_url: str, fake: FakeOllama
) -> None:
    async with (
        FakeOllama(SimulatedModel("alpha")) as other,
        Client(database_url=database_url, environ=OFTEN) as client,
        Client(database_url=database_url, environ=OFTEN) as service,
    ):
        await register(client, fake, other)
        await fake.stop()
        first = (await ask(client)).accepted
        assert [str(attempt.server) for attempt in first.attempts] == ["one"]
        await client._resources.health.settle()
        await fake.__aenter__()
        async with looking(service):
            await until(client, ServerStatus.ONLINE)
        back = (await ask(client)).accepted
        assert (str(back.server), back.attempts) == ("one", ())


async def test_one_process_looks_for_all_and_another_one_when_it_ends(
    database_url: str, fake: FakeOllama
) -> None:
    async with (
        Client(database_url=database_url, environ=OFTEN) as first,
        Client(database_url=database_url, environ=OFTEN) as second,
    ):
        await first.servers.add(name="one", url=fake.url)
        async with looking(first):
            await eventually(lambda: bool(fake.requests_to(VERSION)))
            async with looking(second):
                count = len(fake.requests_to(VERSION))
                await eventually(lambda: len(fake.requests_to(VERSION)) >= count + 2)
                lookout = second.lookout
                assert not await holds(second._resources.db, lookout._holder)
        assert await holds(second._resources.db, "anybody")


async def holds(db: Database, holder: str) -> bool:
    return await db.write(task_leases.hold, "look", holder=holder, ttl=5)


async def test_a_lease_is_for_one_holder_at_a_time(client: Client) -> None:
    db = client._resources.db
    assert await holds(db, "a")
    assert await holds(db, "a")
    assert not await holds(db, "b")
    await db.write(task_leases.release, "look", holder="b")
    assert not await holds(db, "b")
    await db.write(task_leases.release, "look", holder="a")
    assert await holds(db, "b")


async def test_a_lease_that_is_over_is_anybodys(client: Client) -> None:
    db = client._resources.db
    assert await db.write(task_leases.hold, "look", holder="a", ttl=0)
    assert await holds(db, "b")


async def test_what_servers_hold_is_read_too(database_url: str, fake: FakeOllama) -> None:
    environ = {"OLLAMA_ADMIN_CHECK_EVERY": "off", "OLLAMA_ADMIN_DISCOVER_EVERY": "1s"}
    async with Client(database_url=database_url, environ=environ) as client:
        await client.servers.add(name="one", url=fake.url)
        async with looking(client):
            await eventually(lambda: bool(fake.requests_to(TAGS)))
        assert not fake.requests_to(VERSION)[1:]


async def test_nothing_is_looked_at_where_that_is_off(database_url: str) -> None:
    environ = {"OLLAMA_ADMIN_CHECK_EVERY": "off", "OLLAMA_ADMIN_DISCOVER_EVERY": "off"}
    async with Client(database_url=database_url, environ=environ) as client:
        await client.lookout.run()


@pytest.mark.parametrize("text", ["", "0s", "2d", "10", "-1s", "sometimes", "0"])
@pytest.mark.parametrize(
    "variable", [setting.variable for setting in SETTINGS if setting.variable.endswith("_EVERY")]
)
def test_a_time_between_looks_that_cannot_be_is_refused(variable: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=f"{variable} is "):
        Settings.read({variable: text}, "sqlite:///one.db")


@pytest.mark.parametrize(("text", "seconds"), [("1s", 1), ("5m", 300), ("1d", 86_400), ("off", 0)])
def test_a_time_between_looks_is_read(text: str, seconds: float) -> None:
    settings = Settings.read({"OLLAMA_ADMIN_CHECK_EVERY": text}, "sqlite:///one.db")
    assert settings.check_every == seconds
