"""The limit of a server under processes that are killed and processes that stand still."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from ollama_admin.client import Client
from ollama_admin.services.leases import LeaseTimes
from tests.chaos.slots import Storm, counting, weather, working
from tests.slot_rows import SECONDS, SlotRows, eventually, uptime

TTL = 2.0


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
