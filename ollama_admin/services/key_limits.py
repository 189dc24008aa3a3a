"""The limits of keys, which hold for all processes together: requests that run at once, requests a
minute, tokens a day.

Requests at once are exact. Requests a minute and tokens a day never exceed what is granted, but for
what running answers use beyond what was reserved for them. What a process takes of a budget and
does not spend is given back after a second, or is lost with a process that is killed: of a minute's
requests and a day's tokens one part of 200 each.
"""

import asyncio
import math
import os
import platform
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from ollama_admin.domain.keys import Key
from ollama_admin.errors import AdminError, LimitReached
from ollama_admin.services.budgets import Budget, Standing
from ollama_admin.services.key_leases import KeyLeases
from ollama_admin.services.leases import uptime
from ollama_admin.store.budgets import Kind
from ollama_admin.store.database import Database

LOOK = 0.5  # seconds between two looks at what is to be told or given back
RENEW = 5.0  # seconds between two renewals of leases
SOON = 1.0  # seconds until who was refused for requests at once may ask again


class _State:
    """What this process has of one key."""

    def __init__(self, db: Database, key: Key, holder: str) -> None:
        self.key = key
        self.requests = Budget(db, key.id, Kind.REQUESTS)
        self.tokens = Budget(db, key.id, Kind.TOKENS)
        self.leases = KeyLeases(db, key.id, holder)
        self.users = 0  # requests that are not settled yet

    @property
    def is_idle(self) -> bool:
        is_settled = self.requests.is_idle and self.tokens.is_idle
        return is_settled and self.leases.is_idle and not self.users

    async def tend(self, *, is_due: bool, is_end: bool = False) -> None:
        key = self.key
        await self.requests.tend(key.requests_per_minute or 0, is_end=is_end)
        await self.tokens.tend(key.tokens_per_day or 0, is_end=is_end)
        if not self.leases.is_idle:
            await self.leases.tend(is_due=is_due, is_end=is_end)


@dataclass(slots=True)
class Admission:
    """One request that was let in. `used` is the tokens that it used, None where nobody told: then
    what was reserved counts.
    """

    standings: list[Standing] = field(default_factory=list)
    reserved: int = 0
    used: int | None = None

    def use(self, tokens: int) -> None:
        self.used = tokens


class KeyLimits:
    def __init__(self, db: Database, note: Callable[[str], None]) -> None:
        self._db = db
        self._note = note
        self._holder = f"{platform.node()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._states: dict[int, _State] = {}
        self._tending: asyncio.Task[None] | None = None
        self._is_away = False

    @asynccontextmanager
    async def admitted(self, key: Key, tokens: int) -> AsyncIterator[Admission]:
        """Let a request in, for which `tokens` are reserved until it is known what it used. Raises
        LimitReached, which names the limit that is tightest.
        """
        state = self._state(key)
        admission = Admission()
        is_counted = has_lease = is_let_in = False
        state.users += 1
        try:
            is_counted = await self._count(state, key, admission)
            await self._reserve(state, key, admission, max(1, tokens))
            has_lease = await self._lease(state, key)
            is_let_in = True
            yield admission
        finally:
            state.users -= 1
            if has_lease:
                state.leases.give_back()
            if is_counted and not is_let_in:
                state.requests.settle(1, 0)
            _settle_tokens(state, admission, is_let_in=is_let_in)

    async def aclose(self) -> None:
        """Give back what is not used."""
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.wait((self._tending,))
        for state in self._states.values():
            with suppress(AdminError):  # it ends by itself
                await state.tend(is_due=True, is_end=True)

    def _state(self, key: Key) -> _State:
        state = self._states.get(key.id)
        if state is None:
            state = self._states[key.id] = _State(self._db, key, self._holder)
        state.key = key
        if self._tending is None or self._tending.done():
            self._tending = asyncio.get_running_loop().create_task(self._tend())
        return state

    @staticmethod
    async def _count(state: _State, key: Key, admission: Admission) -> bool:
        limit = key.requests_per_minute
        if limit is None:
            return False
        reserved = await state.requests.reserve(1, limit)
        standing = state.requests.standing(limit)
        if not reserved:
            raise LimitReached(
                f"key {key.name} has asked {limit} times this minute, as often as it may",
                f"ask again in {math.ceil(standing.seconds)} s",
                seconds=standing.seconds,
            )
        admission.standings.append(standing)
        return True

    @staticmethod
    async def _reserve(state: _State, key: Key, admission: Admission, tokens: int) -> None:
        limit = key.tokens_per_day
        if limit is None:
            return
        admission.reserved = await state.tokens.reserve(tokens, limit)
        standing = state.tokens.standing(limit)
        if not admission.reserved:
            raise LimitReached(
                f"key {key.name} has used its {limit} tokens of today",
                f"the day ends at midnight UTC, in {math.ceil(standing.seconds / 60)} minutes",
                seconds=standing.seconds,
                is_spent=True,
            )
        admission.standings.append(standing)

    @staticmethod
    async def _lease(state: _State, key: Key) -> bool:
        limit = key.max_concurrent
        if limit is None:
            return False
        if not await state.leases.take(limit):
            raise LimitReached(
                f"{limit} requests of key {key.name} run, as many as may at once",
                "ask again when one has ended",
                seconds=SOON,
            )
        return True

    async def _tend(self) -> None:
        renewed = uptime()
        while self._states:
            await asyncio.sleep(LOOK)
            is_due = uptime() - renewed >= RENEW
            if is_due:
                renewed = uptime()
            await self._tend_all(is_due=is_due)
            idle = [key_id for key_id, state in self._states.items() if state.is_idle]
            for key_id in idle:
                del self._states[key_id]

    async def _tend_all(self, *, is_due: bool) -> None:
        try:
            for state in list(self._states.values()):
                await state.tend(is_due=is_due)
            self._is_away = False
        except AdminError as exc:
            if not self._is_away:
                self._note(f"the limits of keys cannot be told to other processes: {exc.message}")
            self._is_away = True


def _settle_tokens(state: _State, admission: Admission, *, is_let_in: bool) -> None:
    used = admission.used
    if used is None:
        used = admission.reserved
    if not is_let_in:
        used = 0
    if state.key.tokens_per_day is not None:
        state.tokens.settle(admission.reserved, used)
