"""What a process keeps of the database in memory, until the registry's revision changes."""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from typing import Any, TypeVar

from ollama_admin.errors import AdminError, DatabaseUnavailable, SchemaOutOfDate
from ollama_admin.services.leases import uptime
from ollama_admin.store import registry as store
from ollama_admin.store import schema
from ollama_admin.store.database import Database

T = TypeVar("T")

MOST = 10_000  # keys that are kept
LATE = 5.0  # seconds without a look at the revision that `/readyz` speaks of
LONGEST = 60.0  # seconds without one that values stay in use
IDLE = 60.0  # seconds without a question until nothing is kept or watched any more


class Registry:
    """What this process knows of the database, kept until the registry's revision changes.

    The revision is read every `every` seconds (jittered) while somebody asks. Where that fails,
    values stay in use for `longest` seconds; `note` hears once that it fails, and once that it is
    over. `clock` gives seconds.
    """

    def __init__(
        self,
        db: Database,
        note: Callable[[str], None],
        every: float = 0.5,
        *,
        longest: float = LONGEST,
        idle: float = IDLE,
        clock: Callable[[], float] = uptime,
    ) -> None:
        self._db = db
        self._note = note
        self._every = every
        self._longest = longest
        self._idle = idle
        self._clock = clock
        self._random = random.Random()  # noqa: S311 (jitter; a caller's own random numbers stay)
        self.revision: int | None = None
        self._known = _Known()
        self._watch: asyncio.Task[None] | None = None
        self._looked = asyncio.Event()
        self._seen = 0.0
        self._is_asked = False
        self._is_away = False
        self._moved: SchemaOutOfDate | None = None
        self._is_closed = False
        self._reads = set[asyncio.Task[Any]]()
        db.on_change(self.forget)

    @property
    def is_watching(self) -> bool:
        return self._watch is not None and not self._watch.done()

    @property
    def age(self) -> float:
        """Seconds since the revision was last read, or since the first question; 0 while nothing is
        kept.
        """
        return self._clock() - self._seen if self.is_watching else 0.0

    async def get(self, key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """The kept value of a key, or what `read` gives, which is kept then.

        Those who ask for one key at the same time share one read, and its error, which is not kept.
        Raises DatabaseUnavailable when the revision could not be read for too long, and
        SchemaOutOfDate when the last look found other tables than those of this version.
        """
        if self._is_closed:
            raise _closed()
        self._is_asked = True
        if not self.is_watching:
            self._begin()
        await self._after_standstill()
        self._require_current()
        known = self._known
        if key in known.values:
            value: T = known.used(key)
            return value
        if key not in known.reads:
            known.reads[key] = self._start(known, key, read)
        reading: asyncio.Task[T] = known.reads[key]
        # a cancelled asker leaves the others what they wait for
        await asyncio.wait((reading,))
        if reading.cancelled():
            raise _closed()
        return reading.result()

    def peek(self, key: Hashable) -> Any:
        """The kept value of a key; None where there is none, or where it may not be used."""
        self._is_asked = True
        known = self._known
        if key not in known.values or self.age > self._longest:
            return None
        return known.used(key)

    def forget(self) -> None:
        """Keep nothing that was read, or began to be read, before now. Any thread may call this."""
        self._known = _Known()

    async def require_servable(self) -> float | None:
        """Raise DatabaseUnavailable unless the database can be written to now, or was there so
        short a time ago that what is kept of it is in use; gives back its age, then.
        """
        await self._after_standstill()
        self._require_young()
        was_there = self.revision is not None  # else nothing is kept
        if was_there and self.age > LATE:
            return self.age
        try:
            await self._db.check()
        except SchemaOutOfDate:
            raise
        except DatabaseUnavailable:
            self._require_young()
            if was_there:
                return self.age
            raise
        await self._db.read(schema.require_writable)
        return None

    async def aclose(self) -> None:
        """Keep nothing any more; who still waits for a value gets an error."""
        self._is_closed = True
        self._looked.set()
        self.forget()
        tasks = set(self._reads)
        if self._watch is not None:
            tasks.add(self._watch)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _after_standstill(self) -> None:
        """Wait for the look that tells what is true now, where this process stood still for so long
        that nothing may be used: no look has failed, there was none.
        """
        while self.age > self._longest and not (self._is_away or self._is_closed):
            self._looked.clear()
            await self._looked.wait()

    def _require_current(self) -> None:
        if self._moved is not None:
            raise SchemaOutOfDate(self._moved.message, self._moved.hint)
        self._require_young()

    def _require_young(self) -> None:
        age = self.age
        if age > self._longest:
            raise DatabaseUnavailable(
                f"what this process knows of the registry is {age:.0f} s old",
                "check that the database is running",
            )

    def _begin(self) -> None:
        self.forget()
        self.revision = None
        self._is_away = False
        self._moved = None
        self._looked = asyncio.Event()
        self._seen = self._clock()
        self._watch = asyncio.get_running_loop().create_task(self._watch_while_asked())

    async def _watch_while_asked(self) -> None:
        asked = self._clock()
        while self._clock() - asked < self._idle:
            try:
                await self._look()
            finally:
                self._looked.set()
            await asyncio.sleep(self._every * self._random.uniform(0.8, 1.2))
            if self._is_asked:
                self._is_asked = False
                asked = self._clock()
        self.forget()
        self._watch = None
        self._looked.set()

    async def _look(self) -> None:
        sent = self._clock()
        try:
            revision = await self._db.glance(store.revision)
        except AdminError as exc:
            # one that began before this process stood still says nothing of the database
            if self._clock() - sent <= self._longest:
                self._lose(exc)
            return
        # after a failover other changes than those that were seen may have the same number
        if self._is_away or self.revision not in (None, revision):
            self.forget()
        if self._is_away:
            self._tell("changes of the registry are seen again")
        self._is_away = False
        self._moved = None
        self.revision = revision
        self._seen = sent

    def _lose(self, exc: AdminError) -> None:
        what_is_known = f"stays in use for {self._longest:g} s"
        if isinstance(exc, SchemaOutOfDate):
            self.forget()
            self._moved = exc
            what_is_known = "is no longer used"
        if not self._is_away:
            self._tell(
                f"changes of the registry cannot be seen: {exc.message}; what is known of it "
                f"{what_is_known}"
            )
        self._is_away = True

    def _tell(self, message: str) -> None:
        """What a Python caller's function raises does not end the watch."""
        with suppress(Exception):
            self._note(message)

    def _start(
        self, known: "_Known", key: Hashable, read: Callable[[], Awaitable[T]]
    ) -> asyncio.Task[T]:
        reading = asyncio.get_running_loop().create_task(self._read(known, key, read))
        self._reads.add(reading)
        reading.add_done_callback(self._end)
        return reading

    async def _read(self, known: "_Known", key: Hashable, read: Callable[[], Awaitable[T]]) -> T:
        """Read a value into what was known when it was asked for. Where that was forgotten
        meanwhile, nobody looks there any more.
        """
        try:
            await self._looked.wait()
            self._require_current()
            # else a change between this read and the first look would never be seen
            may_keep = self.revision is not None
            value = await read()
            if may_keep:
                known.keep(key, value)
            return value
        finally:
            del known.reads[key]

    def _end(self, reading: asyncio.Task[Any]) -> None:
        self._reads.discard(reading)
        if not reading.cancelled():
            reading.exception()  # seen, also where all who asked have left


class _Known:
    """The values of one time: between two changes of the registry. `reads` are those on their
    way.
    """

    __slots__ = ("reads", "values")

    def __init__(self) -> None:
        self.values = OrderedDict[Hashable, Any]()
        self.reads: dict[Hashable, asyncio.Task[Any]] = {}

    def used(self, key: Hashable) -> Any:
        self.values.move_to_end(key)
        return self.values[key]

    def keep(self, key: Hashable, value: Any) -> None:
        self.values[key] = value
        if len(self.values) > MOST:
            self.values.popitem(last=False)


def _closed() -> DatabaseUnavailable:
    return DatabaseUnavailable("the client is closed")
