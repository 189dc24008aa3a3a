"""What is asked of the database again while it is away: a restart costs no request."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.services.leases import uptime
from ollama_admin.store.database import Database

T = TypeVar("T")

AWAY = 30.0  # seconds that a request waits for the database
AGAIN = 0.2  # seconds between two attempts


async def until_there(db: Database, ask: Callable[[], Awaitable[T]]) -> T:
    """What `ask` gives back as soon as the database is there. It may be asked twice, of which the
    first time counted too. Raises DatabaseUnavailable after `AWAY`, and at once for a database that
    cannot be away, as a file.
    """
    gives_up = uptime() + AWAY
    while True:
        try:
            return await ask()
        except DatabaseUnavailable:
            if uptime() >= gives_up or not db.can_be_away:
                raise
            await asyncio.sleep(AGAIN)
