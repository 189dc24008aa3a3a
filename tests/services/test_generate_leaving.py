"""Requests that are left at any moment give their slots back, and end upstream."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.simulator.server import HoldAt
from tests.fake_ollama import FakeOllama, Silence, SimulatedModel
from tests.services.asking import GENERATE, TAGS, register

MANY = 100

Moment = Callable[[FakeOllama], None]


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        yield fake


def before_the_head(fake: FakeOllama) -> None:
    fake.script_always(GENERATE, Silence())


def before_the_first_token(fake: FakeOllama) -> None:
    fake.before_token = HoldAt(0)


def in_mid_answer(fake: FakeOllama) -> None:
    fake.before_token = HoldAt(2)


def after_the_last_token(fake: FakeOllama) -> None:
    fake.script_always(TAGS, Silence())


def before_sending(fake: FakeOllama) -> None:
    """While the list is read for a demanded build."""
    fake.script_always(TAGS, Silence())


@pytest.mark.parametrize(
    ("moment", "asked", "at_work", "waiting"),
    [
        (before_sending, {"verified": True}, 1, MANY),  # one read of the list is for all of them
        (before_the_head, {}, MANY, 0),
        (before_the_first_token, {}, MANY, 0),
        (in_mid_answer, {}, MANY, 0),
        (after_the_last_token, {}, 1, MANY),
    ],
)
async def test_a_hundred_requests_that_are_left_lose_no_place(
    client: Client,
    fake: FakeOllama,
    moment: Moment,
    asked: dict[str, Any],
    at_work: int,
    waiting: int,
) -> None:
    await register(client, fake, max_concurrent=MANY)
    moment(fake)
    tasks = [
        asyncio.create_task(client.generate(prompt="hi", model="alpha", **asked))
        for _ in range(MANY)
    ]
    lists = client._resources.lists
    await fake.until(lambda: fake.in_flight == at_work)
    while lists.waiting != waiting:
        await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
    assert client._resources.slots.in_flight(1) == 0
    while (await client.servers.show("one")).slots_in_use:  # kept for a second
        await asyncio.sleep(0.05)
    await fake.until(lambda: fake.in_flight == 0)


async def test_requests_that_are_cancelled_before_they_begin_take_no_place(
    client: Client, fake: FakeOllama
) -> None:
    await register(client, fake)
    fake.requests.clear()
    tasks = [asyncio.create_task(client.generate(prompt="hi", model="alpha")) for _ in range(MANY)]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (await client.servers.show("one")).slots_in_use == 0
    assert fake.requests == []


async def test_a_stream_that_nobody_reads_on_gives_its_place_back(
    client: Client, fake: FakeOllama
) -> None:
    """Without `async with`: the last reference to it is gone."""
    await register(client, fake)
    fake.before_token = HoldAt(1)
    async for _ in client.stream(prompt="hi", model="alpha"):
        break
    await fake.until(lambda: fake.in_flight == 0)
    fake.before_token = None
    assert (await client.generate(prompt="hi", model="alpha", wait=10)).verified


async def test_a_stream_that_is_never_read_takes_no_place(client: Client, fake: FakeOllama) -> None:
    await register(client, fake)
    async with client.stream(prompt="hi", model="alpha"):
        assert (await client.servers.show("one")).slots_in_use == 0
