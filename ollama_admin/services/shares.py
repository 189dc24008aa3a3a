"""What the workers of one service tell each other: each writes a file of its own in a folder that
only they know, and reads those of the others.
"""

import asyncio
import json
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

EVERY = 1.0  # seconds between two writes
LIFE = 5.0  # seconds after its last write that a worker is taken for alive


class Share(NamedTuple):
    """What a worker wrote last. One that `is_over` has ended: what it counted stays true."""

    document: dict[str, Any]
    is_over: bool


class Shares:
    """`own` gives what to tell."""

    def __init__(self, folder: Path, own: Callable[[], dict[str, Any]]) -> None:
        self._folder = folder
        self._own = own
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}.json"
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def others(self) -> list[Share]:
        """What the other workers wrote, those that have ended among them."""
        return await asyncio.to_thread(self._read)

    async def aclose(self) -> None:
        """Write once more, and no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self._write()

    async def _run(self) -> None:
        while True:
            await self._write()
            await asyncio.sleep(EVERY)

    async def _write(self) -> None:
        document = {"at": time.monotonic(), "told": self._own()}
        await asyncio.to_thread(self._replace, document)

    def _replace(self, document: dict[str, Any]) -> None:
        """A reader sees the file as it was or as it is. Without room on the disk it stays old."""
        new = self._path.with_suffix(".new")
        try:
            new.write_text(json.dumps(document))
            new.replace(self._path)
        except OSError:
            new.unlink(missing_ok=True)

    def _read(self) -> list[Share]:
        found: list[Share] = []
        for path in self._folder.glob("*.json"):
            if path == self._path:
                continue
            try:
                document = json.loads(path.read_text())
            except OSError:  # somebody tidied up
                continue
            is_over = time.monotonic() > document["at"] + LIFE
            found.append(Share(document["told"], is_over))
        return found
