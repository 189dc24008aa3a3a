"""How many requests of a key run at once, in all processes together."""

import asyncio
from contextlib import suppress

from ollama_admin.services.leases import uptime
from ollama_admin.services.retrying import until_there
from ollama_admin.store import budgets as store
from ollama_admin.store.budgets import LEASE
from ollama_admin.store.database import Database

WAIT = 3.0  # seconds that a request waits for another process to give back what it keeps
LOOK = 0.2  # seconds between two looks meanwhile
KEPT = 0.5  # seconds that a lease is kept for the next request
MARGIN = 2.0  # seconds before its end that a lease is not trusted any more


class KeyLeases:
    """The leases of one key in this process: `_held` are its own, of which `_running` are in
    use.
    """

    def __init__(self, db: Database, key_id: int, holder: str) -> None:
        self._db = db
        self._key_id = key_id
        self._holder = holder
        self._held = self._running = 0
        self._trusted_until = self._used = 0.0
        self._is_unsure = False
        self._freed = asyncio.Event()
        self._taking = asyncio.Lock()

    @property
    def is_idle(self) -> bool:
        return self._held == 0 and not self._is_unsure

    @property
    def running(self) -> int:
        return self._running

    async def take(self, limit: int) -> bool:
        """Have a lease for one request; False where all are in use, also after a short wait."""
        if self._is_free(limit):
            self._running += 1
            return True
        gives_up = uptime() + WAIT
        async with self._taking:
            while not self._is_free(limit):
                await self._ask(limit)
                if self._is_free(limit):
                    break
                if uptime() >= gives_up:
                    return False
                await self._next_look()
            self._running += 1
            return True

    def give_back(self) -> None:
        """A request has ended."""
        self._running -= 1
        self._used = uptime()
        self._freed.set()

    async def tend(self, *, is_due: bool, is_end: bool = False) -> None:
        """Give back leases that nobody uses, and renew the others where that is due."""
        if self._held > self._running and (is_end or uptime() - self._used > KEPT):
            self._held = self._running  # first: nobody may use what is on its way back
            is_due = True
        if is_due or self._is_unsure:
            sent = uptime()
            self._is_unsure = False
            await self._db.lease(store.renew, self._holder, {self._key_id: self._held})
            self._trusted_until = sent + LEASE - MARGIN

    def _is_free(self, limit: int) -> bool:
        return self._running < min(self._held, limit) and uptime() < self._trusted_until

    async def _ask(self, limit: int) -> None:
        self._is_unsure = True  # until it is known: the request may be cancelled meanwhile
        sent, held = await until_there(self._db, lambda: self._leased(limit))
        self._is_unsure = False
        self._held = max(held, self._running)
        self._trusted_until = sent + LEASE - MARGIN

    async def _leased(self, limit: int) -> tuple[float, int]:
        """When it was asked, and how many leases there are since."""
        sent, wanted = uptime(), self._running + 1
        held = await self._db.lease(
            store.lease, self._key_id, self._holder, wanted=wanted, limit=limit
        )
        return sent, held

    async def _next_look(self) -> None:
        self._freed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK):
                await self._freed.wait()
