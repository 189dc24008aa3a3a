"""The seam between async code and SQL: `await db.read(fn, ...)` and `await db.write(fn, ...)`.

`fn(connection, ...)` is a plain function that runs in a thread, in one transaction that ends with
it: no transaction can stay open across an HTTP request. `await db.lease(fn, ...)` is a `write` that
waits for nothing but the database.
"""

import asyncio
import random
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import DBAPIError

from ollama_admin.settings import Settings
from ollama_admin.store import schema
from ollama_admin.store.engines import READ, WRITE, open_engine
from ollama_admin.store.faults import is_retryable, translated

P = ParamSpec("P")
T = TypeVar("T")

TRIES = 3  # of a transaction that the database asks to run again
STREAMS = 4  # that may be open at once
LEASE_THREADS = 4
# ms that a statement about leases may take: two failures must fit into the life of a lease
LEASE_TIMEOUT = 3000


class Database:
    """Two pools of connections. The schema is checked before the first transaction.

    `create_schema` is called for an SQLite file without tables; on PostgreSQL only `migrate` makes
    tables.
    """

    def __init__(self, settings: Settings, create_schema: Callable[[], None]) -> None:
        self._settings = settings
        self._create_schema = create_schema
        self._engine = open_engine(settings)
        # starts none by itself
        self._lease_threads = ThreadPoolExecutor(LEASE_THREADS, thread_name_prefix="lease")
        self._streams = asyncio.Semaphore(STREAMS)
        self._checked = False
        self._check = threading.Lock()

    async def read(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn` in a transaction that only reads."""
        work = _bound(fn, *args, **kwargs)
        return await asyncio.to_thread(self._run, self._engine, work, READ)

    async def write(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn` in a transaction that may write; on SQLite it takes the write lock at once."""
        work = _bound(fn, *args, **kwargs)
        return await asyncio.to_thread(self._run, self._engine, work, WRITE)

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

    def close(self) -> None:
        self._lease_threads.shutdown()
        if "_lease_engine" in self.__dict__:
            self._lease_engine.dispose()
        self._engine.dispose()

    @cached_property
    def _lease_engine(self) -> Engine:
        return open_engine(self._settings)

    def _run(self, engine: Engine, work: Callable[[Connection], T], options: dict[str, str]) -> T:
        with translated(self._settings):
            self._ensure_schema()
            for tries_left in reversed(range(TRIES)):
                try:
                    with (
                        engine.connect().execution_options(**options) as connection,
                        connection.begin(),
                    ):
                        return work(connection)
                except DBAPIError as exc:
                    if not (tries_left and is_retryable(exc)):
                        raise
                    time.sleep(random.uniform(0.01, 0.1))  # noqa: S311 (jitter)
        raise AssertionError("the last try returns or raises")

    def _items(self, work: Callable[[Connection], Iterator[T]]) -> Generator[T, None, None]:
        with translated(self._settings):
            self._ensure_schema()
            with self._engine.connect().execution_options(**READ) as connection, connection.begin():
                yield from work(connection)

    def _check_now(self) -> None:
        with translated(self._settings):
            self._ensure_schema()
            schema.require_head(self._engine)

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


def _be_quick(connection: Connection) -> None:
    """For this transaction alone, so behind a pooler too."""
    if connection.dialect.name == "postgresql":
        settings = {"synchronous_commit": "off", "statement_timeout": str(LEASE_TIMEOUT)}
        connection.execute(
            select(*(func.set_config(name, value, True) for name, value in settings.items()))
        )
