"""Writes receipts behind the answers: nobody waits for them, and none of them fails an answer."""

import asyncio
from collections.abc import Callable
from contextlib import suppress

from ollama_admin.domain.receipts import Receipt
from ollama_admin.errors import AdminError
from ollama_admin.services.tally import Tally
from ollama_admin.services.trail import Trail
from ollama_admin.store import new_receipts as store
from ollama_admin.store.database import Database

PATIENCE = 10.0  # seconds for what is still to be written at the end
PATIENCE_TO_READ = 1.0  # seconds for what is still to be written before receipts are read
BATCH = 1000  # receipts of one transaction
MOST = 20_000  # receipts that wait to be written; what comes then is dropped, and counted


class Recorder:
    """One writer at a time: what is recorded while it is busy goes into its next transaction."""

    def __init__(self, db: Database, enabled: bool, note: Callable[[str], None]) -> None:
        self._db = db
        self._enabled = enabled
        self._note = note
        self._waiting: list[Receipt] = []
        self._dropped = 0
        self._writer: asyncio.Task[None] | None = None
        self._batch_over = asyncio.Event()
        self._taken = self._settled = 0  # receipts that were to be written, and how many are over
        self._closed = False
        self.running: dict[int, Trail] = {}  # the requests on their way, by the id of the object
        self.lost = 0  # receipts that were not written, dropped ones among them
        self.tally: Tally | None = None  # where they are counted, if they are
        self.trace: Callable[[Receipt, Trail], None] | None = None  # makes a span of each

    @property
    def waiting(self) -> int:
        """How many receipts are still to be written."""
        return len(self._waiting)

    def record(self, receipt: Receipt, trail: Trail | None = None) -> None:
        """Have a receipt written soon, by a task of its own, and counted with what its trail tells
        beside it. Never waits and never raises.
        """
        if self.tally is not None and trail is not None:
            self.tally.take((receipt, trail.candidate, trail.added))
        if self.trace is not None and trail is not None:
            self.trace(receipt, trail)
        if not self._enabled:
            return
        if self._closed:
            self._note("the receipt could not be written: the client is closed")
            return
        if len(self._waiting) >= MOST:
            self._dropped += 1
            self.lost += 1
            return
        self._waiting.append(receipt)
        self._taken += 1
        if self._writer is None:
            self._writer = asyncio.get_running_loop().create_task(self._write())

    async def written(self) -> None:
        """Wait until what was recorded before is written or lost, but not for long."""
        last = self._taken
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_TO_READ):
                while self._settled < last and self._writer is not None:
                    await self._batch_over.wait()

    async def aclose(self) -> None:
        """Wait for what is not written yet, but not for long; what is left then is a note."""
        self._closed = True
        if self._writer is None:
            return
        _, unfinished = await asyncio.wait((self._writer,), timeout=PATIENCE)
        for writer in unfinished:
            self._note("the receipt could not be written: writing it timed out")
            writer.cancel()
            await asyncio.wait((writer,))

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                await self._write_batch(batch)
                self._settled += len(batch)
                self._wake_readers()
                self._tell_of_dropped()
        finally:
            self._writer = None
            self._wake_readers()

    def _wake_readers(self) -> None:
        self._batch_over.set()
        self._batch_over = asyncio.Event()

    def _tell_of_dropped(self) -> None:
        if self._dropped:
            self._note(
                f"{self._dropped} receipts were dropped: they come faster than they are written"
            )
            self._dropped = 0

    async def _write_batch(self, batch: list[Receipt]) -> None:
        what = "the receipt"
        if len(batch) > 1:
            what = f"{len(batch)} receipts"
        try:
            await self._db.write(store.add, batch)
        except AdminError as exc:
            self.lost += len(batch)
            self._note(f"{what} could not be written: {exc.message}")
