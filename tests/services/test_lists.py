"""What servers list: one read answers many, and nobody is answered by a read that began before."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from ollama_admin.domain.models import Listing
from ollama_admin.domain.servers import ApiVersion, ServerRef, Target
from ollama_admin.errors import AdminError
from ollama_admin.ollama.connecting import Times
from ollama_admin.ollama.endpoint import Endpoint
from ollama_admin.ollama.http import HTTP
from ollama_admin.services.lists import Lists
from tests.fake_ollama import Answer, FakeOllama, Held, Silence, SimulatedModel

TAGS = "/api/tags"
HOUR = 3600.0
PATIENT = Times(connect=HOUR, metadata=HOUR)


@dataclass(slots=True)
class Reading:
    """A server that has a row, and one process that reads its list."""

    lists: Lists
    fake: FakeOllama
    endpoint: Endpoint
    ref: ServerRef

    def now(self) -> asyncio.Task[Listing]:
        return asyncio.create_task(self.lists.now(self.ref, self.endpoint))

    def behind(self, hear: Callable[[Listing | None], None]) -> None:
        self.lists.behind(self.ref, self.endpoint, hear)

    async def recent(self, within: float) -> Listing:
        return await self.lists.recent(self.ref, self.endpoint, within=within)

    async def waits(self, count: int) -> None:
        """Until so many wait for a list."""
        while self.lists.waiting < count:
            await asyncio.sleep(0)

    @property
    def reads(self) -> int:
        return len(self.fake.requests_to(TAGS))


@pytest.fixture
async def reading() -> AsyncIterator[Reading]:
    async with AsyncExitStack() as stack:
        fake = await stack.enter_async_context(FakeOllama(SimulatedModel("alpha")))
        http = HTTP(PATIENT)
        stack.push_async_callback(http.aclose)
        lists = Lists()
        stack.push_async_callback(lists.aclose)
        ref = ServerRef(id=1, name="one", url=fake.url)
        yield Reading(lists, fake, to(http, ref), ref)


def to(http: HTTP, ref: ServerRef, *, any_address: bool = False) -> Endpoint:
    target = Target(ref=ref, api_version=ApiVersion.NATIVE)
    return Endpoint(http, target, any_address=any_address)


class Clock:
    """The time of the running loop, which passes when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock)
    return clock


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The seconds of each pause, which is none."""
    seconds: list[float] = []
    sleep = asyncio.sleep

    async def pause(delay: float) -> None:
        if delay:
            seconds.append(delay)
        await sleep(0)

    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "sleep", pause)
        yield seconds


def names(listing: Listing | None) -> list[str] | None:
    return None if listing is None else [model.name for model in listing.models]


async def test_all_who_come_before_a_read_is_sent_share_it(reading: Reading) -> None:
    reading.fake.script(TAGS, hold := Held())
    first = reading.now()
    await hold.arrived.wait()
    others = [reading.now() for _ in range(10)]
    await reading.waits(11)
    hold.release.set()
    listings = await asyncio.gather(first, *others)
    assert [names(listing) for listing in listings] == [["alpha:latest"]] * 11
    assert (reading.reads, reading.lists.waiting) == (2, 0)


async def test_who_asks_while_a_list_is_read_gets_a_later_one(reading: Reading) -> None:
    """The answer that is on its way may be older than the question. One is, at any time."""
    reading.fake.script(TAGS, hold := Held(), Answer(200, {"models": []}))
    first = reading.now()
    await hold.arrived.wait()
    second = reading.now()
    await reading.waits(2)
    for _ in range(3):
        await reading.endpoint.running()
    assert reading.reads == 1
    hold.release.set()
    assert (names(await first), names(await second)) == (["alpha:latest"], [])


async def test_a_list_that_has_not_changed_is_the_same_object(reading: Reading) -> None:
    assert await reading.now() is await reading.now()
    assert reading.reads == 2


async def test_a_failure_is_that_of_all_who_share_the_read_and_of_no_other(
    reading: Reading,
) -> None:
    reading.fake.script(TAGS, hold := Held(), Answer(503))
    first = reading.now()
    await hold.arrived.wait()
    others = [reading.now() for _ in range(3)]
    await reading.waits(4)
    hold.release.set()
    assert names(await first) == ["alpha:latest"]
    for other in others:
        with pytest.raises(AdminError, match="503"):
            await other
    assert names(await reading.now()) == ["alpha:latest"]


async def test_a_read_ends_when_the_last_who_waits_for_it_leaves(reading: Reading) -> None:
    reading.fake.script(TAGS, silence := Silence())
    one, two = reading.now(), reading.now()
    await silence.arrived.wait()
    one.cancel()
    with pytest.raises(asyncio.CancelledError):
        await one
    assert reading.lists.waiting == 1
    assert not reading.fake.abandoned
    two.cancel()
    await reading.fake.client_left.wait()
    assert names(await reading.now()) == ["alpha:latest"]
    assert reading.lists.waiting == 0


async def test_who_leaves_before_the_read_begins_leaves_the_next_one_a_read(
    reading: Reading,
) -> None:
    reading.fake.script(TAGS, hold := Held())
    first = reading.now()
    await hold.arrived.wait()
    leaving = reading.now()
    await reading.waits(2)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    staying = reading.now()
    hold.release.set()
    await first
    assert names(await staying) == ["alpha:latest"]
    assert reading.reads == 2


async def test_a_server_that_is_named_by_its_url_shares_nothing(reading: Reading) -> None:
    """Each who names one has credentials of their own."""
    reading.ref = ServerRef(id=None, name=None, url=reading.fake.url)
    reading.fake.script(TAGS, *(holds := [Held(), Held()]))
    tasks = [reading.now() for _ in holds]
    for hold in holds:
        await hold.arrived.wait()
        hold.release.set()
    await asyncio.gather(*tasks)
    await reading.recent(3600.0)
    assert reading.reads == 3


async def test_what_may_be_connected_to_any_address_is_read_apart(reading: Reading) -> None:
    reading.fake.script(TAGS, *(holds := [Held(), Held()]))
    one = reading.now()
    http = HTTP(Times())
    reading.endpoint = to(http, reading.ref, any_address=True)
    two = reading.now()
    for hold in holds:
        await hold.arrived.wait()
        hold.release.set()
    await asyncio.gather(one, two)
    await http.aclose()


# a list that may be some seconds old


async def test_a_recent_list_will_do(reading: Reading, clock: Clock) -> None:
    assert names(await reading.recent(1.0)) == ["alpha:latest"]
    reading.fake.script_always(TAGS, Answer(200, {"models": []}))
    clock.now += 1
    assert names(await reading.recent(1.0)) == ["alpha:latest"]
    clock.now += 0.01
    assert names(await reading.recent(1.0)) == []
    assert reading.reads == 2


async def test_who_wants_a_recent_list_waits_for_the_first_one(reading: Reading) -> None:
    reading.fake.script(TAGS, hold := Held())
    first = reading.now()
    await hold.arrived.wait()
    recent = asyncio.create_task(reading.recent(HOUR))
    await reading.waits(2)
    hold.release.set()
    await first
    assert names(await recent) == ["alpha:latest"]


async def test_where_no_age_will_do_the_list_is_read(reading: Reading, clock: Clock) -> None:
    assert clock.now
    await reading.now()
    reading.fake.script_always(TAGS, Answer(200, {"models": []}))
    assert names(await reading.recent(0.0)) == []


async def test_the_age_of_a_list_counts_from_when_it_was_asked_for(
    reading: Reading, clock: Clock
) -> None:
    reading.fake.script(TAGS, hold := Held())
    task = reading.now()
    await hold.arrived.wait()
    clock.now += 2
    hold.release.set()
    await task
    reading.fake.script_always(TAGS, Answer(200, {"models": []}))
    assert names(await reading.recent(1.0)) == []


# a look behind an answer


async def test_many_who_are_behind_share_a_read(reading: Reading) -> None:
    heard: list[Listing | None] = []
    for _ in range(100):
        reading.behind(heard.append)
    assert heard == []
    await reading.lists.settle()
    assert [names(listing) for listing in heard] == [["alpha:latest"]] * 100
    assert reading.reads == 1


async def test_where_the_list_cannot_be_read_nothing_is_heard_once(reading: Reading) -> None:
    reading.fake.script(TAGS, Answer(503))
    heard: list[Listing | None] = []
    reading.behind(heard.append)
    await reading.lists.settle()
    assert heard == [None]
    reading.behind(heard.append)
    await reading.lists.settle()
    assert [names(listing) for listing in heard] == [None, ["alpha:latest"]]


async def test_who_comes_behind_a_read_that_has_begun_gets_the_next_one(reading: Reading) -> None:
    reading.fake.script(TAGS, hold := Held(), Answer(200, {"models": []}))
    heard: list[Listing | None] = []
    reading.behind(heard.append)
    await hold.arrived.wait()
    reading.behind(heard.append)
    hold.release.set()
    await reading.lists.settle()
    assert [names(listing) for listing in heard] == [["alpha:latest"], []]


async def test_no_more_than_five_thousand_wait_behind(reading: Reading) -> None:
    """Their receipts say that nothing was read; each of them holds memory."""
    heard: list[Listing | None] = []
    for _ in range(4999):
        reading.behind(heard.append)
    reading.behind(heard.append)
    assert heard == []
    reading.behind(heard.append)
    assert heard == [None]
    await reading.lists.settle()
    assert len(heard) == 5001
    assert None not in heard[1:]
    reading.behind(heard.append)
    assert len(heard) == 5001
    await reading.lists.settle()
    assert names(heard[-1]) == ["alpha:latest"]
    assert not reading.lists._tasks


async def test_reads_that_nobody_waits_for_are_a_tenth_of_a_second_apart(
    reading: Reading, clock: Clock, pauses: list[float]
) -> None:
    heard: list[Listing | None] = []
    for _ in range(2):
        reading.behind(heard.append)
        await reading.lists.settle()
    clock.now += 0.04
    reading.behind(heard.append)
    await reading.lists.settle()
    clock.now += 60
    reading.behind(heard.append)
    await reading.lists.settle()
    assert len(heard) == 4
    assert pauses == pytest.approx([0.1, 0.06])


async def test_at_the_end_those_behind_are_waited_for_ten_seconds(
    reading: Reading, clock: Clock
) -> None:
    await reading.lists.settle()  # with nobody there
    reading.fake.script(TAGS, silence := Silence())
    reading.behind(lambda _: None)
    await silence.arrived.wait()
    settling = asyncio.create_task(reading.lists.settle())
    for seconds, is_over in [(0, False), (9.5, False), (1, True)]:
        clock.now += seconds
        for _ in range(10):
            await asyncio.sleep(0)
        assert settling.done() is is_over
    await settling


async def test_closing_ends_what_is_on_its_way_and_tells_those_behind(reading: Reading) -> None:
    reading.fake.script(TAGS, silence := Silence())
    first = reading.now()
    await silence.arrived.wait()
    second = reading.now()
    heard: list[Listing | None] = []
    reading.behind(heard.append)
    await reading.waits(2)
    await reading.lists.aclose()
    coroutines = [task.get_coro() for task in asyncio.all_tasks()]
    assert not [one for one in coroutines if "_Reads" in getattr(one, "__qualname__", "")]
    await reading.fake.client_left.wait()
    for task in (first, second):
        with pytest.raises(asyncio.CancelledError):
            await task
    await reading.lists.settle()
    assert len(heard) == 1
    assert reading.lists.waiting == 0


async def test_closing_where_no_read_has_begun_is_no_fault(reading: Reading) -> None:
    heard: list[Listing | None] = []
    reading.behind(heard.append)
    await reading.lists.aclose()
    await reading.lists.settle()
    assert len(heard) == 1


def test_a_server_that_lists_no_digests_is_noted_once() -> None:
    lists = Lists()
    one, two = [ServerRef(id=number, name=None, url="http://gpu") for number in (1, 2)]
    note = "server http://gpu lists no digests: only the name of the model was compared"
    assert [lists.without_digests(ref) for ref in (one, one, two, one)] == [note, None, note, None]
    dynamic = ServerRef(id=None, name=None, url="http://gpu")  # nobody keeps count of these
    assert [lists.without_digests(dynamic) for _ in range(2)] == [note, note]
