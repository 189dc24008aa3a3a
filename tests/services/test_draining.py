"""A server that is drained: no new request by any door or process, and those that run end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.servers import Server
from ollama_admin.errors import Conflict, InvalidInput, ServerInactive, ServerNotFound
from ollama_admin.simulator.server import HoldAt
from tests.fake_ollama import FakeOllama, SimulatedModel
from tests.services.asking import ask, prompts, register
from tests.slot_rows import SECONDS, eventually

Door = Callable[[Client, FakeOllama], Awaitable[object]]


@pytest.fixture
async def one() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        yield fake


@pytest.fixture
async def two() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        yield fake


async def test_a_drained_server_is_passed_over_and_stays_active(
    client: Client, one: FakeOllama, two: FakeOllama
) -> None:
    await register(client, one, two)
    drained = await client.servers.drain("one")
    assert (drained.is_draining, drained.is_active, drained.slots_in_use) == (True, True, 0)
    explained = await client.explain(prompt="hi", model="alpha")
    reasons = {str(each.server): each.reason for each in explained.candidates}
    assert reasons == {"one": "it is draining", "two": None}
    assert str((await ask(client)).accepted.server) == "two"
    assert prompts(one) == 0
    resumed = await client.servers.resume("one")
    assert not resumed.is_draining
    assert str((await ask(client)).accepted.server) == "one"


@pytest.mark.parametrize(
    "door",
    [
        lambda client, _: client.generate(prompt="hi", model="alpha"),
        lambda client, _: client.generate(prompt="hi", model="alpha", server="one"),
        lambda client, fake: client.generate(prompt="hi", model="alpha", server_url=fake.url),
        lambda client, _: client.generate(prompt="hi"),
    ],
    ids=["any server", "by name", "by URL", "the default"],
)
async def test_no_way_leads_to_a_drained_server(
    client: Client, one: FakeOllama, door: Door
) -> None:
    await register(client, one, is_default=True, default_model="alpha")
    await client.servers.drain("one")
    with pytest.raises(ServerInactive, match="server one is draining") as caught:
        await door(client, one)
    assert caught.value.hint == "let it answer again with: ollama-admin server resume one"
    assert prompts(one) == 0


async def test_draining_waits_for_what_runs_and_tells_how_much_is_left(
    client: Client, one: FakeOllama
) -> None:
    await register(client, one, max_concurrent=2)
    one.before_token = hold = HoldAt(2)
    async with client.stream(prompt="hi", model="alpha") as stream:
        await anext(stream)
        left: list[int] = []
        draining = asyncio.create_task(
            client.servers.drain("one", on_left=lambda row: left.append(row.slots_in_use))
        )
        await eventually(lambda: left == [1])
        with pytest.raises(ServerInactive):
            await client.generate(prompt="hi", model="alpha")
        hold.release.set()
        assert [piece.response async for piece in stream] == [" am", " alpha"]
        assert (await draining).slots_in_use == 0
    assert left == [1, 0]


async def test_time_that_runs_out_is_an_error_and_the_server_goes_on_draining(
    client: Client, one: FakeOllama
) -> None:
    await register(client, one)
    one.before_token = hold = HoldAt(2)
    async with client.stream(prompt="hi", model="alpha") as stream:
        await anext(stream)
        with pytest.raises(Conflict, match="1 request runs at server one after 0 s"):
            await client.servers.drain("one", timeout=0)
        hold.release.set()
    assert (await client.servers.show("one")).is_draining


async def test_who_waits_at_a_drained_server_goes_to_another_one(
    client: Client, one: FakeOllama, two: FakeOllama, notes: list[str]
) -> None:
    await register(client, one, two)
    one.before_token = two.before_token = hold = HoldAt(2)
    async with (
        client.stream(prompt="hi", model="alpha", server="one") as first,
        client.stream(prompt="hi", model="alpha", server="two") as second,
    ):
        await anext(first)
        await anext(second)
        waiting = asyncio.create_task(ask(client))
        bound = asyncio.create_task(ask(client, server="one"))
        await eventually(lambda: sum("waiting up to" in note for note in notes) == 2)
        await client.servers.begin_to_drain("one")
        assert isinstance((await bound).error, ServerInactive)
        hold.release.set()
        assert [piece.response async for piece in second] == [" am", " alpha"]
        assert str((await waiting).accepted.server) == "two"
    assert prompts(one) == 1


async def test_draining_ends_with_an_error_where_somebody_resumes_or_removes_it(
    client: Client, one: FakeOllama
) -> None:
    await register(client, one)
    one.before_token = hold = HoldAt(2)

    async def end_while_draining(end: Awaitable[object]) -> None:
        begun = asyncio.Event()
        draining = asyncio.create_task(client.servers.drain("one", on_left=lambda _: begun.set()))
        await begun.wait()
        await end
        await draining

    async with client.stream(prompt="hi", model="alpha") as stream:
        await anext(stream)
        with pytest.raises(Conflict, match="let server one answer again meanwhile"):
            await end_while_draining(client.servers.resume("one"))
        with pytest.raises(ServerNotFound):
            await end_while_draining(client.servers.remove("one", force=True))
        hold.release.set()


@pytest.mark.parametrize("timeout", [-1.0, float("nan")])
async def test_a_time_that_cannot_be_waited_for_drains_nothing(
    client: Client, one: FakeOllama, timeout: float
) -> None:
    await register(client, one)
    with pytest.raises(InvalidInput, match="0 seconds or more"):
        await client.servers.drain("one", timeout=timeout)
    assert not (await client.servers.show("one")).is_draining


async def test_another_process_hears_of_it_from_its_registry(
    client: Client, database_url: str, one: FakeOllama
) -> None:
    """A plan that a service keeps in memory is of no use a moment later."""
    await register(client, one)
    async with Client(database_url=database_url, environ={}) as service:
        known: list[Server] = []

        async def read() -> bool:
            kept = await service._resources.registry.get("servers", service.servers.list)
            known[:] = kept
            return known[0].is_draining

        assert not await read()
        await client.servers.drain("one")
        async with asyncio.timeout(SECONDS):
            while not await read():
                await asyncio.sleep(0.05)
