"""What servers list now: one read of a list answers everybody who came before it was sent."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ollama_admin.domain.models import Listing
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import AdminError

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint

PACE = 0.1  # seconds between two reads of a list that nobody waits for
MOST = 5000  # answers whose build is looked at behind them, at once
PATIENCE = 10.0  # seconds for them at the end

Hear = Callable[[Listing | None], None]


class Lists:
    """The reads of one process."""

    def __init__(self) -> None:
        self._reads: dict[tuple[int, bool], _Reads] = {}
        self._behind = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._without_digests: set[int] = set()

    async def now(self, ref: ServerRef, endpoint: "Endpoint") -> Listing:
        """The list of an Ollama server, read by a request that is sent after this call.

        At most one is on its way for each server. Raises what `Endpoint.listing` raises.
        """
        return await self._of(ref, endpoint).next(endpoint)

    def behind(self, ref: ServerRef, endpoint: "Endpoint", hear: Hear) -> None:
        """Have `hear` told soon what `now` gives, None where that cannot be read. For many answers
        of one server this costs little more than for one.
        """
        if self._behind >= MOST:
            hear(None)
            return
        self._behind += 1
        reads = self._of(ref, endpoint)
        reads.hearers.append(hear)
        if len(reads.hearers) == 1:
            task = asyncio.get_running_loop().create_task(self._tell(ref, endpoint, reads))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Wait until those who are behind were told, but not for long."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=PATIENCE)

    async def _tell(self, ref: ServerRef, endpoint: "Endpoint", reads: "_Reads") -> None:
        """Read once for all who are there when the read begins."""
        await reads.pause()
        hearers, reads.hearers = reads.hearers, []
        listing: Listing | None = None
        try:
            with suppress(AdminError):
                listing = await self.now(ref, endpoint)
        finally:
            self._behind -= len(hearers)
            for hear in hearers:
                hear(listing)

    def _of(self, ref: ServerRef, endpoint: "Endpoint") -> "_Reads":
        if ref.id is None:  # each who names a URL has credentials of their own
            return _Reads()
        return self._reads.setdefault((ref.id, endpoint.any_address), _Reads())

    async def recent(self, ref: ServerRef, endpoint: "Endpoint", *, within: float) -> Listing:
        """The list as it was read in the last `within` seconds, or as `now` gives it."""
        if ref.id is not None and within > 0:
            reads = self._reads.get((ref.id, endpoint.any_address))
            kept = None if reads is None else reads.kept(within)
            if kept is not None:
                return kept
        return await self.now(ref, endpoint)

    def without_digests(self, ref: ServerRef) -> str | None:
        """What to know of a server whose list proves no build, once; None after that."""
        if ref.id in self._without_digests:
            return None
        if ref.id is not None:
            self._without_digests.add(ref.id)
        return f"server {ref} lists no digests: only the name of the model was compared"

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
        self.hearers: list[Hear] = []
        self._began = float("-inf")
        self._read_at = float("-inf")

    @property
    def waiting(self) -> int:
        return self._waiting.total()

    def kept(self, within: float) -> Listing | None:
        """The list, if it was read so many seconds ago at most."""
        if asyncio.get_running_loop().time() - self._read_at > within:
            return None
        return self._kept

    async def pause(self) -> None:
        """Wait until it is time for a read that nobody waits for."""
        await asyncio.sleep(max(0.0, self._began + PACE - asyncio.get_running_loop().time()))

    async def next(self, endpoint: "Endpoint") -> Listing:
        if self._next is None:
            work = self._read(self._running, endpoint.listing)
            self._next = asyncio.get_running_loop().create_task(work)
        reading = self._next
        self._waiting[reading] += 1
        try:
            return await asyncio.shield(reading)
        finally:
            self._waiting[reading] -= 1
            if not self._waiting[reading]:
                del self._waiting[reading]
                if not reading.done():
                    self._give_up(reading)

    def _give_up(self, reading: "asyncio.Task[Listing]") -> None:
        """Nobody waits for it any more."""
        reading.add_done_callback(_look_at_failure)
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
        self._running, self._next = self._next, None  # who comes from here on needs another one
        self._began = asyncio.get_running_loop().time()
        self._kept = await read(self._kept)
        self._read_at = self._began
        return self._kept


def _look_at_failure(task: "asyncio.Task[Listing]") -> None:
    """Those who asked may have left: then nobody else looks at it."""
    if not task.cancelled():
        task.exception()
