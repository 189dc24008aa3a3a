"""Work done side by side, with an owner who waits for all of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import ExitStack, asynccontextmanager
from typing import Any, Generic, TypeVar

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")

QUICK = 32  # that may be at work at once and have not taken long yet
LONG = 0.25  # seconds
MOST = 128  # that may be at work at once
BATCH = 32  # things that are written at once


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results in order; the first error cancels the rest and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
    except BaseExceptionGroup as exc:
        raise exc.exceptions[0] from None
    return [task.result() for task in tasks]


class WorkLimit:
    """How many may be at work at once: the number that was named, or as many as the fleet makes
    useful.

    More than a few servers that answer at once only wait for this process, and one that takes long
    keeps nothing busy. So who holds a place for LONG gives it to somebody else and goes on beside:
    many are asked at once where they are slow, and a few that are silent hold up nobody.
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


class Batches(Generic[Item, Result]):
    """Writes things in batches: what came in while the last batch was written goes into the next
    one, BATCH at most.

    Transactions of their own would wait for each other, and on SQLite sleep in between.
    """

    def __init__(self, write: Callable[[list[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._write = write
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._turn = asyncio.Lock()

    async def add(self, item: Item) -> Result:
        """What came of it, once it is written. An error of a batch is raised by one of those whose
        things are in it, and cancels the others.
        """
        written: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, written))
        async with self._turn:
            while not written.done():
                await self._write_some()
        return await written

    async def _write_some(self) -> None:
        batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
        try:
            results = await self._write([item for item, _ in batch])
        except BaseException:
            for _, written in batch:
                written.cancel()
            raise
        for (_, written), result in zip(batch, results, strict=True):
            written.set_result(result)
