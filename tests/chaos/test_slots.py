"""The limit of a server under processes that are killed and processes that stand still."""

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest

from ollama_admin.client import Client
from ollama_admin.services.leases import LeaseTimes
from tests.chaos.slots import LIMIT, Counter, Storm, Workers, counting, weather, working
from tests.chaos.workers import LOST
from tests.conftest import migrate
from tests.postgres import OwnPostgresServer
from tests.slot_rows import SECONDS, SlotRows, eventually, uptime

TTL = 2.0
PROCESSES = 64
PATIENCE = 400  # seconds until each of them has had a turn, on a busy machine


async def test_limit_holds_while_processes_are_killed(database_url: str, tmp_path: Path) -> None:
    storm = Storm(processes=3, tasks=5, seconds=3, ttl=2.5)
    await weather(storm, database_url, database_url, tmp_path)


@pytest.mark.chaos
@pytest.mark.timeout(200)
async def test_limit_holds_for_a_minute_while_processes_are_killed(
    database_url: str, tmp_path: Path
) -> None:
    storm = Storm(processes=8, tasks=10, seconds=60, ttl=3)
    await weather(storm, database_url, database_url, tmp_path)


async def test_process_that_stood_still_neither_renews_nor_gives_back_what_others_have(
    database_url: str, tmp_path: Path
) -> None:
    times = LeaseTimes(ttl=TTL, renew=TTL / 3, margin=TTL / 6)
    rows = SlotRows(database_url)
    async with Client(database_url=database_url, environ={}, lease_times=times) as client:
        server = await client.servers.add(name="gpu", url="http://gpu")
        async with (
            counting() as (counter, port),
            working(database_url, port, tasks=1, ttl=TTL, folder=tmp_path) as workers,
        ):
            counter.pause = asyncio.Event()
            frozen = await workers.start()
            await eventually(lambda: counter.running == {1: 1})
            os.kill(frozen, signal.SIGSTOP)
            awake = uptime() + 2 * TTL
            mine = await client._resources.slots.first_free([server], wait=SECONDS)
            assert mine.token == 2
            await eventually(lambda: uptime() > awake)
            os.kill(frozen, signal.SIGCONT)
            await eventually(lambda: "the slot at server gpu was lost" in workers.errors)
            counter.pause.set()  # its answer ends, and it asks for the next slot
            await eventually(lambda: counter.served == 1)
            before = rows.expiry()
            await eventually(lambda: rows.expiry() > before)
            assert [(row.token, row.is_live) for row in rows.all()] == [(2, True)]
            assert mine.is_trusted
            await mine.release()
            await eventually(lambda: counter.served > 1)
            assert counter.wrong == []
    rows.close()


@pytest.mark.parametrize("how", ["stop", "crash"])
async def test_limit_holds_while_the_database_is_restarted(
    stoppable_postgres: OwnPostgresServer, tmp_path: Path, how: str
) -> None:
    """Away for less than the life of a lease, and for longer."""
    await restarts(stoppable_postgres, tmp_path, how, [0.2, 1.5 * TTL])


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["stop", "crash"])
async def test_limit_holds_while_the_database_is_restarted_again_and_again(
    stoppable_postgres: OwnPostgresServer, tmp_path: Path, how: str
) -> None:
    await restarts(stoppable_postgres, tmp_path, how, [0.1, 0.5, 1.5 * TTL] * 8)


async def restarts(
    postgres: OwnPostgresServer, folder: Path, how: str, pauses: Sequence[float]
) -> None:
    url = postgres.create_database()
    migrate(url)
    async with Client(database_url=url, environ={}) as client:
        await client.servers.add(name="gpu", url="http://gpu", max_concurrent=LIMIT)
    rows = SlotRows(url)
    with rows.transaction() as connection:
        connection.exec_driver_sql("CHECKPOINT")  # what was made here is not lost
    rows.close()
    async with (
        counting() as (counter, port),
        working(url, port, tasks=4, ttl=TTL, folder=folder) as workers,
    ):
        for _ in range(3):
            await workers.start()
        for pause in pauses:
            await more_served(counter)
            await asyncio.to_thread(getattr(postgres, how))
            await asyncio.sleep(pause)
            await asyncio.to_thread(postgres.start)
        await more_served(counter)
        for pid in list(workers.pids):
            workers.kill(pid)
        assert LOST not in workers.errors
    postgres.drop_database(url)
    assert counter.wrong == []
    assert counter.peak <= LIMIT


async def more_served(counter: Counter) -> None:
    served = counter.served
    await eventually(lambda: counter.served > served + 2 * LIMIT)


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize("limit", [1, 4])
async def test_sixty_four_processes_take_turns(
    database_url: str, tmp_path: Path, limit: int
) -> None:
    async with Client(database_url=database_url, environ={}) as client:
        await client.servers.add(name="gpu", url="http://gpu", max_concurrent=limit)
    async with (
        counting() as (counter, port),
        working(database_url, port, tasks=1, ttl=30, folder=tmp_path) as workers,
    ):
        for _ in range(64):
            await workers.start()
        end = uptime() + 200
        while len({process for process, _ in counter.waits}) < 64 and uptime() < end:
            await asyncio.sleep(0.1)
        counter.waits.clear()
        while len(counter.waits) < 64 * 5 and uptime() < end:
            await asyncio.sleep(0.1)
        waits = [seconds for _, seconds in counter.waits]
        processes = {process for process, _ in counter.waits}
        for pid in list(workers.pids):
            workers.kill(pid)
    assert counter.wrong == []
    assert counter.peak <= limit
    assert len(processes) == 64
    assert max(waits) <= 3 * sum(waits) / len(waits), sorted(waits)[-10:]


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("limit", [1, 4])
async def test_sixty_four_processes_lose_nothing_but_what_is_killed(
    stoppable_postgres: OwnPostgresServer, tmp_path: Path, limit: int
) -> None:
    """Some are killed, some stand still for a while, and the database is away for 20 seconds."""
    url = stoppable_postgres.create_database()
    migrate(url)
    async with Client(database_url=url, environ={}) as client:
        await client.servers.add(name="gpu", url="http://gpu", max_concurrent=limit)
    async with (
        counting() as (counter, port),
        working(url, port, tasks=1, ttl=30, folder=tmp_path) as workers,
    ):
        for _ in range(PROCESSES):
            await workers.start()
        await all_served(counter, workers)
        rows = SlotRows(url)
        await kill_those_who_run(counter, workers, rows)
        rows.close()
        for pid in random.sample(workers.pids, 4):
            workers.kill(pid)
            await workers.start()
        still = random.sample(workers.pids, 4)
        for pid in still:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(3)
        for pid in still:
            os.kill(pid, signal.SIGCONT)
        await all_served(counter, workers)
        await asyncio.to_thread(stoppable_postgres.stop)
        await asyncio.sleep(20)
        await asyncio.to_thread(stoppable_postgres.start)
        await all_served(counter, workers)
        assert LOST not in workers.errors
        for pid in list(workers.pids):
            workers.kill(pid)
    stoppable_postgres.drop_database(url)
    assert counter.wrong == []
    assert counter.peak <= limit


async def all_served(counter: Counter, workers: Workers) -> None:
    """Wait until each process has had a slot once more."""
    counter.waits.clear()
    await eventually(
        lambda: set(workers.pids) <= {process for process, _ in counter.waits}, seconds=PATIENCE
    )


async def kill_those_who_run(counter: Counter, workers: Workers, rows: SlotRows) -> None:
    """Their slots are free again 30 seconds later, and others get them."""
    counter.pause = asyncio.Event()
    limit = len(rows.all())
    await eventually(lambda: len(counter.paused) == limit, seconds=PATIENCE)
    before = [row.token for row in rows.all()]
    for pid in list(counter.paused):
        workers.kill(pid)
        await workers.start()
    assert rows.longest_life() <= 30
    await eventually(
        lambda: all(row.token > token for row, token in zip(rows.all(), before, strict=True)),
        seconds=PATIENCE,
    )
    counter.pause.set()
    counter.pause = None
