"""The queue of a server inside this process: by turns between keys, first come, first served for
each of them, and one that asks the database for all.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ollama_admin.errors import ServerInactive, ServerNotFound
from ollama_admin.services.leases import uptime

if TYPE_CHECKING:
    from ollama_admin.services.leases import Lease

SHORT = 0.025  # seconds until the first question at most
# seconds between two questions at most, for each round of the server's slots until it is our turn:
# when those ahead were served meanwhile, and when they were not
FIRST, LONG = (0.05, 0.25)
RARELY = 1.5  # seconds between two questions at most, far behind; see `contention.LIFE`
GROWTH = 1.2
LONGEST = 1000  # requests that may wait for one server in one process

# asks for all in the queue, handing over what is granted; tells how many rounds of the server's
# slots are for others who have waited longer, 0 when nobody has, None when something was granted
Ask = Callable[["QueuedRequest"], Awaitable[float | None]]


class QueuedRequest:
    """One request that waits, in the queues of several servers perhaps, for the first lease that
    any of them gets.
    """

    def __init__(
        self, *, even_inactive: bool = False, key: str | None = None, weight: int = 1
    ) -> None:
        self.even_inactive = even_inactive
        self.key = key
        self.weight = weight
        self.since = uptime()
        self._granted: asyncio.Future[Lease] = asyncio.get_running_loop().create_future()
        self._queues: list[Queue] = []

    def enter(self, queue: "Queue") -> None:
        self._queues.append(queue)
        queue.join(self)

    def leave(self) -> None:
        """Leave all queues."""
        while self._queues:
            self._queues.pop().dismiss(self)

    async def lease(self) -> "Lease":
        return await self._granted

    def taken(self) -> "Lease | None":
        """The lease that was handed over, whether or not the request was still there to see it."""
        if not self._granted.done() or self._granted.cancelled() or self._granted.exception():
            return None
        return self._granted.result()

    def accept(self, lease: "Lease") -> bool:
        """Take the lease; False when the request has left, or has one."""
        if self._granted.done():
            return False
        self._granted.set_result(lease)
        self.leave()
        return True

    def refuse(self, queue: "Queue", error: ServerNotFound | ServerInactive) -> None:
        """One server grants nothing any more; another one may."""
        self._queues.remove(queue)
        queue.dismiss(self)
        if not self._queues:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        if not self._granted.done():
            self._granted.set_exception(error)
        self.leave()


@dataclass(slots=True)
class _Line:
    """The requests of one key. `credit` grows by the weight at each turn; who has most is next."""

    weight: int
    credit: int = 0
    requests: deque[QueuedRequest] = field(default_factory=deque)


class Queue:
    """`is_told`: others may have heard that somebody waits here."""

    def __init__(self) -> None:
        self.is_told = False
        self._lines: dict[str | None, _Line] = {}
        self._count = 0
        self._woken = asyncio.Event()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[QueuedRequest]:
        for line in self._lines.values():
            yield from line.requests

    @property
    def is_full(self) -> bool:
        return self._count >= LONGEST

    @property
    def oldest(self) -> QueuedRequest:
        """Who has waited longest."""
        heads = (line.requests[0] for line in self._lines.values())
        return min(heads, key=lambda request: request.since)

    def join(self, request: QueuedRequest) -> None:
        line = self._lines.setdefault(request.key, _Line(request.weight))
        line.weight = request.weight
        line.requests.append(request)
        self._count += 1

    def dismiss(self, request: QueuedRequest) -> None:
        line = self._lines.get(request.key)
        if line is not None and request in line.requests:
            line.requests.remove(request)
            self._count -= 1
            if not line.requests:
                del self._lines[request.key]
        if not self._count:
            self.wake()

    def wake(self) -> None:
        """Ask again now: a slot was given back, or nobody is left to ask for."""
        self._woken.set()

    def fail(self, error: Exception) -> None:
        """Tell everybody who waits."""
        for request in list(self):
            request.fail(error)

    def turn(self, *, even_inactive: bool) -> QueuedRequest | None:
        """Whose turn it is: weighted round robin between keys. A key of weight 2 has two turns for
        each one of a key of weight 1, and they are spread out.

        A slot that was asked for `even_inactive` is for those alone who may use such a server.
        """
        able: list[tuple[_Line, QueuedRequest]] = []
        for line in self._lines.values():
            fit = (one for one in line.requests if one.even_inactive or not even_inactive)
            first = next(fit, None)
            if first is not None:
                able.append((line, first))
        if not able:
            return None
        for line, _ in able:
            line.credit += line.weight
        line, request = max(able, key=lambda each: each[0].credit)
        line.credit -= sum(each.weight for each, _ in able)
        return request

    async def serve(self, ask: Ask) -> None:
        """Ask for all in the queue, until nobody is left in it. Raises what the database says.

        A pause comes first: most often a request of this process ends meanwhile.
        """
        longest, before = SHORT, None
        while self._count:
            await self._pause(random.uniform(longest / 5, longest))  # noqa: S311 (jitter)
            rounds = await self._ask_for_oldest(ask)
            longest = _longest_pause(longest, rounds, before)
            before = rounds

    async def _ask_for_oldest(self, ask: Ask) -> float | None:
        while self._count:
            oldest = self.oldest
            self._woken.clear()
            try:
                return await ask(oldest)
            except (ServerNotFound, ServerInactive) as exc:
                if oldest in self:
                    oldest.refuse(self, exc)
        return None

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass


def _longest_pause(longest: float, rounds: float | None, before: float | None) -> float:
    """Seconds until the next question at most, after one of `longest`: by how many `rounds` come
    first, and longer and longer while they stay as many as `before`. A free slot is left to who is
    first, and many who wait do not keep the database from granting it.
    """
    if rounds is None:
        return SHORT
    if rounds == 0:
        return min(longest * GROWTH, FIRST)
    far = max(1.0, rounds)
    if before is not None and rounds < before:
        return min(far * FIRST, RARELY)
    return min(max(longest * GROWTH, far * FIRST), far * LONG, RARELY)
