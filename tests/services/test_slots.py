"""Leases and queues of one process, beside those of another one on the same database."""

import asyncio
import gc
import os
import platform
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text

from ollama_admin.client import Client
from ollama_admin.domain.servers import Server
from ollama_admin.errors import DatabaseUnavailable, ServerBusy, ServerInactive, ServerNotFound
from ollama_admin.services import grants, leases, queues
from ollama_admin.services.leases import Held, Lease, LeaseTimes, uptime
from ollama_admin.services.slots import Slots
from ollama_admin.store.database import LEASE_THREADS
from ollama_admin.store.slots import LeaseKey, hold_off_leases
from tests.conftest import migrate
from tests.postgres import OwnPostgresServer
from tests.slot_rows import SECONDS, Row, SlotRows, eventually, renewed

FAST = LeaseTimes(ttl=2.0, renew=0.1, margin=0.5, keep=0)
LONG = float(SECONDS)  # to wait for what will happen


@pytest.fixture
def rows(database_url: str) -> Iterator[SlotRows]:
    opened = SlotRows(database_url)
    yield opened
    opened.close()


@pytest.fixture
async def client(database_url: str, notes: list[str]) -> AsyncIterator[Client]:
    """A client whose leases outlive a test: what is lost does not come back by itself. It keeps no
    slot after a request.
    """
    times = LeaseTimes(ttl=60, keep=0)
    async with Client(
        database_url=database_url, environ={}, on_note=notes.append, lease_times=times
    ) as opened:
        yield opened


@pytest.fixture
def slots(client: Client) -> Slots:
    return client._resources.slots


@pytest.fixture
async def fast(database_url: str, notes: list[str]) -> AsyncIterator[Slots]:
    """The slots of a process whose leases are short."""
    async with Client(
        database_url=database_url, environ={}, on_note=notes.append, lease_times=FAST
    ) as client:
        yield client._resources.slots


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Slots]:
    """The slots of another process."""
    async with Client(
        database_url=database_url,
        environ={},
        on_note=lambda _: None,
        lease_times=LeaseTimes(keep=0),
    ) as client:
        yield client._resources.slots


async def add(client: Client, name: str = "gpu-1", limit: int = 1) -> Server:
    return await client.servers.add(name=name, url=f"http://{name}", max_concurrent=limit)


def is_quiet(slots: Slots) -> bool:
    """Whether nobody waits, and nothing is asked for any more."""
    return all(pool.queue is None for pool in slots._pools.values())


async def steps(count: int = 5) -> None:
    """Let everything go on that can without the database."""
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def waiting(
    slots: Slots, notes: list[str], *servers: Server, wait: float = LONG, **how: Any
) -> AsyncIterator["asyncio.Task[Lease]"]:
    """A task that stands in the queues of the servers; cancelled at the end unless it is done."""
    before = len(notes)
    task = asyncio.create_task(slots.first_free(servers, wait=wait, **how))
    await eventually(lambda: len(notes) > before)
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


# without waiting


async def test_first_server_in_the_order_that_has_room_is_taken(
    client: Client, slots: Slots
) -> None:
    servers = [await add(client, name, limit) for name, limit in (("one", 1), ("two", 2))]
    leases = [await slots.first_free(servers, wait=0) for _ in range(3)]
    assert [(lease.server_id, lease.slot, lease.token) for lease in leases] == [
        (1, 1, 1),
        (2, 1, 1),
        (2, 2, 1),
    ]
    assert all(lease.is_trusted for lease in leases)
    with pytest.raises(ServerBusy) as refused:
        await slots.first_free(servers, wait=0)
    assert (
        refused.value.message
        == "all servers that could answer are at their limits: one (1), two (2)"
    )
    assert (refused.value.hint or "").endswith("server update one --max-concurrent N")
    assert [server.slots_in_use for server in await client.servers.list()] == [1, 2]


@pytest.mark.parametrize(("limit", "told"), [(1, "1 request"), (4, "4 requests")])
async def test_full_server_is_told_with_its_limit_and_what_to_do(
    client: Client, slots: Slots, limit: int, told: str
) -> None:
    server = await add(client, limit=limit)
    for _ in range(limit):
        await slots.first_free([server], wait=0)
    with pytest.raises(ServerBusy) as refused:
        await slots.first_free([server], wait=0)
    assert refused.value.message == f"server gpu-1 is at its limit of {told}"
    assert refused.value.hint == (
        "wait longer with --wait, or raise it: ollama-admin server update gpu-1 --max-concurrent N"
    )
    assert (refused.value.code, refused.value.exit_code) == ("server_busy", 6)


def test_nothing_runs_and_nobody_waits_at_a_server_that_was_never_asked(slots: Slots) -> None:
    assert (slots.in_flight(99), slots.waiting(99), slots.kept(99)) == (0, 0, 0)


async def test_row_of_a_slot_says_who_holds_it(
    client: Client, slots: Slots, rows: SlotRows
) -> None:
    await slots.first_free([await add(client)], wait=0)
    [row] = rows.all()
    assert (row.slot, row.token, row.is_live) == (1, 1, True)
    assert (row.holder or "").startswith(f"{platform.node()}:{os.getpid()}:")


async def test_limit_holds_for_two_processes(client: Client, slots: Slots, other: Slots) -> None:
    server = await add(client, limit=2)
    mine, theirs = (
        await slots.first_free([server], wait=0),
        await other.first_free([server], wait=0),
    )
    for process in (slots, other):
        with pytest.raises(ServerBusy):
            await process.first_free([server], wait=0)
    await theirs.release()
    async with await slots.first_free([server], wait=0) as again:
        assert (again.slot, again.token) == (theirs.slot, theirs.token + 1)
    await mine.release()
    assert (await client.servers.show(1)).slots_in_use == 0


async def test_server_disabled_or_removed_since_it_was_read_is_passed_over(
    client: Client, slots: Slots
) -> None:
    servers = [await add(client, name) for name in ("removed", "off", "on")]
    await client.servers.remove("removed")
    await client.servers.disable("off")
    assert (await slots.first_free(servers, wait=0)).server_id == 3
    with pytest.raises(ServerNotFound):
        await slots.first_free(servers[:2], wait=0)
    with pytest.raises(ServerInactive):
        await slots.first_free(servers[1:2], wait=LONG)
    assert (await slots.first_free(servers[1:2], wait=0, even_inactive=True)).server_id == 2


# waiting


async def test_slot_given_back_goes_to_the_one_who_waits(
    client: Client, slots: Slots, notes: list[str]
) -> None:
    server = await add(client)
    lease = await slots.first_free([server], wait=0)
    async with waiting(slots, notes, server) as task:
        assert notes == ["server gpu-1 is at its limit of 1 request; waiting up to 30 s for a slot"]
        await lease.release()
        got = await task
    assert (got.slot, got.token, got.is_trusted) == (1, 1, True)


async def test_slot_given_back_by_another_process_is_noticed(
    client: Client, slots: Slots, other: Slots, notes: list[str]
) -> None:
    server = await add(client)
    lease = await other.first_free([server], wait=0)
    async with waiting(slots, notes, server) as task:
        await lease.release()
        assert (await task).token == 2


async def test_slot_of_a_process_that_is_gone_is_noticed(
    client: Client, slots: Slots, other: Slots, notes: list[str], rows: SlotRows
) -> None:
    server = await add(client)
    await other.first_free([server], wait=0)
    async with waiting(slots, notes, server) as task:
        rows.expire(1)
        assert (await task).token == 2


async def test_hundred_wait_for_one_slot_and_get_it_in_the_order_in_which_they_came(
    client: Client, slots: Slots, notes: list[str]
) -> None:
    server = await add(client)
    lease = await slots.first_free([server], wait=0)
    served: list[int] = []

    async def ask(number: int) -> None:
        async with await slots.first_free([server], wait=LONG):
            served.append(number)

    tasks = []
    for number in range(100):
        tasks.append(asyncio.create_task(ask(number)))
        await eventually(lambda: len(notes) == len(tasks))
    await lease.release()
    await asyncio.gather(*tasks)
    assert served == list(range(100))


async def test_nobody_overtakes_those_who_wait(
    client: Client, slots: Slots, other: Slots, notes: list[str], rows: SlotRows
) -> None:
    server, second = await add(client), await add(client, "gpu-2")
    lease = await other.first_free([server], wait=0)
    async with waiting(slots, notes, server) as task:
        with rows.blocked():  # it is about to become free
            releasing = asyncio.create_task(lease.release())
            with pytest.raises(ServerBusy):
                await slots.first_free([server], wait=0)
        await releasing
        assert (await slots.first_free([server, second], wait=0)).server_id == 2
        assert (await task).server_id == 1


@pytest.mark.parametrize("freed", [0, 1])
async def test_who_waits_for_several_gets_the_first_that_is_free(
    client: Client, slots: Slots, notes: list[str], rows: SlotRows, freed: int
) -> None:
    servers = [await add(client, name) for name in ("one", "two")]
    leases = [await slots.first_free([server], wait=0) for server in servers]
    async with waiting(slots, notes, *servers) as task:
        await leases[freed].release()
        assert (await task).server_id == servers[freed].id
    await eventually(lambda: is_quiet(slots))  # nothing is asked for at the other one any more
    await leases[1 - freed].release()
    assert rows.live(servers[1 - freed].id) == 0
    assert (await slots.first_free([servers[1 - freed]], wait=0)).token == 2


async def test_two_leases_for_one_who_waits_leave_one_to_the_next(
    client: Client, slots: Slots, notes: list[str], rows: SlotRows
) -> None:
    servers = [await add(client, name) for name in ("one", "two")]
    leases = [await slots.first_free([server], wait=0) for server in servers]
    async with (
        waiting(slots, notes, *servers) as task,
        waiting(slots, notes, *servers) as next_task,
    ):
        await asyncio.gather(*(lease.release() for lease in leases))
        got = [await task, await next_task]
    assert {lease.server_id for lease in got} == {1, 2}
    for lease in got:
        await lease.release()
    await eventually(lambda: rows.live(1) + rows.live(2) == 0)


async def test_waiting_has_an_end(client: Client, slots: Slots, rows: SlotRows) -> None:
    server = await add(client)
    lease = await slots.first_free([server], wait=0)
    with pytest.raises(
        ServerBusy, match=r"^server gpu-1 is at its limit of 1 request; timed out after 0\.01 s$"
    ):
        await slots.first_free([server], wait=0.01)
    await lease.release()
    await eventually(lambda: is_quiet(slots))
    assert rows.live() == 0
    assert await slots.first_free([server], wait=0)


async def test_queue_has_an_end(
    client: Client, slots: Slots, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queues, "LONGEST", 2)
    servers = [await add(client, name) for name in ("one", "two")]
    for server in servers:
        await slots.first_free([server], wait=0)
    async with waiting(slots, notes, servers[0]), waiting(slots, notes, servers[0]):
        with pytest.raises(
            ServerBusy,
            match="server one is at its limit of 1 request, and too many requests are waiting",
        ):
            await slots.first_free(servers[:1], wait=LONG)
        async with waiting(slots, notes, *servers):
            pass  # there is room in the other queue


async def test_one_full_server_does_not_hold_up_another(
    client: Client, slots: Slots, notes: list[str]
) -> None:
    stuck, good = await add(client, "stuck"), await add(client, "good")
    await slots.first_free([stuck], wait=0)
    async with waiting(slots, notes, stuck) as one, waiting(slots, notes, stuck) as two:
        for _ in range(20):
            async with await slots.first_free([good], wait=0):
                pass
        assert not one.done()
        assert not two.done()


async def test_raised_limit_lets_in_who_waits(
    client: Client, slots: Slots, notes: list[str]
) -> None:
    server = await add(client)
    await slots.first_free([server], wait=0)
    async with waiting(slots, notes, server) as task:
        await client.servers.update(1, max_concurrent=2)
        assert (await task).slot == 2


async def test_lowered_limit_keeps_out_who_waits(
    client: Client, slots: Slots, notes: list[str]
) -> None:
    server = await add(client, limit=2)
    leases = [await slots.first_free([server], wait=0) for _ in range(2)]
    await client.servers.update(1, max_concurrent=1)
    async with waiting(slots, notes, server) as task:
        await leases[0].release()
        with pytest.raises(ServerBusy):
            await slots.first_free([server], wait=0)
        assert not task.done()
        await leases[1].release()
        assert (await task).slot == 1


@pytest.mark.parametrize(
    ("change", "error"), [("disable", ServerInactive), ("remove", ServerNotFound)]
)
async def test_server_that_is_gone_sends_away_who_waits_for_it_alone(
    client: Client, slots: Slots, notes: list[str], change: str, error: type[Exception]
) -> None:
    servers = [await add(client, name) for name in ("one", "two")]
    leases = [await slots.first_free([server], wait=0) for server in servers]
    async with (
        waiting(slots, notes, servers[0]) as alone,
        waiting(slots, notes, *servers) as several,
    ):
        if change == "disable":
            await client.servers.disable("one")
        else:
            await client.servers.remove("one", force=True)
        with pytest.raises(error):
            await alone
        await leases[1].release()
        assert (await several).server_id == 2


async def test_disabled_server_still_lets_in_who_may_use_it(
    client: Client, slots: Slots, notes: list[str]
) -> None:
    server = await add(client)
    lease = await slots.first_free([server], wait=0)
    async with (
        waiting(slots, notes, server) as one,
        waiting(slots, notes, server, even_inactive=True) as two,
    ):
        await client.servers.disable(1)
        with pytest.raises(ServerInactive):
            await one
        await lease.release()
        assert (await two).slot == 1


# leaving


async def test_who_leaves_the_queue_leaves_the_slot_to_the_next(
    client: Client, slots: Slots, notes: list[str]
) -> None:
    server = await add(client)
    lease = await slots.first_free([server], wait=0)
    async with waiting(slots, notes, server) as first, waiting(slots, notes, server) as second:
        first.cancel()
        await lease.release()
        assert (await second).slot == 1
        assert first.cancelled()


async def test_slot_granted_to_a_request_that_was_cancelled_is_given_back(
    client: Client, slots: Slots, rows: SlotRows
) -> None:
    """SQL runs in a thread that cannot be cancelled."""
    server = await add(client)
    with rows.blocked():
        task = asyncio.create_task(slots.first_free([server], wait=0))
        await eventually(lambda: bool(slots._tasks))
        await steps()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    await eventually(lambda: rows.all() == [Row(1, 1, None, False)])  # granted, and given back
    assert (await slots.first_free([server], wait=0)).token == 2


async def test_refusal_of_a_request_that_was_cancelled_is_nobodys_error(
    client: Client, slots: Slots, rows: SlotRows
) -> None:
    server = await add(client)
    await client.servers.remove(1)
    unheard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    with rows.blocked():
        task = asyncio.create_task(slots.first_free([server], wait=0))
        await eventually(lambda: bool(slots._tasks))
        await steps()
        task.cancel()
        await asyncio.wait([task])
    await eventually(lambda: not slots._tasks)
    await steps()
    gc.collect()
    assert unheard == []


async def test_slot_granted_while_the_last_one_leaves_the_queue_is_given_back(
    client: Client, slots: Slots, other: Slots, notes: list[str], rows: SlotRows
) -> None:
    server = await add(client)
    lease = await other.first_free([server], wait=0)
    async with waiting(slots, notes, server) as task:
        releasing = asyncio.create_task(lease.release())
        task.cancel()
    await releasing
    await eventually(lambda: is_quiet(slots))
    await eventually(lambda: rows.live() == 0)


@pytest.fixture
def rare_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    """For those who wait the database is asked an hour later."""
    monkeypatch.setattr(queues, "SHORT", 3600)
    monkeypatch.setattr(queues, "LONG", 3600)


async def queued(slots: Slots) -> queues.QueuedRequest:
    """The first in the queue of server 1, whose next question is far away."""
    await eventually(lambda: len(slots._tasks) == 2)  # the queue and the renewals
    queue = slots._pools[1].queue
    assert queue is not None
    return queue.oldest


def wake(slots: Slots) -> None:
    queue = slots._pools[1].queue
    assert queue is not None
    queue.wake()


async def acquired(slots: Slots) -> Lease:
    """One more slot of server 1."""
    lease = await slots._grants.one(slots._pools[1], even_inactive=False)
    assert lease is not None
    return lease


@pytest.mark.usefixtures("rare_questions")
async def test_slot_given_back_in_this_process_is_handed_on_at_once(
    client: Client, slots: Slots, notes: list[str]
) -> None:
    server = await add(client)
    lease = await slots.first_free([server], wait=0)
    async with waiting(slots, notes, server) as task:
        await queued(slots)
        await lease.release()
        assert (await task).held is lease.held


@pytest.mark.usefixtures("rare_questions")
async def test_slot_handed_to_a_request_in_the_moment_of_its_cancellation_is_given_back(
    client: Client, slots: Slots, notes: list[str], rows: SlotRows
) -> None:
    server = await add(client, limit=2)
    await client.servers.update(1, max_concurrent=1)
    await slots.first_free([server], wait=0)
    async with waiting(slots, notes, server) as task:
        waiter = await queued(slots)
        await client.servers.update(1, max_concurrent=2)
        lease = await acquired(slots)
        assert waiter.accept(lease)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    await eventually(lambda: rows.live() == 1)
    assert not lease.is_trusted


@pytest.mark.usefixtures("rare_questions")
async def test_slot_handed_over_in_the_last_moment_of_waiting_is_taken(
    client: Client, slots: Slots, notes: list[str]
) -> None:
    server = await add(client)
    await slots.first_free([server], wait=0)
    async with waiting(slots, notes, server, wait=1) as task:
        waiter = await queued(slots)
        await client.servers.update(1, max_concurrent=2)
        lease = await acquired(slots)
        asyncio.get_running_loop().call_later(0.01, waiter.accept, lease)
        time.sleep(1)  # both are due when the loop goes on
        assert await task is lease


@pytest.mark.usefixtures("rare_questions")
async def test_slot_for_somebody_who_has_left_goes_to_the_next_or_back(
    client: Client, slots: Slots, notes: list[str], rows: SlotRows
) -> None:
    server = await add(client)
    lease = await slots.first_free([server], wait=0)
    async with waiting(slots, notes, server) as first, waiting(slots, notes, server) as second:
        await queued(slots)
        rows.expire(1)
        with rows.blocked():
            wake(slots)  # it asks, for both
            await steps()
            first.cancel()
        assert (await second).token == lease.token + 1
    async with waiting(slots, notes, server) as last:
        await queued(slots)
        rows.expire(1)
        with rows.blocked():
            wake(slots)  # it asks, for him who leaves now
            await steps()
            last.cancel()
    await eventually(lambda: is_quiet(slots))
    await eventually(lambda: rows.all() == [Row(1, 3, None, False)])


async def test_release_goes_on_when_its_caller_is_cancelled(
    client: Client, slots: Slots, rows: SlotRows
) -> None:
    server = await add(client)
    lease = await slots.first_free([server], wait=0)
    with rows.blocked():
        task = asyncio.create_task(lease.release())
        await steps()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
    await eventually(lambda: rows.live() == 0)


async def test_whatever_the_moment_of_leaving_no_slot_is_lost(
    client: Client, rows: SlotRows
) -> None:
    """Two hundred requests at two servers, each cancelled after a random number of steps of the
    loop, or never.
    """
    chance = random.Random(5)
    servers = [await add(client, name, 2) for name in ("one", "two")]
    done = 0

    async def request() -> None:
        nonlocal done
        some = chance.sample(servers, chance.choice((1, 2)))
        async with await client._resources.slots.first_free(some, wait=LONG) as lease:
            assert lease.is_trusted
            assert all(rows.live(server.id) <= 2 for server in servers)
            await steps(chance.randrange(20))
        done += 1

    async def leave(task: "asyncio.Task[None]") -> None:
        await steps(chance.choice((0, 1, 2, 5, 50, 500, 2000)))
        if chance.random() < 0.7:
            task.cancel()

    tasks = [asyncio.create_task(request()) for _ in range(200)]
    await asyncio.gather(*(leave(task) for task in tasks))
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ended} <= {type(None), asyncio.CancelledError}
    assert done >= sum(end is None for end in ended) > 0
    await eventually(lambda: not client._resources.slots._tasks)
    assert is_quiet(client._resources.slots)
    assert rows.live(1) + rows.live(2) == 0


# giving back


async def test_slot_is_given_back_once_however_often_it_is_asked_for(
    client: Client, slots: Slots, rows: SlotRows
) -> None:
    server = await add(client)
    lease = await slots.first_free([server], wait=0)
    await asyncio.gather(*(lease.release() for _ in range(5)))
    assert not lease.is_trusted
    again = await slots.first_free([server], wait=0)
    async with lease:
        await lease.release()
    assert again.is_trusted
    assert rows.live() == 1


async def test_slot_is_given_back_when_the_work_under_it_fails(
    client: Client, slots: Slots, rows: SlotRows
) -> None:
    server = await add(client)
    with pytest.raises(ZeroDivisionError):
        async with await slots.first_free([server], wait=0):
            raise ZeroDivisionError
    assert rows.live() == 0


async def test_closed_client_gives_back_what_is_held_and_sends_away_who_waits(
    database_url: str, notes: list[str], rows: SlotRows
) -> None:
    async with Client(database_url=database_url, environ={}, on_note=notes.append) as client:
        slots = client._resources.slots
        server = await add(client)
        lease = await slots.first_free([server], wait=0)
        task = asyncio.create_task(slots.first_free([server], wait=LONG))
        await eventually(lambda: len(notes) == 1)
    assert rows.live() == 0
    assert not slots._tasks
    with pytest.raises(RuntimeError, match="the client is closed"):
        await task
    with pytest.raises(RuntimeError, match="the client is closed"):
        await slots.first_free([server], wait=0)
    await lease.release()


async def test_slot_granted_while_the_client_closes_is_given_back(
    database_url: str, rows: SlotRows
) -> None:
    client = Client(database_url=database_url, environ={})
    server = await add(client)
    with rows.blocked():
        task = asyncio.create_task(client._resources.slots.first_free([server], wait=LONG))
        await eventually(lambda: bool(client._resources.slots._tasks))
        await steps()
        closing = asyncio.create_task(client.aclose())
        await steps()
    await closing
    with pytest.raises(RuntimeError, match="the client is closed"):
        await task
    assert rows.all() == [Row(1, 1, None, False)]


# renewal


async def held_by_a_task(
    slots: Slots, server: Server
) -> tuple[Lease, Callable[[], Coroutine[Any, Any, None]]]:
    """A lease that a running task owns, and what ends that task without giving it back."""
    given: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()

    async def own() -> None:
        given.set_result(await slots.first_free([server], wait=0))
        await over.wait()

    task = asyncio.create_task(own())

    async def end() -> None:
        over.set()
        await task

    return await given, end


async def test_lease_is_renewed_while_its_task_lives_and_no_longer(
    client: Client, fast: Slots, other: Slots, rows: SlotRows
) -> None:
    server = await add(client)
    lease, end = await held_by_a_task(fast, server)
    for _ in range(3):
        await renewed(rows)
        assert lease.is_trusted
    await end()
    assert (await other.first_free([server], wait=LONG)).token == lease.token + 1
    await eventually(lambda: not fast._tasks)  # nothing is held: nothing runs
    assert not lease.is_trusted
    await lease.release()
    assert rows.live() == 1


async def test_task_that_touches_a_lease_takes_it_over(
    client: Client, fast: Slots, rows: SlotRows
) -> None:
    server = await add(client)
    lease, end = await held_by_a_task(fast, server)
    lease.owner = asyncio.current_task()
    await end()
    for _ in range(3):
        await renewed(rows)
    assert lease.is_trusted


async def test_lease_is_trusted_until_its_margin_and_over_at_its_end(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = LeaseTimes(ttl=30, renew=1, margin=10, longest=40)
    key = LeaseKey(server_id=1, slot=1, token=1)
    server = await add(client)
    monkeypatch.setattr(leases, "uptime", lambda: 10_000.0)

    def since(seconds: float) -> tuple[bool, bool, bool]:
        held = Held(key, 10_000 - seconds, times)
        lease = Lease(server, held, lambda _: None)
        lease._since = 10_000 - seconds
        return lease.is_trusted, held.is_over, lease.is_too_old

    assert [since(seconds) for seconds in (0, 19, 20, 29, 30, 39, 40)] == [
        (True, False, False),
        (True, False, False),
        (False, False, False),
        (False, False, False),
        (False, True, False),
        (False, True, False),
        (False, True, True),
    ]


def test_renewed_lease_is_trusted_until_its_margin_again() -> None:
    held = Held(LeaseKey(server_id=1, slot=1, token=1), 0, LeaseTimes(ttl=30, renew=1, margin=10))
    held.renew(100.0)
    assert (held.renewed, held.trusted_until) == (100, 120)
    held.renew(50.0)  # sent before, answered later
    assert (held.renewed, held.trusted_until) == (100, 120)


def test_lease_lives_for_30_seconds_and_is_renewed_every_5_for_4_hours_at_most() -> None:
    assert LeaseTimes() == LeaseTimes(ttl=30, renew=5, margin=2, keep=1, longest=4 * 60 * 60)


async def test_renewals_go_on_while_others_wait_for_the_database(
    migrated_postgres_url: str,
) -> None:
    """Nothing is granted at some servers, and more are asked for a slot than there are threads."""
    rows = SlotRows(migrated_postgres_url)
    async with Client(
        database_url=migrated_postgres_url,
        environ={},
        lease_times=LeaseTimes(ttl=60, renew=0.05, margin=1, keep=0),
    ) as client:
        mine = await add(client)
        wanted = [await add(client, f"gpu-{number}") for number in range(2, LEASE_THREADS + 3)]
        lease = await client._resources.slots.first_free([mine], wait=0)
        with rows.transaction() as connection:
            for server in wanted:
                hold_off_leases(connection, server.id)
            asking = [
                asyncio.create_task(client._resources.slots.first_free([server], wait=0))
                for server in wanted
            ]
            await eventually(lambda: rows.waiting() == LEASE_THREADS - 1)
            for _ in range(3):
                await renewed(rows)
            assert not any(task.done() for task in asking)
        await asyncio.gather(*asking)
        assert lease.is_trusted
    rows.close()


async def test_lease_that_was_waited_for_is_renewed_for_its_task(
    client: Client, fast: Slots, other: Slots, notes: list[str], rows: SlotRows
) -> None:
    server = await add(client)
    lease = await other.first_free([server], wait=0)

    async def ask() -> None:
        async with await fast.first_free([server], wait=LONG):
            await renewed(rows)
            await renewed(rows)

    asking = asyncio.create_task(ask())
    await eventually(lambda: notes != [])
    await lease.release()
    await asking


async def test_note_that_raises_ends_no_renewals(client: Client, slots: Slots) -> None:
    """What a Python caller's function does with a note is its own affair."""

    def angry(message: str) -> None:
        raise RuntimeError(message)

    one, two = await add(client, "one"), await add(client, "two")
    too_old = await slots.first_free([one], wait=0, note=angry)
    other = await slots.first_free([two], wait=0)
    too_old._since = uptime() - LeaseTimes().longest
    other.held.trusted_until = uptime() - 1
    assert not other.is_trusted
    await slots._heartbeat.beat()
    assert other.is_trusted


async def test_renewed_lease_is_trusted_anew(client: Client, slots: Slots) -> None:
    lease = await slots.first_free([await add(client)], wait=0)
    lease.held.trusted_until = uptime() - 1
    assert not lease.is_trusted
    await slots._heartbeat.beat()
    assert lease.is_trusted


async def test_lease_of_the_longest_age_is_not_renewed_once_more(
    client: Client, slots: Slots, rows: SlotRows
) -> None:
    lease = await slots.first_free([await add(client)], wait=0)
    lease._since = uptime() - LeaseTimes().longest
    before = rows.expiry()
    await slots._heartbeat.beat()
    assert rows.expiry() == before


async def test_many_leases_are_renewed_at_once_while_some_are_given_back(
    client: Client, fast: Slots, notes: list[str], rows: SlotRows
) -> None:
    server = await add(client, limit=20)
    leases = [await fast.first_free([server], wait=0) for _ in range(20)]
    for lease in leases[1:]:
        await lease.release()
        if lease.slot % 5 == 0:
            await renewed(rows)
    assert leases[0].is_trusted
    assert rows.live() == 1
    assert notes == []


async def test_lease_is_not_renewed_beyond_its_longest_age(
    client: Client, database_url: str, other: Slots, notes: list[str]
) -> None:
    server = await add(client)
    times = LeaseTimes(ttl=0.5, renew=0.05, margin=0.1, longest=0.2)
    async with Client(
        database_url=database_url, environ={}, on_note=notes.append, lease_times=times
    ) as old:
        lease = await old._resources.slots.first_free([server], wait=0)
        taken = await other.first_free([server], wait=LONG)
        await eventually(lambda: not old._resources.slots._tasks)
        assert not lease.is_trusted
        await lease.release()
        assert notes == [
            "the request at server gpu-1 has held its slot for 0.2 s; it is no longer renewed"
        ]
    assert taken.token == 2
    assert taken.is_trusted


async def test_lost_lease_is_told_once_and_neither_renewed_nor_given_back(
    client: Client, fast: Slots, other: Slots, notes: list[str], rows: SlotRows
) -> None:
    server = await add(client)
    lease = await fast.first_free([server], wait=0)
    rows.expire(1)
    taken = await other.first_free([server], wait=LONG)
    await eventually(lambda: lease.lost)
    assert not lease.is_trusted
    await eventually(lambda: not fast._tasks)
    await lease.release()
    assert len(notes) == 1
    assert notes[0].startswith("the slot at server gpu-1 was lost")
    assert [(row.token, row.is_live) for row in rows.all()] == [(taken.token, True)]


async def test_slot_of_a_removed_server_is_lost(
    client: Client, fast: Slots, notes: list[str]
) -> None:
    lease = await fast.first_free([await add(client)], wait=0)
    await client.servers.remove(1, force=True)
    await eventually(lambda: lease.lost)
    await lease.release()
    assert len(notes) == 1


@pytest.mark.parametrize(
    "times",
    [
        {"ttl": 1.0, "renew": 1.0, "margin": 0.0},
        {"ttl": 15.0, "renew": 14.0, "margin": 2.0},
        {"renew": 0.0},
        {"margin": 0.0},
    ],
)
def test_times_that_cannot_work_are_refused(times: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a lease must be renewed while it is trusted"):
        LeaseTimes(**times)


# the database is away


class Away:
    """A database server that can be stopped, with server 1 in the database."""

    def __init__(self, postgres: OwnPostgresServer, url: str) -> None:
        self._postgres = postgres
        self.url = url
        self.rows = SlotRows(url)

    async def stop(self) -> None:
        await asyncio.to_thread(self._postgres.stop)

    async def start(self) -> None:
        await asyncio.to_thread(self._postgres.start)
        self.rows.close()

    async def restart(self, how: str) -> None:
        await asyncio.to_thread(getattr(self._postgres, how))
        await self.start()


@pytest.fixture
def away(stoppable_postgres: OwnPostgresServer) -> Iterator[Away]:
    url = stoppable_postgres.create_database()
    migrate(url)
    away = Away(stoppable_postgres, url)
    yield away
    away.rows.close()
    stoppable_postgres.start()
    stoppable_postgres.drop_database(url)


@asynccontextmanager
async def opened(
    away: Away, notes: list[str], times: LeaseTimes
) -> AsyncIterator[tuple[Slots, Server]]:
    async with Client(
        database_url=away.url, environ={}, on_note=notes.append, lease_times=times
    ) as client:
        yield client._resources.slots, await add(client)


@asynccontextmanager
async def opened_again(away: Away, *, ttl: float) -> AsyncIterator[Slots]:
    """Another process."""
    times = LeaseTimes(ttl=ttl, renew=0.5, margin=0.5, keep=0)
    async with Client(
        database_url=away.url, environ={}, on_note=lambda _: None, lease_times=times
    ) as client:
        yield client._resources.slots


async def test_lease_outlives_a_database_that_is_away_for_less_than_its_life(
    away: Away, notes: list[str]
) -> None:
    times = LeaseTimes(ttl=60, renew=0.05, margin=1, keep=0)
    async with opened(away, notes, times) as (slots, server):
        lease = await slots.first_free([server], wait=0)
        before = away.rows.expiry()
        await away.stop()
        await eventually(lambda: notes != [])
        assert lease.is_trusted
        await away.start()
        await eventually(lambda: away.rows.expiry() > before)
        assert lease.is_trusted
        await lease.release()
        assert away.rows.live() == 0
        [note] = notes
        assert note.startswith("slots cannot be renewed: the database cannot be reached: ")
        assert note.endswith("; trying again every 0.01 s")


async def test_database_that_is_away_is_told_once_each_time(away: Away, notes: list[str]) -> None:
    async with opened(away, notes, LeaseTimes(ttl=60, renew=30)) as (slots, server):
        await slots.first_free([server], wait=0)
        for times in (1, 2):
            await away.stop()
            for _ in range(3):
                await slots._heartbeat.beat()
            assert [note.split(":")[0] for note in notes] == ["slots cannot be renewed"] * times
            await away.start()
            await slots._heartbeat.beat()


async def test_lease_outlives_a_restart_of_the_database_that_takes_longer_than_its_life(
    away: Away, notes: list[str]
) -> None:
    """Nothing new is sent under it meanwhile, and nobody else gets the slot."""
    times = LeaseTimes(ttl=3, renew=0.1, margin=0.5, keep=0)
    async with opened(away, notes, times) as (slots, server):
        lease = await slots.first_free([server], wait=0)
        await away.stop()
        await eventually(lambda: not lease.is_trusted)
        await eventually(lambda: lease.held.is_over)
        await away.start()
        await eventually(lambda: lease.is_trusted)
        async with opened_again(away, ttl=2) as other:
            with pytest.raises(ServerBusy):
                await other.first_free([server], wait=0)
        await lease.release()
        assert away.rows.live() == 0


@pytest.mark.parametrize("how", ["stop", "crash"])
async def test_slot_of_a_process_that_is_gone_is_free_a_life_after_the_database_came_back(
    away: Away, notes: list[str], how: str
) -> None:
    async with opened(away, notes, LeaseTimes(ttl=60, renew=50)) as (slots, server):
        with away.rows.transaction() as connection:
            connection.execute(text("CHECKPOINT"))  # what the test made; the grant is not in it
        await slots.first_free([server], wait=0)
        await away.restart(how)
        assert [row.token for row in away.rows.all()] == [1]
        with away.rows.transaction() as connection:
            connection.execute(text("UPDATE ollama_slots SET expires_at = 1"))
        async with opened_again(away, ttl=60) as careful:
            with pytest.raises(ServerBusy):
                await careful.first_free([server], wait=0)
        async with opened_again(away, ttl=2) as other:
            assert (await other.first_free([server], wait=LONG)).token > 1


async def test_slot_that_cannot_be_given_back_is_kept(away: Away, notes: list[str]) -> None:
    async with opened(away, notes, LeaseTimes(ttl=60, keep=0)) as (slots, server):
        lease = await slots.first_free([server], wait=0)
        await away.stop()
        await lease.release()
        async with await slots.first_free([server], wait=0) as again:
            assert again.held is lease.held
        await away.start()
        await eventually(lambda: away.rows.live() == 0)


async def test_slot_that_cannot_be_given_back_at_the_end_becomes_free_by_itself(
    away: Away, notes: list[str]
) -> None:
    async with opened(away, notes, FAST) as (slots, server):
        await slots.first_free([server], wait=0)
        await away.stop()
        await slots.aclose()
        assert notes[-1].startswith(
            "the slot at server gpu-1 could not be released: the database cannot be reached: "
        )
        assert notes[-1].endswith("; it frees itself within 2 s")
        await away.start()


async def test_who_waits_is_told_that_the_database_stays_away(
    away: Away, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "AWAY", 0.3)
    async with (
        opened(away, notes, LeaseTimes()) as (slots, server),
        opened_again(away, ttl=60) as other,
    ):
        lease = await other.first_free([server], wait=0)
        async with waiting(slots, notes, server) as one, waiting(slots, notes, server) as two:
            await away.stop()
            for task in (one, two):
                with pytest.raises(DatabaseUnavailable):
                    await task
        await away.start()
        async with waiting(slots, notes, server) as task:
            await lease.release()
            assert (await task).token == 2


async def test_requests_wait_for_a_database_that_comes_back(away: Away, notes: list[str]) -> None:
    """Those who waited already, and those who come meanwhile, in a process that holds no slot."""
    async with (
        opened(away, notes, LeaseTimes()) as (slots, server),
        opened_again(away, ttl=60) as other,
    ):
        lease = await other.first_free([server], wait=0)
        async with waiting(slots, notes, server) as one:
            await away.stop()
            await eventually(lambda: slots._pools[server.id].away is not None)
            newcomer = asyncio.create_task(slots.first_free([server], wait=LONG))
            await eventually(lambda: slots.waiting(server.id) == 2)
            assert notes[-1].startswith("the database cannot be reached: ")
            assert notes[-1].endswith("; waiting up to 25 s for it to come back")
            with pytest.raises(DatabaseUnavailable):
                await slots.first_free([server], wait=0)
            with pytest.raises(DatabaseUnavailable):
                await slots.first_free([server], wait=0.2)
            assert not one.done()
            await away.start()
            await lease.release()
            await (await one).release()
            await (await newcomer).release()


async def test_who_waits_for_a_slot_of_this_process_gets_it_while_the_database_is_away(
    away: Away, notes: list[str]
) -> None:
    async with opened(away, notes, LeaseTimes()) as (slots, server):
        lease = await slots.first_free([server], wait=0)
        async with waiting(slots, notes, server) as task:
            await away.stop()
            await steps()
            await asyncio.to_thread(time.sleep, 0.5)  # the database is asked, in vain
            assert not task.done()
            await lease.release()
            assert (await task).is_trusted
            await away.start()


@pytest.mark.parametrize("times", [LeaseTimes(), LeaseTimes(ttl=60, renew=0.05, margin=1)])
async def test_database_that_is_away_costs_no_request_on_kept_slots(
    away: Away, notes: list[str], times: LeaseTimes
) -> None:
    async with opened(away, notes, times) as (slots, server):
        async with await slots.first_free([server], wait=0):
            pass
        await away.stop()
        end = uptime() + 1.5  # longer than a slot is kept where the database can be asked
        while uptime() < end:
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    group.create_task(use(slots, server))
            await asyncio.sleep(0.3)
        assert len([note for note in notes if "cannot be renewed" in note]) <= 1
        await away.start()


async def use(slots: Slots, server: Server) -> None:
    async with await slots.first_free([server], wait=LONG):
        await asyncio.sleep(0.01)
