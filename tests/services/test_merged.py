"""The fleet as if it were one server: what is read of each for all who ask."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.callers import OWNER
from ollama_admin.errors import ServerUnreachable
from ollama_admin.services.tasks import SharedReads
from tests.fake_ollama import FakeOllama, Held, SimulatedModel
from tests.services.asking import register

PS = "/api/ps"


@pytest.fixture
async def fake(client: Client) -> AsyncIterator[FakeOllama]:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        await register(client, fake)
        yield fake


async def test_those_who_ask_at_once_what_runs_share_one_read(
    client: Client, fake: FakeOllama
) -> None:
    merged = client.merged
    fake.script(PS, held := Held())
    asking = [asyncio.create_task(merged.running(OWNER)) for _ in range(8)]
    await held.arrived.wait()
    asking.pop().cancel()  # the others get their answer all the same
    held.release.set()
    first, *others = await asyncio.gather(*asking)
    assert others == [first] * 6
    assert len(fake.requests_to(PS)) == 1
    assert await merged.running(OWNER) == first
    assert len(fake.requests_to(PS)) == 2


async def test_read_that_nobody_waits_for_is_cancelled() -> None:
    shared, begun = SharedReads[None](), asyncio.Event()
    is_cancelled = asyncio.Event()

    async def read() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            is_cancelled.set()
            raise

    asking = [asyncio.create_task(shared.of("one", read)) for _ in range(2)]
    await begun.wait()
    asking[0].cancel()
    await asyncio.wait(asking[:1])
    assert not is_cancelled.is_set()
    asking[1].cancel()
    await is_cancelled.wait()


async def test_failure_is_told_to_all_who_share_it_and_not_kept() -> None:
    shared, reads = SharedReads[int](), 0

    async def read() -> int:
        nonlocal reads
        reads += 1
        if reads == 1:
            raise ServerUnreachable("gone")
        return reads

    told = await asyncio.gather(*(shared.of(1, read) for _ in range(3)), return_exceptions=True)
    assert [str(error) for error in told] == ["gone"] * 3
    assert await shared.of(1, read) == 2
