"""The slots that this process holds at one server: those that requests run under, and those that
are kept for the next request.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from ollama_admin.domain.servers import Server
from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.services.leases import EndLease, Held, Lease, uptime
from ollama_admin.services.queues import Queue
from ollama_admin.store.slots import Limit

Note = Callable[[str], None]
FULL_FOR = 0.05  # seconds that a server is taken for full after the database said so


class Pool:
    """`elsewhere` is since when the longest request of each other process waits, longest first, by
    our clock, as far as we know. `batches` are the requests that are about to ask the database, by
    whether an inactive server will do. `away` is why the database did not answer when it was asked
    for a slot last, None when it did.
    """

    def __init__(self, server: Server, end: EndLease) -> None:
        self.server = server  # as it was read last
        self.queue: Queue | None = None
        self.batches: dict[bool, list[asyncio.Future[Lease | None]]] = {}
        self.away: DatabaseUnavailable | None = None
        self.limit = 0
        self.is_active = True
        self.elsewhere: deque[float] = deque()
        self.held: set[Held] = set()
        self.running = 0  # requests
        self._idle: list[Held] = []
        self._end = end
        self._full_at = float("-inf")

    @property
    def waiting(self) -> int:
        return 0 if self.queue is None else len(self.queue)

    @property
    def has_idle(self) -> bool:
        return bool(self._idle)

    @property
    def may_become_free(self) -> bool:
        """Whether a request can get a slot without the database."""
        now = uptime()
        return any(now < held.trusted_until for held in self.held)

    @property
    def was_full_just_now(self) -> bool:
        return uptime() < self._full_at + FULL_FOR

    def was_full(self) -> None:
        self._full_at = uptime()

    @property
    def idle(self) -> int:
        """How many slots are kept for the next request."""
        return len(self._idle)

    def kept(self) -> Lease | None:
        """A lease of a kept slot, without asking anybody; None where others wait for it."""
        if self.queue or not self.is_active:
            return None
        held = self.last_idle()
        if held is None:
            return None
        return self.lease(self._idle.pop())

    def last_idle(self) -> Held | None:
        """The kept slot that was used last, so that what is not needed becomes idle; None where it
        is not ours for certain, or goes back.
        """
        if not self._idle:
            return None
        held = self._idle[-1]
        is_ours = uptime() < held.trusted_until
        return held if is_ours and not held.is_leaving else None

    def lease(self, held: Held) -> Lease:
        """Let a request run under a slot that is not among the kept ones."""
        held.lease = Lease(self.server, held, self._end)
        self.running += 1
        return held.lease

    def hand_on(self, held: Held) -> bool:
        """Give a slot to the request whose turn it is; False when nobody takes it."""
        while self.queue:
            request = self.queue.turn(even_inactive=not self.is_active)
            if request is None:
                return False
            if request.accept(self.lease(held)):
                return True
            held.lease = None
            self.running -= 1
            request.leave()
        return False

    def hand_on_kept(self) -> None:
        """Give what is kept to who waits: it may be trusted again."""
        while self.queue and self.last_idle() is not None:
            held = self._idle.pop()
            if not self.hand_on(held):
                self._idle.append(held)
                return

    def add(self, held: Held) -> None:
        for known in [one for one in self.held if one.key == held.key]:
            known.lose()  # the database forgot that it had granted it
            self.drop(known)
        self.held.add(held)

    def keep(self, held: Held) -> None:
        held.idle_since = uptime()
        self._idle.append(held)

    def drop(self, held: Held) -> None:
        self.held.discard(held)
        if held in self._idle:
            self._idle.remove(held)

    def learn(self, now: Limit) -> None:
        """What is allowed now. Nobody knows how many others hold: where less is allowed than
        before, everything goes back when its request ends, to be granted by the new limit.
        """
        if now.limit < self.limit or not now.is_active:
            for held in self.held:
                held.is_leaving = True
        self.limit, self.is_active = now.limit, now.is_active

    def heard(self, waited: Sequence[float], sent: float) -> None:
        """Others wait for so many seconds; it was asked at `sent`."""
        self.elsewhere = deque(sent - seconds for seconds in waited)

    def rounds_before(self, since: float) -> float:
        """How many rounds of the server's slots are for requests of others that wait for longer."""
        ahead = sum(other < since for other in self.elsewhere)
        return ahead / max(1, self.limit)

    def yields(self) -> bool:
        """Whether a slot that is free now is for another process; it is counted as given."""
        if not self.elsewhere:
            return False
        if self.queue and self.queue.oldest.since <= self.elsewhere[0]:
            return False
        self.elsewhere.popleft()
        return True

    def dispensable(self, longest: float) -> list[Held]:
        """The kept slots that go back now: what others wait for, and what was idle for `longest`
        seconds. They are no longer kept.
        """
        now = uptime()
        going: list[Held] = []
        for held in list(self._idle):  # the longest idle first
            if held.is_leaving or now >= held.idle_since + longest or self.yields():
                self._idle.remove(held)
                going.append(held)
        return going
