"""The slots that a process holds at one server: kept, handed on, left to others, given back."""

import asyncio
from collections import deque

import pytest

from ollama_admin.services import leases, pools, queues
from ollama_admin.services.leases import Held, Lease, LeaseTimes
from ollama_admin.services.pools import FULL_FOR, Pool
from ollama_admin.services.queues import Queue, QueuedRequest
from ollama_admin.store.slots import LeaseKey, Limit
from tests.rules.rows import server

TIMES = LeaseTimes()
NOW = 100.0


class Clock:
    """Stands still until a test sets it."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (leases, pools, queues):
        monkeypatch.setattr(module, "uptime", clock)
    return clock


@pytest.fixture
def pool(clock: Clock) -> Pool:
    pool = Pool(server(1), lambda _: None)
    pool.learn(Limit(limit=4, is_active=True))
    return pool


def held(pool: Pool, slot: int = 1, token: int = 1) -> Held:
    """A slot that was granted just now."""
    granted = Held(LeaseKey(server_id=1, slot=slot, token=token), NOW, TIMES)
    pool.add(granted)
    return granted


def kept(pool: Pool, *slots: int) -> list[Held]:
    """Slots that are kept for the next request, the first one for longest."""
    some = [held(pool, slot) for slot in slots]
    for one in some:
        pool.keep(one)
    return some


def waiting(pool: Pool, count: int = 1, *, even_inactive: bool = False) -> list[QueuedRequest]:
    """Requests in the queue, in order."""
    pool.queue = pool.queue or Queue()
    requests = [QueuedRequest(even_inactive=even_inactive) for _ in range(count)]
    for request in requests:
        request.enter(pool.queue)
    return requests


async def left(request: QueuedRequest) -> None:
    """The task that waits is cancelled, and has had no time to leave the queue."""
    task = asyncio.create_task(request.lease())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


def test_a_new_pool_holds_nothing_and_knows_nothing() -> None:
    pool = Pool(server(1), lambda _: None)
    assert pool.server == server(1)
    assert (pool.limit, pool.is_active, pool.away) == (0, True, None)
    assert (pool.running, pool.waiting, pool.idle, pool.has_idle) == (0, 0, 0, False)
    assert not pool.was_full_just_now


def test_a_server_that_was_full_is_taken_for_full_for_fifty_milliseconds(
    pool: Pool, clock: Clock
) -> None:
    pool.was_full()
    assert (pool.was_full_just_now, FULL_FOR) == (True, 0.05)
    clock.now = NOW + 0.049
    assert pool.was_full_just_now
    clock.now = NOW + 0.05
    assert not pool.was_full_just_now


def test_a_slot_may_become_free_without_the_database_while_it_is_trusted(
    pool: Pool, clock: Clock
) -> None:
    one = held(pool)
    assert pool.may_become_free
    clock.now = one.trusted_until
    assert not pool.may_become_free


def test_the_slot_that_was_used_last_is_taken_first(pool: Pool) -> None:
    first, second = kept(pool, 1, 2)
    assert (pool.idle, pool.has_idle, pool.last_idle()) == (2, True, second)
    leases = pool.kept(), pool.kept(), pool.kept()
    assert [lease and lease.held for lease in leases] == [second, first, None]
    assert (pool.idle, pool.running) == (0, 2)


def test_a_kept_slot_is_not_taken_once_it_is_not_trusted(pool: Pool, clock: Clock) -> None:
    (one,) = kept(pool, 1)
    clock.now = one.trusted_until
    assert (pool.last_idle(), pool.kept(), pool.idle) == (None, None, 1)


async def test_a_slot_of_an_inactive_server_is_for_those_who_may_use_it(pool: Pool) -> None:
    one = held(pool)
    pool.learn(Limit(limit=4, is_active=False))
    waiting(pool)
    assert pool.hand_on(one) is False
    (allowed,) = waiting(pool, even_inactive=True)
    assert pool.hand_on(one) is True
    assert allowed.taken() is one.lease


async def test_a_slot_for_one_who_has_left_goes_to_the_next(pool: Pool) -> None:
    one = held(pool)
    gone, here = waiting(pool, 2)
    await left(gone)
    assert pool.hand_on(one)
    assert (here.taken(), pool.running) == (one.lease, 1)


async def test_a_slot_that_nobody_takes_any_more_is_under_no_request(pool: Pool) -> None:
    one = held(pool)
    (gone,) = waiting(pool)
    await left(gone)
    assert not pool.hand_on(one)
    assert (one.lease, pool.running, pool.waiting) == (None, 0, 0)


async def test_kept_slots_go_to_all_who_wait(pool: Pool) -> None:
    first, second, third = kept(pool, 1, 2, 3)
    requests = waiting(pool, 2)
    pool.hand_on_kept()
    assert [taken_by(request) for request in requests] == [third, second]
    assert pool.last_idle() is first


def taken_by(request: QueuedRequest) -> Held | None:
    lease: Lease | None = request.taken()
    return lease and lease.held


async def test_a_slot_that_is_not_trusted_goes_to_nobody(pool: Pool, clock: Clock) -> None:
    (one,) = kept(pool, 1)
    waiting(pool)
    clock.now = one.trusted_until
    pool.hand_on_kept()
    assert (pool.idle, pool.waiting) == (1, 1)


async def test_a_kept_slot_is_not_taken_before_those_who_wait_nor_of_an_inactive_server(
    pool: Pool,
) -> None:
    pool.learn(Limit(limit=4, is_active=False))
    kept(pool, 1)
    assert (pool.kept(), pool.idle) == (None, 1)
    pool.learn(Limit(limit=4, is_active=True))
    (first,) = waiting(pool)
    assert (pool.kept(), pool.idle) == (None, 1)
    first.leave()
    assert pool.kept() is not None


async def test_a_kept_slot_that_nobody_may_take_stays_kept(pool: Pool) -> None:
    waiting(pool)
    pool.learn(Limit(limit=4, is_active=False))
    (one,) = kept(pool, 1)
    pool.hand_on_kept()
    assert (pool.last_idle(), pool.idle, pool.waiting) == (one, 1, 1)


def test_a_slot_that_the_database_granted_twice_is_lost_to_the_first(pool: Pool) -> None:
    old = held(pool)
    new = held(pool)
    assert (old.lost, new.lost, pool.held) == (True, False, {new})


def test_a_slot_is_idle_from_when_it_is_kept(pool: Pool, clock: Clock) -> None:
    one = held(pool)
    assert one.idle_since == NOW
    clock.now = NOW + 7
    pool.keep(one)
    assert one.idle_since == NOW + 7


def test_a_slot_that_is_dropped_is_kept_no_more(pool: Pool) -> None:
    (one,) = kept(pool, 1)
    pool.drop(one)
    assert (pool.held, pool.idle) == (set(), 0)


def test_a_lowered_limit_sends_back_all_that_is_held(pool: Pool) -> None:
    one = held(pool)
    pool.learn(Limit(limit=4, is_active=True))
    assert not one.is_leaving
    pool.learn(Limit(limit=3, is_active=True))
    assert (one.is_leaving, pool.limit) == (True, 3)


async def test_a_slot_is_left_to_another_process_that_has_waited_longer(pool: Pool) -> None:
    waiting(pool)
    pool.elsewhere = deque([NOW - 1, NOW + 1])
    assert [pool.yields(), pool.yields()] == [True, False]  # one that came later waits


async def test_who_has_waited_as_long_as_others_goes_first(pool: Pool) -> None:
    waiting(pool)
    pool.elsewhere = deque([NOW])
    assert not pool.yields()


def test_each_who_waits_elsewhere_is_given_one_slot(pool: Pool) -> None:
    pool.heard([5.0], NOW)
    assert list(pool.elsewhere) == [NOW - 5]
    assert [pool.yields(), pool.yields()] == [True, False]


def test_slots_that_were_idle_for_the_time_go_back_once(pool: Pool, clock: Clock) -> None:
    (one,) = kept(pool, 1)
    clock.now = NOW + 0.9
    assert pool.dispensable(1.0) == []
    clock.now = NOW + 1
    assert (pool.dispensable(1.0), pool.idle) == ([one], 0)
    assert pool.dispensable(0.0) == []


def test_the_rounds_before_a_request_are_those_of_who_has_waited_longer(pool: Pool) -> None:
    pool.elsewhere = deque([NOW - 2, NOW - 1, NOW, NOW + 1])
    assert pool.rounds_before(NOW) == 0.5
    assert pool.rounds_before(NOW - 2) == 0
    pool.limit = 0
    assert pool.rounds_before(NOW) == 2
