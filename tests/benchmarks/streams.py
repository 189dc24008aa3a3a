"""Many slow streams at once through one `ollama-admin serve`. `README.md` beside this file says how it is measured."""

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

from ollama_admin.demo.simulator import SimulatedServer
from ollama_admin.demo.simulator_model import SimulatedModel
from ollama_admin.settings import Settings
from ollama_admin.store.migrations import upgrade
from tests.benchmarks.generation import percentile

BAR = 100.0  # KB of memory that a stream may take


@dataclass(frozen=True, slots=True)
class Timed:
    """One stream: seconds until its first chunk and until its end, and how many chunks it had."""

    first: float
    whole: float
    chunks: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=40)
    parser.add_argument("--delay", type=float, default=0.25, help="seconds between two tokens")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, simulated(asked.tokens, asked.delay) as server:
        database = f"sqlite:///{Path(folder)}/bench.db"
        upgrade(Settings.read({}, database))
        with served(database) as (url, token, process):
            register(url, token, server, asked.streams)
            asyncio.run(streams(url, token, 5))  # everything is loaded, the first connections are open
            idle = resident(process)
            through, most = asyncio.run(measured(url, token, asked.streams, process))
        direct = asyncio.run(streams(server, "", asked.streams))
    show("direct", direct)
    show("through serve", through)
    per_stream = (most - idle) / asked.streams
    print(f"memory: {idle:.0f} KB before, {most:.0f} KB at most, {per_stream:.1f} KB a stream (bar {BAR:g})")


async def measured(url: str, token: str, count: int, process: int) -> tuple[list[Timed], float]:
    """The streams, and the most memory that the process had meanwhile."""
    running = asyncio.create_task(streams(url, token, count))
    most = resident(process)
    while not running.done():
        await asyncio.sleep(0.1)
        most = max(most, resident(process))
    return await running, most


async def streams(url: str, token: str, count: int) -> list[Timed]:
    limits = httpx.Limits(max_connections=None)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=600, trust_env=False) as client:
        return list(await asyncio.gather(*(one(client) for _ in range(count))))


async def one(client: httpx.AsyncClient) -> Timed:
    started, first, chunks, last = time.perf_counter(), None, 0, b"{}"
    async with client.stream("POST", "/api/generate", json={"model": "alpha:latest", "prompt": "hi"}) as answer:
        answer.raise_for_status()
        async for chunk in answer.aiter_raw():
            first = first or time.perf_counter() - started
            chunks += 1
            last = chunk
    if first is None or json.loads(last.splitlines()[-1]).get("done") is not True:
        raise RuntimeError("a stream did not come to its end")
    return Timed(first, time.perf_counter() - started, chunks)


def show(what: str, timed: list[Timed]) -> None:
    firsts, wholes = [one.first * 1000 for one in timed], [one.whole for one in timed]
    rate = sum(one.chunks for one in timed) / max(wholes)
    print(
        f"{what}: {len(timed)} streams complete, first chunk p50 {percentile(firsts, 50):.0f} ms, "
        f"p99 {percentile(firsts, 99):.0f} ms, {rate:.0f} chunks/s, whole p50 {percentile(wholes, 50):.2f} s"
    )


def resident(process: int) -> float:
    """KB of memory that a process has now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    if found is None:
        raise RuntimeError("the process is not there")
    return float(found[1])


def register(url: str, token: str, server: str, streams: int) -> None:
    with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as client:
        new = {"name": "one", "url": server, "max_concurrent": streams + 10}
        client.post("/api/servers", json=new).raise_for_status()
        client.post("/api/discover").raise_for_status()


@contextmanager
def served(database: str) -> Iterator[tuple[str, str, int]]:
    """The URL, the token and the process of an `ollama-admin serve`."""
    token = secrets.token_hex(16)
    environ = os.environ | {"OLLAMA_ADMIN_DATABASE_URL": database, "OLLAMA_ADMIN_API_TOKEN": token}
    command = [sys.executable, "-m", "ollama_admin", "serve", "--port", "0"]
    with tempfile.TemporaryFile() as log, subprocess.Popen(command, env=environ, stderr=log) as process:
        try:
            yield listening(log.fileno()), token, process.pid
        finally:
            process.terminate()


def listening(log: int) -> str:
    while True:
        found = re.search(rb"listening on (http://\S+),", os.pread(log, 65536, 0))
        if found:
            return found[1].decode()
        time.sleep(0.05)


@contextmanager
def simulated(tokens: int, delay: float) -> Iterator[str]:
    """The URL of a SIMULATED server in a process of its own."""
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=_serve, args=(there, tokens, delay), daemon=True)
    process.start()
    try:
        yield here.recv()
    finally:
        here.send(None)
        process.join()


def _serve(pipe: Connection, tokens: int, delay: float) -> None:
    async def serve() -> None:
        says = " ".join(f"word{number}" for number in range(tokens))
        async with SimulatedServer(SimulatedModel("alpha", says=says), token_delay=delay) as server:
            pipe.send(server.url)
            await asyncio.to_thread(pipe.recv)

    asyncio.run(serve())


if __name__ == "__main__":
    main()
