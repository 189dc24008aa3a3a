"""A lease: the right to one slot of a server, which ends by itself unless it is renewed."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from ollama_admin.domain.servers import Server
from ollama_admin.store.slots import LONGEST_TTL, LeaseKey

# Seconds of a clock that nobody sets and that runs on while the machine sleeps, where there is one.
uptime = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

GiveBack = Callable[["Lease"], asyncio.Task[None]]  # begins to release a lease


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """Seconds: a lease lives for `ttl` after it was granted or renewed, and is renewed every
    `renew`.

    It is trusted until `margin` before its end. After `longest` it is not renewed any more,
    whatever its holder does.
    """

    ttl: float = 15.0
    renew: float = 5.0
    margin: float = 2.0
    longest: float = 4 * 3600.0

    def __post_init__(self) -> None:
        if not 0 < self.renew < self.ttl - self.margin < self.ttl:
            raise ValueError(
                "a lease must be renewed while it is trusted, and trusted for less than its life"
            )
        if self.ttl > LONGEST_TTL:
            raise ValueError(f"a lease lives for at most {LONGEST_TTL:g} s without being renewed")


class Lease:
    """A slot held for one request, until `release` or the end of `async with`.

    It is renewed while the task `owner` is not done: whoever takes what the slot was for sets it,
    since an answer may go from task to task.
    """

    def __init__(
        self,
        server: Server,
        key: LeaseKey,
        sent: float,
        times: LeaseTimes,
        give_back: GiveBack,
        note: Callable[[str], None],
    ) -> None:
        self.server = server
        self.key = key
        self.note = note
        self._give_back = give_back
        self._times = times
        self._since = sent
        self._renewed = sent
        self.owner: asyncio.Task[Any] | None = None
        self._returning: asyncio.Task[None] | None = None
        self.lost = False

    @property
    def server_id(self) -> int:
        return self.key.server_id

    @property
    def slot(self) -> int:
        return self.key.slot

    @property
    def token(self) -> int:
        return self.key.token

    def tell(self, message: str) -> None:
        """Tell the one who asked. What a Python caller's function raises goes no further: the lease
        of everybody is renewed by the task that says so.
        """
        with suppress(Exception):
            self.note(message)

    @property
    def is_trusted(self) -> bool:
        """Whether the slot is ours for certain: nothing may be sent when it is not."""
        if self.lost or self._returning is not None:
            return False
        return uptime() < self._renewed + self._times.ttl - self._times.margin

    @property
    def is_over(self) -> bool:
        """Whether it has ended by our clock, which never runs ahead of the database's."""
        return uptime() >= self._renewed + self._times.ttl

    @property
    def is_owned(self) -> bool:
        return self.owner is not None and not self.owner.done()

    @property
    def is_too_old(self) -> bool:
        return uptime() >= self._since + self._times.longest

    def renewed(self, sent: float) -> None:
        """`sent` is when the statement that renewed it was sent."""
        self._renewed = max(self._renewed, sent)

    async def release(self) -> None:
        """Give the slot back, once; goes on when the caller is cancelled. An unreachable database
        is only a note.
        """
        if self._returning is None:
            self._returning = self._give_back(self)
        await asyncio.shield(self._returning)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.release()
