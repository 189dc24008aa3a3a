"""What a slot, a proof and a receipt add to a generation, against the same request by bare
httpx.
"""

import asyncio
import json
import logging
import tempfile
import time
from collections.abc import Iterator, Sequence

import httpx

from ollama_admin.client import Client
from ollama_admin.settings import Settings
from ollama_admin.store.migrations import upgrade
from tests.benchmarks.fleet import simulated
from tests.benchmarks.measuring import BenchmarkError, Note, Row, Told, percentile
from tests.postgres import OwnPostgresServer

ROUNDS = 100
WARM_UP = 10
TOKENS = 20
BAR = 10  # ms that may be added before the first token, p50, on PostgreSQL
REST = 0.02  # seconds in which a receipt is written: not while the bare request runs

Timed = tuple[float, float]  # ms until the first token, and until the end


def rows(rounds: int | None) -> Iterator[Told]:
    logging.disable()
    words = [f"word{number}" for number in range(TOKENS)]
    with (
        simulated(words) as url,
        tempfile.TemporaryDirectory() as folder,
        OwnPostgresServer(durable=True) as server,
    ):
        for database, database_url, bar in (
            ("PostgreSQL", server.url, BAR),
            ("SQLite", f"sqlite:///{folder}/bench.db", None),
        ):
            upgrade(Settings.read({}, database_url))
            bare, ours = asyncio.run(measure(database_url, url, rounds or ROUNDS))
            yield from _told(database, bare, ours, bar)


async def measure(database_url: str, url: str, count: int) -> tuple[list[Timed], list[Timed]]:
    """Both kinds in turn, on one loop."""
    bare, ours = [], []
    async with (
        Client(database_url=database_url, environ={}) as client,
        httpx.AsyncClient(trust_env=False) as plain,
    ):
        await client.servers.add(name="one", url=url, max_concurrent=4)
        await client.discover()
        for _ in range(WARM_UP + count):
            bare.append(await bare_request(plain, url))
            ours.append(await our_request(client))
            await asyncio.sleep(REST)
    return bare[WARM_UP:], ours[WARM_UP:]


async def bare_request(plain: httpx.AsyncClient, url: str) -> Timed:
    started, first = time.perf_counter(), None
    body = {
        "model": "alpha:latest",
        "prompt": "hi",
        "stream": True,
        "truncate": False,
        "shift": False,
    }
    async with plain.stream("POST", f"{url}/api/generate", json=body) as response:
        async for line in response.aiter_lines():
            record = json.loads(line)
            if first is None and record["response"]:
                first = time.perf_counter()
    return _timed(started, first)


async def our_request(client: Client) -> Timed:
    started, first = time.perf_counter(), None
    async with client.stream(prompt="hi", model="alpha") as stream:
        async for _ in stream:
            first = first or time.perf_counter()
        if not stream.reply.verified:
            raise BenchmarkError("the answer was not verified")
    return _timed(started, first)


def _told(
    database: str, bare: Sequence[Timed], ours: Sequence[Timed], bar: float | None
) -> Iterator[Told]:
    for index, what in enumerate(("first token", "whole")):
        floor, measured = ([timed[index] for timed in kind] for kind in (bare, ours))
        work = f"{database}: generate {TOKENS} tokens, {what}"
        middle, slow = ((percentile(measured, p), percentile(floor, p)) for p in (50, 99))
        yield Row(work=f"{work}, p50", unit="ms", ours=middle[0], floor=middle[1])
        if index == 0:
            yield Row(work=f"{work}, p50, added", unit="ms", ours=middle[0] - middle[1], bar=bar)
        yield Note(f"{work}, p99: ours {slow[0]:.1f} ms, bare {slow[1]:.1f} ms")


def _timed(started: float, first: float | None) -> Timed:
    if first is None:
        raise BenchmarkError("the model said nothing")
    return (first - started) * 1000, (time.perf_counter() - started) * 1000
