"""A slot that a process holds, which ends by itself unless it is renewed, and the lease of it that
one request has.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from ollama_admin.domain.servers import Server
from ollama_admin.store.clocks import LONGEST_TTL
from ollama_admin.store.slots import LeaseKey

# Seconds of a clock that nobody sets and that runs on while the machine sleeps, where there is one.
uptime = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

EndLease = Callable[["Lease"], "asyncio.Task[None] | None"]  # the task that gives the slot back


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTimes:
    """Seconds: a slot is held for `ttl` after it was granted or renewed, and is renewed every
    `renew`.

    It is trusted until `margin` before its end. After a request it is kept for `keep`. A request
    that has had it for `longest` has it renewed no more, whatever it does.
    """

    ttl: float = 30.0
    renew: float = 5.0
    margin: float = 2.0
    keep: float = 1.0
    longest: float = 4 * 3600.0

    def __post_init__(self) -> None:
        if not 0 < self.renew < self.ttl - self.margin < self.ttl:
            raise ValueError(
                "a lease must be renewed while it is trusted, and trusted for less than its life"
            )
        if self.ttl > LONGEST_TTL:
            raise ValueError(f"a lease lives for at most {LONGEST_TTL:g} s without being renewed")


class Held:
    """A slot that this process holds: for the request whose `lease` it is, or kept for the next one
    since `idle_since`.

    `is_leaving`: it goes back when its request ends, as the limit was lowered since.
    """

    __slots__ = (
        "idle_since",
        "is_leaving",
        "key",
        "lease",
        "lost",
        "renewed",
        "times",
        "trusted_until",
    )

    def __init__(self, key: LeaseKey, sent: float, times: LeaseTimes) -> None:
        self.key = key
        self.times = times
        self.renewed = sent  # when the statement that granted or renewed it last was sent
        self.trusted_until = sent + times.ttl - times.margin
        self.lease: Lease | None = None
        self.idle_since = sent
        self.is_leaving = False
        self.lost = False

    def renew(self, sent: float) -> None:
        """It was renewed by a statement that was sent then."""
        self.renewed = max(self.renewed, sent)
        self.trusted_until = self.renewed + self.times.ttl - self.times.margin

    def lose(self) -> None:
        """It is somebody else's now."""
        self.lost = True
        self.trusted_until = float("-inf")

    @property
    def is_over(self) -> bool:
        """Whether it has ended by our clock, which never runs ahead of the database's."""
        return uptime() >= self.renewed + self.times.ttl


class Lease:
    """A slot for one request, until `release` or the end of `async with`.

    It is renewed while the task `owner` is not done: whoever takes what the slot was for sets it,
    since an answer may go from task to task.
    """

    __slots__ = ("_end", "_is_ended", "_returning", "_since", "held", "note", "owner", "server")

    def __init__(self, server: Server, held: Held, end: EndLease) -> None:
        self.server = server
        self.held = held
        self.note: Callable[[str], None] = _not_heard
        self.owner: asyncio.Task[Any] | None = None
        self._end = end
        self._since = uptime()
        self._is_ended = False
        self._returning: asyncio.Task[None] | None = None

    @property
    def server_id(self) -> int:
        return self.held.key.server_id

    @property
    def slot(self) -> int:
        return self.held.key.slot

    @property
    def token(self) -> int:
        return self.held.key.token

    @property
    def lost(self) -> bool:
        return self.held.lost

    def tell(self, message: str) -> None:
        """Tell the one who asked. What a Python caller's function raises goes no further: the lease
        of everybody is renewed by the task that says so.
        """
        with suppress(Exception):
            self.note(message)

    @property
    def is_trusted(self) -> bool:
        """Whether the slot is ours for certain: nothing may be sent when it is not."""
        return not self._is_ended and uptime() < self.held.trusted_until

    @property
    def is_owned(self) -> bool:
        return self.owner is not None and not self.owner.done()

    @property
    def is_too_old(self) -> bool:
        return uptime() >= self._since + self.held.times.longest

    async def release(self) -> None:
        """End the lease, once: the slot is kept, or goes to the next request or back, which goes on
        when the caller is cancelled. An unreachable database is only a note.
        """
        await self.__aexit__(None, None, None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._is_ended:
            self._is_ended = True
            self._returning = self._end(self)
        if self._returning is not None:
            await asyncio.shield(self._returning)


def _not_heard(message: str) -> None:
    """Until somebody has taken the lease."""
