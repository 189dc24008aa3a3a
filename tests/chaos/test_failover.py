"""Two `serve` processes whose PostgreSQL is killed and fails over to its standby."""

import asyncio
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from ollama_admin.client import Client
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import SimulatedServer
from tests.chaos.slots import SAYS, Running
from tests.cli.running import Process
from tests.conftest import migrate
from tests.postgres import OwnPostgresServer
from tests.slot_rows import SlotRows, eventually
from tests.system.pgbouncer import pooled

TOKEN = "token-of-the-failover"
LIMITS = {"wide": 8, "narrow": 1}  # of the server that holds the model
TASKS = {"wide": 2, "narrow": 3}  # that ask for it, at each gateway: one meets no limit
STREAMS = 50
AT_ONCE = 30  # of them at the server, the others wait
MORE = 10  # answers of each gateway after the failover
PATIENCE = 100  # seconds for one answer

FailOver = Callable[[], None]

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]


class Asking:
    """Programs that ask two gateways all the time. `answered` counts by gateway and model."""

    def __init__(self, urls: list[str]) -> None:
        self.answered: Counter[tuple[str, str]] = Counter()
        self.refused: list[str] = []
        self.is_over = False
        self._urls = urls

    async def ask(self) -> None:
        async with (
            httpx.AsyncClient(
                headers={"Authorization": f"Bearer {TOKEN}"}, timeout=PATIENCE, trust_env=False
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            for url in self._urls:
                for model, count in TASKS.items():
                    for _ in range(count):
                        group.create_task(self._ask_for_ever(client, url, model))

    async def _ask_for_ever(self, client: httpx.AsyncClient, url: str, model: str) -> None:
        body = {"model": model, "prompt": "hi", "stream": False}
        while not self.is_over:
            answer = await client.post(f"{url}/api/generate", json=body)
            if answer.status_code == 200:
                self.answered[url, model] += 1
            else:
                self.refused.append(answer.text)

    async def go_on(self) -> None:
        """Wait until every gateway has answered more of both models."""
        before = self.answered.copy()
        everywhere = [(url, model) for url in self._urls for model in TASKS]
        await eventually(
            lambda: all(self.answered[one] >= before[one] + MORE for one in everywhere)
        )


@pytest.fixture
def pair() -> Iterator[tuple[OwnPostgresServer, OwnPostgresServer]]:
    """A primary and its standby, which has each grant before it is used."""
    with OwnPostgresServer() as primary, OwnPostgresServer(follows=primary) as standby:
        primary.wait_for_standby()
        yield primary, standby


@contextmanager
def gateway(database_url: str) -> Iterator[str]:
    """The URL of a `serve` process."""
    environ = os.environ | {
        "OLLAMA_ADMIN_DATABASE_URL": database_url,
        "OLLAMA_ADMIN_API_TOKEN": TOKEN,
    }
    process = Process("serve", "--port", "0", environ=environ)
    try:
        process.until_stderr(b"/docs\n")
        found = re.search(rb"listening on (http://\S+),", process.stderr_so_far)
        assert found is not None
        yield found[1].decode()
    finally:
        process.close()


def at(url: str, *ports: int) -> str:
    """The database of that name at other ports of this host, at the one that can be written to."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    hosts = ",".join(f"127.0.0.1:{port}" for port in ports)
    query = "target_session_attrs=read-write"
    return urlunsplit(parts._replace(netloc=f"{user}@{hosts}", query=query))


async def test_a_failover_costs_no_request_and_the_limit_holds(
    pair: tuple[OwnPostgresServer, OwnPostgresServer],
) -> None:
    primary, standby = pair
    url = primary.create_database()
    migrate(url)

    def fail_over() -> None:
        primary.kill()
        standby.promote()

    both = at(url, primary.port, standby.port)
    await failing_over(both, at(url, standby.port), fail_over)


@pytest.mark.system
async def test_a_failover_behind_pgbouncer_costs_no_request_and_the_limit_holds(
    pair: tuple[OwnPostgresServer, OwnPostgresServer],
) -> None:
    primary, standby = pair
    url = primary.create_database()
    migrate(url)
    with pooled(url) as pooler:

        def fail_over() -> None:
            primary.kill()
            standby.promote()
            pooler.lead_to(at(url, standby.port))

        await failing_over(pooler.url, at(url, standby.port), fail_over)


async def failing_over(url: str, rows_url: str, fail_over: FailOver) -> None:
    """`rows_url` leads to the database after the failover."""
    running = {model: Running() for model in LIMITS}
    with ExitStack() as stack:
        async with (
            SimulatedServer(
                SimulatedModel("wide", says=SAYS), before_token=running["wide"], token_delay=0.02
            ) as wide,
            SimulatedServer(
                SimulatedModel("narrow", says=SAYS),
                before_token=running["narrow"],
                token_delay=0.02,
            ) as narrow,
        ):
            async with Client(database_url=url, environ={}) as client:
                for name, server in (("wide", wide), ("narrow", narrow)):
                    await client.servers.add(name=name, url=server.url, max_concurrent=LIMITS[name])
                await client.discover()
            urls = [stack.enter_context(gateway(url)) for _ in range(2)]
            asking = Asking(urls)
            task = asyncio.create_task(asking.ask())
            await asking.go_on()
            await asyncio.to_thread(fail_over)
            await slots_are_granted(rows_url)
            await asking.go_on()
            asking.is_over = True
            await task
    assert asking.refused == []
    assert running["narrow"].peak == LIMITS["narrow"]
    assert running["wide"].peak <= LIMITS["wide"]


class Streaming:
    """Programs that have answers streamed all the time. `begun` counts those whose first piece came
    since `forget`, `whole` those that came to their end.
    """

    def __init__(self, urls: list[str]) -> None:
        self.begun = 0
        self.whole = 0
        self.wrong: list[str] = []
        self.is_over = False
        self._urls = urls

    async def ask(self) -> None:
        limits = httpx.Limits(max_connections=STREAMS)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with (
            httpx.AsyncClient(
                headers=headers, timeout=PATIENCE, limits=limits, trust_env=False
            ) as client,
            asyncio.TaskGroup() as group,
        ):
            for number in range(STREAMS):
                url = self._urls[number % len(self._urls)]
                group.create_task(self._ask_for_ever(client, url))

    async def _ask_for_ever(self, client: httpx.AsyncClient, url: str) -> None:
        body = {"model": "wide", "messages": [{"role": "user", "content": "hi"}]}
        while not self.is_over:
            pieces: list[dict[str, Any]] = []
            async with client.stream("POST", f"{url}/api/chat", json=body) as answer:
                async for line in answer.aiter_lines():
                    self.begun += not pieces
                    pieces.append(json.loads(line))
            text = "".join(piece["message"]["content"] for piece in pieces if "message" in piece)
            if text == SAYS and pieces[-1]["done"] is True and answer.status_code == 200:
                self.whole += 1
            else:
                self.wrong.append(f"{answer.status_code} {pieces}")

    def forget(self) -> None:
        self.begun = self.whole = 0


async def test_fifty_streams_outlive_a_failover_and_new_ones_begin_within_20_seconds(
    pair: tuple[OwnPostgresServer, OwnPostgresServer],
) -> None:
    primary, standby = pair
    url = primary.create_database()
    migrate(url)
    both = at(url, primary.port, standby.port)
    running = Running()
    model = SimulatedModel("wide", says=SAYS)
    with ExitStack() as stack:
        async with SimulatedServer(model, before_token=running, token_delay=0.1) as wide:
            async with Client(database_url=both, environ={}) as client:
                await client.servers.add(name="wide", url=wide.url, max_concurrent=AT_ONCE)
                await client.discover()
            streaming = Streaming([stack.enter_context(gateway(both)) for _ in range(2)])
            task = asyncio.create_task(streaming.ask())
            await eventually(lambda: streaming.whole >= STREAMS)
            await asyncio.to_thread(primary.kill)
            await asyncio.to_thread(standby.promote)
            streaming.forget()
            async with asyncio.timeout(20):
                await eventually(lambda: streaming.begun >= STREAMS)
            await eventually(lambda: streaming.whole >= STREAMS)
            streaming.is_over = True
            await task
    assert streaming.wrong == []
    assert running.peak == AT_ONCE


async def slots_are_granted(url: str) -> None:
    """Wait until the narrow server's slot goes from one gateway to the other."""
    rows = SlotRows(url)
    try:
        [before] = await asyncio.to_thread(rows.all, 2)
        await eventually(lambda: rows.all(2)[0].token > before.token)
    finally:
        rows.close()
