"""Clocks that are set ahead and back by hours: the time of day of the machine, or of PostgreSQL."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.keys import Key
from ollama_admin.store import budgets, contention, slots, task_leases
from tests.services.test_key_limits import asked, new_key, refusal
from tests.store.revisions import execute, is_postgresql

NOON = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
A_MINUTE_LATER = timedelta(seconds=62)
# found before PostgreSQL's own, as the path has it
ITS_CLOCK = """
CREATE FUNCTION moved.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
AS 'SELECT now FROM moved.clock'
"""


class WallClock:
    """Stands still where it was set to last."""

    def __init__(self, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._url = url
        self.now = NOON
        if is_postgresql(url):
            database = url.rpartition("/")[2]
            path = f'ALTER DATABASE "{database}" SET search_path = public, moved, pg_catalog'
            row = f"INSERT INTO moved.clock VALUES ('{NOON}')"
            execute(url, "CREATE SCHEMA moved", "CREATE TABLE moved.clock (now timestamptz)", row)
            execute(url, ITS_CLOCK, path)
        else:
            monkeypatch.setattr(time, "time", self._seconds)

    def _seconds(self) -> float:
        return self.now.timestamp()

    def set(self, now: datetime) -> None:
        self.now = now
        if is_postgresql(self._url):
            execute(self._url, f"UPDATE moved.clock SET now = '{now}'")


@pytest.fixture
def clock(database_url: str, monkeypatch: pytest.MonkeyPatch) -> WallClock:
    return WallClock(database_url, monkeypatch)


@pytest.fixture
async def processes(clock: WallClock, database_url: str) -> AsyncIterator[list[Client]]:
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Client(database_url=database_url, environ={}))
            for _ in range(4)
        ]


async def let_in(client: Client, key: Key, *, most: int = 20) -> int:
    """How many of so many requests, each of one token."""
    return sum([await asked(client.key_limits, key) for _ in range(most)])


async def test_minute_that_comes_again_gives_no_more(
    clock: WallClock, processes: list[Client]
) -> None:
    first, second, third, fourth = processes
    key = await new_key(first, requests_per_minute=4)
    assert await let_in(first, key) == 4
    clock.set(NOON - timedelta(seconds=40))
    assert (await refusal(second.key_limits, key)).seconds == pytest.approx(70, abs=20)
    clock.set(NOON + timedelta(seconds=20))
    assert await let_in(third, key) == 0
    clock.set(NOON + timedelta(seconds=30))
    assert await let_in(fourth, key) == 4


async def test_minutes_of_hours_ago_are_those_of_anybody(
    clock: WallClock, processes: list[Client]
) -> None:
    """With each jump the minute begins anew: nobody is refused until the clock is back."""
    key = await new_key(processes[0], requests_per_minute=4)
    for process, hours in zip(processes, (0, -3, 0, 5), strict=True):
        clock.set(NOON + hours * HOUR)
        assert await let_in(process, key) == 4


async def test_day_that_comes_again_gives_no_more(
    clock: WallClock, processes: list[Client]
) -> None:
    evening, night = NOON + 10 * HOUR, NOON + 13 * HOUR
    first, second, third, fourth = processes
    clock.set(evening)
    key = await new_key(first, tokens_per_day=10)
    assert await let_in(first, key, most=6) == 6
    clock.set(night)
    assert await let_in(second, key) == 10
    clock.set(evening)
    refused = await refusal(third.key_limits, key)
    assert (refused.is_spent, refused.seconds) == (True, pytest.approx(26 * 3600, abs=60))
    clock.set(night + 24 * HOUR)
    assert await let_in(fourth, key) == 10


async def test_key_is_taken_by_the_clock_as_it_is(client: Client) -> None:
    issued = await client.keys.add(name="team", expires_at=NOON)
    text = issued.text.reveal().encode()
    for ahead, is_taken in ((-1, True), (3, False), (-3, True), (3, False)):
        table = await client.keyring.table()
        assert (table.of_text(text, None, NOON + ahead * HOUR) is not None) is is_taken


async def held(client: Client, key: Key, holder: str, wanted: int = 1) -> int:
    """How many leases of a key a holder has, of two at most."""
    ask: Any = budgets.lease
    count = await client._resources.db.lease(ask, key.id, holder, wanted=wanted, limit=2)
    return int(count)


async def test_lease_of_a_process_that_is_gone_ends_in_a_minute_whatever_the_clock(
    clock: WallClock, processes: list[Client], database_url: str
) -> None:
    [client, *_] = processes
    key = await new_key(client, max_concurrent=2)
    assert [await held(client, key, "gone"), await held(client, key, "here")] == [1, 1]
    earlier = NOON - 3 * HOUR
    clock.set(earlier)
    assert await held(client, key, "new") == 0
    clock.set(earlier + timedelta(seconds=40))
    assert await held(client, key, "here") == 1
    clock.set(earlier + A_MINUTE_LATER)
    # a file knows the time since boot, which nobody sets
    assert await held(client, key, "new", wanted=2) == (1 if is_postgresql(database_url) else 0)


async def test_lease_that_ended_too_early_is_there_again_with_its_renewal(
    clock: WallClock, processes: list[Client]
) -> None:
    [client, *_] = processes
    key = await new_key(client, max_concurrent=2)
    assert await held(client, key, "here", wanted=2) == 2
    clock.set(NOON + 3 * HOUR)
    await client._resources.db.lease(budgets.renew, "here", {key.id: 2})
    assert await held(client, key, "new") == 0


async def test_slot_and_task_of_a_process_that_is_gone_are_free_in_a_minute_whatever_the_clock(
    clock: WallClock, processes: list[Client], database_url: str
) -> None:
    db = processes[0]._resources.db
    server = (await processes[0].servers.add(name="one", url="http://one", max_concurrent=2)).id

    async def taken(holder: str) -> int:
        grant = await db.write(slots.take, server, 1, holder=holder, ttl=30.0)
        return len(grant.keys)

    async def has_task(holder: str) -> bool:
        return await db.write(task_leases.hold, "look", holder=holder, ttl=30.0)

    here = await db.write(slots.take, server, 1, holder="here", ttl=30.0)
    assert [await taken("gone"), await has_task("gone")] == [1, True]
    await db.write(contention.tell, server, holder="gone", count=1, waited=0.0)
    earlier = NOON - 3 * HOUR
    clock.set(earlier)
    assert [await taken("new"), await has_task("new")] == [0, False]
    clock.set(earlier + timedelta(seconds=40))
    assert await db.write(slots.renew, here.keys, 30.0, holder="here") == set(here.keys)
    clock.set(earlier + A_MINUTE_LATER)
    await db.write(contention.sweep)
    is_free = is_postgresql(database_url)  # a file knows the time since boot
    assert [await taken("new"), await has_task("new")] == [int(is_free), is_free]
    assert await taken("new") == 0
    assert execute(database_url, "SELECT count(*) FROM ollama_waiting") == [(0 if is_free else 1,)]
