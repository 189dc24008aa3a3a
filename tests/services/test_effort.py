"""What work takes, in statements, requests, connections and look-ups: what no clock is needed
for.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from sqlalchemy import Engine, event

from ollama_admin.client import Client
from ollama_admin.domain.servers import ServerStatus
from ollama_admin.errors import Conflict, InvalidInput
from ollama_admin.ollama import raw_http
from ollama_admin.services import tasks
from ollama_admin.services.tasks import Batches, WorkLimit, together
from ollama_admin.simulator.model import SimulatedModel
from tests.fake_ollama import FakeOllama

MODELS = tuple(SimulatedModel(f"model-{number}", build=str(number)) for number in range(6))
PATHS = ["/api/version", "/api/tags"]


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """What was sent to the database, in order, transactions left out."""
    found: list[str] = []

    def hear(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(
            ("BEGIN", "PRAGMA", "SELECT count(*) FROM sqlite_master", "SELECT to_regclass")
        ):
            found.append(statement)

    event.listen(Engine, "before_cursor_execute", hear)
    yield found
    event.remove(Engine, "before_cursor_execute", hear)


@pytest.fixture
async def fleet(client: Client) -> AsyncIterator[list[FakeOllama]]:
    """Five servers that hold the same models, known and not discovered yet."""
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(FakeOllama(*MODELS)) for _ in range(5)]
        for number, fake in enumerate(fakes):
            await client.servers.add(name=f"server-{number}", url=fake.url)
        yield fakes


async def test_first_discovery_opens_one_connection_to_each_server(
    client: Client, fleet: list[FakeOllama]
) -> None:
    await client.discover()
    assert [fake.connections for fake in fleet] == [1] * 5
    shown = [request.body["model"] for fake in fleet for request in fake.requests_to("/api/show")]  # type: ignore[index]
    assert sorted(shown) == [f"model-{number}:latest" for number in range(6)]
    assert [len(fake.requests_to("/api/show")) for fake in fleet].count(0) == 0  # shared out


async def test_second_discovery_takes_the_same_statements_however_many_models_there_are(
    client: Client, fleet: list[FakeOllama], statements: list[str]
) -> None:
    await client.discover()
    statements.clear()
    requests = [len(fake.requests) for fake in fleet]
    await client.discover()
    assert [len(fake.requests) - before for fake, before in zip(fleet, requests, strict=True)] == [
        2
    ] * 5
    assert [fake.connections for fake in fleet] == [1] * 5
    writes = [
        statement
        for statement in statements
        if "ollama_models" in statement and statement.startswith("UPDATE")
    ]
    assert 1 <= len(writes) <= 5
    assert not [statement for statement in statements if statement.startswith(("INSERT", "DELETE"))]
    reads = [statement for statement in statements if statement.startswith("SELECT")]
    # servers, pins and facts; at most two where each listing comes alone
    assert len(reads) <= 3 + 2 * 5


async def test_check_asks_each_server_once_over_the_connection_that_it_has(
    client: Client, fleet: list[FakeOllama]
) -> None:
    await client.servers.check()
    checks = await client.servers.check(all=True)
    assert {check.status for check in checks} == {ServerStatus.ONLINE}
    assert [([r.path for r in fake.requests], fake.connections) for fake in fleet] == [
        (["/api/version"] * 2, 1)
    ] * 5


async def test_a_host_is_looked_up_once_for_all_that_a_discovery_asks_it(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, look_up = [], socket.getaddrinfo

    def heard(host: Any, *args: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        looked.append(name)
        return look_up("127.0.0.1" if str(name).endswith(".test") else host, *args, **more)

    monkeypatch.setattr(socket, "getaddrinfo", heard)
    async with FakeOllama(*MODELS) as north, FakeOllama(*MODELS) as south:
        for name, fake in (("north", north), ("south", south)):
            await client.servers.add(name=name, url=f"http://{name}.test:{fake.port}")
        results = await client.discover()
        assert [result.error for result in results] == [None, None]
    assert sorted(name for name in looked if str(name).endswith(".test")) == [
        "north.test",
        "south.test",
    ]


async def test_generation_takes_two_requests_over_one_connection(
    client: Client, fleet: list[FakeOllama]
) -> None:
    await client.discover()
    asked = fleet[0]
    before = len(asked.requests)
    for _ in range(3):
        assert (await client.generate(prompt="hi", model="model-1")).verified
    assert [request.path for request in asked.requests[before:]] == [
        "/api/generate",
        "/api/tags",
    ] * 3
    # discovery has gone the fast way
    assert [fake.connections for fake in fleet] == [2] + [1] * 4


@pytest.mark.usefixtures("fleet")
async def test_generation_reads_nothing_of_servers_that_do_not_hold_the_name(
    client: Client, database_url: str, statements: list[str]
) -> None:
    """Two statements choose; one reads the limit, a slot is taken and given back by one each, and
    one writes the receipt.
    """
    await client.discover()
    async with Client(database_url=database_url, environ={}) as first:
        # makes the slot; closing waits for its receipt
        await first.generate(prompt="hi", model="model-1")
    async with Client(database_url=database_url, environ={}) as asking:
        await asking.servers.names()  # the schema is looked at once
        statements.clear()
        assert (await asking.generate(prompt="hi", model="model-1")).server.name == "server-0"
    told = [" ".join(statement.split()) for statement in statements]
    chosen = [statement for statement in told if statement.startswith("SELECT ollama_")]
    assert [statement.split()[1].split(".")[0] for statement in chosen] == [
        "ollama_servers",
        "ollama_models",
        "ollama_servers",
    ]
    assert "IN (SELECT ollama_models.server_id" in chosen[0]
    assert sum("UPDATE ollama_slots" in statement for statement in told) == 2
    assert sum("INSERT INTO ollama_receipts" in statement for statement in told) == 1


async def test_connections_to_servers_that_were_not_asked_for_long_are_closed(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_http, "IDLE_ORIGINS", 2)
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(FakeOllama(*MODELS)) for _ in range(4)]
        for number, fake in enumerate(fakes):
            await client.servers.add(name=f"server-{number}", url=fake.url)
            await client.servers.check([f"server-{number}"])
        assert len(client._resources.raw_http._pools) == 2
        await client.servers.check(["server-3"])
        await client.servers.check(["server-0"])
        assert [fake.connections for fake in fakes] == [2, 1, 1, 1]


# how many are at work at once


async def test_work_that_takes_long_makes_room_for_other_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "QUICK", 2)
    monkeypatch.setattr(tasks, "LONG", 0.01)
    begun, end = 0, asyncio.Event()
    limit = WorkLimit()

    async def slow() -> None:
        nonlocal begun
        async with limit.take():
            begun += 1
            if begun == 10:
                end.set()
            await end.wait()

    await asyncio.wait_for(together(slow() for _ in range(10)), 20)


async def test_no_more_quick_work_runs_at_once_than_the_limit() -> None:
    limit, running, most = WorkLimit(), 0, 0

    async def quick() -> None:
        nonlocal running, most
        async with limit.take():
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    await together(quick() for _ in range(200))
    assert most == tasks.QUICK


async def test_a_number_that_was_named_is_kept_however_long_it_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tasks, "LONG", 0.0)
    limit, running, most = WorkLimit(3), 0, 0

    async def slow() -> None:
        nonlocal running, most
        async with limit.take():
            running += 1
            most = max(most, running)
            for _ in range(5):
                await asyncio.sleep(0.001)
            running -= 1

    await together(slow() for _ in range(12))
    assert most == 3


# what is written at once


async def test_what_comes_in_while_a_batch_is_written_goes_into_the_next_up_to_its_limit() -> None:
    sizes = []

    async def write(items: list[int]) -> list[int]:
        sizes.append(len(items))
        await asyncio.sleep(0.001)
        return [item * 2 for item in items]

    batches = Batches[int, int](write)
    assert await together(batches.add(number) for number in range(100)) == [
        number * 2 for number in range(100)
    ]
    assert sizes == [1, 32, 32, 32, 3]


async def test_error_of_a_batch_is_raised_and_leaves_nobody_waiting() -> None:
    async def write(items: list[int]) -> list[int]:
        await asyncio.sleep(0)
        raise Conflict("no")

    batches = Batches[int, int](write)
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(
            *(batches.add(number) for number in range(5)), return_exceptions=True
        )
    assert {type(outcome) for outcome in outcomes} == {Conflict, asyncio.CancelledError}


async def test_an_item_that_cannot_be_stored_costs_the_others_nothing() -> None:
    async def write(items: list[int]) -> list[int]:
        await asyncio.sleep(0)
        if 3 in items:
            raise InvalidInput("no 3")
        return items

    batches = Batches[int, int](write)
    outcomes = await asyncio.gather(
        *(batches.add(number) for number in range(5)), return_exceptions=True
    )
    assert outcomes[:3] + outcomes[4:] == [0, 1, 2, 4]
    assert type(outcomes[3]) is InvalidInput


async def test_an_error_while_a_batch_is_written_one_by_one_leaves_nobody_waiting() -> None:
    """As when the database goes away just then, and the items that are left are in no batch."""

    async def write(items: list[int]) -> list[int]:
        await asyncio.sleep(0)
        if len(items) > 1:
            raise InvalidInput("one of them")
        if items == [2]:
            raise Conflict("no")
        return items

    batches = Batches[int, int](write)
    async with asyncio.timeout(20):
        outcomes = await asyncio.gather(
            *(batches.add(number) for number in range(5)), return_exceptions=True
        )
    assert outcomes[0] == 0
    assert {type(outcome) for outcome in outcomes[1:]} == {Conflict, asyncio.CancelledError}
