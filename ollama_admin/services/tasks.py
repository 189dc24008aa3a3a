"""Work done side by side, with an owner who waits for all of it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import ExitStack, asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")

QUICK = 32  # that may be at work at once and have not taken long yet
LONG = 0.25  # seconds
MOST = 512  # that may be at work at once


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order; the first error cancels the rest and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
    except BaseExceptionGroup as exc:
        raise exc.exceptions[0] from None
    return [task.result() for task in tasks]


class Places:
    """How many may be at work at once: the number that was named, or as many as the fleet makes useful.

    More than a few servers that answer at once only wait for this process, and one that takes long keeps nothing busy.
    So who holds a place for LONG gives it to somebody else and goes on beside: many are asked at once where they are
    slow, and a few that are silent hold up nobody.
    """

    def __init__(self, at_once: int | None = None) -> None:
        self._all = asyncio.Semaphore(MOST if at_once is None else at_once)
        self._quick = asyncio.Semaphore(QUICK) if at_once is None else None

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait for a place, and hold it in the block."""
        async with self._all:
            if self._quick is None:
                yield
                return
            await self._quick.acquire()
            with ExitStack() as held:
                held.callback(self._quick.release)
                longer = asyncio.get_running_loop().call_later(LONG, held.close)
                try:
                    yield
                finally:
                    longer.cancel()
