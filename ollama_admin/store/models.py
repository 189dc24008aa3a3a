"""SQL on `ollama_models`. Only discovery writes here."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import (
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    insert,
    null,
    select,
    type_coerce,
    update,
)

from ollama_admin.domain.models import BuildDetails, DigestChange, ListedModel, Model
from ollama_admin.domain.names import model_key
from ollama_admin.domain.pins import Pin
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.store import pins as store_pins
from ollama_admin.store import rows
from ollama_admin.store import servers as store_servers
from ollama_admin.store.dialects import JSONDocument, UnreadJSON
from ollama_admin.store.tables import models, pins, servers

T = TypeVar("T")
KnownDetails = Mapping[str | None, dict[str, Any]]  # columns by digest

DETAIL_COLUMNS = ("capabilities", "context_length", "embedding_length")
SIMILAR = 2000
BATCH = 1000  # rows that are in memory at once
_CHUNK = 500  # values in one statement: SQLite allows 999 parameters in old builds


class Place(NamedTuple):
    """What a view by name needs of a row."""

    name_key: str
    name: str
    digest: str | None
    is_available: bool
    server: str
    capabilities: tuple[str, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a server listed. `version` is None for one that is not Ollama."""

    server: ServerRef
    version: str | None
    models: Sequence[ListedModel]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListingChanges:
    """What a listing changed in the rows of one server; of the digests `without_details`,
    `/api/show` was never read.
    """

    added: tuple[str, ...]
    changed: tuple[DigestChange, ...]
    unchanged: int
    vanished: tuple[str, ...]
    pruned: int
    without_details: frozenset[str]


def listed_key(name: str, is_ollama: bool) -> str:
    """The key that a listed name is found by: on a server that is not Ollama, ids are opaque."""
    return model_key(name) if is_ollama else name


def each(
    connection: Connection,
    *,
    server_ids: Collection[int] | None = None,
    everything: bool = False,
    is_named: Callable[[str], bool] | None = None,
) -> Iterator[list[Model]]:
    """Rows by the key of their name and server preference, BATCH at a time, while the transaction
    lasts.

    Without `everything` only available ones of active servers. `is_named` is asked once for each
    name: the rows that it refuses are not read, but for those whose key is that of another name.
    """
    return _each(connection, _some(_with_server(), server_ids, everything), _whole, is_named)


def each_place(
    connection: Connection,
    *,
    server_ids: Collection[int] | None = None,
    everything: bool = False,
    is_named: Callable[[str], bool] | None = None,
    capabilities: bool = False,
) -> Iterator[list[Place]]:
    """The same, of each row only what a view by name needs, `capabilities` where they are asked
    for: a third of the time that whole rows take.
    """
    able = models.c.capabilities if capabilities else null()
    columns = (
        models.c.name_key,
        models.c.name,
        models.c.digest,
        models.c.is_available,
        servers.c.name,
        able,
    )
    query = select(*columns).join(servers, servers.c.id == models.c.server_id)
    return _each(connection, _some(query, server_ids, everything), _place, is_named)


def _each(
    connection: Connection,
    query: Select[Any],
    read: Callable[[Row[Any]], T],
    is_named: Callable[[str], bool] | None,
) -> Iterator[list[T]]:
    order = (
        models.c.name_key,
        servers.c.is_default.desc(),
        servers.c.priority.desc(),
        servers.c.id,
        models.c.name,
    )
    ordered = query.order_by(*order)
    if is_named is None:
        yield from _batches(connection, ordered, read)
        return
    for keys in _chunks(_keys(connection, is_named)):
        yield from _batches(connection, ordered.where(models.c.name_key.in_(keys)), read)


def page(
    connection: Connection,
    after: int,
    limit: int,
    *,
    server_ids: Collection[int] | None,
    everything: bool,
) -> list[Model]:
    """Up to `limit` of the same rows by id, beginning after an id."""
    query = (
        _some(_with_server(), server_ids, everything)
        .where(models.c.id > after)
        .order_by(models.c.id)
        .limit(limit)
    )
    return _read(connection, query)


def _keys(connection: Connection, is_named: Callable[[str], bool]) -> list[str]:
    """The keys of the names that are wanted, in the order of the rows."""
    known = select(models.c.name_key, models.c.name).distinct().order_by(models.c.name_key)
    found = connection.execute(known.execution_options(yield_per=BATCH))
    return list(dict.fromkeys(row.name_key for row in found if is_named(row.name)))


def _batches(
    connection: Connection, query: Select[Any], read: Callable[[Row[Any]], T]
) -> Iterator[list[T]]:
    try:
        for batch in connection.execute(query.execution_options(yield_per=BATCH)).partitions():
            yield [read(row) for row in batch]
    except rows.UNREADABLE as exc:
        raise _unreadable(connection, query) from exc


def _some(query: Select[Any], server_ids: Collection[int] | None, everything: bool) -> Select[Any]:
    if server_ids is not None:
        query = query.where(models.c.server_id.in_(server_ids))
    if not everything:
        query = query.where(models.c.is_available)
        if server_ids is None:
            query = query.where(servers.c.is_active)
    return query


def named(
    connection: Connection, name: str, server_id: int | None = None
) -> tuple[list[Model], Pin | None]:
    """Available rows whose name may mean `name`, equal after folding or the same opaque id, and the
    name's pin.
    """
    query = _named() if server_id is None else _named().where(models.c.server_id == server_id)
    values = {"keys": meanings(name), "key": model_key(name)}
    try:
        found = connection.execute(query, values).all()
        known = [_model(row[: -len(_PIN)], _NAMED) for row in found]
    except rows.UNREADABLE as exc:
        raise _unreadable(connection, query, values) from exc
    if not found:
        return [], store_pins.for_name(connection, name)
    pin = dict(zip((column.name for column in _PIN), found[0][-len(_PIN) :], strict=True))
    return known, None if pin["digest"] is None else Pin(**pin)


def meanings(name: str) -> list[str]:
    """The keys of rows that `name` may mean."""
    return list({name, model_key(name)})


def similar_names(connection: Connection, name: str) -> list[str]:
    """Names that can be asked for now, for hints: those that begin like `name`, and others, SIMILAR
    of each at most.
    """
    known = (
        select(models.c.name)
        .join(servers)
        .where(models.c.is_available, servers.c.is_active)
        .distinct()
    )
    key = model_key(name)
    alike = models.c.name_key.startswith(key[: key.rfind("/") + 3], autoescape=True)
    return [
        found
        for query in (known.where(alike), known)
        for found in connection.scalars(query.limit(SIMILAR))
    ]


def store_listings(
    connection: Connection, listings: Sequence[Listing], *, prune: bool
) -> list[ListingChanges | None]:
    """Make the rows of servers what these just listed; None for one that was removed or moved to
    another URL meanwhile.

    Where nothing changed it takes three statements for all of them together, and writes
    `last_seen_at` alone.
    """
    now = datetime.now(UTC)
    # two runs take the rows in one order
    ordered = sorted(listings, key=lambda listing: listing.server.id or 0)
    still = store_servers.record_listings(
        connection, {each.server: each.version for each in ordered}, now
    )
    known = _known_rows(connection, still)
    compared = {
        listing.server.id: _compared(listing, known.get(listing.server.id or 0, {}))
        for listing in ordered
        if listing.server.id in still
    }
    facts = _known_details(
        connection, {digest for each in compared.values() for digest in each.new_digests}
    )
    _touch(connection, compared.values(), now)
    _insert(connection, [values for each in compared.values() for values in each.fresh], facts, now)
    _change(
        connection, [change for each in compared.values() for change in each.changed], facts, now
    )
    _mark_vanished(connection, [row.id for each in compared.values() for row in each.vanished])
    pruned = _prune(connection, still) if prune else {}
    return [
        compared[each.server.id].told(pruned.get(each.server.id or 0, 0), facts)
        if each.server.id in compared
        else None
        for each in listings
    ]


def store_details(connection: Connection, facts: Mapping[str, BuildDetails]) -> None:
    """Write what is known of each digest to all its rows, whichever server they belong to."""
    for digest, known in facts.items():
        values = {
            "capabilities": list(known.capabilities)
            or None,  # old servers tell none: to be asked again
            "context_length": known.context_length,
            "embedding_length": known.embedding_length,
        }
        connection.execute(update(models).where(models.c.digest == digest).values(**values))


@cache
def _named() -> Select[Any]:
    """Kept: to put it together takes longer than to look up a few rows. The pin comes with each
    row.
    """
    named = models.c.name_key.in_(bindparam("keys", expanding=True))
    pinned = _with_server().outerjoin(pins, pins.c.name_key == bindparam("key"))
    with_pin = pinned.add_columns(*(column.label(f"pin_{column.name}") for column in _PIN))
    return with_pin.where(named, models.c.is_available).order_by(models.c.id)


@cache
def _with_server() -> Select[Any]:
    return select(models, servers.c.name.label("server")).join(
        servers, servers.c.id == models.c.server_id
    )


_READERS: rows.Readers = {
    "name": rows.text,
    **dict.fromkeys(("size", "context_length", "embedding_length"), rows.optional(rows.number)),
    **dict.fromkeys(("digest", "format", "family", "parameter_size"), rows.optional(rows.text)),
    **dict.fromkeys(
        ("quantization_level", "remote_host", "remote_model"), rows.optional(rows.text)
    ),
    **dict.fromkeys(("families", "capabilities"), rows.optional(rows.texts)),
}


def _read(connection: Connection, query: Select[Any]) -> list[Model]:
    try:
        return [_whole(row) for row in connection.execute(query)]
    except rows.UNREADABLE as exc:
        raise _unreadable(connection, query) from exc


def _model(values: Sequence[Any], names: Sequence[str]) -> Model:
    found = rows.read_values(zip(names, values, strict=True), _READERS)
    del found["name_key"]
    return Model(**found)


def _whole(row: Row[Any]) -> Model:
    return _model(row, row._fields)


def _place(row: Row[Any]) -> Place:
    key, name, digest, is_available, server, able = tuple(row)
    return Place(
        key,
        rows.text(name),
        rows.optional(rows.text)(digest),
        is_available,
        server,
        rows.optional(rows.texts)(able),
    )


def _unreadable(
    connection: Connection, query: Select[Any], values: Mapping[str, Any] | None = None
) -> DatabaseUnavailable:
    """The error for the first row of the query that cannot be read."""
    refs = query.with_only_columns(models.c.id, models.c.name, models.c.server_id)
    for row in connection.execute(refs, values):
        try:
            _whole(connection.execute(_with_server().where(models.c.id == row.id)).one())
        except rows.UNREADABLE:
            column = rows.unreadable_column(connection, models, row.id, _READERS)
            return DatabaseUnavailable(
                f"model {row.name!a} of server {row.server_id}: its {column} cannot be read; "
                "another program wrote it",
                f"read it again: ollama-admin discover {row.server_id}",
            )
    return DatabaseUnavailable("a row of ollama_models could not be read", "run the command again")


class _Known(NamedTuple):
    """A row; `listed` are the values of _LISTED_COLUMNS."""

    id: int
    is_available: bool
    has_details: bool
    listed: tuple[Any, ...]

    @property
    def name(self) -> str:
        return str(self.listed[0])

    @property
    def digest(self) -> str | None:
        found: str | None = self.listed[_LISTED_COLUMNS.index("digest")]
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class _Compared:
    """A listing beside the rows of its server; `changed` are rows with the values that they are to
    have.
    """

    server_id: int
    fresh: list[dict[str, Any]]
    same: list[_Known]
    changed: list[tuple[_Known, dict[str, Any]]]
    vanished: list[_Known]

    @property
    def is_unchanged(self) -> bool:
        return not (self.fresh or self.changed or self.vanished)

    @property
    def moved(self) -> list[tuple[_Known, dict[str, Any]]]:
        """Of `changed`, the names that stand for another build now."""
        return [(row, values) for row, values in self.changed if row.digest != values["digest"]]

    @property
    def kept(self) -> list[_Known]:
        """Of `changed`, the rows that are the build they were."""
        return [row for row, values in self.changed if row.digest == values["digest"]]

    @property
    def new_digests(self) -> set[str]:
        listed = (*self.fresh, *(values for _, values in self.moved))
        return {values["digest"] for values in listed if values["digest"]}

    def told(self, pruned: int, facts: KnownDetails) -> ListingChanges:
        moved, kept = self.moved, self.kept
        returned = [row.name for row in kept if not row.is_available]
        changes = (
            DigestChange(name=row.name, before=row.digest, after=values["digest"])
            for row, values in moved
        )
        return ListingChanges(
            added=tuple(sorted([*(values["name"] for values in self.fresh), *returned])),
            changed=tuple(sorted(changes, key=lambda change: change.name)),
            unchanged=len(self.same) + len(kept) - len(returned),
            vanished=tuple(sorted(row.name for row in self.vanished)),
            pruned=pruned,
            without_details=frozenset(
                {digest for digest in self.new_digests if digest not in facts}
                | {row.digest for row in (*self.same, *kept) if row.digest and not row.has_details}
            ),
        )


def _compared(listing: Listing, known: Mapping[str, _Known]) -> _Compared:
    server_id, is_ollama = listing.server.id or 0, listing.version is not None
    listed = {model.name: _values(model, is_ollama=is_ollama) for model in listing.models}
    fresh, same, changed = [], [], []
    for name, values in listed.items():
        row = known.get(name)
        if row is None:
            fresh.append(_columns(values) | {"server_id": server_id})
        elif row.is_available and row.listed == values:
            same.append(row)
        else:
            changed.append((row, _columns(values)))
    vanished = [row for name, row in known.items() if row.is_available and name not in listed]
    return _Compared(
        server_id=server_id, fresh=fresh, same=same, changed=changed, vanished=vanished
    )


def _known_rows(
    connection: Connection, server_ids: Collection[int]
) -> Mapping[int, dict[str, _Known]]:
    """The rows of servers by name. Those that cannot be read are deleted: the listing tells what
    they should hold.
    """
    columns = [
        models.c[name]
        for name in (*_LISTED_COLUMNS, "id", "server_id", "is_available", *DETAIL_COLUMNS)
    ]
    unread = [
        type_coerce(column, UnreadJSON) if isinstance(column.type, JSONDocument) else column
        for column in columns
    ]
    query = select(*unread).where(models.c.server_id.in_(server_ids))
    try:
        return _by_name(connection.execute(query))
    except rows.UNREADABLE:
        for row_id in connection.scalars(query.with_only_columns(models.c.id)).all():
            if rows.unreadable_column(connection, models, row_id, _READERS):
                connection.execute(delete(models).where(models.c.id == row_id))
        return _by_name(connection.execute(query))


def _by_name(found: Iterable[Row[Any]]) -> Mapping[int, dict[str, _Known]]:
    known: dict[int, dict[str, _Known]] = defaultdict(dict)
    load = cache(json.loads)

    def read(value: Any) -> Any:
        return load(value) if isinstance(value, str) else value

    for (
        name,
        name_key,
        families,
        *listed,
        row_id,
        server_id,
        is_available,
        able,
        context,
        length,
    ) in map(tuple, found):
        for column, fact in zip(DETAIL_COLUMNS, (read(able), context, length), strict=True):
            _READERS[column](fact)
        known[server_id][name] = _Known(
            row_id, is_available, able is not None, (name, name_key, read(families), *listed)
        )
    return known


def _touch(connection: Connection, compared: Iterable[_Compared], now: datetime) -> None:
    """Rows that are as they were: by their server where all are, else one by one."""
    unchanged = [each.server_id for each in compared if each.is_unchanged]
    single = [row.id for each in compared if not each.is_unchanged for row in each.same]
    for column, values in ((models.c.server_id, unchanged), (models.c.id, single)):
        for chunk in _chunks(values):
            seen = update(models).where(column.in_(chunk), models.c.is_available)
            connection.execute(seen.values(last_seen_at=now))


def _insert(
    connection: Connection, fresh: list[dict[str, Any]], facts: KnownDetails, now: datetime
) -> None:
    new = {"is_available": True, "first_seen_at": now, "last_seen_at": now}
    if fresh:
        connection.execute(
            insert(models),
            [values | new | facts.get(values["digest"], _NO_FACTS) for values in fresh],
        )


def _change(
    connection: Connection,
    changed: list[tuple[_Known, dict[str, Any]]],
    facts: KnownDetails,
    now: datetime,
) -> None:
    for row, listed in changed:
        values = listed | {"is_available": True, "last_seen_at": now}
        if row.digest != listed["digest"]:
            values |= {"digest_changed_at": now} | facts.get(listed["digest"], _NO_FACTS)
        connection.execute(update(models).where(models.c.id == row.id).values(**values))


def _mark_vanished(connection: Connection, gone: list[int]) -> None:
    for chunk in _chunks(gone):
        connection.execute(update(models).where(models.c.id.in_(chunk)).values(is_available=False))


def _prune(connection: Connection, server_ids: Collection[int]) -> Mapping[int, int]:
    """Delete the rows of vanished models; gives back how many of each server."""
    gone = delete(models).where(
        models.c.server_id.in_(server_ids), models.c.is_available.is_(False)
    )
    return Counter(connection.scalars(gone.returning(models.c.server_id)))


_LISTED_COLUMNS = (
    "name",
    "name_key",
    "families",
    "digest",
    "size",
    "format",
    "family",
    "parameter_size",
    "quantization_level",
    "modified_at",
    "remote_host",
    "remote_model",
)
_NAMED = (*models.columns.keys(), "server")
_PIN = (pins.c.name, pins.c.digest, pins.c.created_at, pins.c.updated_at)
_listed = attrgetter(*_LISTED_COLUMNS[3:])
_NO_FACTS: dict[str, Any] = dict.fromkeys(DETAIL_COLUMNS)


def _values(model: ListedModel, *, is_ollama: bool) -> tuple[Any, ...]:
    """What _LISTED_COLUMNS are to hold."""
    families = None if model.families is None else list(model.families)
    return (model.name, listed_key(model.name, is_ollama), families, *_listed(model))


def _columns(values: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(_LISTED_COLUMNS, values, strict=True))


def _known_details(connection: Connection, digests: Collection[str]) -> KnownDetails:
    known: dict[str | None, dict[str, Any]] = {}
    columns = [models.c[name] for name in DETAIL_COLUMNS]
    for chunk in _chunks(sorted(digests)):
        query = select(models.c.digest, *columns).where(
            models.c.digest.in_(chunk), models.c.capabilities.is_not(None)
        )
        # a row that another program wrote: the server is asked instead
        with suppress(*rows.UNREADABLE):
            for row in connection.execute(query):
                rows.read_values(zip(row._fields, row, strict=True), _READERS)
                known[row.digest] = {name: getattr(row, name) for name in DETAIL_COLUMNS}
    return known


def _chunks(values: list[Any]) -> Iterable[list[Any]]:
    return (values[start : start + _CHUNK] for start in range(0, len(values), _CHUNK))
