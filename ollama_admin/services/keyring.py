"""The keys that a process knows: in memory until the registry changes, so that no request asks the
database whose it is.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from ollama_admin.domain.keys import Key
from ollama_admin.errors import AdminError
from ollama_admin.rules.access import KeyTable
from ollama_admin.services.registry import Registry
from ollama_admin.services.sessions import Sessions
from ollama_admin.store import keys as store
from ollama_admin.store.database import Database

PAUSE = 5.0  # seconds between two writes of when keys were used
_KEYS = "keys"


class KeyRing:
    def __init__(
        self,
        db: Database,
        registry: Registry,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._db = db
        self._registry = registry
        self.now = now
        self._uses: dict[int, datetime] = {}
        self._writing: asyncio.Task[None] | None = None

    def sessions(self, token_hash: str) -> Sessions:
        """Sessions of browsers; `token_hash` is that of the token in the environment."""
        return Sessions(self._db, self.table, self.now, token_hash)

    async def table(self) -> KeyTable:
        """All keys, as they were half a second ago or later. Raises DatabaseUnavailable where they
        cannot be known.
        """
        kept: KeyTable | None = self._registry.peek(_KEYS)
        if kept is not None:
            return kept
        return await self._registry.get(_KEYS, self._read)

    def used(self, key: Key, now: datetime) -> None:
        """Have it written soon that a key was used."""
        if key.id <= 0:
            return
        self._uses[key.id] = now
        if self._writing is None:
            self._writing = asyncio.get_running_loop().create_task(self._write_later())

    async def aclose(self) -> None:
        """Write what is not written yet."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.wait((self._writing,))
        await self._write()

    async def _read(self) -> KeyTable:
        return KeyTable(await self._db.read(store.known))

    async def _write_later(self) -> None:
        await asyncio.sleep(PAUSE)
        self._writing = None
        await self._write()

    async def _write(self) -> None:
        uses, self._uses = self._uses, {}
        if uses:
            with suppress(AdminError):  # it is told by the next use
                await self._db.write(store.record_uses, uses)
