"""The queue of a server: how often it asks, and when it is full."""

import asyncio
from typing import Any

import pytest

from ollama_admin.errors import ServerInactive
from ollama_admin.services import queues
from ollama_admin.services.queues import Queue, QueuedRequest

PATIENCE = 10  # seconds for what happens at once


class AnyLease:
    """What a queue hands over; it does not look at it."""


class FullServer:
    """Grants nothing; a queue pauses for an hour before each question. `asked` counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self._asked = asyncio.Event()
        monkeypatch.setattr(queues.random, "uniform", lambda *_: 3600)

    async def ask(self, oldest: QueuedRequest) -> float:
        self.asked += 1
        self._asked.set()
        return 1.0

    async def next_question(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self._asked.wait()
        self._asked.clear()
        await settle()


async def settle() -> None:
    """Let every task go on until it waits for something."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_queue_is_full_with_a_thousand_requests() -> None:
    queue = Queue()
    for _ in range(999):
        queue.join(QueuedRequest(even_inactive=False))
    assert not queue.is_full
    queue.join(QueuedRequest(even_inactive=False))
    assert queue.is_full


async def test_a_request_waits_with_one_share_for_active_servers_unless_told() -> None:
    waiting = QueuedRequest()
    assert (waiting.weight, waiting.even_inactive) == (1, False)


class Line:
    """A server that answers each question of a queue with the next of `answers`: how many rounds of
    its slots come first, or a lease. `longest` are the queue's bounds of the pauses before them.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: Any) -> None:
        self.longest: list[float] = []
        self._answers = list(answers)
        monkeypatch.setattr(queues.random, "uniform", self._no_pause)

    def _no_pause(self, low: float, high: float) -> float:
        assert round(low, 5) == round(high / 5, 5)
        self.longest.append(round(high, 5))
        return 0

    async def ask(self, oldest: QueuedRequest) -> float | None:
        answer = self._answers.pop(0)
        if isinstance(answer, AnyLease):
            assert oldest.accept(answer)  # type: ignore[arg-type]
            return None
        return float(answer)


@pytest.mark.parametrize(
    ("rounds", "longest", "bound"),
    [
        (0, [0.025, 0.03, 0.036, 0.0432], 0.05),
        (0.25, [0.025, 0.05, 0.06, 0.072], 0.25),  # the second in line for four slots
        (1, [0.025, 0.05, 0.06, 0.072], 0.25),
        (4, [0.025, 0.2, 0.24, 0.288], 1.0),
        (63, [0.025, 1.5, 1.5, 1.5], 1.5),
    ],
)
async def test_pauses_grow_with_the_place_in_line_and_while_nothing_moves(
    monkeypatch: pytest.MonkeyPatch, rounds: float, longest: list[float], bound: float
) -> None:
    """Seconds; which of them between the bounds, is chance."""
    first, second = AnyLease(), AnyLease()
    line = Line(monkeypatch, *[rounds] * 20, first, rounds, second)
    queue, requests = Queue(), [QueuedRequest() for _ in range(2)]
    for request in requests:
        request.enter(queue)
    await queue.serve(line.ask)
    assert line.longest[:4] == longest
    assert max(line.longest) == line.longest[20] == bound
    assert line.longest[21:] == longest[:2]  # after a lease was handed over
    assert [await request.lease() for request in requests] == [first, second]


async def test_pauses_are_short_again_when_those_ahead_were_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = Line(monkeypatch, 63, 63, 10, 10, 2, 2, 2, 1, 0, 0, AnyLease())
    QueuedRequest().enter(queue := Queue())
    await queue.serve(line.ask)
    assert line.longest[1:] == [1.5, 1.5, 0.5, 0.6, 0.1, 0.12, 0.144, 0.05, 0.05, 0.05]


async def test_a_request_that_is_refused_at_once_leaves_the_queue_to_the_next() -> None:
    refusal, lease = ServerInactive("off"), AnyLease()
    queue, requests = Queue(), [QueuedRequest(even_inactive=even) for even in (False, True)]
    for request in requests:
        request.enter(queue)

    async def ask(oldest: QueuedRequest) -> None:
        if not oldest.even_inactive:
            raise refusal
        assert oldest.accept(lease)  # type: ignore[arg-type]

    await queue.serve(ask)
    with pytest.raises(ServerInactive) as refused:
        await requests[0].lease()
    assert refused.value is refusal
    assert await requests[1].lease() is lease


async def test_a_request_that_has_a_lease_takes_no_other_and_fails_no_more() -> None:
    request, lease = QueuedRequest(), AnyLease()
    request.enter(queue := Queue())
    assert request.taken() is None
    assert request.accept(lease)  # type: ignore[arg-type]
    assert not request.accept(AnyLease())  # type: ignore[arg-type]
    request.fail(RuntimeError())
    queue.fail(RuntimeError())
    assert request.taken() is lease


async def test_a_slot_of_an_inactive_server_is_for_those_alone_who_may_use_it() -> None:
    queue = Queue()
    no_right, right, later = [
        QueuedRequest(even_inactive=even_inactive) for even_inactive in (False, True, True)
    ]
    for request in (no_right, right, later):
        request.enter(queue)
    assert queue.turn(even_inactive=True) is right
    right.leave()
    assert queue.turn(even_inactive=True) is later
    later.leave()
    assert queue.turn(even_inactive=True) is None
    assert queue.turn(even_inactive=False) is no_right


async def test_a_request_that_fails_leaves_its_queues() -> None:
    queue, request = Queue(), QueuedRequest()
    request.enter(queue)
    request.fail(RuntimeError("closed"))
    assert len(queue) == 0
    with pytest.raises(RuntimeError, match="closed"):
        await request.lease()


@pytest.mark.parametrize("key", [None, "a"])
async def test_who_is_not_in_the_queue_leaves_it_as_it_is(key: str | None) -> None:
    queue, request = Queue(), QueuedRequest()
    queue.join(request)
    queue.dismiss(QueuedRequest(key=key))
    assert list(queue) == [request]


async def test_a_key_weighs_what_its_last_request_says() -> None:
    queue = Queue()
    for weight in (1, 5):
        queue.join(QueuedRequest(key="a", weight=weight))
    assert queue._lines["a"].weight == 5


async def test_who_came_first_is_first_among_those_of_one_key() -> None:
    queue = Queue()
    requests = [QueuedRequest(key=key) for key in ("a", "a", "b", "a", "b")]
    for request in requests:
        request.enter(queue)
    turns = []
    while len(queue):
        request = queue.turn(even_inactive=False)
        assert request is not None
        request.leave()
        turns.append(requests.index(request))
    assert turns == [0, 2, 1, 4, 3]


async def test_a_key_of_weight_two_has_two_turns_for_each_of_another_and_they_are_spread() -> None:
    queue = Queue()
    for key, weight in (("a", 2), ("b", 1), ("a", 2), ("a", 2), ("b", 1), ("a", 2)):
        QueuedRequest(key=key, weight=weight).enter(queue)
    turns = []
    while (request := queue.turn(even_inactive=False)) is not None:
        turns.append(request.key)
        request.leave()
    assert turns == ["a", "b", "a", "a", "b", "a"]


async def test_what_ends_a_queue_is_told_to_all_who_wait_in_it() -> None:
    queue, requests = Queue(), [QueuedRequest(key=key) for key in ("a", "b", "a")]
    assert not queue.is_told  # nobody has heard of it
    for request in requests:
        request.enter(queue)
    queue.fail(RuntimeError("closed"))
    assert len(queue) == 0
    for request in requests:
        with pytest.raises(RuntimeError, match="closed"):
            await request.lease()


async def test_the_oldest_is_who_came_first_whatever_the_key() -> None:
    queue = Queue()
    requests = [QueuedRequest(key=key) for key in ("a", "b", "a")]
    for age, request in enumerate(requests):
        request.since = age
        request.enter(queue)
    for request in requests:
        assert queue.oldest is request
        request.leave()


async def test_a_queue_ends_at_once_when_the_last_request_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, queue = FullServer(monkeypatch), Queue()
    requests = [QueuedRequest() for _ in range(2)]
    for request in requests:
        request.enter(queue)
    serving = asyncio.create_task(queue.serve(server.ask))
    await settle()
    requests[0].leave()
    await settle()
    assert (server.asked, serving.done()) == (0, False)  # somebody waits still
    requests[1].leave()
    async with asyncio.timeout(PATIENCE):
        await serving
    assert server.asked == 0


async def test_a_queue_asks_once_more_for_each_slot_that_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, queue = FullServer(monkeypatch), Queue()
    request = QueuedRequest()
    request.enter(queue)
    serving = asyncio.create_task(queue.serve(server.ask))
    for asked in (1, 2, 3):
        queue.wake()
        await server.next_question()
        assert server.asked == asked
    request.leave()
    async with asyncio.timeout(PATIENCE):
        await serving
    assert server.asked == 3
