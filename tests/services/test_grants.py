"""What a process asks the database for slots, and for whom what it grants is."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import suppress
from itertools import chain, repeat
from typing import Any

import pytest
from sqlalchemy import text

from ollama_admin.client import Client
from ollama_admin.errors import AdminError, DatabaseUnavailable, ServerInactive
from ollama_admin.services import grants, pools, queues
from ollama_admin.services.leases import Lease, LeaseTimes
from ollama_admin.services.pools import Pool
from ollama_admin.services.queues import Queue, QueuedRequest
from ollama_admin.services.slots import Slots
from tests.rules.rows import server
from tests.slot_rows import SlotRows, eventually


@pytest.fixture
def rows(database_url: str) -> Iterator[SlotRows]:
    opened = SlotRows(database_url)
    yield opened
    opened.close()


@pytest.fixture
async def client(database_url: str) -> AsyncIterator[Client]:
    """A client that keeps no slot after a request, and renews none during a test."""
    times = LeaseTimes(ttl=60, renew=50, keep=0)
    async with Client(database_url=database_url, environ={}, lease_times=times) as opened:
        yield opened


@pytest.fixture
def slots(client: Client) -> Slots:
    return client._resources.slots


async def pool_of(client: Client, limit: int) -> Pool:
    added = await client.servers.add(name="gpu", url="http://gpu", max_concurrent=limit)
    return client._resources.slots._pool(added)


def one(slots: Slots, pool: Pool) -> Coroutine[Any, Any, Lease | None]:
    return slots._grants.one(pool, even_inactive=False)


async def test_one_statement_takes_a_hundred_slots_which_go_to_those_who_came_first(
    client: Client, slots: Slots
) -> None:
    pool = await pool_of(client, 150)
    leases = await asyncio.gather(*(one(slots, pool) for _ in range(120)))
    assert [lease and lease.slot for lease in leases] == [*range(1, 101), *repeat(None, 20)]


@pytest.mark.parametrize(("limit", "is_full"), [(1, True), (2, False)])
async def test_a_server_is_full_when_it_has_fewer_slots_than_are_wished(
    client: Client, slots: Slots, monkeypatch: pytest.MonkeyPatch, limit: int, is_full: bool
) -> None:
    monkeypatch.setattr(pools, "FULL_FOR", 3600)
    pool = await pool_of(client, limit)
    await asyncio.gather(one(slots, pool), one(slots, pool))
    assert pool.was_full_just_now is is_full


async def test_a_database_that_answers_is_away_no_more(client: Client, slots: Slots) -> None:
    pool = await pool_of(client, 1)
    pool.away = DatabaseUnavailable("it stood still")
    await one(slots, pool)
    assert pool.away is None


async def left_in_the_moment_of_the_answer(slots: Slots, pool: Pool) -> "asyncio.Task[Any]":
    """The second of two who ask in one statement: the first one cancels it when both have their
    answers.
    """

    async def first() -> None:
        with suppress(AdminError):
            await one(slots, pool)
        second.cancel()

    asking = asyncio.create_task(first())
    second = asyncio.create_task(one(slots, pool))
    await asyncio.wait([asking, second])
    return second


async def test_a_slot_that_is_granted_in_the_moment_of_leaving_is_given_back(
    client: Client, slots: Slots, rows: SlotRows
) -> None:
    task = await left_in_the_moment_of_the_answer(slots, await pool_of(client, 2))
    assert task.cancelled()
    await eventually(lambda: (slots.in_flight(1), rows.live()) == (1, 1))


async def test_who_leaves_in_the_moment_of_no_grant_is_cancelled(
    client: Client, slots: Slots
) -> None:
    assert (await left_in_the_moment_of_the_answer(slots, await pool_of(client, 1))).cancelled()


async def test_who_leaves_in_the_moment_of_an_error_is_cancelled(
    client: Client, slots: Slots
) -> None:
    pool = await pool_of(client, 1)
    await client.servers.remove(1)
    assert (await left_in_the_moment_of_the_answer(slots, pool)).cancelled()


async def test_a_question_for_a_queue_tells_who_comes_first_or_that_there_was_a_slot(
    client: Client, slots: Slots
) -> None:
    pool, queue = await pool_of(client, 1), Queue()
    request = QueuedRequest()
    request.enter(queue)
    assert await slots._grants._ask_for_queue(pool, queue, request) is None
    await eventually(lambda: not pool.held)  # nobody took it: it went back
    await one(slots, pool)
    assert await slots._grants._ask_for_queue(pool, queue, request) == 0


async def test_a_slot_of_an_inactive_server_is_asked_for_by_who_may_use_it(
    client: Client, slots: Slots
) -> None:
    pool, queue = await pool_of(client, 1), Queue()
    await client.servers.update(1, is_active=False)
    request = QueuedRequest(even_inactive=True)
    request.enter(queue)
    assert await slots._grants._ask_for_queue(pool, queue, request) is None
    with pytest.raises(ServerInactive):
        await slots._grants._ask_for_queue(pool, queue, QueuedRequest())


async def told(client: Client, slots: Slots) -> tuple[Pool, Queue]:
    """A queue that others know of."""
    pool, queue = await pool_of(client, 1), Queue()
    await one(slots, pool)
    request = QueuedRequest()
    request.enter(queue)
    await slots._grants._ask_for_queue(pool, queue, request)
    return pool, queue


def waiting(rows: SlotRows) -> int:
    with rows.transaction() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM ollama_waiting")) or 0)


async def test_others_are_told_that_nobody_waits_any_more(
    client: Client, slots: Slots, rows: SlotRows
) -> None:
    pool, queue = await told(client, slots)
    assert waiting(rows) == 1
    await slots._grants.stop_telling(pool, Queue())  # of which nobody was told
    assert waiting(rows) == 1
    await slots._grants.stop_telling(pool, queue)
    assert waiting(rows) == 0


async def test_a_database_that_cannot_be_told_any_more_harms_nobody(
    client: Client, slots: Slots, rows: SlotRows
) -> None:
    pool, queue = await told(client, slots)
    with rows.transaction() as connection:
        connection.execute(text("DROP TABLE ollama_waiting"))
    await slots._grants.stop_telling(pool, queue)


async def test_a_queue_waits_for_a_database_that_is_away_for_25_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = chain(repeat(100.0, 3), repeat(100 + grants.AWAY))  # away when it is asked twice
    monkeypatch.setattr(grants, "uptime", lambda: next(clock))
    rounds: list[float | None] = []
    monkeypatch.setattr(queues, "_longest_pause", lambda _, told, before: rounds.append(told) or 0)
    async with Client(database_url="postgresql://u:p@127.0.0.1:1/none", environ={}) as client:
        slots, queue = client._resources.slots, Queue()
        QueuedRequest().enter(queue)
        with pytest.raises(DatabaseUnavailable):
            await slots._grants.serve(slots._pool(server(1)), queue)
    assert (rounds, grants.AWAY) == ([1.0], 25)  # meanwhile it is asked as if one round were ahead
