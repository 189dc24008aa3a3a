"""`Client.fleet.activity`: what the fleet is doing now."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ollama_admin.client import Client
from ollama_admin.documents import document
from ollama_admin.domain.activity import FleetActivity, RequestActivity, ServerActivity
from ollama_admin.domain.answers import Stats
from ollama_admin.domain.callers import OWNER, Caller, Rights, Way
from ollama_admin.domain.servers import ServerRef, ServerStatus
from ollama_admin.services.activity import with_requests
from ollama_admin.store import new_receipts
from tests.fake_ollama import FakeOllama, Silence, SimulatedModel
from tests.receipts import new_receipt
from tests.services.asking import GENERATE, register

NOWHERE = "http://127.0.0.1:9"


async def test_servers_tell_what_is_in_memory_and_how_fast_they_were(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha", says="one two three")) as fake:
        await register(client, fake, max_concurrent=2)
        await client.generate(prompt="hi", model="alpha")
        activity = await client.fleet.activity()
    [server] = activity.servers
    assert (server.server.name, server.is_active, server.max_concurrent) == ("one", True, 2)
    assert server.models is not None
    assert [model.name for model in server.models] == ["alpha:latest"]
    assert (server.waiting, server.error) == (0, None)
    assert list(document(activity)) == ["at", "servers", "requests"]


async def test_speed_is_that_of_answers_of_the_last_minute(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha", says="one two three")) as fake:
        await register(client, fake)
        reply = await client.generate(prompt="hi", model="alpha")
        while not await client.receipts.list():
            await asyncio.sleep(0.01)
        [server] = (await client.fleet.activity()).servers
    assert reply.stats.output_tokens is not None
    assert server.tokens_per_second == round(reply.stats.output_tokens / 60, 1)


async def test_speed_counts_what_came_in_the_last_minute_of_longer_answers(client: Client) -> None:
    await client.servers.add(name="one", url=NOWHERE)
    ended = datetime.now(UTC) - timedelta(seconds=30)  # 30 s of it were in the last minute
    long = new_receipt(stats=Stats(total_ms=300_000, output_tokens=6000), created_at=ended)
    old = replace(long, created_at=ended - timedelta(minutes=1))
    await client._resources.db.write(new_receipts.add, [long, old])
    [server] = (await client.fleet.activity()).servers
    assert server.tokens_per_second == pytest.approx(600 / 60, abs=0.5)


def test_speed_counts_requests_on_their_way() -> None:
    ref = ServerRef(id=1, name="one", url=NOWHERE)
    server = ServerActivity(
        server=ref,
        is_active=True,
        is_draining=False,
        status=ServerStatus.ONLINE,
        status_since=None,
        in_flight=2,
        max_concurrent=2,
        waiting=0,
        tokens_per_second=1.0,
    )
    activity = FleetActivity(at=datetime.now(UTC), servers=(server,), requests=None)
    young, old = (
        RequestActivity(
            id=None,
            started_at=datetime.now(UTC),
            model="alpha",
            server=ref,
            key=None,
            client=None,
            ms=ms,
            output_tokens=tokens,
        )
        for ms, tokens in ((30_000, 60), (120_000, 600))
    )
    waiting = replace(young, server=None)
    silent = replace(young, output_tokens=None)
    told = with_requests(activity, [young, old, waiting, silent])
    assert told.servers[0].tokens_per_second == 1.0 + (60 + 300) / 60
    assert told.requests == (young, old, waiting, silent)


async def test_requests_on_their_way_are_those_of_this_process(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        await register(client, fake)
        silence = Silence()
        fake.script(GENERATE, silence)
        asking = asyncio.create_task(client.generate(prompt="hi", model="alpha"))
        await silence.arrived.wait()
        waiting = asyncio.create_task(client.generate(prompt="hi", model="alpha"))
        activity = await client.fleet.activity()
        while len(activity.requests or ()) < 2:
            await asyncio.sleep(0.01)
            activity = await client.fleet.activity()
        assert activity.requests is not None
        first, second = activity.requests
        assert first.server is not None
        assert (first.model, first.server.name) == ("alpha:latest", "one")
        assert (second.model, second.server) == ("alpha", None)
        [server] = activity.servers
        assert server.in_flight == 1
        for task in (asking, waiting):
            task.cancel()
        await asyncio.wait((asking, waiting))
        assert (await client.fleet.activity()).requests == ()


async def test_a_server_that_is_away_is_told_by_its_error(client: Client) -> None:
    await client.servers.add(name="away", url=NOWHERE)
    await client.servers.add(name="off", url="http://127.0.0.1:10", is_active=False)
    away, off = (await client.fleet.activity()).servers
    assert away.error is not None
    assert (away.error.code, away.models) == ("server_unreachable", None)
    assert (off.is_active, off.error, off.models) == (False, None, None)


async def test_servers_are_not_asked_more_often_for_many_readers(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        await register(client, fake)
        await asyncio.gather(*(client.fleet.activity() for _ in range(20)))
        assert len(fake.requests_to("/api/ps")) == 1


async def test_nobody_waits_for_a_silent_server_who_does_not_want_to(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        await register(client, fake)
        fake.script_always("/api/ps", Silence())
        [server] = (await client.fleet.activity(wait=False)).servers
        assert (server.models, server.error) == (None, None)


async def test_who_may_see_little_is_shown_little(client: Client) -> None:
    rights = Rights(
        dynamic_servers=False,
        inactive_by_url=False,
        any_address=False,
        servers=("one",),
        models=("beta*",),
    )
    async with (
        FakeOllama(SimulatedModel("alpha")) as fake,
        FakeOllama(SimulatedModel("alpha")) as other,
    ):
        await register(client, fake, other)
        await client.generate(prompt="hi", model="alpha", server="one")
        guest = client.for_caller(Caller(way=Way.API, rights=rights))
        [server] = (await guest.fleet.activity()).servers
        command = client.for_caller(Caller(way=Way.CLI, rights=OWNER))
        assert (await command.fleet.activity()).requests is None
    assert (server.server.name, server.models) == ("one", ())
