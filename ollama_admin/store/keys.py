"""SQL on `ollama_keys`. Every function takes a connection in a transaction that its caller owns."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    false,
    insert,
    select,
    text,
    update,
)

from ollama_admin.domain.keys import Key, KnownKey, network, rights
from ollama_admin.domain.names import server_key
from ollama_admin.errors import Conflict, DatabaseUnavailable, NotFound
from ollama_admin.rules.likeness import nearest_servers
from ollama_admin.store import readers, registry
from ollama_admin.store.servers import row_id
from ollama_admin.store.tables import key_budgets, key_leases, keys

_OPTIONAL_TEXT = readers.optional(readers.text)
_OPTIONAL_NUMBER = readers.optional(readers.number)
_READERS: readers.Readers = {
    "name": readers.text,
    "public_id": readers.text,
    "secret_hash": _OPTIONAL_TEXT,
    "old_secret_hash": _OPTIONAL_TEXT,
    "can": lambda value: rights(readers.texts(value)),
    "models": readers.texts,
    "servers": readers.texts,
    "networks": lambda value: tuple(str(network(item)) for item in readers.texts(value)),
    "max_concurrent": _OPTIONAL_NUMBER,
    "weight": readers.number,
    "requests_per_minute": _OPTIONAL_NUMBER,
    "tokens_per_day": _OPTIONAL_NUMBER,
    "note": _OPTIONAL_TEXT,
}
# put together once: one is read whenever the registry has changed, the other one every few seconds
_ALL = select(keys).order_by(keys.c.name_key)
_USED = (
    update(keys)
    .where(keys.c.id == bindparam("key_id"))
    .where(keys.c.last_used_at.is_(None) | (keys.c.last_used_at < bindparam("at")))
    .values(last_used_at=bindparam("at"))
)


def hold_all(connection: Connection) -> None:
    """Hold off other writers of keys until the transaction ends: that one key at least may
    administrate is about all of them.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE ollama_keys IN SHARE ROW EXCLUSIVE MODE"))


def known(connection: Connection) -> list[KnownKey]:
    """Every key with its hashes, by name. Like each function here that gives back keys, raises
    DatabaseUnavailable for a row that another program wrote and that cannot be read.
    """
    return _read(connection, _ALL)


def all_keys(connection: Connection) -> list[Key]:
    """Every key, by name."""
    return [row.key for row in known(connection)]


def find(connection: Connection, key: int | str) -> Key:
    """The row of an id or a name (digits are an id); raises NotFound."""
    rows = _read(connection, select(keys).where(_is(key)))
    if not rows:
        names = connection.scalars(select(keys.c.name).order_by(keys.c.name_key))
        near = nearest_servers(str(key), names)
        hint = "list them with: ollama-admin key list"
        if near:
            hint = f"nearest: {', '.join(near)}"
        raise NotFound(f"no key {_called(key)}", hint)
    return rows[0].key


def add(connection: Connection, values: Mapping[str, Any]) -> Key:
    """Insert a row; raises Conflict for a name that another key has."""
    _refuse_taken(connection, values["name"], but=0)
    now = datetime.now(UTC)
    row = dict(values) | {
        "name_key": server_key(values["name"]),
        "created_at": now,
        "updated_at": now,
    }
    added = connection.execute(insert(keys).values(row).returning(keys)).one()
    registry.touch(connection)
    return _known(added).key


def change(connection: Connection, key_id: int, values: Mapping[str, Any]) -> Key:
    """Set columns of a row that is there."""
    row = dict(values) | {"updated_at": datetime.now(UTC)}
    if "name" in values:
        _refuse_taken(connection, values["name"], but=key_id)
        row["name_key"] = server_key(values["name"])
    query = update(keys).where(keys.c.id == key_id).values(row).returning(keys)
    changed = connection.execute(query).one()
    registry.touch(connection)
    return _known(changed).key


def secret_hash(connection: Connection, key_id: int) -> str | None:
    """What is stored of a key's secret; None where it was revoked."""
    return connection.scalar(select(keys.c.secret_hash).where(keys.c.id == key_id))


def remove(connection: Connection, key_id: int) -> None:
    """Delete a row, and what is counted for it."""
    connection.execute(delete(keys).where(keys.c.id == key_id))
    connection.execute(delete(key_budgets).where(key_budgets.c.key_id == key_id))
    connection.execute(delete(key_leases).where(key_leases.c.key_id == key_id))
    registry.touch(connection)


def record_uses(connection: Connection, uses: Mapping[int, datetime]) -> None:
    """Write when keys were last used. It is no change of the registry."""
    rows = [{"key_id": key_id, "at": at} for key_id, at in sorted(uses.items())]
    if rows:
        connection.execute(_USED, rows)


def _read(connection: Connection, query: Select[Any]) -> list[KnownKey]:
    try:
        return [_known(row) for row in connection.execute(query)]
    except readers.UNREADABLE as exc:
        raise _unreadable(connection) from exc


def _unreadable(connection: Connection) -> DatabaseUnavailable:
    """The error for the first key that cannot be read."""
    ids = connection.scalars(select(keys.c.id).order_by(keys.c.id)).all()
    hint = "mend or delete that row of ollama_keys in the database"
    rows = ((key_id, f"key {key_id}", hint) for key_id in ids)
    return readers.first_unreadable(connection, keys, rows, _READERS)


def _known(row: Row[Any]) -> KnownKey:
    values = readers.read_values(zip(row._fields, row, strict=True), _READERS)
    del values["name_key"]
    current, old = values.pop("secret_hash"), values.pop("old_secret_hash")
    return KnownKey(
        key=Key(**values),
        secret_hash=current,
        old_secret_hash=old,
        networks=tuple(network(item) for item in values["networks"]),
    )


def _is(key: int | str) -> Any:
    word = str(key)
    if word.isdecimal():
        return keys.c.id == row_id(word)
    if not word.isprintable():
        return false()
    return keys.c.name_key == server_key(word)


def _called(key: int | str) -> str:
    if str(key).isdecimal():
        return f"with id {key}"
    return f"named {str(key)[:100]!r}"


def _refuse_taken(connection: Connection, name: str, but: int) -> None:
    is_same = keys.c.name_key == server_key(name)
    query = select(keys.c.id, keys.c.name).where(is_same, keys.c.id != but)
    row = connection.execute(query).first()
    if row is not None:
        raise Conflict(
            f"the name {name!r} is taken by key {row.id}",
            f"see it with: ollama-admin key show {row.id}",
        )
