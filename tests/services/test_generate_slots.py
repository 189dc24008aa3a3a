"""A request and the slot that it holds: nothing is sent under one that was lost, and it is kept
while the answer comes.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from ollama_admin.client import Client
from ollama_admin.services.leases import LeaseTimes
from ollama_admin.simulator.server import HoldAt
from tests.fake_ollama import FakeOllama, Held, SimulatedModel
from tests.services.asking import TAGS, ask, prompts, register
from tests.slot_rows import SlotRows, eventually, renewed

OFTEN = LeaseTimes(ttl=60, renew=0.05, margin=1)  # seconds: ends in no test, is renewed in each


@pytest.fixture
async def client(database_url: str, notes: list[str]) -> AsyncIterator[Client]:
    async with Client(
        database_url=database_url, environ={}, on_note=notes.append, lease_times=OFTEN
    ) as opened:
        yield opened


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        yield fake


@pytest.fixture
def rows(database_url: str) -> Iterator[SlotRows]:
    opened = SlotRows(database_url)
    yield opened
    opened.close()


async def test_a_request_whose_slot_was_lost_before_sending_waits_for_another_one(
    client: Client, fake: FakeOllama, rows: SlotRows, notes: list[str]
) -> None:
    await register(client, fake)
    fake.script(TAGS, look := Held())  # the list is read for the demanded build
    asking = asyncio.create_task(ask(client, verified=True))
    await look.arrived.wait()
    rows.expire(1)
    await eventually(lambda: any("was lost" in note for note in notes))
    other = await client._resources.slots.first_free([await client.servers.show("one")], wait=0)
    look.release.set()
    await eventually(lambda: any("waiting" in note for note in notes) or prompts(fake) > 0)
    assert prompts(fake) == 0
    await other.release()
    assert (await asking).accepted.response == "I am alpha"
    assert (prompts(fake), rows.all()[0].token) == (1, other.token)


async def test_a_wait_for_a_slot_is_no_time_to_the_first_token(
    client: Client, fake: FakeOllama, notes: list[str]
) -> None:
    await register(client, fake, max_concurrent=1)
    other = await client._resources.slots.first_free([await client.servers.show("one")], wait=0)
    asking = asyncio.create_task(ask(client))
    await eventually(lambda: any("waiting" in note for note in notes))
    began = time.monotonic()
    await asyncio.sleep(0.3)
    waited = round((time.monotonic() - began) * 1000)
    await other.release()
    stats = (await asking).accepted.stats
    assert stats.time_to_first_token_ms is not None
    assert stats.total_ms - stats.time_to_first_token_ms >= waited - 1


async def test_a_slot_is_renewed_for_the_task_that_reads_on(
    client: Client, fake: FakeOllama, rows: SlotRows
) -> None:
    """The first piece is read by a task that ends then, the rest by this one."""
    await register(client, fake)
    fake.before_token = hold = HoldAt(2)
    async with client.stream(prompt="hi", model="alpha") as stream:
        await asyncio.create_task(anext(stream))
        await anext(stream)
        await renewed(rows)
        await renewed(rows)
        hold.release.set()
        assert [piece.response async for piece in stream] == [" alpha"]
