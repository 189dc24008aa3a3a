"""What this process knows of the health of servers: from their rows, and from its own requests.

It decides nothing but who is asked first. Nobody waits for it, and no request fails by it.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ollama_admin.domain.health import Health
from ollama_admin.domain.servers import Server
from ollama_admin.errors import AdminError
from ollama_admin.rules import health as rules
from ollama_admin.rules.candidates import Candidate
from ollama_admin.services.trail import Deadline
from ollama_admin.store import health as store
from ollama_admin.store.database import Database

OFTEN = timedelta(seconds=15)  # a server that stays well is written again after so long
TRY = timedelta(seconds=10)  # so long a request may take to try a server that has failed
SAID = 1.0  # seconds in which the database says whose request that is
PATIENCE = 5.0  # seconds for what is still to be written at the end

Now = Callable[[], datetime]


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class _Known:
    """`row` is the one that was read last, `written` when the row said this last, `tried_until`
    until when one request, of this process or another one, tries the server, and no other does.
    """

    row: Server
    health: Health
    written: datetime | None
    tried_until: datetime | None = None


class HealthBook:
    """One for each process. `now` is the time of day, `draw` gives a number from 0 to 1."""

    def __init__(
        self,
        db: Database,
        note: Callable[[str], None],
        now: Now = _now,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._db = db
        self._note = note
        self._now = now
        self._draw = draw
        self._known: dict[int, _Known] = {}
        self._unwritten: dict[int, store.Seen] = {}
        self._writer: asyncio.Task[None] | None = None
        self._is_closed = False

    def is_asked_last(self, server: Server) -> bool:
        """Whether others should be asked before it: it has failed, and its time is not over or
        another request tries it now.
        """
        known = self._of(server)
        if not known.health.failures:
            return False
        now = self._now()
        is_tried = known.tried_until is not None and now < known.tried_until
        return is_tried or rules.is_asked_last(known.health, now)

    async def first(self, candidates: Sequence[Candidate], wait: float) -> list[Candidate]:
        """Of candidates in order those that should be asked now: not those that are asked last,
        unless there are no others, or the request will not `wait` for the others. One that has
        failed, and whose time is over, is asked if it comes first, and of all processes by this
        request alone. Nobody waits for the database unless a server has failed.
        """
        well: list[Candidate] = []
        others: list[Candidate] = []
        for candidate in candidates:
            server = candidate.server
            if (
                server is None
                or not self._of(server).health.failures
                or (not well and await self._takes_try(server))
            ):
                well.append(candidate)
            else:
                others.append(candidate)
        if well and wait > 0:
            return well
        return well + others

    def good(self, candidate: Candidate) -> None:
        """A server has answered a request for a model. O(1); never waits or raises."""
        if candidate.server is None:
            return
        known = self._of(candidate.server)
        now = self._now()
        is_fresh = known.written is not None and now - known.written < OFTEN
        if is_fresh and not known.health.failures:
            return
        self._keep(known, rules.answered(known.health, now, by_model=True))

    def failed(self, candidate: Candidate, error: AdminError, deadline: Deadline) -> None:
        """A request to a server has failed; where its own time was over, that says nothing of the
        server. O(1); never waits or raises.
        """
        if candidate.server is None or deadline.is_over or not rules.tells_of_server(error):
            return
        self._keep_failure(candidate.server, error)

    @contextmanager
    def kept(self, server: Server) -> Iterator[None]:
        """Keep what comes of a question to a server that is no request for an answer: it can be
        reached, or the error is its own. Never waits, and raises nothing but that error.
        """
        try:
            yield
        except AdminError as error:
            if rules.tells_of_server(error):
                self._keep_failure(server, error)
            raise
        known = self._of(server)
        self._keep(known, rules.answered(known.health, self._now(), by_model=False))

    async def _takes_try(self, server: Server) -> bool:
        """Whether this request is the one that tries a server that has failed. Where the database
        does not say so soon, it is not.
        """
        if self.is_asked_last(server):
            return False
        now = self._now()
        until = self._of(server).tried_until = now + TRY
        try:
            async with asyncio.timeout(SAID):
                return await self._db.lease(store.take_try, server.id, now, until)
        except (AdminError, TimeoutError):
            return False

    async def settle(self) -> None:
        """Wait until what was seen is written, but not for long."""
        if self._writer is not None:
            await asyncio.wait((self._writer,), timeout=PATIENCE)

    async def aclose(self) -> None:
        """Write what is not written yet, if that does not take long."""
        self._is_closed = True
        await self.settle()
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait((self._writer,))

    def _of(self, server: Server) -> _Known:
        """What is known of it: the row, or what was seen here since."""
        known = self._known.get(server.id)
        if known is None or known.row.url != server.url:
            health = Health.of(server)
            known = self._known[server.id] = _Known(server, health, _written(health))
        elif known.row is not server:
            known.row = server
            if _is_later(server.status_at, known.health.at):
                read = Health.of(server)
                known.health, known.written, known.tried_until = read, _written(read), None
        return known

    def _keep_failure(self, server: Server, error: AdminError) -> None:
        known = self._of(server)
        status, text = rules.status_after(error), error.summary
        after = rules.failed(known.health, self._now(), status, text, self._draw())
        self._keep(known, after)

    def _keep(self, known: _Known, after: Health) -> None:
        is_news = rules.is_news(known.health, after)
        known.health, known.tried_until = after, None
        is_due = known.written is None or after.at is None or after.at - known.written >= OFTEN
        if not (is_news or is_due) or self._is_closed:
            return
        known.written = after.at
        self._unwritten[known.row.id] = store.Seen(server=known.row.ref, health=after)
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def _write(self) -> None:
        """What is seen while this is busy goes into its next transaction."""
        try:
            while self._unwritten:
                seen = list(self._unwritten.values())
                self._unwritten.clear()
                await self._db.write(store.store, seen)
        except AdminError as exc:
            self._note(f"the health of servers could not be written: {exc.message}")
        finally:
            self._writer = None


def _is_later(read: datetime | None, known: datetime | None) -> bool:
    if read is None:  # nothing is known of it since it was changed
        return known is None
    return known is None or read > known


def _written(health: Health) -> datetime | None:
    """When the row said last that the server is well."""
    return health.at if health.status == "online" else None
