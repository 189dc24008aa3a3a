"""The steps of `Slots`, one by one; in the whole: `test_slots`."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator

import pytest
from sqlalchemy import text

from ollama_admin.client import Client
from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.services import pools
from ollama_admin.services.leases import Held, LeaseTimes, uptime
from ollama_admin.services.pools import Pool
from ollama_admin.services.queues import Queue, QueuedRequest
from ollama_admin.services.slots import Slots, _is_taken
from ollama_admin.store.slots import LeaseKey, Limit
from tests.rules.rows import server
from tests.slot_rows import SECONDS, SlotRows, eventually

TIMES = LeaseTimes(ttl=60, renew=50, keep=3600)  # nothing happens by itself
NOBODY = "postgresql://u:p@127.0.0.1:1/none"


@pytest.fixture
async def slots(database_url: str, notes: list[str]) -> AsyncIterator[Slots]:
    """The slots of a process, at server 1 with one slot."""
    async with Client(
        database_url=database_url, environ={}, on_note=notes.append, lease_times=TIMES
    ) as client:
        await client.servers.add(name="gpu", url="http://gpu", max_concurrent=1)
        yield client._resources.slots


@pytest.fixture
async def away(notes: list[str]) -> AsyncIterator[Slots]:
    """Those of a process whose database is away."""
    async with Client(
        database_url=NOBODY, environ={}, on_note=notes.append, lease_times=TIMES
    ) as client:
        yield client._resources.slots


@pytest.fixture
def rows(database_url: str) -> Iterator[SlotRows]:
    opened = SlotRows(database_url)
    yield opened
    opened.close()


def pool_of(slots: Slots) -> Pool:
    pool = slots._pool(server(1))
    pool.learn(Limit(limit=1, is_active=True))
    return pool


def granted(slots: Slots, pool: Pool) -> Held:
    """A slot that was granted just now."""
    held = Held(LeaseKey(server_id=1, slot=1, token=1), uptime(), TIMES)
    slots._adopt(pool, [held])
    return held


def waiting(pool: Pool) -> tuple[Queue, QueuedRequest]:
    """A queue of one, which nobody serves."""
    pool.queue = Queue()
    request = QueuedRequest()
    request.enter(pool.queue)
    return pool.queue, request


async def test_who_does_not_wait_hears_at_once_that_the_database_is_away(away: Slots) -> None:
    pool = pool_of(away)
    with pytest.raises(DatabaseUnavailable) as refused:
        await away._new(pool, 0, False)
    assert pool.away is refused.value


async def test_who_waits_does_so_for_a_database_that_is_away(away: Slots) -> None:
    assert await away._new(pool_of(away), 0.5, False) is None


async def test_a_slot_that_became_free_meanwhile_needs_no_database(away: Slots) -> None:
    pool = pool_of(away)
    held = granted(away, pool)
    pool.keep(held)
    lease = await away._new(pool, 0, False)
    assert lease is held.lease is not None


async def test_a_slot_that_could_not_be_sent_back_is_for_who_waits(away: Slots) -> None:
    pool = pool_of(away)
    held = granted(away, pool)
    _, request = waiting(pool)
    away._keep_on([held])
    assert request.taken() is held.lease is not None


async def test_nobody_looks_who_waits_after_the_end(slots: Slots) -> None:
    await slots.aclose()
    slots._heartbeat.stir()
    assert slots._heartbeat._timer is None


async def test_a_server_is_as_it_was_read_last(slots: Slots) -> None:
    pool_of(slots)
    renamed = server(1, name="another")
    assert slots._pool(renamed).server is renamed


async def test_a_slot_whose_request_has_ended_is_kept_for_the_next(slots: Slots) -> None:
    pool = pool_of(slots)
    held = granted(slots, pool)
    lease = pool.lease(held)
    assert pool.running == 1
    assert slots._ended(lease) is None
    assert (held.lease, pool.running, pool.last_idle()) == (None, 0, held)


async def test_a_slot_that_is_left_to_another_process_wakes_nobody_here(slots: Slots) -> None:
    pool = pool_of(slots)
    held = granted(slots, pool)
    queue, _ = waiting(pool)
    pool.elsewhere = deque([0.0])
    going = slots._free(pool, held)
    assert going is not None
    await going
    assert (pool.held, queue._woken.is_set()) == (set(), False)


async def test_a_slot_that_was_given_back_wakes_who_waits_here(slots: Slots) -> None:
    pool = pool_of(slots)
    held = granted(slots, pool)
    queue, _ = waiting(pool)
    await slots._give_back([held])
    assert (pool.held, queue._woken.is_set()) == (set(), True)


async def test_after_a_slot_was_handed_on_it_is_looked_who_waits_elsewhere(slots: Slots) -> None:
    pool = pool_of(slots)
    held = granted(slots, pool)
    _, request = waiting(pool)
    assert slots._free(pool, held) is None
    assert request.taken() is held.lease is not None
    assert slots._heartbeat._timer is not None


async def test_a_slot_whose_return_was_sent_is_ours_no_more(
    slots: Slots, rows: SlotRows, notes: list[str]
) -> None:
    pool = pool_of(slots)
    held = granted(slots, pool)
    with rows.transaction() as connection:
        connection.execute(text("DROP TABLE ollama_slots"))
    await slots._give_back([held])
    assert (pool.held, pool.idle) == (set(), 0)
    assert [note.partition(":")[0] for note in notes] == [
        "the slot at server s1 could not be released"
    ]


def told(rows: SlotRows) -> int:
    with rows.transaction() as connection:
        return int(connection.scalar(text("SELECT count(*) FROM ollama_waiting")) or 0)


async def test_a_request_weighs_one_unless_it_says_more(slots: Slots) -> None:
    gpu = server(1)
    await slots.first_free([gpu], wait=0)
    asking = [
        asyncio.create_task(slots.first_free([gpu], wait=float(SECONDS), key=key, **weight))
        for key, weight in (("a", {}), ("b", {"weight": 3}))
    ]
    await eventually(lambda: slots.waiting(1) == 2)
    assert [request.weight for request in slots._pools[1].queue or ()] == [1, 3]
    for task in asking:
        task.cancel()


async def test_others_hear_when_nobody_waits_here_any_more(slots: Slots, rows: SlotRows) -> None:
    gpu = server(1)
    await slots.first_free([gpu], wait=0)
    asking = asyncio.create_task(slots.first_free([gpu], wait=float(SECONDS)))
    await eventually(lambda: told(rows) == 1)
    asking.cancel()
    await eventually(lambda: told(rows) == 0)


def test_a_server_that_was_full_just_now_is_asked_by_those_alone_who_do_not_wait(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pools, "FULL_FOR", 3600)
    pool = Pool(server(1), lambda _: None)
    assert not _is_taken(pool, 0.5)
    pool.was_full()
    assert (_is_taken(pool, 0.5), _is_taken(pool, 0)) == (True, False)
