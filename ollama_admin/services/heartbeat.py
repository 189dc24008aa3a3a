"""What keeps the slots of a process alive: one renewal for all of them every few seconds, which
also reads what has changed at their servers; and shortly after a request ended, a look whether
others wait for what is kept.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

from ollama_admin.errors import AdminError
from ollama_admin.services.leases import Held, LeaseTimes, uptime
from ollama_admin.services.pools import Note, Pool
from ollama_admin.store import heartbeats
from ollama_admin.store.database import Database
from ollama_admin.store.heartbeats import Beat

LOOK = 0.2  # seconds between two looks at who waits elsewhere
AWAY = 5  # a renewal that failed is tried again after the usual time divided by this

Start = Callable[[Coroutine[Any, Any, Any]], "asyncio.Task[Any]"]  # a task that is waited for


class Dispense(Protocol):
    def __call__(self, *, longest: float) -> None:
        """Give back what was kept for so many seconds, and what others wait for."""


class Heartbeat:
    def __init__(
        self,
        db: Database,
        holder: str,
        times: LeaseTimes,
        pools: Mapping[int, Pool],
        start: Start,
        dispense: Dispense,
        note: Note,
    ) -> None:
        self._db = db
        self._holder = holder
        self._times = times
        self._pools = pools
        self._start = start
        self._dispense = dispense
        self._note = note
        self._none_left = asyncio.Event()
        self._beating: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_away = False
        self._is_stopped = False

    def start(self) -> None:
        """Something is held."""
        self._none_left.clear()
        if self._beating is None or self._beating.done():
            self._beating = self._start(self._beat_while_any())

    def end_if_idle(self) -> None:
        """Something was given back."""
        if not any(pool.held for pool in self._pools.values()):
            self._none_left.set()

    def stir(self) -> None:
        """A request has ended, or a slot is kept: soon look who waits for it."""
        if self._timer is None and not self._is_stopped:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(LOOK, self._stirred)

    def stop(self) -> None:
        """Look no more; renewals end when nothing is held."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()

    def _stirred(self) -> None:
        self._start(self._look())

    async def _look(self) -> None:
        if not self._is_away and await self._listen():  # else nothing can be given back
            self._dispense(longest=self._times.keep)
        self._timer = None
        if any(pool.has_idle for pool in self._pools.values()):
            self.stir()

    async def _listen(self) -> bool:
        """Hear who waits elsewhere and what is allowed; False when the database cannot be asked."""
        server_ids = [pool.server.id for pool in self._pools.values() if pool.held]
        sent = uptime()
        try:
            heard = await self._db.glance(heartbeats.listen, server_ids, holder=self._holder)
        except AdminError:  # the renewal says so
            return False
        limits, waiting = heard
        for server_id in server_ids:
            pool = self._pools[server_id]
            pool.heard(waiting.get(server_id, ()), sent)
            if server_id in limits:
                pool.learn(limits[server_id])
        return True

    async def _beat_while_any(self) -> None:
        pause = self._times.renew
        while any(pool.held for pool in self._pools.values()):
            try:
                async with asyncio.timeout(pause):
                    await self._none_left.wait()
            except TimeoutError:
                began = uptime()
                await self.beat()
                pause = self.pause(began, uptime())

    def pause(self, began: float, now: float) -> float:
        """Seconds until the next renewal, after one that began then and has ended now."""
        usual = self._times.renew / AWAY if self._is_away else self._times.renew
        # a database that stood still may have used up most of a lease's life
        return max(began + usual - now, self._times.renew / 10)

    async def beat(self) -> None:
        """Renew what is held, but for what nobody owns any more."""
        due = [held for pool in self._pools.values() for held in list(pool.held)]
        due = [held for held in due if self._is_due(held)]
        if not due:
            return
        sent = uptime()
        keys = [held.key for held in due]
        try:
            beat = await self._db.lease(heartbeats.beat, keys, self._times.ttl, holder=self._holder)
        except AdminError as exc:
            self._tell_away(exc)
            return
        self._is_away = False
        for held in due:
            if held.key in beat.renewed:
                held.renew(sent)
            elif held in self._pools[held.key.server_id].held:  # not given back meanwhile
                self._lose(held)
        self._learn(beat, {held.key.server_id for held in due}, sent)

    def _learn(self, beat: Beat, server_ids: set[int], sent: float) -> None:
        for server_id in server_ids:
            pool = self._pools[server_id]
            pool.heard(beat.elsewhere.get(server_id, ()), sent)
            if server_id in beat.limits:
                pool.learn(beat.limits[server_id])
            pool.hand_on_kept()
        self._dispense(longest=self._times.keep)

    def _tell_away(self, error: AdminError) -> None:
        if not self._is_away:
            self._note(
                f"slots cannot be renewed: {error.message}; trying again every "
                f"{self._times.renew / AWAY:g} s"
            )
        self._is_away = True

    def _is_due(self, held: Held) -> bool:
        lease = held.lease
        if lease is None:
            return True
        if lease.is_too_old:
            self._drop(held)
            lease.tell(
                f"the request at server {lease.server.name} has held its slot for "
                f"{self._times.longest:g} s; it is no longer renewed"
            )
            return False
        if not lease.is_owned and held.is_over:  # abandoned by a task that is done
            self._drop(held)
        return lease.is_owned

    def _drop(self, held: Held) -> None:
        self._pools[held.key.server_id].drop(held)
        self.end_if_idle()

    def _lose(self, held: Held) -> None:
        held.lose()
        self._drop(held)
        if held.lease is not None:
            name = held.lease.server.name
            held.lease.tell(
                f"the slot at server {name} was lost: the database was out of reach, or this "
                "process was suspended; the answer goes on, no longer counted in its limit"
            )
