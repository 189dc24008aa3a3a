"""Changes, each with its row in the audit: in one transaction, so that none is without.

A change that is refused has a row, too; what cannot be a change at all (InvalidInput) has none.
"""

import os
import platform
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from ollama_admin.documents import document
from ollama_admin.domain.audit import OK, AuditEntry
from ollama_admin.domain.callers import Caller
from ollama_admin.domain.keys import masked
from ollama_admin.errors import AdminError, InvalidInput, NotFound
from ollama_admin.rules import arguments
from ollama_admin.store import audit as store
from ollama_admin.store.audit import Wanted
from ollama_admin.store.database import Database

T = TypeVar("T")

LIMIT = 50  # entries that are listed when no number is given
MOST = 10_000
KEPT = timedelta(days=365)  # what `prune` leaves where nothing else is said


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What was changed: what it is called, and how it was and is."""

    subject: str
    before: Any = None
    after: Any = None


Tell = Callable[[str, Told], None]


class Audit:
    """What one caller changes; and what all have changed."""

    def __init__(self, db: Database, caller: Caller) -> None:
        self._db = db
        self._caller = caller

    async def change(
        self,
        action: str,
        asked: object,
        work: Callable[[Any], T],
        tell: Callable[[T], Told | None],
        *,
        makes: bool = False,
    ) -> T:
        """Run `work(connection)` in a transaction, and write what `tell` says of its result; None
        is nothing to tell. `asked` is what the caller calls the subject. With `makes` an SQLite
        file that is not there is made.
        """

        def audited(connection: Any) -> T:
            result = work(connection)
            told = tell(result)
            if told is not None:
                store.add(connection, self._entry(action, told))
            return result

        run = self._db.write if makes else self._db.change
        try:
            return await run(audited)
        except InvalidInput:
            raise
        except AdminError as exc:
            await self.record(action, str(asked), exc.code)
            raise

    async def found(self, action: str, asked: object, reading: Awaitable[T]) -> T:
        """What is read before a change is made: where it is not there, the change is refused."""
        try:
            return await reading
        except NotFound as exc:
            await self.record(action, str(asked), exc.code)
            raise

    async def changes(self, action: str, asked: object, work: Callable[[Any, Tell], T]) -> T:
        """Run `work(connection, tell)` in one transaction, in which it tells each change by its own
        action. What is refused has one row, with `action`. An SQLite file that is not there is
        made.
        """

        def audited(connection: Any) -> T:
            def tell(done: str, told: Told) -> None:
                store.add(connection, self._entry(done, told))

            return work(connection, tell)

        try:
            return await self._db.write(audited)
        except InvalidInput:
            raise
        except AdminError as exc:
            await self.record(action, str(asked), exc.code)
            raise

    async def record(
        self,
        action: str,
        subject: str,
        outcome: str = OK,
        *,
        before: object = None,
        after: object = None,
    ) -> None:
        """Write what became of a change that no transaction of ours makes, or that was refused. If
        that cannot be written, the change or the refusal counts all the same.
        """
        told = Told(subject=_storable(masked(subject)), before=before, after=after)
        with suppress(AdminError):
            await self._db.change(store.add, self._entry(action, told, outcome))

    async def list(
        self,
        *,
        since: datetime | None = None,
        who: str | None = None,
        action: str | None = None,
        refused: bool = False,
        limit: int = LIMIT,
        below: int | None = None,
    ) -> list[AuditEntry]:
        """Changes, the newest first, `limit` at most. `action` is one, or a noun for all of it;
        `below` is an id before which they were.
        """
        if type(limit) is not int or not 1 <= limit <= MOST:
            raise InvalidInput(f"the limit must be a whole number from 1 to {MOST}, not {limit!a}")
        arguments.check(since=since, who=who, action=action)
        require_zone(since)
        wanted = Wanted(since=since, who=who, action=action, refused=refused)
        return await self._db.read(store.newest, wanted, limit, below=below)

    async def count_before(self, before: datetime | None = None) -> int:
        """How many entries `prune` would delete."""
        return await self._db.read(store.count_before, _oldest(before))

    async def prune(self, *, before: datetime | None = None) -> int:
        """Delete the entries that are older than `before` (default: a year ago); gives back how
        many. That is a change, too, and leaves an entry.
        """
        oldest = _oldest(before)
        return await self.change(
            "audit.prune",
            oldest,
            lambda connection: store.delete_before(connection, oldest),
            lambda count: Told(subject="audit", after={"before": oldest, "pruned": count}),
        )

    def _entry(self, action: str, told: Told, outcome: str = OK) -> AuditEntry:
        key = self._caller.key
        return AuditEntry(
            created_at=datetime.now(UTC),
            way=self._caller.way,
            who=_user() if key is None else key.name,
            key_id=None if key is None else key.ref.id,
            action=action,
            subject=told.subject,
            before=document(told.before),
            after=document(told.after),
            outcome=outcome,
            request_id=self._caller.request_id,
        )


def require_zone(time: datetime | None) -> None:
    """Raise InvalidInput for a time that could be anybody's."""
    if time is not None and time.tzinfo is None:
        raise InvalidInput(f"the time {time} has no time zone", "give it one: tzinfo=UTC")


def _oldest(before: datetime | None) -> datetime:
    arguments.check(before=before)
    require_zone(before)
    return before or datetime.now(UTC) - KEPT


def _storable(text: str) -> str:
    """Without what no database takes: halves of characters, and zeros."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def _user() -> str:
    """The user of this process, and the host."""
    try:
        import pwd  # noqa: PLC0415 (not there on Windows)

        name = pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        name = str(os.getuid())
    return f"{name}@{platform.node()}"
