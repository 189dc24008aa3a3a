"""What a process knows of the models that servers have in memory: read behind the requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from ollama_admin.domain.names import ModelName
from ollama_admin.domain.requests import Question
from ollama_admin.domain.servers import ApiVersion, Server, ServerRef, Target
from ollama_admin.ollama.connecting import Times
from ollama_admin.ollama.endpoint import Endpoint
from ollama_admin.ollama.http import HTTP
from ollama_admin.rules.candidates import Candidate, Demand, from_row
from ollama_admin.services.health import HealthBook
from ollama_admin.services.loads import EVERY, KEPT, LONGEST, Loads
from ollama_admin.settings import Settings
from ollama_admin.store.database import Database
from tests.fake_ollama import Answer, FakeOllama, Held, Raw, Silence, SimulatedModel
from tests.rules import rows

PS = "/api/ps"
ALPHA = SimulatedModel("alpha")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Fleet:
    """Servers that hold `alpha`, with their candidates, as a plan would have them."""

    def __init__(self, loads: Loads, clock: Clock, *fakes: FakeOllama) -> None:
        self.loads = loads
        self.clock = clock
        self.fakes = fakes
        self.candidates = [
            candidate(rows.server(number, url=fake.url, max_concurrent=4))
            for number, fake in enumerate(fakes, 1)
        ]

    async def ask(self) -> None:
        """Requests that come now, and what is read behind them."""
        self.loads.asked(self.candidates)
        self.loads.asked(self.candidates)
        await self.settled()

    async def settled(self) -> None:
        tasks = [known.task for known in self.loads._servers.values() if known.task is not None]
        if tasks:
            await asyncio.wait(tasks)

    def loaded(self, name: str = "alpha:latest", digest: str | None = None) -> list[bool | None]:
        servers = [one.server for one in self.candidates]
        return [
            self.loads.load(server, ModelName.parse(name), 0, digest).loaded
            for server in servers
            if server
        ]

    @property
    def reads(self) -> list[int]:
        return [len(fake.requests_to(PS)) for fake in self.fakes]


def candidate(server: Server) -> Candidate:
    target = Target(ref=server.ref, api_version=ApiVersion.NATIVE)
    row = rows.model(server.id, digest=ALPHA.digest)
    return from_row(target, server, row, ModelName.parse("alpha"))


@pytest.fixture
async def fleet(notes: list[str]) -> AsyncIterator[Fleet]:
    """Two servers; the first one has alpha in memory."""
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(FakeOllama(ALPHA)) for _ in range(2)]
        http = HTTP(Times())
        stack.push_async_callback(http.aclose)
        clock = Clock()
        db = Database(Settings.read({}, "sqlite:///nowhere.db"), lambda: None)
        loads = Loads(
            lambda target, timeout: Endpoint(http, target, timeout, any_address=False),
            HealthBook(db, notes.append),
            clock,
        )
        stack.push_async_callback(loads.aclose)
        first = rows.server(1, url=fakes[0].url).ref
        endpoint = Endpoint(
            http, Target(ref=first, api_version=ApiVersion.NATIVE), any_address=False
        )
        await load_alpha(endpoint)
        yield Fleet(loads, clock, *fakes)


async def load_alpha(endpoint: Endpoint) -> None:
    async for _ in endpoint.generate(Question(prompt="hi"), "alpha"):
        pass


async def test_what_is_in_memory_is_read_behind_the_requests(fleet: Fleet) -> None:
    assert fleet.loaded() == [None, None]
    await fleet.ask()
    assert fleet.loaded() == [True, False]
    assert fleet.loaded("ALPHA") == [True, False]
    assert fleet.loaded("other") == [False, False]
    assert fleet.loaded("another-name", ALPHA.digest) == [True, False]


async def test_a_server_is_read_at_most_once_in_five_seconds_and_only_while_requests_come(
    fleet: Fleet,
) -> None:
    for _ in range(20):
        await fleet.ask()
    assert fleet.reads == [1, 1]
    fleet.clock.now += EVERY - 0.1
    await fleet.ask()
    assert fleet.reads == [1, 1]
    fleet.clock.now += 0.2
    await fleet.settled()
    assert fleet.reads == [1, 1]
    await fleet.ask()
    assert fleet.reads == [2, 2]


@pytest.mark.parametrize(("every", "read"), [(0.0, [0, 0]), (1.0, [2, 2]), (300.0, [1, 1])])
async def test_how_often_a_server_is_read_can_be_set(
    fleet: Fleet, every: float, read: list[int]
) -> None:
    fleet.loads._every = every
    await fleet.ask()
    fleet.clock.now += 1.1
    await fleet.ask()
    assert fleet.reads == read


async def test_a_single_request_reads_nothing(fleet: Fleet) -> None:
    fleet.loads.asked(fleet.candidates)
    await fleet.settled()
    fleet.clock.now += KEPT + 1
    fleet.loads.asked(fleet.candidates)
    await fleet.settled()
    assert fleet.reads == [0, 0]


async def test_no_request_waits_for_a_read_and_a_second_one_begins_no_other(fleet: Fleet) -> None:
    held = Held()
    fleet.fakes[1].script_always(PS, held)
    for _ in range(5):
        fleet.loads.asked(fleet.candidates)
    await held.arrived.wait()
    fleet.clock.now += 3 * EVERY
    fleet.loads.asked(fleet.candidates)
    assert fleet.loaded()[1] is None
    held.release.set()
    await fleet.settled()
    assert fleet.loaded()[1] is False
    assert fleet.reads[1] == 1


FAILURES = {
    "500": Answer(500),
    "404": Answer(404, "404 page not found"),
    "no JSON": Answer(200, "<html>"),
    "a list": Answer(200, []),
    "no models": Answer(200, {}),
    "no list": Answer(200, {"models": 7}),
    "closed": Raw(()),
}


@pytest.mark.parametrize("kind", FAILURES)
async def test_a_server_that_cannot_be_read_is_unknown_and_tried_again_later_and_later(
    fleet: Fleet, kind: str
) -> None:
    await fleet.ask()
    fleet.fakes[0].script_always(PS, FAILURES[kind])
    fleet.clock.now += EVERY
    await fleet.ask()
    assert fleet.loaded() == [None, False]
    reads = fleet.reads[0]
    for waited in (2 * EVERY, 4 * EVERY, 8 * EVERY, LONGEST, LONGEST):
        fleet.clock.now += waited - 0.1
        await fleet.ask()
        assert fleet.reads[0] == reads
        fleet.clock.now += 0.1
        await fleet.ask()
        reads += 1
        assert fleet.reads[0] == reads
    fleet.fakes[0].clear_script()
    fleet.clock.now += LONGEST
    await fleet.ask()
    assert fleet.loaded() == [True, False]


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (None, False),
        ([], False),
        ([7, None, {}, {"name": 3, "digest": []}, {"name": "", "digest": ""}], False),
        ([{"name": "Alpha"}], True),
        ([{"name": "renamed:latest", "digest": ALPHA.digest}], False),
    ],
)
async def test_entries_that_say_nothing_are_passed_over(
    fleet: Fleet, models: Any, expected: bool
) -> None:
    fleet.fakes[0].script_always(PS, Answer(200, {"models": models}))
    await fleet.ask()
    assert fleet.loaded()[0] is expected


async def test_a_read_tells_nothing_after_the_time_that_ollama_keeps_a_model(fleet: Fleet) -> None:
    await fleet.ask()
    fleet.clock.now += KEPT
    assert fleet.loaded() == [True, False]
    fleet.clock.now += 1
    assert fleet.loaded() == [None, None]


async def test_where_a_request_runs_the_model_is_loaded(fleet: Fleet) -> None:
    second = fleet.candidates[1]
    other_spelling = replace(second, name=ModelName.parse("Alpha:latest"))
    with fleet.loads.running(second):
        assert fleet.loaded() == [None, True]
        with fleet.loads.running(other_spelling):
            assert fleet.loads.in_flight == {2: 2}
            assert [load.in_flight for load in fleet.loads.of(fleet.candidates).values()] == [0, 2]
        assert fleet.loaded() == [None, True]
        assert fleet.loaded("other") == [None, None]
    assert fleet.loaded() == [None, None]
    with fleet.loads.running(replace(second, server=None)):
        assert +fleet.loads.in_flight == {}


async def test_where_there_is_nothing_to_choose_nothing_is_read(fleet: Fleet) -> None:
    for _ in range(3):
        fleet.loads.asked(fleet.candidates[:1])
        fleet.loads.asked([])
    await fleet.settled()
    assert fleet.reads == [0, 0]


async def test_servers_that_are_not_ollama_and_dynamic_ones_are_not_read(fleet: Fleet) -> None:
    first, second = fleet.candidates
    url = fleet.fakes[1].url
    other = candidate(rows.server(2, url=url, **rows.NOT_OLLAMA))
    ref = ServerRef(id=None, name=None, url=url)
    dynamic = replace(second, server=None, target=replace(second.target, ref=ref))
    for _ in range(3):
        fleet.loads.asked([first, other, dynamic])
    await fleet.settled()
    assert fleet.reads == [1, 0]


async def test_the_end_waits_for_no_read(fleet: Fleet) -> None:
    silence = Silence()
    fleet.fakes[1].script_always(PS, silence)
    for _ in range(2):
        fleet.loads.asked(fleet.candidates)
    await silence.arrived.wait()
    await fleet.loads.aclose()
    assert not [known for known in fleet.loads._servers.values() if known.task is not None]
    fleet.clock.now += EVERY
    for _ in range(2):
        fleet.loads.asked(fleet.candidates)
    assert fleet.reads[1] == 1


async def test_a_plan_is_asked_in_the_order_of_what_is_loaded_and_keeps_its_demands(
    fleet: Fleet,
) -> None:
    first, second = reversed(fleet.candidates)
    build = Demand(digest=ALPHA.digest, by="the build of server s2")
    plan = (first, replace(second, demand=build))
    await fleet.ask()
    order = fleet.loads.ordered(plan, None)
    assert [one.target.ref.name for one in order] == ["s1", "s2"]
    assert [one.demand for one in order] == [build, None]


async def test_in_flight_is_as_given_else_as_the_row_says(fleet: Fleet) -> None:
    assert fleet.candidates[0].server is not None
    row = replace(fleet.candidates[0].server, slots_in_use=3)
    candidates = [replace(fleet.candidates[0], server=row), fleet.candidates[1]]
    loads = fleet.loads.of(candidates)
    assert [(load.in_flight, load.limit) for load in loads.values()] == [(3, 4), (0, 4)]
    loads = fleet.loads.of(candidates, {2: 7})
    assert [load.in_flight for load in loads.values()] == [0, 7]
