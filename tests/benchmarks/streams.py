"""Many slow streams at once through one `ollama-admin serve`, and the same streams taken
directly.
"""

import asyncio
import json
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
from pathlib import Path

import httpx

from ollama_admin.settings import Settings
from ollama_admin.store.migrations import upgrade
from tests.benchmarks.fleet import simulated
from tests.benchmarks.measuring import BenchmarkError, Note, Row, Told, percentile

STREAMS = 200
TOKENS = 20
DELAY = 0.25  # seconds between two tokens
PATIENCE = 30.0  # seconds until `serve` listens
FEW = 5  # streams after which everything is loaded, and the first connections are open
BAR = 100  # KB of memory that a stream may take


@dataclass(frozen=True, slots=True)
class Timed:
    """One stream: seconds until its first chunk and until its end, and how many chunks it had."""

    first: float
    whole: float
    chunks: int


def rows(rounds: int | None) -> Iterator[Told]:
    """All streams run at once, so that `rounds` means nothing here."""
    words = [f"word{number}" for number in range(TOKENS)]
    with tempfile.TemporaryDirectory() as folder, simulated(words, token_delay=DELAY) as server:
        database = f"sqlite:///{folder}/bench.db"
        upgrade(Settings.read({}, database))
        with served(database) as (url, token, process):
            register(url, token, server, STREAMS)
            asyncio.run(streams(url, token, FEW))
            idle = resident(process)
            through, most = asyncio.run(measured(url, token, STREAMS, process))
        direct = asyncio.run(streams(server, "", STREAMS))
    what = f"serve: {STREAMS} streams at once"
    yield Row(work=f"{what}, memory of one", unit="KB", ours=(most - idle) / STREAMS, bar=BAR)
    ours, floor = ([one.first * 1000 for one in timed] for timed in (through, direct))
    yield Row(
        work=f"{what}, first chunk p50",
        unit="ms",
        ours=percentile(ours, 50),
        floor=percentile(floor, 50),
    )
    yield Note(f"{what}: {idle:.0f} KB before, {most:.0f} KB at most")
    yield Note(f"{what}: {figures(through)}; direct {figures(direct)}")


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
    async with httpx.AsyncClient(
        base_url=url, headers=headers, limits=limits, timeout=600, trust_env=False
    ) as client:
        return list(await asyncio.gather(*(one(client) for _ in range(count))))


async def one(client: httpx.AsyncClient) -> Timed:
    started, first, chunks, last = time.perf_counter(), None, 0, b"{}"
    async with client.stream(
        "POST", "/api/generate", json={"model": "alpha:latest", "prompt": "hi"}
    ) as answer:
        answer.raise_for_status()
        async for chunk in answer.aiter_raw():
            first = first or time.perf_counter() - started
            chunks += 1
            last = chunk
    if first is None or json.loads(last.splitlines()[-1]).get("done") is not True:
        raise BenchmarkError("a stream did not come to its end")
    return Timed(first, time.perf_counter() - started, chunks)


def figures(timed: list[Timed]) -> str:
    firsts, wholes = [one.first * 1000 for one in timed], [one.whole for one in timed]
    rate = sum(one.chunks for one in timed) / max(wholes)
    first = percentile(firsts, 99)
    return (
        f"first chunk p99 {first:.0f} ms, {rate:.0f} chunks/s, whole p50 "
        f"{percentile(wholes, 50):.2f} s"
    )


def resident(process: int) -> float:
    """KB of memory that a process has now."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process}/status").read_text())
    if found is None:
        raise BenchmarkError("the process is not there")
    return float(found[1])


def register(url: str, token: str, server: str, streams: int) -> None:
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False
    ) as client:
        new = {"name": "one", "url": server, "max_concurrent": streams + 10}
        client.post("/api/servers", json=new).raise_for_status()
        client.post("/api/discover").raise_for_status()


@contextmanager
def served(database: str, *words: str) -> Iterator[tuple[str, str, int]]:
    """The URL, the token and the process of an `ollama-admin serve`; `words` are more options."""
    token = secrets.token_hex(16)
    environ = os.environ | {"OLLAMA_ADMIN_DATABASE_URL": database, "OLLAMA_ADMIN_API_TOKEN": token}
    command = [sys.executable, "-m", "ollama_admin", "serve", "--port", "0", *words]
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(command, env=environ, stderr=log) as process,
    ):
        try:
            yield listening(log.fileno()), token, process.pid
        finally:
            process.terminate()


def listening(log: int) -> str:
    """The URL that `serve` says it listens at."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = re.search(rb"listening on (http://\S+),", os.pread(log, 65536, 0))
        if found:
            return found[1].decode()
        time.sleep(0.05)
    raise BenchmarkError(f"serve did not listen: {os.pread(log, 65536, 0)!r}")
