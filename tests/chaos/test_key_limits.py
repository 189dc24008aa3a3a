"""Three `serve` processes that hold the limits of keys together, of which one is killed and started
again while the database, too, is away for a moment.
"""

import asyncio
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from ollama_admin.client import Client
from ollama_admin.domain.keys import IssuedKey
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import SimulatedServer
from tests.chaos.slots import SAYS, Running
from tests.cli.running import Process
from tests.conftest import migrate
from tests.postgres import OwnPostgresServer
from tests.slot_rows import eventually

GATEWAYS = 3
TASKS = 4  # that ask each gateway for each key
AT_ONCE = 4
A_MINUTE = 300
A_DAY = 2_000  # tokens
TOKENS = 10  # at most, of one question and its answer
MINUTE = 60  # seconds

Move = Callable[[], None]

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]


@dataclass(slots=True)
class Asked:
    """What became of the requests with one key: answers by their minute since 1970, the tokens of
    questions and answers, refusals.
    """

    secret: str
    answered: Counter[int] = field(default_factory=Counter)
    tokens: int = 0
    refused: int = 0
    wrong: list[str] = field(default_factory=list)

    def take(self, answer: httpx.Response) -> None:
        if answer.status_code == 200:
            said = answer.json()
            self.answered[int(time.time() // MINUTE)] += 1
            self.tokens += said["prompt_eval_count"] + said["eval_count"]
        elif answer.status_code == 429 and answer.json()["code"] == "limit_reached":
            self.refused += 1
        else:
            self.wrong.append(f"{answer.status_code} {answer.text}")


class Gateway:
    """A `serve` process that can be killed and started again."""

    def __init__(self, database_url: str) -> None:
        self._environ = os.environ | {
            "OLLAMA_ADMIN_DATABASE_URL": database_url,
            "OLLAMA_ADMIN_API_TOKEN": "token-of-the-limits",
        }
        self.url = ""
        self.start()

    def start(self) -> None:
        self._process = Process("serve", "--port", "0", environ=self._environ)
        self._process.until_stderr(b"/docs\n")
        found = re.search(rb"listening on (http://\S+),", self._process.stderr_so_far)
        assert found is not None
        self.url = found[1].decode()

    def kill(self) -> None:
        self.url = ""
        self._process.close()


@contextmanager
def gateways(database_url: str) -> Iterator[list[Gateway]]:
    with ExitStack() as stack:
        started = [Gateway(database_url) for _ in range(GATEWAYS)]
        for gateway in started:
            stack.callback(gateway.kill)
        yield started


@asynccontextmanager
async def asking(gateways: list[Gateway], keys: list[Asked], model: str) -> AsyncIterator[None]:
    """Programs that ask every gateway with every key all the time; leaving ends them."""
    is_over = asyncio.Event()

    async def ask(client: httpx.AsyncClient, gateway: Gateway, asked: Asked) -> None:
        headers = {"Authorization": f"Bearer {asked.secret}"}
        body = {"model": model, "prompt": "hi", "stream": False}
        while not is_over.is_set():
            try:
                url = f"{gateway.url}/api/generate"
                asked.take(await client.post(url, json=body, headers=headers))
            except httpx.HTTPError:
                pass  # it was killed, or is not there yet
            await asyncio.sleep(0.02)

    client = httpx.AsyncClient(timeout=100, trust_env=False)
    async with client, asyncio.TaskGroup() as group:
        for gateway in gateways:
            for asked in keys:
                for _ in range(TASKS):
                    group.create_task(ask(client, gateway, asked))
        yield
        is_over.set()


async def with_key(url: str, server: SimulatedServer, **limits: int) -> Asked:
    """The database at this URL gets the server, and a key with these limits."""
    async with Client(database_url=url, environ={}) as client:
        if not await client.servers.list():
            await client.servers.add(name="gpu", url=server.url, max_concurrent=64)
            await client.discover()
        made: IssuedKey = await client.keys.add(name="-".join(limits), **limits)
    return Asked(made.text.reveal())


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: os.PathLike[str]) -> Iterator[tuple[str, Move]]:
    """A database's URL, and what takes the database away for a moment."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/one.db"
        migrate(url)
        yield url, lambda: None  # a file is always there
        return
    with OwnPostgresServer(durable=True) as server:
        url = server.create_database()
        migrate(url)

        def restart() -> None:
            server.kill()
            server.start()

        yield url, restart


async def test_requests_of_a_minute_hold_within_a_twentieth(place: tuple[str, Move]) -> None:
    url, restart = place
    async with SimulatedServer(SimulatedModel("alpha", says=SAYS)) as server:
        asked = await with_key(url, server, requests_per_minute=A_MINUTE)
        with gateways(url) as processes:
            async with asking(processes, [asked], "alpha"):
                first = int(time.time() // MINUTE) + 1  # the minute that is asked in whole
                await eventually(lambda: asked.answered[first] > A_MINUTE // 4, seconds=90)
                await asyncio.to_thread(processes[0].kill)
                await asyncio.to_thread(restart)
                await asyncio.to_thread(processes[0].start)
                await eventually(lambda: time.time() // MINUTE > first, seconds=90)
    assert asked.wrong == []
    assert asked.refused > 0
    assert A_MINUTE * 0.95 <= asked.answered[first] <= A_MINUTE * 1.05


async def test_requests_at_once_hold_exactly(place: tuple[str, Move]) -> None:
    url, restart = place
    running = Running()
    async with SimulatedServer(
        SimulatedModel("alpha", says=SAYS), before_token=running, token_delay=0.02
    ) as server:
        asked = await with_key(url, server, max_concurrent=AT_ONCE)
        with gateways(url) as processes:
            async with asking(processes, [asked], "alpha"):
                for move in (processes[0].kill, restart, processes[0].start):
                    before = running.ended
                    await eventually(lambda: running.ended > before + 100, seconds=60)  # noqa: B023
                    await asyncio.to_thread(move)
                before = running.ended
                await eventually(lambda: running.ended > before + 100, seconds=60)
    assert asked.wrong == []
    assert running.peak == AT_ONCE


async def test_tokens_of_a_day_hold_but_for_what_is_in_flight(place: tuple[str, Move]) -> None:
    """Answers that run when the last tokens are reserved may use more than was reserved; what a
    process had taken and not spent when it was killed is lost.
    """
    url, restart = place
    async with SimulatedServer(SimulatedModel("alpha", says=SAYS)) as server:
        asked = await with_key(url, server, tokens_per_day=A_DAY)
        with gateways(url) as processes:
            async with asking(processes, [asked], "alpha"):
                await eventually(lambda: asked.tokens > A_DAY // 4, seconds=60)
                await asyncio.to_thread(processes[0].kill)
                await asyncio.to_thread(restart)
                await asyncio.to_thread(processes[0].start)
                before = asked.refused
                await eventually(lambda: asked.refused > before + 500, seconds=90)
    in_flight = GATEWAYS * TASKS * TOKENS
    assert asked.wrong == []
    assert A_DAY - in_flight - A_DAY // 20 <= asked.tokens <= A_DAY + in_flight
