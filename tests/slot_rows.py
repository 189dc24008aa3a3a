"""The rows of `ollama_slots` as somebody else sees and changes them, in plain SQL."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from ollama_admin.settings import Settings
from ollama_admin.store.engines import WRITE, open_engine

SECONDS = 30  # until what should have happened is called missing

_LIVE = {
    "postgresql": "clock = 'postgresql' AND expires_at > extract(epoch FROM clock_timestamp())",
    "sqlite": "expires_at > :uptime AND expires_at < :uptime + 61",
}


@dataclass(frozen=True, slots=True)
class Row:
    slot: int
    token: int
    holder: str | None
    is_live: bool


class SlotRows:
    def __init__(self, url: str) -> None:
        self._engine = open_engine(Settings.read({}, url), sqlite_patience=30)

    def close(self) -> None:
        self._engine.dispose()

    @property
    def is_postgresql(self) -> bool:
        return self._engine.dialect.name == "postgresql"

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(**WRITE) as connection, connection.begin():
            yield connection

    def all(self, server_id: int = 1) -> list[Row]:
        """Every row of a server, by slot."""
        clock = {} if self.is_postgresql else {"uptime": uptime()}
        query = text(
            f"SELECT slot, token, holder, {_LIVE[self._engine.dialect.name]} AS is_live FROM "
            "ollama_slots"
            " WHERE server_id = :server_id ORDER BY slot"
        )
        with self._engine.connect() as connection:
            rows = connection.execute(query, {"server_id": server_id, **clock})
            return [Row(row.slot, row.token, row.holder, bool(row.is_live)) for row in rows]

    def live(self, server_id: int = 1) -> int:
        return sum(row.is_live for row in self.all(server_id))

    def expiry(self, slot: int = 1) -> float:
        with self._engine.connect() as connection:
            return float(
                connection.scalar(
                    text("SELECT expires_at FROM ollama_slots WHERE slot = :slot"), {"slot": slot}
                )
            )

    def longest_life(self) -> float:
        """Seconds until the last live lease ends unless it is renewed (PostgreSQL)."""
        query = "SELECT max(expires_at) - extract(epoch FROM clock_timestamp()) FROM ollama_slots"
        with self._engine.connect() as connection:
            return float(connection.scalar(text(query)))

    def expire(self, slot: int) -> None:
        """Let the time of a lease be over, and its holder be gone: a database that was started just
        now, as here, would keep the slot for him.
        """
        statement = "UPDATE ollama_slots SET expires_at = 0, holder = NULL WHERE slot = :slot"
        self._change(statement, slot=slot)

    def set_limit(self, limit: int) -> None:
        """Change the limit of all servers behind the program's back."""
        self._change("UPDATE ollama_servers SET max_concurrent = :limit", limit=limit)

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """No lease can be granted or given back meanwhile; who tries waits."""
        with self.transaction() as connection:
            if self.is_postgresql:
                connection.execute(text("LOCK TABLE ollama_slots IN ACCESS EXCLUSIVE MODE"))
            yield

    def waiting(self) -> int:
        """How many statements wait for a lock (PostgreSQL)."""
        with self._engine.connect() as connection:
            return int(connection.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

    def _change(self, statement: str, **values: Any) -> None:
        with self.transaction() as connection:
            connection.execute(text(statement), values)


def uptime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def eventually(happened: Callable[[], bool], *, seconds: float = SECONDS) -> None:
    """Look again and again until it has happened."""
    async with asyncio.timeout(seconds):
        while not happened():
            await asyncio.sleep(0.005)


async def renewed(rows: SlotRows) -> None:
    """Wait until slot 1 is renewed again."""
    before = rows.expiry()
    await eventually(lambda: rows.expiry() > before)
