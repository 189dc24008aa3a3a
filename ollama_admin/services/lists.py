"""What servers list now: one read of a list answers everybody who came before it was sent."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ollama_admin.domain.models import Listing
from ollama_admin.domain.servers import ServerRef

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint

PACE = 0.1  # seconds between two reads of a list that nobody waits for


class Lists:
    """The reads of one process."""

    def __init__(self) -> None:
        self._reads: dict[tuple[int, bool], _Reads] = {}

    async def now(self, ref: ServerRef, endpoint: "Endpoint", *, soon: bool = True) -> Listing:
        """The list of an Ollama server, read by a request that is sent after this call.

        At most one is on its way for each server. Without `soon` it may begin a tenth of a second
        later, so that it answers many. Raises what `Endpoint.listing` raises.
        """
        if ref.id is None:  # each who names a URL has credentials of their own
            return await endpoint.listing()
        key = (ref.id, endpoint.any_address)
        reads = self._reads.setdefault(key, _Reads())
        return await reads.next(endpoint, soon=soon)

    async def recent(self, ref: ServerRef, endpoint: "Endpoint", *, within: float) -> Listing:
        """The list as it was read in the last `within` seconds, or as `now` gives it."""
        if ref.id is not None:
            reads = self._reads.get((ref.id, endpoint.any_address))
            kept = None if reads is None else reads.kept(within)
            if kept is not None:
                return kept
        return await self.now(ref, endpoint)

    @property
    def waiting(self) -> int:
        """How many wait for a list now."""
        return sum(reads.waiting for reads in self._reads.values())

    async def aclose(self) -> None:
        """End what is on its way."""
        for reads in self._reads.values():
            await reads.aclose()
        self._reads.clear()


class _Reads:
    """One server's list: the read on its way, and the next one, for those who came too late."""

    def __init__(self) -> None:
        self._kept: Listing | None = None
        self._running: asyncio.Task[Listing] | None = None
        self._next: asyncio.Task[Listing] | None = None
        self._waiting: Counter[asyncio.Task[Listing]] = Counter()
        self._wanted = asyncio.Event()  # by somebody who waits
        self._began = 0.0
        self._read_at = 0.0

    @property
    def waiting(self) -> int:
        return self._waiting.total()

    def kept(self, within: float) -> Listing | None:
        """The list, if it was read so many seconds ago at most."""
        if asyncio.get_running_loop().time() - self._read_at > within:
            return None
        return self._kept

    async def next(self, endpoint: "Endpoint", *, soon: bool) -> Listing:
        if soon:
            self._wanted.set()
        if self._next is None:
            work = self._read(self._running, endpoint.listing)
            self._next = asyncio.get_running_loop().create_task(work)
            self._next.add_done_callback(_look_at_failure)
        reading = self._next
        self._waiting[reading] += 1
        try:
            return await asyncio.shield(reading)
        finally:
            self._waiting[reading] -= 1
            if not self._waiting[reading]:
                self._leave(reading)

    def _leave(self, reading: "asyncio.Task[Listing]") -> None:
        """Nobody waits for it any more."""
        del self._waiting[reading]
        reading.cancel()
        if self._next is reading:
            self._next = None

    async def aclose(self) -> None:
        tasks = [task for task in (self._running, self._next) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _read(
        self,
        before: "asyncio.Task[Listing] | None",
        read: Callable[[Listing | None], Awaitable[Listing]],
    ) -> Listing:
        if before is not None:
            await asyncio.wait((before,))
        loop = asyncio.get_running_loop()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(self._began + PACE):
                await self._wanted.wait()
        self._running, self._next = self._next, None  # who comes from here on needs another one
        self._wanted.clear()
        self._began = loop.time()
        self._kept = await read(self._kept)
        self._read_at = self._began
        return self._kept


def _look_at_failure(task: "asyncio.Task[Listing]") -> None:
    """Those who asked may have left: then nobody else looks at it."""
    if not task.cancelled():
        task.exception()
