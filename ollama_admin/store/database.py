"""The seam between async code and SQL: `await db.read(fn, ...)` and `await db.write(fn, ...)`.

`fn(connection, ...)` is a plain function that runs in a thread, in one transaction that ends with it: no transaction
can stay open across an HTTP request.
"""

import asyncio
import random
import threading
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from ollama_admin.settings import Settings
from ollama_admin.store import schema
from ollama_admin.store.engines import READ, WRITE, open_engine
from ollama_admin.store.faults import is_retryable, translated

P = ParamSpec("P")
T = TypeVar("T")

TRIES = 3  # of a transaction that the database asks to run again


class Database:
    """One pool of connections. The schema is checked before the first transaction.

    `create_schema` is called for an SQLite file without tables; on PostgreSQL only `migrate` makes tables.
    """

    def __init__(self, settings: Settings, create_schema: Callable[[], None]) -> None:
        self._settings = settings
        self._create_schema = create_schema
        self._engine = open_engine(settings)
        self._checked = False
        self._check = threading.Lock()

    async def read(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn` in a transaction that only reads."""
        return await asyncio.to_thread(self._run, lambda connection: fn(connection, *args, **kwargs), READ)

    async def write(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn` in a transaction that may write; on SQLite it takes the write lock at once."""
        return await asyncio.to_thread(self._run, lambda connection: fn(connection, *args, **kwargs), WRITE)

    def close(self) -> None:
        self._engine.dispose()

    def _run(self, work: Callable[[Connection], T], options: dict[str, str]) -> T:
        with translated(self._settings):
            self._ensure_schema()
            for tries_left in reversed(range(TRIES)):
                try:
                    with self._engine.connect().execution_options(**options) as connection, connection.begin():
                        return work(connection)
                except DBAPIError as exc:
                    if not (tries_left and is_retryable(exc)):
                        raise
                    time.sleep(random.uniform(0.01, 0.1))  # noqa: S311 (jitter)
        raise AssertionError("the last try returns or raises")

    def _ensure_schema(self) -> None:
        with self._check:
            if self._checked:
                return
            if not self._settings.is_postgresql and schema.is_empty(self._engine):
                self._create_schema()
            schema.require_head(self._engine)
            self._checked = True
