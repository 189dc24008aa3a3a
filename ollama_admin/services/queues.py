"""The queue of a server inside this process: first come, first served, and one that asks the
database for all.
"""

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ollama_admin.errors import ServerInactive, ServerNotFound

if TYPE_CHECKING:
    from ollama_admin.services.leases import Lease

# seconds between two questions at most: in the beginning, and when it takes long
SHORT, LONG = (0.025, 0.25)
GROWTH = 1.2
LONGEST = 1000  # requests that may wait for one server in one process

Ask = Callable[[bool], Awaitable["Lease | None"]]  # told whether an inactive server will do


class QueuedRequest:
    """One request that waits, in the queues of several servers perhaps, for the first lease that
    any of them gets.
    """

    def __init__(self, *, even_inactive: bool) -> None:
        self.even_inactive = even_inactive
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


class Queue:
    def __init__(self) -> None:
        self._requests: deque[QueuedRequest] = deque()
        self._woken = asyncio.Event()

    @property
    def is_full(self) -> bool:
        return len(self._requests) >= LONGEST

    def join(self, request: QueuedRequest) -> None:
        self._requests.append(request)

    def dismiss(self, request: QueuedRequest) -> None:
        if request in self._requests:
            self._requests.remove(request)
        if not self._requests:
            self.wake()

    def wake(self) -> None:
        """Ask again now: a slot was given back, or nobody is left to ask for."""
        self._woken.set()

    def fail(self, error: Exception) -> None:
        """Tell everybody who waits."""
        while self._requests:
            self._requests[0].fail(error)

    async def serve(self, ask: Ask) -> None:
        """Ask for the first in the queue, until nobody is left in it. Raises what the database
        says.
        """
        longest = SHORT
        while self._requests:
            first = self._requests[0]
            self._woken.clear()
            try:
                lease = await ask(first.even_inactive)
            except (ServerNotFound, ServerInactive) as exc:
                if first in self._requests:
                    first.refuse(self, exc)
                continue
            if lease is None:
                await self._pause(random.uniform(longest / 5, longest))  # noqa: S311 (jitter)
                longest = min(longest * GROWTH, LONG)
            else:
                longest = SHORT
                await self._hand_over(lease, even_inactive=first.even_inactive)

    async def _hand_over(self, lease: "Lease", *, even_inactive: bool) -> None:
        """To the first who is still there, else back: it was asked for somebody who has left.

        A lease that was asked for `even_inactive` is for those alone who may use such a server.
        """
        for request in list(self._requests):
            may_have_it = request.even_inactive or not even_inactive
            if may_have_it and request.accept(lease):
                return
        await lease.release()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            pass
