"""What a slot, a proof and a receipt add to a generation. `README.md` beside this file says how it is measured."""

import argparse
import asyncio
import json
import logging
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from ollama_admin.client import Client
from ollama_admin.demo.simulator import SimulatedServer
from ollama_admin.demo.simulator_model import SimulatedModel
from ollama_admin.settings import Settings
from ollama_admin.store.migrations import upgrade
from tests.postgres import OwnPostgresServer

WARM_UP = 10  # rounds that are not counted
BAR = 10.0  # ms that may be added before the first token, p50, on PostgreSQL

Timed = tuple[float, float]  # ms until the first token, and until the end


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--tokens", type=int, default=20)
    asked = parser.parse_args()
    logging.disable()
    with (
        simulated(asked.tokens) as url,
        tempfile.TemporaryDirectory() as folder,
        OwnPostgresServer(durable=True) as server,
    ):
        for name, database_url in (("postgresql", server.url), ("sqlite", f"sqlite:///{Path(folder)}/bench.db")):
            upgrade(Settings.read({}, database_url))
            bare, ours = asyncio.run(measure(database_url, url, asked.count))
            show(name, bare, ours)


async def measure(database_url: str, url: str, count: int) -> tuple[list[Timed], list[Timed]]:
    """Both kinds in turn, on one loop."""
    bare, ours = [], []
    async with Client(database_url=database_url, environ={}) as client, httpx.AsyncClient(trust_env=False) as plain:
        await client.servers.add(name="one", url=url, max_concurrent=4)
        await client.discover()
        for _ in range(WARM_UP + count):
            bare.append(await bare_request(plain, url))
            ours.append(await our_request(client))
    return bare[WARM_UP:], ours[WARM_UP:]


async def bare_request(plain: httpx.AsyncClient, url: str) -> Timed:
    started, first = time.perf_counter(), None
    body = {"model": "alpha:latest", "prompt": "hi", "stream": True, "truncate": False, "shift": False}
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
            raise RuntimeError("the answer was not verified")
    return _timed(started, first)


def show(database: str, bare: Sequence[Timed], ours: Sequence[Timed]) -> None:
    print(f"{database}, {len(ours)} rounds{'':<10} bare p50   p99      ours p50   p99     added p50   p99  (ms)")
    for index, what in enumerate(("first token", "whole")):
        figures = [percentile([timed[index] for timed in kind], p) for kind in (bare, ours) for p in (50, 99)]
        added = figures[2] - figures[0], figures[3] - figures[1]
        bar = f"  bar {BAR:g}" if (database, index) == ("postgresql", 0) else ""
        print(f"  {what:<28}" + "".join(f"{figure:9.2f}" for figure in (*figures, *added)) + bar)


def percentile(values: Sequence[float], percent: int) -> float:
    """The nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


@contextmanager
def simulated(tokens: int) -> Iterator[str]:
    """The URL of a SIMULATED server in a process of its own."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there, tokens), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        here.send(None)
        process.join()


def _serve(pipe: Connection, tokens: int) -> None:
    async def serve() -> None:
        says = " ".join(f"word{number}" for number in range(tokens))
        async with SimulatedServer(SimulatedModel("alpha", says=says)) as server:
            pipe.send(server.url)
            await asyncio.to_thread(pipe.recv)

    asyncio.run(serve())


def _timed(started: float, first: float | None) -> Timed:
    if first is None:
        raise RuntimeError("the model said nothing")
    return (first - started) * 1000, (time.perf_counter() - started) * 1000


if __name__ == "__main__":
    main()
