"""Draining: a server gets no new requests, and those that run there come to their ends."""

import asyncio
import time
from collections.abc import Callable

from ollama_admin.domain.servers import Server
from ollama_admin.errors import Conflict, InvalidInput
from ollama_admin.store import servers as store
from ollama_admin.store.database import Database

EVERY = 0.25  # seconds between two looks at what still runs


def require_patience(timeout: float | None) -> None:
    """Raise InvalidInput for a time that cannot be waited for; None is for ever."""
    if timeout is not None and not timeout >= 0:
        raise InvalidInput("the timeout must be 0 seconds or more")


async def wait_until_empty(
    db: Database, server: int, timeout: float | None, on_left: Callable[[Server], None]
) -> Server:
    """The row once no request runs at the server; `on_left` hears of it first, and when fewer run.

    Raises ServerNotFound for one that is removed meanwhile, and Conflict where requests still run
    after `timeout` seconds or somebody else has let it answer again.
    """
    ends = None if timeout is None else time.monotonic() + timeout
    left: int | None = None
    while True:
        row = await db.read(store.find, server)
        if not row.is_draining:
            raise Conflict(f"somebody let server {row.name} answer again meanwhile")
        if left is None or row.slots_in_use < left:
            left = row.slots_in_use
            on_left(row)
        if not row.slots_in_use:
            return row
        if ends is not None and time.monotonic() >= ends:
            raise _still_running(row, timeout or 0)
        await asyncio.sleep(EVERY)


def in_words(count: int) -> str:
    """So many requests that run."""
    return "1 request runs" if count == 1 else f"{count} requests run"


def _still_running(row: Server, timeout: float) -> Conflict:
    word = row.ref.word
    return Conflict(
        f"{in_words(row.slots_in_use)} at server {row.name} after {timeout:g} s: still draining",
        f"wait again with: ollama-admin server drain {word}, or let it answer with: ollama-admin "
        f"server resume {word}",
    )
