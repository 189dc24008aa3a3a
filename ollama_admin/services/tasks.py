"""Work done side by side, with an owner who waits for all of it."""

import asyncio
from collections import Counter
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
    Sequence,
)
from contextlib import ExitStack, asynccontextmanager
from typing import Any, Generic, TypeVar

from ollama_admin.errors import InvalidInput

T = TypeVar("T")
Item = TypeVar("Item")
Result = TypeVar("Result")

QUICK = 32  # pieces of work that run at once and have taken less than LONG
LONG = 0.25  # seconds
MOST = 128  # pieces of work that run at once, the long ones too
BATCH = 32  # items that are written at once


async def together(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run the coroutines side by side; their results in order.

    The first error cancels the rest and is raised as itself.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in work]
    except BaseExceptionGroup as exc:
        raise exc.exceptions[0] from None
    return [task.result() for task in tasks]


class WorkLimit:
    """Limits how many pieces of work run at once, such as questions to servers.

    With `at_once` it is that number. Without, QUICK of those that are quick, and MOST of all. More
    that are quick would only wait for this process; one that has run for LONG keeps nothing busy
    here, so it makes room for another quick one and runs on. Thus many slow servers are asked at
    once, and a few silent ones hold up nobody.
    """

    def __init__(self, at_once: int | None = None) -> None:
        self._quick: asyncio.Semaphore | None = None
        if at_once is None:
            at_once = MOST
            self._quick = asyncio.Semaphore(QUICK)
        self._all = asyncio.Semaphore(at_once)

    @asynccontextmanager
    async def take(self) -> AsyncIterator[None]:
        """Wait until the limit lets one more run; the block is that piece of work."""
        async with self._all:
            if self._quick is None:
                yield
                return
            await self._quick.acquire()
            with ExitStack() as counted:
                counted.callback(self._quick.release)
                longer = asyncio.get_running_loop().call_later(LONG, counted.close)
                try:
                    yield
                finally:
                    longer.cancel()


class Batches(Generic[Item, Result]):
    """Writes items in batches: those that come in while one batch is written make up the next one,
    BATCH at most.

    A transaction for each item would wait for the others, and on SQLite sleep in between. `write`
    gives back one result for each item, in order.
    """

    def __init__(self, write: Callable[[list[Item]], Awaitable[Sequence[Result]]]) -> None:
        self._write = write
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._turn = asyncio.Lock()

    async def add(self, item: Item) -> Result:
        """Have the item written, and wait for its result.

        InvalidInput is raised for an item that cannot be stored, and costs the others of its batch
        nothing. Another error of a batch is raised to one of those whose items are in it, and
        cancels the others.
        """
        written: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, written))
        async with self._turn:
            while not written.done():
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                await self._write_batch(batch)
        return await written

    async def _write_batch(self, batch: "list[tuple[Item, asyncio.Future[Result]]]") -> None:
        try:
            await self._write_or_part(batch)
        except BaseException:
            for _, written in batch:
                written.cancel()
            raise

    async def _write_or_part(self, batch: "list[tuple[Item, asyncio.Future[Result]]]") -> None:
        """Write the items together, or one by one where one of them cannot be stored."""
        try:
            results = await self._write([item for item, _ in batch])
        except InvalidInput as exc:
            if len(batch) > 1:
                for one in batch:
                    await self._write_or_part([one])
            else:
                batch[0][1].set_exception(exc)
            return
        for (_, written), result in zip(batch, results, strict=True):
            written.set_result(result)


class SharedReads(Generic[Result]):
    """Reads on their way: whoever asks for a key meanwhile shares the read of that key, and what
    it gives or raises. One that nobody waits for any more is cancelled.
    """

    def __init__(self) -> None:
        self._reads: dict[Hashable, asyncio.Task[Result]] = {}
        self._waiting: Counter[asyncio.Task[Result]] = Counter()

    async def of(self, key: Hashable, read: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        reading = self._reads.get(key)
        if reading is None:
            reading = self._reads[key] = asyncio.get_running_loop().create_task(read())
            reading.add_done_callback(lambda done: self._end(key, done))
        self._waiting[reading] += 1
        try:
            return await asyncio.shield(reading)
        finally:
            self._waiting[reading] -= 1
            if not self._waiting[reading]:
                del self._waiting[reading]
                self._end(key, reading)

    def _end(self, key: Hashable, reading: "asyncio.Task[Result]") -> None:
        if self._reads.get(key) is reading:
            del self._reads[key]
        if not reading.done():
            reading.cancel()
        elif not reading.cancelled():
            reading.exception()  # seen, where nobody waits


class Handover(Generic[Item]):
    """Hands on the items that a task makes to another one, which asks for each of them."""

    def __init__(self) -> None:
        self._items: list[Item] = []
        self._given = asyncio.Event()
        self._taken = asyncio.Event()

    async def give(self, item: Item) -> None:
        """Wait until the item was taken, and another one is asked for."""
        self._items.append(item)
        self._taken.clear()
        self._given.set()
        await self._taken.wait()

    async def items_of(self, maker: "asyncio.Task[Any]") -> AsyncGenerator[Item, None]:
        """What the task gives until it is done; raises what it raises. Closing the generator
        cancels it, and waits until it has ended.
        """
        maker.add_done_callback(lambda _: self._given.set())
        try:
            while True:
                await self._given.wait()
                self._given.clear()
                if not self._items:
                    break
                yield self._items.pop()
                self._taken.set()
        finally:
            maker.cancel()
            await asyncio.wait((maker,))
            if not maker.cancelled():
                maker.exception()  # seen, where nobody asks for more
        maker.result()
