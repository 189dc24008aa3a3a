"""Keys: who may ask over HTTP, for what, and how much."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

from ollama_admin.domain.keys import IssuedKey, Key, KeyColumns, Right, new_public_id, new_secret
from ollama_admin.errors import Conflict, InvalidInput
from ollama_admin.rules import arguments
from ollama_admin.services import key_columns
from ollama_admin.services.audit import Audit, Told
from ollama_admin.store import keys as store
from ollama_admin.store.database import Database

LONGEST_OVERLAP = timedelta(days=30)
_LOOKS_LIKE_ONE = "oadm_"


class Keys:
    """Every change is in force within a second, in every process."""

    def __init__(self, db: Database, audit: Audit) -> None:
        self._db = db
        self._audit = audit

    async def add(self, *, name: str, **columns: Unpack[KeyColumns]) -> IssuedKey:
        """Make a key, which may ask if nothing is said of its rights. Its text is given back now
        and never again: the database has only a hash of it. Raises InvalidInput, and Conflict for a
        name that is taken.
        """
        values = key_columns.new_values(name=name, **columns)
        return await self._audit.change(
            "key.add",
            name,
            lambda connection: add_key(connection, values),
            lambda issued: Told(subject=called(issued.key), after=issued.key),
            makes=True,
        )

    async def list(self) -> list[Key]:
        """Every key, by name."""
        return await self._db.read(store.all_keys)

    async def show(self, key: int | str) -> Key:
        """The key with this id or name; raises NotFound."""
        arguments.need(key=key)
        return await self._db.read(_find, key)

    async def update(
        self,
        key: int | str,
        *,
        name: str | None = None,
        clear: Sequence[str] = (),
        force: bool = False,
        if_state: str | None = None,
        **columns: Unpack[KeyColumns],
    ) -> Key:
        """Change what is given; `clear` names columns to empty. Raises NotFound, InvalidInput,
        StateChanged for a key whose `state` is not `if_state`, and Conflict where no key would be
        left that may administrate, unless `force` says so.
        """
        values = key_columns.new_values(clear, name=name, **columns)
        if not values:
            raise InvalidInput("no change was given", "see: ollama-admin key update --help")
        return await self._changed("key.update", key, values, force=force, if_state=if_state)

    async def rotate(self, key: int | str, *, overlap: timedelta = timedelta(0)) -> IssuedKey:
        """Give a key another text; the one before is taken until `overlap` is over. Its id, limits
        and counters stay. A revoked key is taken again.
        """
        if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
            raise InvalidInput(f"an overlap is from 0 to {LONGEST_OVERLAP.days} days")
        return await self._audit.change(
            "key.rotate",
            key,
            lambda connection: _rotate(connection, key, overlap),
            lambda issued: Told(subject=called(issued.key), after=issued.key),
        )

    async def revoke(self, key: int | str, *, force: bool = False) -> Key:
        """Take a key's text no more; only `rotate` gives it another one. Raises Conflict for the
        last key that may administrate, without `force`.
        """
        return await self._changed("key.revoke", key, _REVOKED, force=force)

    async def remove(self, key: int | str, *, force: bool = False) -> Key:
        """Delete a key; gives back what it was. Receipts keep its name. Raises Conflict as `revoke`
        does.
        """
        return await self._audit.change(
            "key.remove",
            key,
            lambda connection: remove_key(connection, key, force=force),
            lambda removed: Told(subject=called(removed), before=removed),
        )

    async def _changed(
        self,
        action: str,
        key: int | str,
        values: dict[str, Any],
        *,
        force: bool,
        if_state: str | None = None,
    ) -> Key:
        _, after = await self._audit.change(
            action,
            key,
            lambda connection: change_key(connection, key, values, force=force, if_state=if_state),
            lambda rows: Told(subject=called(rows[1]), before=rows[0], after=rows[1]),
        )
        return after


_REVOKED = {
    "is_active": False,
    "secret_hash": None,
    "old_secret_hash": None,
    "old_secret_expires_at": None,
}


def called(key: Key) -> str:
    """A key as the audit names it."""
    return f"key {key.id}, {key.name}"


def _find(connection: Any, key: int | str) -> Key:
    if isinstance(key, str) and key.startswith(_LOOKS_LIKE_ONE):
        raise InvalidInput(
            "a key is named by its name or id, never by its own text",
            "what was typed may be in a history now: rotate it; ollama-admin key list shows names",
        )
    return store.find(connection, key)


def add_key(connection: Any, values: Mapping[str, Any]) -> IssuedKey:
    """Insert a key with columns that are checked, and make its text."""
    public_id = new_public_id()
    made = new_secret(public_id)
    row = dict(key_columns.DEFAULTS) | dict(values)
    row |= {"public_id": public_id, "secret_hash": made.hash}
    store.hold_all(connection)
    key = store.add(connection, row)
    key_columns.check_together(key)
    return IssuedKey(key=key, text=made.text)


def change_key(
    connection: Any,
    key: int | str,
    values: dict[str, Any],
    *,
    force: bool,
    if_state: str | None = None,
) -> tuple[Key, Key]:
    """Set columns that are checked; gives back the row before and after. Raises Conflict where no
    key would be left that may administrate, unless `force` says so, and StateChanged as
    `Keys.update` does.
    """
    store.hold_all(connection)
    before = _find(connection, key)
    if if_state is not None:
        before.require_state(if_state)
    after = store.change(connection, before.id, values)
    key_columns.check_together(after)
    _require_administrator(connection, before, after, force=force)
    return before, after


def _rotate(connection: Any, key: int | str, overlap: timedelta) -> IssuedKey:
    store.hold_all(connection)
    before = _find(connection, key)
    made = new_secret(before.public_id)
    values: dict[str, Any] = {
        "is_active": True,
        "secret_hash": made.hash,
        "old_secret_hash": None,
        "old_secret_expires_at": None,
    }
    if overlap and before.is_active:
        values["old_secret_hash"] = store.secret_hash(connection, before.id)
        values["old_secret_expires_at"] = datetime.now(UTC) + overlap
    return IssuedKey(key=store.change(connection, before.id, values), text=made.text)


def remove_key(connection: Any, key: int | str, *, force: bool) -> Key:
    """Delete a key; gives back what it was. Raises Conflict as `change_key` does."""
    store.hold_all(connection)
    before = _find(connection, key)
    store.remove(connection, before.id)
    _require_administrator(connection, before, replace(before, is_active=False), force=force)
    return before


def _require_administrator(connection: Any, before: Key, after: Key, *, force: bool) -> None:
    """Raise Conflict where the change left no key that may administrate."""
    now = datetime.now(UTC)
    if force or not _administrates(before, now) or _administrates(after, now):
        return
    if any(_administrates(other, now) for other in store.all_keys(connection)):
        return
    raise Conflict(
        f"{before.name} is the last key that may administrate",
        "add another one first: ollama-admin key add NAME --can admin; or insist with --force",
    )


def _administrates(key: Key, now: datetime) -> bool:
    return key.is_active and key.may(Right.ADMIN) and not key.is_over(now)
