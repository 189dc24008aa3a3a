"""Receipts: what became of each request. Never what was asked or answered."""

from datetime import UTC, datetime, timedelta

from ollama_admin.domain.receipts import SORTS, Receipt, ReceiptStats
from ollama_admin.errors import InvalidInput
from ollama_admin.rules import arguments
from ollama_admin.store import receipt_sums
from ollama_admin.store import receipts as store
from ollama_admin.store.database import Database
from ollama_admin.store.receipts import Wanted

KEPT = timedelta(days=90)  # migrating deletes receipts that are older, and so does prune
LIMIT = 50  # receipts that are listed when no number is given
MOST = 2**31 - 1


class Receipts:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def stats(
        self,
        *,
        server: int | str | None = None,
        model: str | None = None,
        since: datetime | None = None,
    ) -> list[ReceiptStats]:
        """Counts, tokens and times of each model on each server, the most used first."""
        arguments.check(server=server, model=model, since=since)
        wanted = Wanted(server=server, model=model, since=_aware(since))
        return await self._db.read(receipt_sums.stats, wanted)

    async def prune(self, *, before: datetime | None = None) -> int:
        """Delete the receipts that are older than `before` (default: 90 days ago); gives back how
        many.
        """
        arguments.check(before=before)
        oldest = _aware(before) or datetime.now(UTC) - KEPT
        return await self._db.change(store.delete_before, oldest)

    async def list(
        self,
        *,
        server: int | str | None = None,
        model: str | None = None,
        since: datetime | None = None,
        failed: bool = False,
        limit: int = LIMIT,
        sort: str | None = None,
    ) -> list[Receipt]:
        """Receipts, the newest first, or those first that have most of `sort`, one of `SORTS`;
        `limit` at most.

        `server` is an id or a name, also of one that was removed; `failed` leaves out what was
        answered.
        """
        if type(limit) is not int or not 1 <= limit <= MOST:
            raise InvalidInput(f"the limit must be a whole number from 1 to {MOST}, not {limit!a}")
        if sort is not None and sort not in SORTS:
            raise InvalidInput(f"cannot sort by {sort!a}", f"choose from: {', '.join(SORTS)}")
        arguments.check(server=server, model=model, since=since)
        wanted = Wanted(server=server, model=model, since=_aware(since), failed=failed)
        return await self._db.read(store.newest, wanted, limit, sort=sort)

    async def show(self, receipt: int | str) -> Receipt:
        """One receipt by its id, or by the `X-Request-Id` of the answer that it is for; raises
        NotFound.
        """
        arguments.need(receipt=receipt)
        return await self._db.read(store.find, receipt)


def _aware(time: datetime | None) -> datetime | None:
    if time is not None and time.tzinfo is None:
        raise InvalidInput(f"the time {time} has no time zone", "give it one: tzinfo=UTC")
    return time
