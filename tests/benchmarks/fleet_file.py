"""A fleet file of 1,000 servers and 20,000 wanted models: planned, on both databases."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ollama_admin.client import Client
from ollama_admin.settings import Settings
from ollama_admin.store.migrations import upgrade
from tests.benchmarks.measuring import BenchmarkError, Row, Told, median
from tests.postgres import OwnPostgresServer
from tests.services.fleets import hold_everywhere, large_file

SERVERS, MODELS = 1000, 20  # models on each server
ROUNDS = 3
BAR = 5000  # ms


def rows(rounds: int | None) -> Iterator[Told]:
    with tempfile.TemporaryDirectory() as folder, OwnPostgresServer() as server:
        urls = {
            "SQLite": f"sqlite:///{Path(folder) / 'one.db'}",
            "PostgreSQL": server.create_database(),
        }
        for name, url in urls.items():
            upgrade(Settings.read({}, url))
            for work, milliseconds in asyncio.run(_measured(url, rounds or ROUNDS)).items():
                text = f"{work}, {SERVERS} servers, {SERVERS * MODELS} wanted models, {name}"
                yield Row(work=text, unit="ms", ours=milliseconds, bar=BAR)


async def _measured(url: str, rounds: int) -> dict[str, float]:
    """Milliseconds of a plan before anything is there, and after all of it is."""
    text = large_file(SERVERS, MODELS)
    async with Client(database_url=url, environ={}) as client:
        first = await _plan(client, text, rounds, SERVERS * (MODELS + 1))
        await client.fleet.file.apply(text)
        await client._resources.db.write(hold_everywhere, MODELS)
        last = await _plan(client, text, rounds, 0)
    return {"plan of all of it": first, "plan of nothing to do": last}


async def _plan(client: Client, text: str, rounds: int, steps: int) -> float:
    times = []
    for _ in range(rounds):
        began = time.monotonic()
        plan = await client.fleet.file.plan(text)
        times.append((time.monotonic() - began) * 1000)
        if len(plan.pending) != steps:
            raise BenchmarkError(f"the plan has {len(plan.pending)} steps, not {steps}")
    return median(times)
