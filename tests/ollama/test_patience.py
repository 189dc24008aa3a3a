"""Waits with one timer: what is late, what is not, and whose cancellation is whose."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ollama_admin.ollama.response import PieceTimer

LONG = 30.0


async def items(*waits: float) -> AsyncIterator[int]:
    for number, seconds in enumerate(waits):
        await asyncio.sleep(seconds)
        yield number


async def held() -> AsyncIterator[int]:
    await asyncio.Event().wait()
    yield 0


async def test_items_come_as_they_are_and_then_no_more() -> None:
    timer, found = PieceTimer(), items(0, 0.001, 0)
    assert [await timer.next_of(found, LONG) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StopAsyncIteration):
        await timer.next_of(found, LONG)
    timer.close()


async def test_a_wait_that_takes_longer_is_an_error() -> None:
    timer = PieceTimer()
    with pytest.raises(TimeoutError):
        await timer.next_of(held(), 0.01)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_each_wait_has_its_own_time() -> None:
    """The first one is long, so the timer is set anew for the second, which is short."""
    timer = PieceTimer()
    assert await timer.next_of(items(0), LONG) == 0
    with pytest.raises(TimeoutError):
        await timer.next_of(held(), 0.01)


async def test_a_wait_without_a_limit_outlives_the_timer_of_an_earlier_one() -> None:
    timer = PieceTimer()
    assert await timer.next_of(items(0), 0.01) == 0
    assert await timer.next_of(items(0.05), None) == 0


async def test_timer_of_an_earlier_wait_ends_no_later_one() -> None:
    timer, gate = PieceTimer(), asyncio.Event()

    async def later() -> AsyncIterator[int]:
        await gate.wait()
        yield 7

    assert await timer.next_of(items(0), 0.01) == 0
    asyncio.get_running_loop().call_later(0.05, gate.set)  # the first timer has gone off by then
    assert await timer.next_of(later(), LONG) == 7


async def test_nothing_is_late_while_nobody_waits() -> None:
    timer = PieceTimer()
    assert await timer.next_of(items(0), 0.01) == 0
    await asyncio.sleep(0.03)
    assert await timer.next_of(items(0), LONG) == 0
    timer.close()


async def test_cancellation_from_outside_stays_a_cancellation() -> None:
    task = asyncio.create_task(PieceTimer().next_of(held(), LONG))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancellation_at_the_moment_when_the_time_is_over_stays_one() -> None:
    timer = PieceTimer()
    task = asyncio.create_task(timer.next_of(held(), 0.0))
    asyncio.get_running_loop().call_later(0.0, task.cancel)
    done, _ = await asyncio.wait({task}, timeout=LONG)
    assert done == {task}
    assert task.cancelled() or isinstance(task.exception(), TimeoutError)


async def test_error_of_the_items_comes_through() -> None:
    async def broken() -> AsyncIterator[int]:
        raise ValueError("broken")
        yield 0

    with pytest.raises(ValueError, match="broken"):
        await PieceTimer().next_of(broken(), LONG)
