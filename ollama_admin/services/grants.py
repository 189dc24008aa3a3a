"""How a process asks the database for slots: one statement for all who want one at that time."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from ollama_admin.errors import AdminError, DatabaseUnavailable
from ollama_admin.services.leases import Held, Lease, LeaseTimes, uptime
from ollama_admin.services.pools import Pool
from ollama_admin.services.queues import Queue, QueuedRequest
from ollama_admin.store import contention, heartbeats
from ollama_admin.store import slots as store
from ollama_admin.store.database import LEASE_THREADS, Database
from ollama_admin.store.slots import Grant, Limit

MOST_AT_ONCE = 100  # slots that one statement takes
# seconds that those who wait for a slot wait for a database that is away: 20, and time to start
AWAY = 25.0

Start = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]  # a task that is waited for


class Grants:
    """`adopt` is called with what is granted, and `free` with what is for whoever waits."""

    def __init__(
        self,
        db: Database,
        holder: str,
        times: LeaseTimes,
        start: Start,
        adopt: Callable[[Pool, Sequence[Held]], None],
        free: Callable[[Pool, Held], object],
    ) -> None:
        self._db = db
        self._holder = holder
        self._times = times
        self._start = start
        self._adopt = adopt
        self._free = free
        self.is_closed = False
        # one thread is left to renew and to release
        self._asking = asyncio.Semaphore(LEASE_THREADS - 1)

    async def one(self, pool: Pool, *, even_inactive: bool) -> Lease | None:
        """A slot that is free in the database; None when none is.

        SQL runs in a thread that cannot be cancelled: what it grants to somebody who has left is
        for others.
        """
        wish = self._wish(pool, even_inactive)
        try:
            return await wish
        except asyncio.CancelledError:
            lease = _granted(wish)
            if lease is not None:
                self._start(lease.release())
            raise

    def _wish(self, pool: Pool, even_inactive: bool) -> "asyncio.Future[Lease | None]":
        batch = pool.batches.get(even_inactive)
        if batch is None:
            batch = pool.batches[even_inactive] = []
            self._start(self._take_for_all(pool, even_inactive))
        wish: asyncio.Future[Lease | None] = asyncio.get_running_loop().create_future()
        batch.append(wish)
        return wish

    async def _take_for_all(self, pool: Pool, even_inactive: bool) -> None:
        async with self._asking:
            batch = pool.batches.pop(even_inactive)  # who comes from now on is of the next
            sent = uptime()
            taking = self._start(self._take(pool, len(batch), even_inactive))
            await asyncio.wait([taking])
        error = taking.exception()
        if error is None:
            self._share(pool, batch, taking.result(), sent)
            return
        for wish in batch:
            if not wish.done():
                wish.set_exception(error)

    async def _take(self, pool: Pool, count: int, even_inactive: bool) -> Grant:
        return await self._db.lease(
            store.take,
            pool.server.id,
            min(count, MOST_AT_ONCE),
            holder=self._holder,
            ttl=self._times.ttl,
            even_inactive=even_inactive,
        )

    def _share(
        self,
        pool: Pool,
        batch: Sequence["asyncio.Future[Lease | None]"],
        grant: Grant,
        sent: float,
    ) -> None:
        some = self._learn(pool, grant, sent)
        if len(some) < len(batch):
            pool.was_full()
        for wish in batch:
            if not wish.done():
                has_one = bool(some) and not self.is_closed
                wish.set_result(pool.lease(some.pop(0)) if has_one else None)
        for held in some:
            self._free(pool, held)

    def _learn(self, pool: Pool, grant: Grant, sent: float) -> list[Held]:
        pool.away = None
        pool.learn(Limit(limit=grant.limit, is_active=grant.is_active))
        some = [Held(key, sent, self._times) for key in grant.keys]
        self._adopt(pool, some)
        return some

    async def serve(self, pool: Pool, queue: Queue) -> None:
        """Ask for a queue until nobody is in it. Raises what the database says; that it is away,
        after AWAY seconds of it, and not while slots are held that may become free.
        """
        answered = uptime()

        async def ask(oldest: QueuedRequest) -> float | None:
            nonlocal answered
            try:
                rounds = await self._ask_for_queue(pool, queue, oldest)
            except DatabaseUnavailable as exc:
                pool.away = exc
                is_over = uptime() >= answered + AWAY or not self._db.can_be_away
                if is_over and not pool.may_become_free:
                    raise
                return 1.0
            answered = uptime()
            return rounds

        await queue.serve(ask)

    async def _ask_for_queue(self, pool: Pool, queue: Queue, oldest: QueuedRequest) -> float | None:
        async with self._asking:
            sent = uptime()
            queue.is_told = True
            grant, others = await self._db.lease(
                heartbeats.take_or_tell,
                pool.server.id,
                len(queue),
                most=MOST_AT_ONCE,
                holder=self._holder,
                ttl=self._times.ttl,
                waited=sent - oldest.since,
                even_inactive=oldest.even_inactive,
            )
        some = self._learn(pool, grant, sent)
        pool.heard(others, sent)
        for held in some:
            self._free(pool, held)
        return None if some else pool.rounds_before(oldest.since)

    async def stop_telling(self, pool: Pool, queue: Queue) -> None:
        """Nobody of the queue waits any more."""
        if queue.is_told:
            with suppress(AdminError):  # it ends by itself
                await self._db.lease(contention.forget, pool.server.id, holder=self._holder)


def _granted(wish: "asyncio.Future[Lease | None]") -> Lease | None:
    """What a wish that is done has brought."""
    if wish.cancelled() or wish.exception() is not None:
        return None
    return wish.result()
