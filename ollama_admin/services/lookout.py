"""What a service looks at in the background: whether servers answer, and what they hold.

Of all processes that share the database one does it for the others, by a lease.
"""

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ollama_admin.errors import AdminError
from ollama_admin.services.servers import Servers
from ollama_admin.settings import Settings
from ollama_admin.store import task_leases
from ollama_admin.store.database import Database

TASK = "look"
TTL = 15.0  # seconds that a lease lives; it is held on three times as often

Look = Callable[[], Awaitable[object]]


class Lookout:
    """`discover` reads what all active servers hold. `note` hears when looks begin to fail, and
    when they no longer do.
    """

    def __init__(
        self,
        db: Database,
        settings: Settings,
        servers: Servers,
        discover: Look,
        note: Callable[[str], None],
    ) -> None:
        self._db = db
        self._settings = settings
        self._servers = servers
        self._discover = discover
        self._note = note
        self._holder = secrets.token_hex(8)
        self._leads = asyncio.Event()
        self._failing = False

    async def run(self) -> None:
        """Look again and again, until this is cancelled; then let another process do it."""
        check, discover = self._settings.check_every, self._settings.discover_every
        if not check and not discover:
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._hold_on())
                if check:
                    group.create_task(self._again(self._servers.check, check))
                if discover:
                    group.create_task(self._again(self._discover, discover, at_once=False))
        finally:
            if self._leads.is_set():
                with suppress(AdminError):
                    await self._db.write(task_leases.release, TASK, holder=self._holder)

    async def _hold_on(self) -> None:
        while True:
            try:
                holds = await self._db.write(task_leases.hold, TASK, holder=self._holder, ttl=TTL)
            except AdminError as exc:
                self._tell(exc)
                holds = False
            if holds:
                self._leads.set()
            else:
                self._leads.clear()
            await asyncio.sleep(TTL / 3)

    async def _again(self, look: Look, every: float, *, at_once: bool = True) -> None:
        """Look every so many seconds, or a little sooner, while this process has the lease."""
        if not at_once:
            await asyncio.sleep(every)
        while True:
            await self._leads.wait()
            try:
                await look()
            except AdminError as exc:
                self._tell(exc)
            else:
                self._failing = False
            jitter = random.uniform(0.8, 1.0)  # noqa: S311 (no secret)
            await asyncio.sleep(every * jitter)

    def _tell(self, error: AdminError) -> None:
        """A database that is away is one note, and not one every few seconds."""
        if not self._failing:
            self._note(f"servers cannot be looked at in the background: {error.message}")
        self._failing = True
