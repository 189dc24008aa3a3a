"""Waits with one timer: what is late, what is not, and whose cancellation is whose."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ollama_admin.ollama.patience import Patience

LONG = 30.0


async def items(*waits: float) -> AsyncIterator[int]:
    for number, seconds in enumerate(waits):
        await asyncio.sleep(seconds)
        yield number


async def held() -> AsyncIterator[int]:
    await asyncio.Event().wait()
    yield 0


async def test_items_come_as_they_are_and_then_no_more() -> None:
    patience, found = Patience(), items(0, 0.001, 0)
    assert [await patience.next_of(found, LONG) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(StopAsyncIteration):
        await patience.next_of(found, LONG)
    patience.close()


async def test_a_wait_that_takes_longer_is_an_error() -> None:
    patience = Patience()
    with pytest.raises(TimeoutError):
        await patience.next_of(held(), 0.01)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_each_wait_has_its_own_time() -> None:
    """The first one is long, so the timer is set anew for the second, which is short."""
    patience = Patience()
    assert await patience.next_of(items(0), LONG) == 0
    with pytest.raises(TimeoutError):
        await patience.next_of(held(), 0.01)


async def test_timer_of_an_earlier_wait_ends_no_later_one() -> None:
    patience, gate = Patience(), asyncio.Event()

    async def later() -> AsyncIterator[int]:
        await gate.wait()
        yield 7

    assert await patience.next_of(items(0), 0.01) == 0
    asyncio.get_running_loop().call_later(0.05, gate.set)  # the first timer has gone off by then
    assert await patience.next_of(later(), LONG) == 7


async def test_nothing_is_late_while_nobody_waits() -> None:
    patience = Patience()
    assert await patience.next_of(items(0), 0.01) == 0
    await asyncio.sleep(0.03)
    assert await patience.next_of(items(0), LONG) == 0
    patience.close()


async def test_cancellation_from_outside_stays_a_cancellation() -> None:
    task = asyncio.create_task(Patience().next_of(held(), LONG))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_cancellation_at_the_moment_of_the_end_of_patience_stays_one() -> None:
    patience = Patience()
    task = asyncio.create_task(patience.next_of(held(), 0.0))
    asyncio.get_running_loop().call_later(0.0, task.cancel)
    done, _ = await asyncio.wait({task}, timeout=LONG)
    assert done == {task}
    assert task.cancelled() or isinstance(task.exception(), TimeoutError)


async def test_error_of_the_items_comes_through() -> None:
    async def broken() -> AsyncIterator[int]:
        raise ValueError("broken")
        yield 0

    with pytest.raises(ValueError, match="broken"):
        await Patience().next_of(broken(), LONG)
