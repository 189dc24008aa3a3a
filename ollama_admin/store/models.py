"""SQL on `ollama_models`. Only discovery writes here."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, insert, select, update

from ollama_admin.domain.models import DigestChange, Facts, ListedModel, Model
from ollama_admin.domain.servers import Server
from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.names import model_key
from ollama_admin.store import rows
from ollama_admin.store import servers as store_servers
from ollama_admin.store.tables import models, servers

FACT_COLUMNS = ("capabilities", "context_length", "embedding_length")
_CHUNK = 500  # values in one statement: SQLite allows 999 parameters in old builds


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingChanges:
    """What a listing changed in the rows of one server."""

    added: tuple[str, ...]
    changed: tuple[DigestChange, ...]
    unchanged: int
    vanished: tuple[str, ...]
    pruned: int


def listed_key(name: str, is_ollama: bool) -> str:
    """The key that a listed name is found by: on a server that is not Ollama, ids are opaque."""
    return model_key(name) if is_ollama else name


def select_models(
    connection: Connection, *, server_ids: Collection[int] | None = None, everything: bool = False
) -> list[Model]:
    """Rows by server preference and name; without `everything` only available ones of active servers."""
    order = (models.c.name, servers.c.is_default.desc(), servers.c.priority.desc(), servers.c.id)
    return _read(connection, _some(server_ids, everything).order_by(*order))


def page(
    connection: Connection, after: int, limit: int, *, server_ids: Collection[int] | None, everything: bool
) -> list[Model]:
    """Up to `limit` of the same rows by id, beginning after an id."""
    query = _some(server_ids, everything).where(models.c.id > after).order_by(models.c.id).limit(limit)
    return _read(connection, query)


def _some(server_ids: Collection[int] | None, everything: bool) -> Select[Any]:
    query = _with_server()
    if server_ids is not None:
        query = query.where(models.c.server_id.in_(server_ids))
    if not everything:
        query = query.where(models.c.is_available)
        if server_ids is None:
            query = query.where(servers.c.is_active)
    return query


def named(connection: Connection, name: str, server_id: int | None = None) -> list[Model]:
    """Available rows whose name may mean `name`: equal after folding, or the same opaque id."""
    keys = {name, model_key(name)}
    query = _with_server().where(models.c.name_key.in_(keys), models.c.is_available)
    if server_id is not None:
        query = query.where(models.c.server_id == server_id)
    return _read(connection, query.order_by(models.c.id))


def available_names(connection: Connection, server_id: int | None = None) -> list[str]:
    """Names that can be asked for now, for hints."""
    query = select(models.c.name).distinct().join(servers).where(models.c.is_available, servers.c.is_active)
    if server_id is not None:
        query = query.where(models.c.server_id == server_id)
    return list(connection.scalars(query))


def store_listing(
    connection: Connection, server: Server, listed: Iterable[ListedModel], *, version: str | None, prune: bool
) -> ListingChanges | None:
    """Make the rows of a server what it just listed; None when it was removed or moved to another URL meanwhile."""
    now = datetime.now(UTC)
    if not store_servers.record_listing(connection, server.ref, version, now):
        return None
    known = _known_rows(connection, server.id)
    listing = {model.name: model for model in listed}
    values = {name: _columns(model, is_ollama=version is not None) for name, model in listing.items()}
    fresh = sorted(listing.keys() - known.keys())
    touched = [(row, values[name]) for name, row in known.items() if name in listing]

    _insert(connection, server.id, [values[name] for name in fresh], now)
    changed = _update(connection, touched, now)
    returned = [row.name for row, new in touched if not row.is_available and row.digest == new["digest"]]
    vanished = _mark_vanished(connection, [row for name, row in known.items() if name not in listing])
    pruned = _prune(connection, server.id) if prune else 0
    return ListingChanges(
        added=tuple(sorted(fresh + returned)),
        changed=changed,
        unchanged=len(touched) - len(changed) - len(returned),
        vanished=vanished,
        pruned=pruned,
    )


def digests_without_facts(connection: Connection, digests: Collection[str]) -> set[str]:
    """Those of the digests whose `/api/show` was never read."""
    unknown: set[str] = set()
    for chunk in _chunks(sorted(digests)):
        query = select(models.c.digest).where(models.c.digest.in_(chunk), models.c.capabilities.is_(None))
        unknown |= set(connection.scalars(query.distinct()))
    return unknown


def store_facts(connection: Connection, facts: Mapping[str, Facts]) -> None:
    """Write what is known of each digest to all its rows, whichever server they belong to."""
    for digest, known in facts.items():
        values = {
            "capabilities": list(known.capabilities) or None,  # old servers tell none: to be asked again
            "context_length": known.context_length,
            "embedding_length": known.embedding_length,
        }
        connection.execute(update(models).where(models.c.digest == digest).values(**values))


def _with_server() -> Select[Any]:
    return select(models, servers.c.name.label("server")).join(servers, servers.c.id == models.c.server_id)


_READERS: rows.Readers = {
    "name": rows.text,
    **dict.fromkeys(("size", "context_length", "embedding_length"), rows.optional(rows.number)),
    **dict.fromkeys(("digest", "format", "family", "parameter_size"), rows.optional(rows.text)),
    **dict.fromkeys(("quantization_level", "remote_host", "remote_model"), rows.optional(rows.text)),
    **dict.fromkeys(("families", "capabilities"), rows.optional(rows.texts)),
}


def _read(connection: Connection, query: Select[Any]) -> list[Model]:
    try:
        return [_model(row) for row in connection.execute(query)]
    except rows.UNREADABLE as exc:
        raise _unreadable(connection, query) from exc


def _model(row: Row[Any]) -> Model:
    values = rows.read_values(row, _READERS)
    del values["name_key"]
    return Model(**values)


def _unreadable(connection: Connection, query: Select[Any]) -> DatabaseUnavailable:
    """The error for the first row of the query that cannot be read."""
    for row in connection.execute(query.with_only_columns(models.c.id, models.c.name, models.c.server_id)).all():
        column = rows.unreadable_column(connection, models, row.id, _READERS)
        if column is not None:
            return DatabaseUnavailable(
                f"model {row.name!a} of server {row.server_id}: its {column} cannot be read; another program wrote it",
                f"read it again: ollama-admin discover {row.server_id}",
            )
    return DatabaseUnavailable("a row of ollama_models could not be read", "run the command again")


def _known_rows(connection: Connection, server_id: int) -> dict[str, Row[Any]]:
    """The rows of a server by name. Those that cannot be read are deleted: the listing tells what they should hold."""
    query = select(models).where(models.c.server_id == server_id)
    try:
        known = connection.execute(query).all()
        for row in known:
            rows.read_values(row, _READERS)
    except rows.UNREADABLE:
        for row_id in connection.scalars(query.with_only_columns(models.c.id)).all():
            if rows.unreadable_column(connection, models, row_id, _READERS):
                connection.execute(delete(models).where(models.c.id == row_id))
        known = connection.execute(query).all()
    return {row.name: row for row in known}


def _insert(connection: Connection, server_id: int, fresh: list[dict[str, Any]], now: datetime) -> None:
    known = _known_facts(connection, {values["digest"] for values in fresh})
    new = {"server_id": server_id, "is_available": True, "first_seen_at": now, "last_seen_at": now}
    if fresh:
        connection.execute(insert(models), [values | new | known.get(values["digest"], _NO_FACTS) for values in fresh])


def _update(
    connection: Connection, touched: list[tuple[Row[Any], dict[str, Any]]], now: datetime
) -> tuple[DigestChange, ...]:
    """One statement for the rows that are as they were, one for each that is not."""
    differing = [(row, values) for row, values in touched if _differs(row, values)]
    moved = [(row, values) for row, values in differing if row.digest != values["digest"]]
    known = _known_facts(connection, {values["digest"] for _, values in moved})
    different_ids = {row.id for row, _ in differing}
    same_ids = [row.id for row, _ in touched if row.id not in different_ids]
    for chunk in _chunks(same_ids):
        connection.execute(update(models).where(models.c.id.in_(chunk)).values(last_seen_at=now))
    for row, listed in differing:
        values = listed | {"is_available": True, "last_seen_at": now}
        if row.digest != listed["digest"]:
            values |= {"digest_changed_at": now} | known.get(listed["digest"], _NO_FACTS)
        connection.execute(update(models).where(models.c.id == row.id).values(**values))
    changes = (DigestChange(name=row.name, before=row.digest, after=values["digest"]) for row, values in moved)
    return tuple(sorted(changes, key=lambda change: change.name))


def _differs(row: Row[Any], values: dict[str, Any]) -> bool:
    return not row.is_available or any(getattr(row, name) != value for name, value in values.items())


def _mark_vanished(connection: Connection, gone: list[Row[Any]]) -> tuple[str, ...]:
    newly = [row for row in gone if row.is_available]
    for chunk in _chunks([row.id for row in newly]):
        connection.execute(update(models).where(models.c.id.in_(chunk)).values(is_available=False))
    return tuple(sorted(row.name for row in newly))


def _prune(connection: Connection, server_id: int) -> int:
    unavailable = models.c.is_available.is_(False)
    return connection.execute(delete(models).where(models.c.server_id == server_id, unavailable)).rowcount


_LISTED_COLUMNS = (
    "digest",
    "size",
    "format",
    "family",
    "families",
    "parameter_size",
    "quantization_level",
    "modified_at",
    "remote_host",
    "remote_model",
)
_NO_FACTS: dict[str, Any] = dict.fromkeys(FACT_COLUMNS)


def _columns(model: ListedModel, *, is_ollama: bool) -> dict[str, Any]:
    values = {name: getattr(model, name) for name in _LISTED_COLUMNS}
    values["families"] = None if model.families is None else list(model.families)
    return values | {"name": model.name, "name_key": listed_key(model.name, is_ollama)}


def _known_facts(connection: Connection, digests: Collection[str | None]) -> dict[str | None, dict[str, Any]]:
    known: dict[str | None, dict[str, Any]] = {}
    columns = [models.c[name] for name in FACT_COLUMNS]
    for chunk in _chunks(sorted(digest for digest in digests if digest)):
        query = select(models.c.digest, *columns).where(models.c.digest.in_(chunk), models.c.capabilities.is_not(None))
        with suppress(*rows.UNREADABLE):  # a row that another program wrote: the server is asked instead
            for row in connection.execute(query):
                rows.read_values(row, _READERS)
                known[row.digest] = {name: getattr(row, name) for name in FACT_COLUMNS}
    return known


def _chunks(values: list[Any]) -> Iterable[list[Any]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
