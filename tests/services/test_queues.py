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
    """Grants nothing, and lets a queue pause for an hour; `asked` counts its questions."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = 0
        self._asked = asyncio.Event()
        monkeypatch.setattr(queues.random, "uniform", lambda *_: 3600)

    async def ask(self, even_inactive: bool) -> None:
        self.asked += 1
        self._asked.set()

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


async def test_pauses_are_short_at_first_grow_by_a_fifth_and_have_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Seconds; which of them between the bounds, is chance."""
    bounds: list[tuple[float, float]] = []

    def none_at_all(low: float, high: float) -> float:
        bounds.append((low, high))
        return 0

    monkeypatch.setattr(queues.random, "uniform", none_at_all)
    answers: list[Any] = [*[None] * 20, first := AnyLease(), None, second := AnyLease()]
    queue, requests = Queue(), [QueuedRequest(even_inactive=False) for _ in range(2)]
    for request in requests:
        request.enter(queue)

    async def ask(even_inactive: bool) -> Any:
        return answers.pop(0)

    await queue.serve(ask)
    longest = [round(high, 5) for _, high in bounds]
    assert longest[:4] == [0.025, 0.03, 0.036, 0.0432]
    assert max(longest) == longest[19] == 0.25
    assert longest[20:] == [0.025]  # after a lease was handed over
    assert [round(low, 5) for low, _ in bounds] == [round(high / 5, 5) for _, high in bounds]
    assert [await request.lease() for request in requests] == [first, second]


async def test_a_request_that_is_refused_at_once_leaves_the_queue_to_the_next() -> None:
    answers: list[Any] = [refusal := ServerInactive("off"), lease := AnyLease()]
    queue, requests = Queue(), [QueuedRequest(even_inactive=even) for even in (False, True)]
    for request in requests:
        request.enter(queue)

    async def ask(even_inactive: bool) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, ServerInactive):
            raise answer
        return answer

    await queue.serve(ask)
    with pytest.raises(ServerInactive) as refused:
        await requests[0].lease()
    assert refused.value is refusal
    assert await requests[1].lease() is lease


async def test_a_request_that_has_a_lease_takes_no_other_and_fails_no_more() -> None:
    request, lease = QueuedRequest(even_inactive=False), AnyLease()
    request.enter(queue := Queue())
    assert request.taken() is None
    assert request.accept(lease)  # type: ignore[arg-type]
    assert not request.accept(AnyLease())  # type: ignore[arg-type]
    request.fail(RuntimeError())
    queue.fail(RuntimeError())
    assert request.taken() is lease


async def test_a_lease_at_an_inactive_server_goes_to_those_alone_who_may_use_it() -> None:
    asked: list[bool] = []
    queue = Queue()
    leaves, no_right, right = [
        QueuedRequest(even_inactive=even_inactive) for even_inactive in (True, False, True)
    ]
    for request in (leaves, no_right, right):
        request.enter(queue)

    async def ask(even_inactive: bool) -> Any:
        asked.append(even_inactive)
        if not even_inactive:
            raise ServerInactive("off")
        leaves.fail(TimeoutError())
        return AnyLease()

    await queue.serve(ask)
    assert isinstance(await right.lease(), AnyLease)
    with pytest.raises(ServerInactive):
        await no_right.lease()
    with pytest.raises(TimeoutError):
        await leaves.lease()
    assert asked == [True, False]


async def test_a_queue_ends_at_once_when_the_last_request_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, queue = FullServer(monkeypatch), Queue()
    requests = [QueuedRequest(even_inactive=False) for _ in range(2)]
    for request in requests:
        request.enter(queue)
    serving = asyncio.create_task(queue.serve(server.ask))
    await server.next_question()
    requests[0].leave()
    await settle()
    assert (server.asked, serving.done()) == (1, False)  # somebody waits still
    requests[1].leave()
    async with asyncio.timeout(PATIENCE):
        await serving
    assert server.asked == 1


async def test_a_queue_asks_once_more_for_each_slot_that_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server, queue = FullServer(monkeypatch), Queue()
    request = QueuedRequest(even_inactive=False)
    request.enter(queue)
    serving = asyncio.create_task(queue.serve(server.ask))
    for asked in (1, 2, 3):
        await server.next_question()
        assert server.asked == asked
        queue.wake()
    await server.next_question()
    request.leave()
    async with asyncio.timeout(PATIENCE):
        await serving
