"""The seam between async code and SQL: `await db.read(fn, ...)` and `await db.write(fn, ...)`.

`fn(connection, ...)` is a plain function that runs in a thread, in one transaction that ends with
it: no transaction can stay open across an HTTP request. `await db.lease(fn, ...)` is a `write` that
waits for nothing but the database, and `await db.glance(fn, ...)` a `read` that does.
"""

import asyncio
import itertools
import random
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from time import monotonic
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError

from ollama_admin.settings import Settings
from ollama_admin.store import registry, schema
from ollama_admin.store.engines import (
    READ,
    WRITE,
    empty_tables,
    is_file_missing,
    open_engine,
    wait_up_to,
)
from ollama_admin.store.faults import is_crowded, is_retryable, translated

P = ParamSpec("P")
T = TypeVar("T")

TRIES = 3  # of a transaction that the database asks to run again
BUSY_TIMEOUT = 30.0  # seconds that others may keep a transaction from running
LONGEST_PAUSE = 0.5  # seconds until it is tried again
STREAMS = 4  # that may be open at once
LEASE_THREADS = 4
# ms that a statement about leases may take: two failures must fit into the life of a lease
LEASE_TIMEOUT = 3000
GLANCE_TIMEOUT = 3.0  # seconds that a statement of a glance may take


class Database:
    """Two pools of connections, or one. The schema is checked before the first transaction.

    `create_schema` is called for an SQLite file without tables; on PostgreSQL only `migrate` makes
    tables. With `one_pool` leases have no connections of their own: for a program that does one
    thing, and of which many may run at once.
    """

    def __init__(
        self, settings: Settings, create_schema: Callable[[], None], *, one_pool: bool = False
    ) -> None:
        self._settings = settings
        self._create_schema = create_schema
        self._one_pool = one_pool
        self._ended = threading.Event()
        self._engine = open_engine(settings, self._ended)
        # starts none by itself
        self._lease_threads = ThreadPoolExecutor(LEASE_THREADS, thread_name_prefix="lease")
        self._glance_threads = ThreadPoolExecutor(1, thread_name_prefix="glance")
        self._on_change: list[Callable[[], None]] = []
        self._streams = asyncio.Semaphore(STREAMS)
        self._checked = False
        self._read_nothing = False
        self._check = threading.Lock()

    async def read(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn` in a transaction that only reads; an SQLite file that is not there is not made
        for that, and is read as one without rows.
        """
        work = _bound(fn, *args, **kwargs)
        return await asyncio.to_thread(self._run, self._engine, work, READ)

    def read_now(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`read`, while the calling thread waits."""
        return self._run(self._engine, _bound(fn, *args, **kwargs), READ)

    async def write(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn` in a transaction that may write; on SQLite it takes the write lock at once."""
        work = _bound(fn, *args, **kwargs)
        return await asyncio.to_thread(self._run, self._engine, work, WRITE)

    async def change(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`write` of what changes rows that are there: in an SQLite file that is not there it finds
        none, and does not make it.
        """
        if await asyncio.to_thread(self._is_absent):
            return await self.read(fn, *args, **kwargs)
        return await self.write(fn, *args, **kwargs)

    async def lease(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Write, on threads and connections that nothing else uses: a slow read must not hold up a
        renewal.

        On PostgreSQL a commit does not wait for the disk: after a crash of the database a lease of
        the last instants may be forgotten, and its holder learns it at the next renewal.
        """
        work = _bound(fn, *args, **kwargs)

        def quickly(connection: Connection) -> T:
            _be_quick(connection)
            return work(connection)

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._lease_threads, self._run, self._lease_engine, quickly, WRITE
        )

    async def glance(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Read, on one thread and one connection that nothing else uses: what is asked twice a
        second waits for no other statement.
        """
        work = _bound(fn, *args, **kwargs)

        def briefly(connection: Connection) -> T:
            if connection.dialect.name == "postgresql":
                wait_up_to(connection, GLANCE_TIMEOUT)
            return work(connection)

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._glance_threads, self._run, self._glance_engine, briefly, READ
        )

    def on_change(self, call: Callable[[], None]) -> None:
        """Have this called after each change of the registry that this object committed, before
        the write returns; in the thread of that write.
        """
        self._on_change.append(call)

    async def stream(
        self,
        fn: Callable[Concatenate[Connection, P], Iterator[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> AsyncGenerator[T, None]:
        """What `fn` yields, one after the other, in a transaction that only reads and stays open
        meanwhile.

        For lists that are longer than memory: between two items only print, and close the generator
        when leaving early.
        """
        items = self._items(_bound(fn, *args, **kwargs))
        taking: asyncio.Future[T | None] | None = None
        # each keeps a connection while it waits for a thread: too many would wait for ever
        async with self._streams:
            try:
                while True:
                    taking = asyncio.ensure_future(asyncio.to_thread(next, items, None))
                    item = await asyncio.shield(taking)
                    if item is None:
                        return
                    yield item
            finally:
                if taking is not None:
                    await asyncio.wait(
                        (taking,)
                    )  # cancelled or not, the thread is still at work on it
                await asyncio.to_thread(items.close)

    async def check(self) -> None:
        """Raise unless the database is there, and at this build's revision now; the other calls
        look only once.
        """
        await asyncio.to_thread(self._check_now)

    async def check_writable(self) -> None:
        """Raise what `check` raises, and DatabaseUnavailable for a database that only reads."""
        await self.check()
        await self.read(schema.require_writable)

    @property
    def can_be_away(self) -> bool:
        """Whether it is a server, that may go and come back by itself."""
        return self._settings.is_postgresql

    @property
    def missing_file(self) -> Path | None:
        """The SQLite file that was read although it is not there, and is not there yet."""
        if self._read_nothing and self._is_absent():
            return self._settings.sqlite_path
        return None

    def close(self) -> None:
        """Close every connection; what still waits for the database is given up."""
        self._ended.set()
        self._lease_threads.shutdown()
        self._glance_threads.shutdown()
        for name in ("_lease_engine", "_glance_engine"):
            if name in self.__dict__:  # it was used
                self.__dict__[name].dispose()
        self._engine.dispose()

    @cached_property
    def _lease_engine(self) -> Engine:
        if self._one_pool:
            return self._engine
        return open_engine(self._settings, self._ended)

    @cached_property
    def _glance_engine(self) -> Engine:
        return open_engine(self._settings, self._ended)

    def _run(self, engine: Engine, work: Callable[[Connection], T], options: dict[str, str]) -> T:
        def attempt() -> T:
            if options is READ and self._is_absent():
                with empty_tables() as connection:
                    return work(connection)
            self._ensure_schema()
            with engine.connect().execution_options(**options) as connection, connection.begin():
                result = work(connection)
                is_change = registry.is_touched(connection)
                if is_change:
                    registry.raise_revision(connection)
            if is_change:
                self._tell_change()
            return result

        with translated(self._settings):
            return self._again_while_busy(attempt)

    def _tell_change(self) -> None:
        for call in self._on_change:
            call()

    def _items(self, work: Callable[[Connection], Iterator[T]]) -> Generator[T, None, None]:
        with translated(self._settings):
            if self._is_absent():
                with empty_tables() as connection:
                    yield from work(connection)
                return
            self._again_while_busy(self._ensure_schema)
            with self._again_while_busy(self._engine.connect) as connection:
                connection.execution_options(**READ)
                with connection.begin():
                    yield from work(connection)

    def _again_while_busy(self, attempt: Callable[[], T]) -> T:
        """Try again while others keep the database busy, and where it asks for that itself."""
        gives_up = monotonic() + BUSY_TIMEOUT
        for tries in itertools.count(1):
            try:
                return attempt()
            except DBAPIError as exc:
                if is_crowded(exc):
                    is_over = monotonic() >= gives_up
                else:
                    is_over = tries >= TRIES or not is_retryable(exc)
                if is_over or self._ended.wait(_pause(tries)):
                    raise
        raise AssertionError("the last try returns or raises")

    def _check_now(self) -> None:
        def attempt() -> None:
            self._ensure_schema()
            schema.require_head(self._engine)

        with translated(self._settings):
            self._again_while_busy(attempt)

    def _is_absent(self) -> bool:
        """Whether there is no database yet; one that goes away while it is in use is an error."""
        is_absent = not self._checked and is_file_missing(self._settings)
        self._read_nothing |= is_absent
        return is_absent

    def _ensure_schema(self) -> None:
        with self._check:
            if self._checked:
                return
            if not self._settings.is_postgresql and schema.is_empty(self._engine):
                self._create_schema()
            schema.require_head(self._engine)
            self._checked = True


def _bound(
    fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
) -> Callable[[Connection], T]:
    return lambda connection: fn(connection, *args, **kwargs)


def _pause(tries: int) -> float:
    """Seconds until the next try: longer and longer, and of many who wait each by itself."""
    longest = min(LONGEST_PAUSE, 0.05 * 2 ** min(tries, 10))
    return random.uniform(0.01, longest)  # noqa: S311 (jitter)


def _be_quick(connection: Connection) -> None:
    """For this transaction alone, so behind a pooler too."""
    if connection.dialect.name == "postgresql":
        wait_up_to(connection, LEASE_TIMEOUT / 1000 + 1)
        settings = {"synchronous_commit": "off", "statement_timeout": str(LEASE_TIMEOUT)}
        connection.execute(
            select(*(func.set_config(name, value, True) for name, value in settings.items()))
        )
