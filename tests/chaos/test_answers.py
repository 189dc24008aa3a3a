"""The limit of a server as the server sees it: whole answers, from processes that are killed in the
middle of them.
"""

import asyncio
import random
from pathlib import Path

import pytest

from ollama_admin.client import Client
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import SimulatedServer
from tests.chaos.slots import BETWEEN_KILLS, LIMIT, SAYS, Running, Storm, watching, working
from tests.slot_rows import SlotRows, eventually, uptime


async def weather(storm: Storm, url: str, folder: Path) -> None:
    running = Running()
    model = SimulatedModel("alpha", says=SAYS)
    async with SimulatedServer(model, before_token=running, token_delay=0.02) as server:
        async with Client(database_url=url, environ={}) as client:
            await client.servers.add(name="gpu", url=server.url, max_concurrent=LIMIT)
            await client.discover()
        rows = SlotRows(url)
        async with (
            watching(rows) as watcher,
            working(url, 0, tasks=storm.tasks, ttl=storm.ttl, folder=folder) as workers,
        ):
            for _ in range(storm.processes):
                await workers.start()
            await eventually(lambda: running.ended > 0)
            end = uptime() + storm.seconds
            while uptime() < end:
                await asyncio.sleep(BETWEEN_KILLS)
                workers.kill(random.choice(workers.pids))
                await workers.start()
                ended = running.ended
                await eventually(lambda ended=ended: running.ended > ended)
            for pid in list(workers.pids):
                workers.kill(pid)
            assert workers.errors == ""
            await eventually(lambda: rows.live() == 0)
        rows.close()
    assert watcher.wrong == []
    assert watcher.peak == LIMIT
    assert 0 < running.peak <= LIMIT  # orphans may have held the other slots


async def test_server_never_answers_more_than_its_limit(database_url: str, tmp_path: Path) -> None:
    await weather(Storm(processes=2, tasks=4, seconds=2, ttl=1.5), database_url, tmp_path)


@pytest.mark.chaos
@pytest.mark.timeout(200)
async def test_server_never_answers_more_than_its_limit_for_a_minute(
    database_url: str, tmp_path: Path
) -> None:
    await weather(Storm(processes=8, tasks=10, seconds=60, ttl=3), database_url, tmp_path)
