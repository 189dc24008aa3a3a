"""One answer of many tokens through `Client.generate`, against the same stream read by bare httpx:
CPU time.
"""

import asyncio
import json
import logging
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator

import httpx

from ollama_admin.client import Client
from tests.benchmarks.fleet import simulated
from tests.benchmarks.measuring import BenchmarkError, Row, Told, median

ROUNDS = 15
WARM_UP = 5
TOKENS = 500
DELAY = 0.001  # seconds between two tokens
BAR = 1.5
REST = 0.05  # seconds in which a receipt is written, which is a part of ours


def rows(rounds: int | None) -> Iterator[Told]:
    logging.disable()
    for what, delay, bar in (("one at a time", DELAY, BAR), ("all sent at once", 0, None)):
        words = [f"word{number}" for number in range(TOKENS)]
        with simulated(words, token_delay=delay) as url, tempfile.TemporaryDirectory() as folder:
            ours, bare = asyncio.run(
                _measured(f"sqlite:///{folder}/bench.db", url, rounds or ROUNDS)
            )
        work = f"Client.generate of {TOKENS} tokens, {what}"
        yield Row(work=work, unit="ms CPU", ours=median(ours), floor=median(bare), bar=bar)


async def _measured(database_url: str, url: str, rounds: int) -> tuple[list[float], list[float]]:
    """Both kinds in turn on one loop, in ms of this process; the simulated server is another
    one.
    """
    ours, bare = [], []
    async with (
        Client(database_url=database_url, environ={}) as client,
        httpx.AsyncClient(trust_env=False) as plain,
    ):
        await client.servers.add(name="one", url=url)
        await client.discover()
        for _ in range(WARM_UP + rounds):
            ours.append(await _cpu(lambda: _generate(client)))
            bare.append(await _cpu(lambda: _read(plain, url)))
    return ours[WARM_UP:], bare[WARM_UP:]


async def _cpu(work: Callable[[], Awaitable[None]]) -> float:
    began = time.process_time()
    await work()
    return (time.process_time() - began) * 1000


async def _generate(client: Client) -> None:
    reply = await client.generate(prompt="hi", model="alpha")
    if not reply.verified or len(reply.response.split()) != TOKENS:
        raise BenchmarkError("the answer was not verified, or not whole")
    await asyncio.sleep(REST)


async def _read(plain: httpx.AsyncClient, url: str) -> None:
    body = {
        "model": "alpha:latest",
        "prompt": "hi",
        "stream": True,
        "truncate": False,
        "shift": False,
    }
    async with plain.stream("POST", f"{url}/api/generate", json=body) as response:
        records = [json.loads(line) async for line in response.aiter_lines()]
    if len(records) != TOKENS + 1:
        raise BenchmarkError("the stream was not whole")
