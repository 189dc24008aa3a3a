"""A server that failed is asked last, by every process, until its time is over or it is back."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.answers import Proof, Reply
from ollama_admin.domain.servers import ServerStatus
from ollama_admin.errors import ModelNotFound, ServerUnreachable, UpstreamError
from ollama_admin.services.health import OFTEN, TRY, HealthBook
from tests.fake_ollama import Answer, FakeOllama, Held, SimulatedModel
from tests.services.asking import GENERATE, TAGS, ask, prompts, register

MODEL = SimulatedModel("alpha")


class Clock:
    """The time of day as a test sets it, which is later than all that others write."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC) + timedelta(hours=1)

    def __call__(self) -> datetime:
        return self.time

    def forward(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


@pytest.fixture
async def one() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(MODEL) as fake:
        yield fake


@pytest.fixture
async def two() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(MODEL) as fake:
        yield fake


@pytest.fixture
def clock(client: Client) -> Clock:
    """That of the client's health."""
    clock = Clock()
    set_clock(client, clock)
    return clock


def set_clock(client: Client, clock: Clock) -> None:
    """Let a client see this time, without jitter."""
    resources = client._resources
    resources.__dict__["health"] = HealthBook(
        resources.db, lambda _: None, now=clock, draw=lambda: 0.5
    )


async def written(client: Client) -> None:
    """Until what was seen is in the database."""
    await client._resources.health.settle()


def tried(reply: Reply) -> list[str]:
    """Who was asked for an answer, in order."""
    return [*(str(attempt.server) for attempt in reply.attempts), str(reply.server)]


async def asked(client: Client, **more: Any) -> list[str]:
    return tried((await ask(client, **more)).accepted)


async def test_the_second_request_no_longer_waits_for_a_server_that_stopped(
    client: Client, clock: Clock, database_url: str, one: FakeOllama, two: FakeOllama
) -> None:
    await register(client, one, two)
    assert await asked(client) == ["one"]
    await one.stop()
    assert await asked(client) == ["one", "two"]
    assert await asked(client) == ["two"]
    await written(client)
    async with Client(database_url=database_url, environ={}) as other:
        set_clock(other, clock)
        assert await asked(other) == ["two"]


async def test_what_a_request_learns_is_what_the_list_of_servers_says(
    client: Client, one: FakeOllama, two: FakeOllama
) -> None:
    await register(client, one, two)
    before = await client.servers.show("one")
    await one.stop()
    await asked(client)
    await written(client)
    row = await client.servers.show("one")
    assert (row.status, row.failures) == (ServerStatus.OFFLINE, 1)
    assert row.status_since is not None
    assert row.status_since == row.status_at
    assert before.status_since is not None
    assert row.status_since > before.status_since
    assert row.asked_last_until is not None
    assert row.asked_last_until > row.status_since
    assert "cannot be reached" in (row.last_error or "")
    assert row.last_seen_at == before.last_seen_at


async def test_a_request_to_a_server_that_was_never_checked_does_not_call_it_no_ollama(
    client: Client, one: FakeOllama
) -> None:
    await client.servers.add(name="one", url=one.url)
    for _ in range(2):
        reply = (await ask(client, server="one")).accepted
        assert reply.proof is Proof.DIGEST
        await written(client)
    row = await client.servers.show("one")
    assert (row.status, row.is_ollama) == (ServerStatus.ONLINE, None)
    [pulled] = (await client.fleet.pull("beta", ["one"])).results
    assert isinstance(pulled.error, ModelNotFound)
    await client.servers.check(["one"])
    assert (await client.servers.show("one")).is_ollama


async def test_a_server_is_tried_again_when_its_time_is_over_and_then_first_again(
    client: Client, clock: Clock, one: FakeOllama, two: FakeOllama
) -> None:
    await register(client, one, two)
    await one.stop()
    assert await asked(client) == ["one", "two"]
    clock.forward(1.1)
    assert await asked(client) == ["one", "two"]
    clock.forward(1.1)
    assert await asked(client) == ["two"]
    await one.__aenter__()
    assert await asked(client) == ["two"]
    clock.forward(1.1)
    assert await asked(client) == ["one"]
    assert await asked(client) == ["one"]
    await written(client)
    row = await client.servers.show("one")
    assert (row.status, row.failures, row.asked_last_until) == (ServerStatus.ONLINE, 0, None)


async def test_one_request_at_a_time_tries_a_server_that_has_failed(
    client: Client, clock: Clock, one: FakeOllama, two: FakeOllama
) -> None:
    await register(client, one, two, max_concurrent=10)
    one.script(GENERATE, Answer(body="away", status=502), held := Held())
    assert await asked(client) == ["one", "two"]
    clock.forward(2)
    trying = asyncio.create_task(asked(client))
    await held.arrived.wait()
    others = await asyncio.gather(*(asked(client) for _ in range(5)))
    assert others == [["two"]] * 5
    held.release.set()
    await trying
    assert prompts(one) == 2


async def test_one_process_at_a_time_tries_a_server_that_has_failed(
    client: Client, clock: Clock, database_url: str, one: FakeOllama, two: FakeOllama
) -> None:
    await register(client, one, two, max_concurrent=10)
    one.script(GENERATE, Answer(body="away", status=502), held := Held())
    assert await asked(client) == ["one", "two"]
    await written(client)
    async with Client(database_url=database_url, environ={}) as other:
        set_clock(other, clock)
        clock.forward(2)
        trying = asyncio.create_task(asked(client))
        await held.arrived.wait()
        assert [await asked(other) for _ in range(3)] == [["two"]] * 3
        held.release.set()
        await trying
        await written(client)
        assert await asked(other) == ["one"]


async def test_a_process_that_is_gone_while_it_tries_a_server_keeps_others_from_it_for_a_time(
    client: Client, clock: Clock, database_url: str, one: FakeOllama, two: FakeOllama
) -> None:
    await register(client, one, two, max_concurrent=10)
    one.script(GENERATE, Answer(body="away", status=502), held := Held())
    await asked(client)
    await written(client)
    clock.forward(2)
    async with Client(database_url=database_url, environ={}) as other:
        set_clock(other, clock)
        trying = asyncio.create_task(asked(other))
        await held.arrived.wait()
        trying.cancel()
    assert await asked(client) == ["two"]
    await client.servers.check(["one"])  # can be reached, and may be stuck all the same
    assert await asked(client) == ["two"]
    clock.forward(TRY.total_seconds() + 1)
    assert await asked(client) == ["one"]


async def test_the_only_server_is_asked_all_the_same(
    client: Client, clock: Clock, one: FakeOllama
) -> None:
    await register(client, one)
    await one.stop()
    for _ in range(3):
        assert isinstance((await ask(client)).error, ServerUnreachable)
    await one.__aenter__()
    assert await asked(client) == ["one"]
    await written(client)
    assert (await client.servers.show("one")).failures == 0


async def test_servers_that_all_failed_are_asked_in_their_order(
    client: Client, clock: Clock, one: FakeOllama, two: FakeOllama
) -> None:
    await register(client, one, two)
    for fake in (one, two):
        fake.script(GENERATE, Answer(body="away", status=502))
    assert isinstance((await ask(client)).error, UpstreamError)
    assert await asked(client) == ["one"]


async def test_a_server_with_a_higher_priority_that_failed_is_asked_after_the_others(
    client: Client, clock: Clock, one: FakeOllama, two: FakeOllama
) -> None:
    await register(client, one, two)
    await client.servers.update("one", priority=7, is_default=True)
    await one.stop()
    assert await asked(client) == ["one", "two"]
    assert await asked(client) == ["two"]
    explained = await client.explain(prompt="hi", model="alpha")
    assert [str(each.server) for each in explained.candidates] == ["two", "one"]


async def test_who_comes_first_for_its_health_answers_with_the_same_build_or_not_at_all(
    client: Client, clock: Clock, one: FakeOllama, two: FakeOllama
) -> None:
    await register(client, one, two)
    await one.stop()
    assert await asked(client) == ["one", "two"]
    two.point("alpha", SimulatedModel("alpha", "b" * 64))
    outcome = await ask(client)
    assert isinstance(outcome.error, UpstreamError)
    assert prompts(two) == 1


async def test_a_request_that_takes_too_long_for_its_caller_says_nothing_of_the_server(
    client: Client, clock: Clock, one: FakeOllama
) -> None:
    await register(client, one)
    one.script(GENERATE, held := Held())
    assert isinstance((await ask(client, timeout=0.2)).error, ServerUnreachable)
    held.release.set()
    await written(client)
    assert (await client.servers.show("one")).status is ServerStatus.ONLINE


async def test_a_server_that_is_well_is_written_seldom(
    client: Client, clock: Clock, one: FakeOllama
) -> None:
    await register(client, one)
    clock.time = datetime.now(UTC)
    seen = (await client.servers.show("one")).last_seen_at
    await asked(client)
    await written(client)
    assert (await client.servers.show("one")).last_seen_at == seen
    clock.forward(OFTEN.total_seconds() + 1)
    await asked(client)
    await written(client)
    assert (await client.servers.show("one")).last_seen_at == clock.time


async def test_a_check_hears_of_a_server_that_is_back(
    client: Client, clock: Clock, one: FakeOllama, two: FakeOllama
) -> None:
    await register(client, one, two)
    clock.time = datetime.now(UTC)
    await one.stop()
    await asked(client)
    await written(client)
    await one.__aenter__()
    [check] = await client.servers.check(["one"])
    assert check.error is None
    assert await asked(client) == ["one"]


async def test_another_url_begins_with_nothing_known(
    client: Client, clock: Clock, one: FakeOllama, two: FakeOllama
) -> None:
    await register(client, one, two)
    await one.stop()
    await asked(client)
    await written(client)
    moved = await client.servers.update("one", url="http://127.0.0.1:9")
    assert (moved.failures, moved.status_since, moved.asked_last_until) == (0, None, None)


async def test_what_was_seen_of_another_url_or_long_ago_is_not_kept(
    client: Client, clock: Clock, one: FakeOllama, two: FakeOllama
) -> None:
    await register(client, one, two)
    one.script(GENERATE, Answer(body="away", status=502))
    clock.forward(-7200)
    await asked(client)
    await written(client)
    assert (await client.servers.show("one")).status is ServerStatus.ONLINE


async def test_a_list_that_cannot_be_read_before_sending_is_a_failure(
    client: Client, clock: Clock, one: FakeOllama, two: FakeOllama
) -> None:
    await register(client, one, two)
    one.script(TAGS, Answer(body="away", status=503))
    assert await asked(client, verified=True) == ["one", "two"]
    assert await asked(client) == ["two"]


# deep checks


async def test_a_deep_check_shows_a_runner_that_is_stuck_behind_an_api_that_answers(
    client: Client, one: FakeOllama
) -> None:
    await register(client, one)
    one.script(GENERATE, Answer(body="model runner has terminated", status=500))
    [check] = await client.servers.check(["one"], deep="alpha")
    assert isinstance(check.error, UpstreamError)
    assert "it tells its version" in check.error.message
    assert check.status is ServerStatus.ERROR
    [shallow] = await client.servers.check(["one"])
    assert shallow.status is ServerStatus.ONLINE
    assert (await client.servers.show("one")).failures == 1
    [well] = await client.servers.check(["one"], deep="alpha")
    assert (well.error, well.model) == (None, "alpha")
    assert (await client.servers.show("one")).failures == 0


async def test_a_deep_check_asks_for_one_token_of_that_model_and_no_other(
    client: Client, one: FakeOllama
) -> None:
    await register(client, one)
    await client.servers.check(deep="alpha")
    [request] = one.requests_to(GENERATE)
    assert isinstance(request.body, dict)
    assert (request.body["model"], request.body["options"]) == ("alpha:latest", {"num_predict": 1})


async def test_a_model_that_a_server_lacks_is_no_failure_of_the_server(
    client: Client, one: FakeOllama
) -> None:
    await register(client, one)
    [check] = await client.servers.check(deep="beta")
    assert check.error is not None
    assert check.status is ServerStatus.ONLINE
    assert (await client.servers.show("one")).failures == 0
