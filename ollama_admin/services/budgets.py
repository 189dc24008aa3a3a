"""What this process may still spend of a key's budget: taken from the database in parts, spent in
memory.
"""

import asyncio
from dataclasses import dataclass

from ollama_admin.services.leases import uptime
from ollama_admin.services.retrying import until_there
from ollama_admin.store import budgets as store
from ollama_admin.store.budgets import Kind
from ollama_admin.store.database import Database

PARTS = 200  # of a budget: one is taken at once, so that others find the rest
SPENT = 0.5  # seconds that a budget which is spent is not asked for again
IDLE = 1.0  # seconds until what is not spent is given back


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How a budget stands, as far as this process knows: `seconds` until it begins anew."""

    kind: Kind
    limit: int
    left: int
    seconds: float


class Budget:
    """One budget of one key. What it may spend is `_own`, which falls below 0 where more was used
    than was reserved: that is told to the others at the next look.
    """

    def __init__(self, db: Database, key_id: int, kind: Kind) -> None:
        self._db = db
        self._key_id = key_id
        self._kind = kind
        self._own = 0
        self._period = 0
        self._left = 0  # to all, when it was looked at
        self._ends = self._used = self._spent_until = 0.0
        self._taking = asyncio.Lock()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to be told or given back."""
        return self._own == 0 or self._is_over

    async def reserve(self, amount: int, limit: int) -> int:
        """Take `amount` of the budget, or what is left of it; 0 where it is spent."""
        self._used = uptime()
        if self._is_over:
            self._own = 0
        if self._own < amount:
            async with self._taking:
                if self._own < amount and uptime() >= self._spent_until:
                    await self._take(amount, limit)
        reserved = max(0, min(amount, self._own))
        self._own -= reserved
        return reserved

    def settle(self, reserved: int, used: int) -> None:
        """Of what was reserved, so much was used; more or less."""
        self._own += reserved - used

    def standing(self, limit: int) -> Standing:
        left = min(limit, max(0, self._own) + self._left)
        return Standing(kind=self._kind, limit=limit, left=left, seconds=self._seconds)

    async def tend(self, limit: int, *, is_end: bool = False) -> None:
        """Tell the others what was used beyond what was taken, and give back what is not needed."""
        if self.is_idle:
            return
        async with self._taking:
            own = self._own
            if own < 0:
                self._own -= own
                part = await self._db.write(
                    store.take, self._key_id, self._kind, wanted=0, limit=limit, debt=-own
                )
                self._left = part.left
            elif is_end or uptime() - self._used > IDLE:
                self._own -= own
                await self._db.write(store.give_back, self._key_id, self._kind, self._period, own)
                self._left += own

    @property
    def _is_over(self) -> bool:
        return uptime() >= self._ends

    @property
    def _seconds(self) -> float:
        return max(0.0, self._ends - uptime())

    async def _take(self, amount: int, limit: int) -> None:
        debt = max(0, -self._own)
        wanted = max(amount, limit // PARTS)
        part = await until_there(
            self._db,
            lambda: self._db.write(
                store.take, self._key_id, self._kind, wanted=wanted, limit=limit, debt=debt
            ),
        )
        if part.period != self._period and self._own > 0:
            self._own = 0  # of a period that is over
        self._own += part.amount + debt
        self._period, self._left = part.period, part.left
        self._ends = uptime() + part.seconds
        if part.left == 0 and self._own <= 0:
            self._spent_until = uptime() + min(SPENT, part.seconds)
