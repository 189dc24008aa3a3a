"""Slots that a process keeps after a request: what they save, and when they go back."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from ollama_admin.client import Client
from ollama_admin.domain.servers import Server
from ollama_admin.errors import ServerBusy, ServerInactive
from ollama_admin.services import heartbeat
from ollama_admin.services.leases import LeaseTimes
from ollama_admin.services.slots import Slots
from ollama_admin.store import contention
from tests.slot_rows import SECONDS, SlotRows, eventually

LONG = float(SECONDS)
LASTING = LeaseTimes(ttl=60, renew=50, keep=3600)  # nothing happens by itself


@pytest.fixture
def rows(database_url: str) -> Iterator[SlotRows]:
    opened = SlotRows(database_url)
    yield opened
    opened.close()


@asynccontextmanager
async def process(url: str, times: LeaseTimes | None = None) -> AsyncIterator[tuple[Client, Slots]]:
    """What one process has."""
    async with Client(
        database_url=url, environ={}, on_note=lambda _: None, lease_times=times
    ) as client:
        yield client, client._resources.slots


@pytest.fixture
async def mine(database_url: str) -> AsyncIterator[tuple[Client, Slots]]:
    async with process(database_url, LASTING) as opened:
        yield opened


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Slots]:
    async with process(database_url, LASTING) as (_, slots):
        yield slots


async def add(client: Client, limit: int = 1, name: str = "gpu") -> Server:
    return await client.servers.add(name=name, url=f"http://{name}", max_concurrent=limit)


async def use(slots: Slots, server: Server, times: int = 1) -> None:
    for _ in range(times):
        async with await slots.first_free([server], wait=0):
            pass


@dataclass
class Statements:
    """How many transactions the engines of this process began."""

    count: int = 0


@pytest.fixture
def statements() -> Iterator[Statements]:
    counted, lock = Statements(), threading.Lock()

    def count(*_: object) -> None:
        with lock:
            counted.count += 1

    event.listen(Engine, "before_cursor_execute", count)
    yield counted
    event.remove(Engine, "before_cursor_execute", count)


# without contention


async def test_thousand_requests_ask_the_database_as_often_as_one(
    mine: tuple[Client, Slots], statements: Statements
) -> None:
    client, slots = mine
    server = await add(client)
    statements.count = 0
    await use(slots, server)
    once = statements.count
    assert 0 < once < 15
    slots._heartbeat.stop()  # nobody looks who waits elsewhere
    await use(slots, server, times=1000)
    assert statements.count == once


async def test_kept_slot_is_taken_in_one_step_of_the_loop(mine: tuple[Client, Slots]) -> None:
    client, slots = mine
    server = await add(client)
    await use(slots, server)
    work = use(slots, server, times=3)
    with pytest.raises(StopIteration):
        work.send(None)


async def test_many_who_come_at_once_ask_once(
    mine: tuple[Client, Slots], statements: Statements
) -> None:
    client, slots = mine
    server = await add(client, limit=32)
    await use(slots, server)
    statements.count = 0
    leases = await asyncio.gather(*(slots.first_free([server], wait=0) for _ in range(32)))
    assert {lease.slot for lease in leases} == set(range(1, 33))
    assert statements.count < 15
    assert slots.in_flight(server.id) == 32
    with pytest.raises(ServerBusy):
        await slots.first_free([server], wait=0)


async def test_looks_at_who_waits_do_not_grow_with_the_requests(
    mine: tuple[Client, Slots], statements: Statements, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "LOOK", 0.01)
    client, slots = mine
    server = await add(client)
    await use(slots, server)
    looks = 0
    for _ in range(3):  # a thousand requests between two looks
        statements.count = 0
        await use(slots, server, times=1000)
        await eventually(lambda: statements.count > 0)
        looks += statements.count
    assert looks < 30


# given back


async def test_kept_slot_goes_back_when_nobody_needs_it(database_url: str, rows: SlotRows) -> None:
    async with process(database_url) as (client, slots):
        server = await add(client)
        async with await slots.first_free([server], wait=0) as first:
            pass
        assert rows.live() == 1
        assert not first.is_trusted
        await eventually(lambda: rows.live() == 0)
        await eventually(lambda: not slots._tasks)
        async with await slots.first_free([server], wait=0) as again:
            assert again.token == 2


async def test_closed_client_gives_back_what_is_kept(database_url: str, rows: SlotRows) -> None:
    async with process(database_url) as (client, slots):
        await use(slots, await add(client))
        assert rows.live() == 1
    assert rows.live() == 0


async def test_kept_slot_goes_to_a_process_that_waits(
    mine: tuple[Client, Slots], other: Slots
) -> None:
    client, slots = mine
    server = await add(client)
    await use(slots, server)
    async with await other.first_free([server], wait=LONG) as lease:
        assert lease.token == 2
        assert slots.in_flight(server.id) == 0


async def test_ended_request_leaves_its_slot_to_who_has_waited_longer_elsewhere(
    mine: tuple[Client, Slots], other: Slots, rows: SlotRows
) -> None:
    """Though others wait in this process."""
    client, slots = mine
    server = await add(client)
    order: list[str] = []

    async def ask(process: Slots, name: str) -> None:
        async with await process.first_free([server], wait=LONG):
            order.append(name)

    running = await slots.first_free([server], wait=0)
    elsewhere = asyncio.create_task(ask(other, "elsewhere"))
    await eventually(lambda: other.waiting(server.id) == 1)
    await eventually(lambda: told(rows) == 1)
    here = asyncio.create_task(ask(slots, "here"))
    await eventually(lambda: told(rows) == 2)
    await eventually(lambda: bool(slots._pools[server.id].elsewhere))
    await running.release()
    await asyncio.gather(elsewhere, here)
    assert order == ["elsewhere", "here"]
    await eventually(lambda: told(rows) == 0)


async def test_newcomer_leaves_a_free_slot_to_who_waits_elsewhere(
    mine: tuple[Client, Slots], other: Slots, rows: SlotRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, slots = mine
    server = await add(client, limit=2)
    with rows.transaction() as connection:
        contention.tell(connection, server.id, holder="somebody", count=1, waited=1.0)
    async with await slots.first_free([server], wait=0):
        with pytest.raises(ServerBusy):  # one of the two is for somebody
            await other.first_free([server], wait=0)
    with rows.transaction() as connection:
        contention.forget(connection, server.id, holder="somebody")
    await use(other, server)


async def test_who_waits_and_is_gone_keeps_nobody_from_a_slot_for_long(
    mine: tuple[Client, Slots], rows: SlotRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contention, "LIFE", 0.5)
    client, slots = mine
    server = await add(client)
    with rows.transaction() as connection:
        contention.tell(connection, server.id, holder="somebody", count=1, waited=1.0)
    with pytest.raises(ServerBusy):
        await slots.first_free([server], wait=0)
    assert await slots.first_free([server], wait=LONG)


def told(rows: SlotRows) -> int:
    """How many processes say that they wait."""
    with rows.transaction() as connection:
        return int(connection.exec_driver_sql("SELECT count(*) FROM ollama_waiting").scalar() or 0)


# the limit


async def test_lowered_limit_takes_back_what_is_kept_at_the_next_heartbeat(
    mine: tuple[Client, Slots], rows: SlotRows
) -> None:
    client, slots = mine
    server = await add(client, limit=4)
    leases = [await slots.first_free([server], wait=0) for _ in range(4)]
    await leases[0].release()
    await client.servers.update(1, max_concurrent=2)
    await slots._heartbeat.beat()
    await eventually(lambda: rows.live() == 3)
    await leases[1].release()
    assert rows.live() == 2
    with pytest.raises(ServerBusy):
        await slots.first_free([server], wait=0)
    await leases[2].release()
    async with await slots.first_free([server], wait=0):
        assert rows.live() == 2


async def test_raised_limit_is_there_at_once(mine: tuple[Client, Slots]) -> None:
    client, slots = mine
    server = await add(client)
    await slots.first_free([server], wait=0)
    await client.servers.update(1, max_concurrent=2)
    await slots.first_free([server], wait=0)


async def test_kept_slot_of_an_inactive_server_is_given_to_nobody_after_the_next_heartbeat(
    mine: tuple[Client, Slots], rows: SlotRows
) -> None:
    client, slots = mine
    server = await add(client)
    await use(slots, server)
    await client.servers.disable(1)
    await slots._heartbeat.beat()
    with pytest.raises(ServerInactive):
        await slots.first_free([server], wait=0)
    async with await slots.first_free([server], wait=LONG, even_inactive=True):
        pass
    await eventually(lambda: rows.live() == 0)


async def test_kept_slot_of_a_removed_server_is_forgotten(
    mine: tuple[Client, Slots],
) -> None:
    client, slots = mine
    server = await add(client)
    await use(slots, server)
    await client.servers.remove(1, force=True)
    await slots._heartbeat.beat()
    assert not slots._pools[server.id].held


# trust


async def test_kept_slot_is_not_used_when_it_may_be_over(
    mine: tuple[Client, Slots], other: Slots, rows: SlotRows
) -> None:
    """A process that stood still for longer than a life: somebody else has the slot."""
    client, slots = mine
    server = await add(client)
    await use(slots, server)
    [held] = slots._pools[server.id].held
    held.renewed -= 60
    held.trusted_until -= 60
    rows.expire(1)
    async with await other.first_free([server], wait=0):
        with pytest.raises(ServerBusy):
            await slots.first_free([server], wait=0)
        await slots._heartbeat.beat()
        assert held.lost
        assert rows.live() == 1


async def test_token_that_a_database_gives_out_twice_is_the_later_ones(
    mine: tuple[Client, Slots], other: Slots, rows: SlotRows
) -> None:
    """As one that was restored from an earlier state does."""
    client, slots = mine
    server = await add(client)
    first = await slots.first_free([server], wait=0)
    with rows.transaction() as connection:
        connection.exec_driver_sql(
            "UPDATE ollama_slots SET holder = NULL, expires_at = 0, token = 0"
        )
    second = await other.first_free([server], wait=0)
    assert second.token == first.token
    await slots._heartbeat.beat()
    assert (first.lost, second.is_trusted) == (True, True)
    await first.release()
    assert rows.live() == 1


# turns


async def test_keys_have_turns_by_their_weights(mine: tuple[Client, Slots]) -> None:
    client, slots = mine
    server = await add(client)
    running = await slots.first_free([server], wait=0)
    order: list[str] = []

    async def ask(key: str, weight: int) -> None:
        async with await slots.first_free([server], wait=LONG, key=key, weight=weight):
            order.append(key)

    tasks = [asyncio.create_task(ask("flood", 1)) for _ in range(20)]
    tasks += [asyncio.create_task(ask("heavy", 2)) for _ in range(10)]
    tasks += [asyncio.create_task(ask("light", 1)) for _ in range(5)]
    await eventually(lambda: slots.waiting(server.id) == 35)
    await running.release()
    await asyncio.gather(*tasks)
    assert Counter(order[:20]) == {"heavy": 10, "light": 5, "flood": 5}
    for start in range(0, 20, 4):  # spread out
        assert Counter(order[start : start + 4]) == {"heavy": 2, "light": 1, "flood": 1}


async def test_note_says_how_many_wait_already(database_url: str) -> None:
    notes: list[str] = []
    async with process(database_url, LASTING) as (client, slots):
        server = await add(client)
        running = await slots.first_free([server], wait=0)
        tasks = []
        for count in (1, 2):
            asking = slots.first_free([server], wait=LONG, note=notes.append)
            tasks.append(asyncio.create_task(asking))
            await eventually(lambda count=count: slots.waiting(server.id) == count)
        assert [note.split("; ")[1] for note in notes] == [
            "waiting up to 30 s for a slot",
            "waiting up to 30 s for a slot, behind 1 other request",
        ]
        await running.release()
        await (await tasks[0]).release()
        await (await tasks[1]).release()


async def test_processes_that_contend_take_turns(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for more than three times as many turns as are the mean, where requests take
    longer than it takes until a process looks who waits elsewhere.
    """
    monkeypatch.setattr(heartbeat, "LOOK", 0.005)
    turns = 0
    waits: list[int] = []

    async def ask(slots: Slots, server: Server) -> None:
        nonlocal turns
        for _ in range(6):
            came = turns
            async with await slots.first_free([server], wait=LONG):
                waits.append(turns - came)
                turns += 1
                await asyncio.sleep(0.05)

    async with (
        process(database_url, LASTING) as (client, one),
        process(database_url, LASTING) as (_, two),
        process(database_url, LASTING) as (_, three),
    ):
        server = await add(client)
        async with asyncio.TaskGroup() as group:
            for slots in (one, two, three):
                for _ in range(2):
                    group.create_task(ask(slots, server))
    assert len(waits) == 36
    assert max(waits) <= 3 * max(1.0, sum(waits) / len(waits)), waits
