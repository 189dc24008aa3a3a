"""Receipts: what became of each request. Never what was asked or answered."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from ollama_admin.domain.keys import KeyRef
from ollama_admin.domain.receipts import GROUPS, SORTS, Receipt, ReceiptStats, Search, Usage
from ollama_admin.errors import InvalidInput, NotFound
from ollama_admin.rules import arguments
from ollama_admin.services.audit import Audit, Told, require_zone
from ollama_admin.store import receipt_sums
from ollama_admin.store import receipts as store
from ollama_admin.store import usage as store_usage
from ollama_admin.store.database import Database
from ollama_admin.store.receipts import Wanted

KEPT = timedelta(days=90)  # migrating deletes receipts that are older, and so does prune
SHOWN = timedelta(days=30)
LIMIT = 50  # receipts that are listed when no number is given
LOOKED_AT = 20_000  # receipts of one search
MOST = 2**31 - 1


class Receipts:
    """Whoever reads them finds those of what was asked before by the same client.

    `written` waits for those that are still to be written.
    """

    def __init__(self, db: Database, audit: Audit, written: Callable[[], Awaitable[None]]) -> None:
        self._db = db
        self._audit = audit
        self._written = written

    async def stats(
        self,
        *,
        server: int | str | None = None,
        model: str | None = None,
        since: datetime | None = None,
        key: int | str | None = None,
        by: str | None = None,
    ) -> list[ReceiptStats]:
        """Counts, tokens and times of each model on each server, or of each of `by`, one of
        `GROUPS`; the most used first.
        """
        arguments.check(by=by)
        _require_group(by)
        arguments.check(server=server, model=model, since=since, key=key)
        wanted = Wanted(server=server, model=model, since=_aware(since), key=key)
        await self._written()
        return await self._db.read(receipt_sums.stats, wanted, by)

    async def usage(
        self,
        *,
        key: int | str | None = None,
        of: KeyRef | None = None,
        since: datetime | None = None,
        model: str | None = None,
        server: int | str | None = None,
        by: str | None = None,
    ) -> list[Usage]:
        """What each key used on each day of UTC, the newest first, or what each of `by` used, one
        of `GROUPS`; default: of 30 days. `key` and `server` are an id or a name, `of` is the very
        key.

        It is kept when receipts are deleted. Whole days count, from the one on that `since` is in.
        """
        arguments.check(key=key, since=since, model=model, server=server, by=by)
        _require_group(by)
        start = _aware(since) or datetime.now(UTC) - SHOWN
        wanted = Wanted(key=key, of=of, since=start, model=model, server=server)
        await self._written()
        return await self._db.read(store_usage.added_up, wanted, by)

    async def count_before(self, before: datetime | None = None) -> int:
        """How many receipts `prune` would delete."""
        arguments.check(before=before)
        oldest = _aware(before) or datetime.now(UTC) - KEPT
        return await self._db.read(store.count_before, oldest)

    async def prune(self, *, before: datetime | None = None) -> int:
        """Delete the receipts that are older than `before` (default: 90 days ago); gives back how
        many.
        """
        arguments.check(before=before)
        oldest = _aware(before) or datetime.now(UTC) - KEPT
        return await self._audit.change(
            "receipts.prune",
            oldest,
            lambda connection: store.delete_before(connection, oldest),
            lambda count: Told(subject="receipts", after={"before": oldest, "pruned": count}),
        )

    async def list(
        self,
        *,
        server: int | str | None = None,
        model: str | None = None,
        since: datetime | None = None,
        failed: bool = False,
        limit: int = LIMIT,
        sort: str | None = None,
        key: int | str | None = None,
        of: KeyRef | None = None,
        outcome: str | None = None,
        below: int | None = None,
    ) -> list[Receipt]:
        """Receipts, the newest first, or those first that have most of `sort`, one of `SORTS`;
        `limit` at most.

        `server` and `key` are an id or a name, also of one that was removed; `failed` leaves out
        what was answered. `outcome` is one, `of` the very key, `below` the id of a receipt that
        they are older than.
        """
        if type(limit) is not int or not 1 <= limit <= MOST:
            raise InvalidInput(f"the limit must be a whole number from 1 to {MOST}, not {limit!a}")
        if sort is not None and sort not in SORTS:
            raise InvalidInput(f"cannot sort by {sort!a}", f"choose from: {', '.join(SORTS)}")
        arguments.check(server=server, model=model, since=since, key=key)
        wanted = Wanted(
            server=server,
            model=model,
            since=_aware(since),
            failed=failed,
            key=key,
            of=of,
            outcome=outcome,
            below=below,
        )
        await self._written()
        return await self._db.read(store.newest, wanted, limit, sort=sort)

    async def search(
        self,
        *,
        server: int | str | None = None,
        model: str | None = None,
        since: datetime | None = None,
        failed: bool = False,
        key: int | str | None = None,
        of: KeyRef | None = None,
        outcome: str | None = None,
        below: int | None = None,
    ) -> Search:
        """As `list`, but of the `LOOKED_AT` newest alone that are of the key and the time: for who
        cannot wait until millions were looked at.
        """
        arguments.check(server=server, model=model, since=since, key=key)
        wanted = Wanted(
            server=server,
            model=model,
            since=_aware(since),
            failed=failed,
            key=key,
            of=of,
            outcome=outcome,
            below=below,
        )
        await self._written()
        return await self._db.read(store.search, wanted, LIMIT, LOOKED_AT)

    async def show(self, receipt: int | str) -> Receipt:
        """One receipt by its id, or by the `X-Request-Id` of the answer that it is for; raises
        NotFound.
        """
        arguments.need(receipt=receipt)
        await self._written()
        return await self._db.read(store.find, receipt)


def no_receipt(receipt_id: str) -> NotFound:
    """The error for a receipt that is not there, or is not to be seen."""
    return store.no_receipt(receipt_id)


def _require_group(by: str | None) -> None:
    if by is not None and by not in GROUPS:
        raise InvalidInput(f"cannot add up by {by!a}", f"choose from: {', '.join(GROUPS)}")


def _aware(time: datetime | None) -> datetime | None:
    require_zone(time)
    return time
