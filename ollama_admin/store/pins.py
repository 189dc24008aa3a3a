"""SQL on `ollama_pins`, and on what models say of a pinned name."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, delete, func, select, text

from ollama_admin.domain.models import CONSTANT_DIGESTS
from ollama_admin.domain.names import ModelName, model_key
from ollama_admin.domain.pins import CheckedPin, Pin
from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.store import readers, registry
from ollama_admin.store.dialects import insert_or
from ollama_admin.store.servers import by_preference
from ollama_admin.store.tables import models, pins, servers

_READERS: readers.Readers = {"name": readers.text, "digest": readers.text}
# put together once: it is in every request
_OF_NAME = select(pins).where(pins.c.name_key == bindparam("key"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A server's row of a name, with a digest that tells its build.

    It `counts` while the server is active and lists the name.
    """

    server_id: int
    server: str
    name: str
    digest: str
    is_available: bool
    is_remote: bool
    counts: bool


def for_name(connection: Connection, name: ModelName) -> Pin | None:
    """The pin of a model name, in any spelling of it."""
    try:
        row = connection.execute(_OF_NAME, {"key": name.key}).first()
        return None if row is None else _pin(row)
    except readers.UNREADABLE as exc:
        raise unreadable(connection) from exc


def digests(connection: Connection) -> dict[str, str]:
    """The pinned digest of every pinned name, by `names.model_key`."""
    rows = connection.execute(select(pins.c.name_key, pins.c.digest)).all()
    try:
        return {row.name_key: readers.text(row.digest) for row in rows}
    except readers.UNREADABLE as exc:
        raise unreadable(connection) from exc


def checked(connection: Connection) -> list[CheckedPin]:
    """Every pin by name, with what active servers list under its name."""
    listed = (
        select(models.c.name_key, models.c.digest)
        .join(servers, servers.c.id == models.c.server_id)
        .where(models.c.is_available, servers.c.is_active, models.c.digest.is_not(None))
        .subquery()
    )
    query = (
        select(
            pins,
            _counted(listed.c.digest == pins.c.digest, "agree"),
            _counted(listed.c.digest != pins.c.digest, "differ"),
        )
        .outerjoin(listed, listed.c.name_key == pins.c.name_key)
        .group_by(pins.c.name_key)
        .order_by(pins.c.name, pins.c.name_key)
    )
    try:
        return [CheckedPin(**_values(row)) for row in connection.execute(query)]
    except readers.UNREADABLE as exc:
        raise unreadable(connection) from exc


def holdings(connection: Connection, name: str) -> list[Holding]:
    """Rows of a name that tell its build, vanished ones and those of inactive servers too, by
    server preference.
    """
    is_remote = models.c.remote_host.is_not(None) | models.c.remote_model.is_not(None)
    query = (
        select(
            models.c.server_id,
            servers.c.name.label("server"),
            models.c.name,
            models.c.digest,
            models.c.is_available,
            is_remote.label("is_remote"),
            (models.c.is_available & servers.c.is_active).label("counts"),
        )
        .join(servers, servers.c.id == models.c.server_id)
        .where(models.c.name_key == model_key(name), models.c.digest.is_not(None))
        .where(models.c.family.is_distinct_from(CONSTANT_DIGESTS))
    )
    rows = connection.execute(by_preference(query).order_by(models.c.name))
    return [Holding(**row._mapping) for row in rows]


def put(connection: Connection, name: str, digest: str, owner: str | None = None) -> Pin:
    """Write the pin of a name, over the one that is there; its `before` is then the digest that
    this one had. `owner` is whose file it belongs to from now on; with None that stays.
    """
    now = datetime.now(UTC)
    key = model_key(name)
    stored = select(pins.c.name, pins.c.digest).where(pins.c.name_key == key)
    before = connection.execute(stored.with_for_update()).first()
    if before is None or tuple(before) != (name, digest):
        registry.touch(connection)
    values = {"name": name, "digest": digest, "updated_at": now}
    if owner is not None:
        values["managed_by"] = owner
    upsert = (
        insert_or(connection, pins)
        .values(values | {"name_key": key, "created_at": now})
        .on_conflict_do_update(index_elements=[pins.c.name_key], set_=values)
        .returning(pins)
    )
    row = connection.execute(upsert).one()
    return _pin(row, None if before is None else before.digest)


def hold_all(connection: Connection) -> None:
    """Hold off other writers of pins until the transaction ends."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE ollama_pins IN SHARE ROW EXCLUSIVE MODE"))


def all_pins(connection: Connection) -> list[Pin]:
    """Every pin, by name."""
    rows = connection.execute(select(pins).order_by(pins.c.name, pins.c.name_key)).all()
    try:
        return [_pin(row) for row in rows]
    except readers.UNREADABLE as exc:
        raise unreadable(connection) from exc


def remove(connection: Connection, name: str) -> Pin | None:
    """Delete the pin of a name and give back what it was; None when there is none."""
    key = model_key(name)
    try:
        row = connection.execute(_OF_NAME, {"key": key}).first()
        pin = None if row is None else _pin(row)
    except readers.UNREADABLE as exc:
        raise unreadable(connection) from exc
    if connection.execute(delete(pins).where(pins.c.name_key == key)).rowcount:
        registry.touch(connection)
    return pin


def unreadable(connection: Connection) -> DatabaseUnavailable:
    """The error for the first pin that cannot be read."""
    keys = connection.scalars(select(pins.c.name_key).order_by(pins.c.name_key)).all()
    hint = "mend or delete that row of ollama_pins in the database"
    rows = ((key, f"pin {key!a}", hint) for key in keys)
    return readers.first_unreadable(connection, pins, rows, _READERS)


def _counted(condition: ColumnElement[bool], label: str) -> Any:
    return func.count().filter(condition).label(label)


def _values(row: Row[Any]) -> dict[str, Any]:
    values = readers.read_values(zip(row._fields, row, strict=True), _READERS)
    del values["name_key"]
    return values


def _pin(row: Row[Any], before: str | None = None) -> Pin:
    return Pin(**_values(row), before=before)
