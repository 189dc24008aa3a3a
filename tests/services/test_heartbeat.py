"""What keeps the slots of a process alive, step by step; in the whole: `test_slots`."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text

from ollama_admin.client import Client
from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.services import heartbeat
from ollama_admin.services.heartbeat import Heartbeat
from ollama_admin.services.leases import Held, LeaseTimes, uptime
from ollama_admin.services.pools import Pool
from ollama_admin.services.queues import Queue, QueuedRequest
from ollama_admin.store import contention
from ollama_admin.store.heartbeats import Beat
from ollama_admin.store.slots import LeaseKey, Limit
from tests.rules.rows import server
from tests.slot_rows import SlotRows

TIMES = LeaseTimes(ttl=60, renew=10, margin=2, keep=3)


@dataclass(slots=True, kw_only=True)
class Scene:
    """The heartbeat of the process `me`, which has one slot at one server. `dispensed` is for how
    long what was given back had been kept.
    """

    client: Client
    pool: Pool = field(default_factory=lambda: Pool(server(1), lambda _: None))
    dispensed: list[float] = field(default_factory=list)
    held: Held = field(init=False)
    heartbeat: Heartbeat = field(init=False)

    def __post_init__(self) -> None:
        self.pool.learn(Limit(limit=1, is_active=True))
        self.held = Held(LeaseKey(server_id=1, slot=1, token=1), uptime(), TIMES)
        self.pool.add(self.held)
        resources = self.client._resources
        self.heartbeat = Heartbeat(
            resources.db, "me", TIMES, {1: self.pool}, resources.slots._start, self.dispense, print
        )

    def dispense(self, *, longest: float) -> None:
        self.dispensed.append(longest)

    async def tell(self, holder: str) -> None:
        """Somebody's request has waited for five seconds."""
        db = self.client._resources.db
        await db.lease(contention.tell, 1, holder=holder, count=1, waited=5.0)

    def waiting(self) -> QueuedRequest:
        self.pool.queue = Queue()
        request = QueuedRequest()
        request.enter(self.pool.queue)
        return request


@pytest.fixture
async def scene(database_url: str) -> AsyncIterator[Scene]:
    async with Client(database_url=database_url, environ={}) as client:
        await client.servers.add(name="gpu", url="http://gpu")
        scene = Scene(client=client)
        yield scene
        scene.heartbeat.stop()


@pytest.fixture
def rows(database_url: str) -> Iterator[SlotRows]:
    opened = SlotRows(database_url)
    yield opened
    opened.close()


def test_it_looks_five_times_a_second_who_waits() -> None:
    assert heartbeat.LOOK == 0.2


async def test_after_the_end_nobody_looks(scene: Scene) -> None:
    scene.heartbeat.stir()
    timer = scene.heartbeat._timer
    scene.heartbeat.stop()
    assert timer is not None
    assert timer.cancelled()


async def test_a_look_that_is_asked_for_after_the_end_does_not_come(scene: Scene) -> None:
    scene.heartbeat.stop()
    scene.heartbeat.stir()
    assert scene.heartbeat._timer is None


async def test_it_looks_again_while_slots_are_kept(scene: Scene) -> None:
    await scene.heartbeat._look()
    assert (scene.heartbeat._timer, scene.dispensed) == (None, [3])
    scene.pool.keep(scene.held)
    await scene.heartbeat._look()
    assert scene.heartbeat._timer is not None


async def test_it_hears_of_those_who_wait_elsewhere_and_not_of_its_own(scene: Scene) -> None:
    await scene.tell("me")
    assert await scene.heartbeat._listen()
    assert not scene.pool.elsewhere
    await scene.tell("another")
    assert await scene.heartbeat._listen()
    (since,) = scene.pool.elsewhere
    assert since <= uptime() - 5


async def test_nothing_is_given_back_while_the_database_cannot_be_asked(
    scene: Scene, rows: SlotRows
) -> None:
    with rows.transaction() as connection:
        connection.execute(text("DROP TABLE ollama_waiting"))
    assert await scene.heartbeat._listen() is False
    await scene.heartbeat._look()
    assert scene.dispensed == []


async def test_a_renewal_tells_who_waits_elsewhere_and_hands_on_what_is_kept(scene: Scene) -> None:
    scene.pool.keep(scene.held)
    request = scene.waiting()
    beat = Beat(renewed=frozenset(), limits={}, elsewhere={1: (5.0,)})
    scene.heartbeat._learn(beat, {1}, 100.0)
    assert list(scene.pool.elsewhere) == [95]
    assert request.taken() is scene.held.lease
    assert scene.dispensed == [3]


async def test_the_next_renewal_begins_ten_seconds_after_the_last_one_began(scene: Scene) -> None:
    assert scene.heartbeat.pause(100.0, 100.5) == 9.5
    assert scene.heartbeat.pause(100.0, 109.5) == 1  # a tenth, however long the last one took


async def test_a_renewal_that_failed_is_tried_again_five_times_as_soon(scene: Scene) -> None:
    scene.heartbeat._tell_away(DatabaseUnavailable("it does not answer"))
    assert scene.heartbeat.pause(100.0, 100.5) == 1.5
