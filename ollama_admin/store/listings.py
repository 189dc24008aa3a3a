"""What servers listed, written to `ollama_models`. Only discovery writes there."""

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple

from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    delete,
    insert,
    or_,
    select,
    type_coerce,
    update,
)

from ollama_admin.domain.models import BuildDetails, DigestChange, ListedModel
from ollama_admin.domain.names import model_key
from ollama_admin.domain.servers import ServerRef
from ollama_admin.rules.health import answered, is_news
from ollama_admin.store import health, readers, registry
from ollama_admin.store.dialects import JSONDocument, UnreadJSON
from ollama_admin.store.locks import hold_holders, hold_servers
from ollama_admin.store.models import READERS, chunks
from ollama_admin.store.tables import models, servers

KnownDetails = Mapping[str | None, dict[str, Any]]  # columns by digest
ChangedRow = tuple["_StoredModel", dict[str, Any]]  # a row, and the values that it is to have

DETAIL_COLUMNS = ("capabilities", "context_length", "embedding_length")
_UNKNOWN_DETAILS: dict[str, Any] = dict.fromkeys(DETAIL_COLUMNS)
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
_listed_as_they_are = attrgetter(*_LISTED_COLUMNS[3:])


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
    server_ids = _record_servers(connection, ordered, now)
    stored = _stored_models(connection, server_ids)
    comparisons: dict[int | None, _Comparison] = {}
    for listing in ordered:
        server_id = listing.server.id
        if server_id in server_ids:
            comparisons[server_id] = _compare(server_id, listing, stored.get(server_id, {}))
    details = _write(connection, list(comparisons.values()), now)
    pruned = _prune(connection, server_ids) if prune else {}
    if pruned or not all(comparison.is_unchanged for comparison in comparisons.values()):
        registry.touch(connection)
    changes: list[ListingChanges | None] = []
    for listing in listings:
        comparison = comparisons.get(listing.server.id)
        if comparison is None:
            changes.append(None)
        else:
            changes.append(comparison.changes(pruned.get(comparison.server_id, 0), details))
    return changes


def store_details(connection: Connection, details: Mapping[str, BuildDetails]) -> None:
    """Write what is known of each digest to all its rows, whichever server they belong to."""
    hold_holders(connection, details.keys())
    for digest, build in details.items():
        # old servers tell no capabilities: NULL, to be asked again
        values = {
            "capabilities": list(build.capabilities) or None,
            "context_length": build.context_length,
            "embedding_length": build.embedding_length,
        }
        differs = [models.c[name].is_distinct_from(value) for name, value in values.items()]
        rows = update(models).where(models.c.digest == digest, or_(*differs))
        if connection.execute(rows.values(values)).rowcount:
            registry.touch(connection)


def _record_servers(connection: Connection, listings: Sequence[Listing], now: datetime) -> set[int]:
    """Note that servers listed their models, and hold their rows until the transaction ends.

    Gives back the ids of those that were not removed or moved to another URL meanwhile.
    """
    stored = hold_servers(connection, [listing.server.id for listing in listings])
    unmoved: dict[int, dict[str, Any]] = {}  # columns by id
    for listing in listings:
        row = stored.get(listing.server.id)
        if row is None or row.url != listing.server.url:
            continue
        before = health.of(row)
        after = answered(before, now, by_model=False)
        if is_news(before, after) or row.version != listing.version:
            registry.touch(connection)
        columns = health.columns(connection, after) | {"version": listing.version}
        unmoved[row.id] = {f"listed_{name}": value for name, value in columns.items()}
    if unmoved:
        names = next(iter(unmoved.values()))
        online: dict[str, Any] = {name.removeprefix("listed_"): bindparam(name) for name in names}
        connection.execute(
            update(servers)
            .where(servers.c.id == bindparam("server_id"))
            .values(online | {"last_discovered_at": now}),
            [unmoved[server_id] | {"server_id": server_id} for server_id in sorted(unmoved)],
        )
    return set(unmoved)


class _StoredModel(NamedTuple):
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
        digest: str | None = self.listed[3]
        return digest


@dataclass(frozen=True, slots=True, kw_only=True)
class _Comparison:
    """A listing beside the rows of its server; `new` are the values of rows to be made."""

    server_id: int
    new: list[dict[str, Any]]
    same: list[_StoredModel]
    changed: list[ChangedRow]
    vanished: list[_StoredModel]

    @property
    def is_unchanged(self) -> bool:
        return not (self.new or self.changed or self.vanished)

    @property
    def rebuilt(self) -> list[ChangedRow]:
        """Of `changed`, the names that stand for another build now."""
        return [(row, values) for row, values in self.changed if row.digest != values["digest"]]

    @property
    def same_build(self) -> list[_StoredModel]:
        """Of `changed`, the rows that are the build they were."""
        return [row for row, values in self.changed if row.digest == values["digest"]]

    @property
    def new_digests(self) -> set[str]:
        digests = {values["digest"] for values in self.new}
        digests |= {values["digest"] for _, values in self.rebuilt}
        return {digest for digest in digests if digest}

    def changes(self, pruned: int, details: KnownDetails) -> ListingChanges:
        """What people are told of it; `details` are those that were known of `new_digests`."""
        same_build = self.same_build
        returned = [row.name for row in same_build if not row.is_available]
        digest_changes = [
            DigestChange(name=row.name, before=row.digest, after=values["digest"])
            for row, values in self.rebuilt
        ]
        without_details = {digest for digest in self.new_digests if digest not in details}
        for row in self.same + same_build:
            if row.digest and not row.has_details:
                without_details.add(row.digest)
        return ListingChanges(
            added=tuple(sorted([values["name"] for values in self.new] + returned)),
            changed=tuple(sorted(digest_changes, key=lambda change: change.name)),
            unchanged=len(self.same) + len(same_build) - len(returned),
            vanished=tuple(sorted(row.name for row in self.vanished)),
            pruned=pruned,
            without_details=frozenset(without_details),
        )


def _compare(server_id: int, listing: Listing, stored: Mapping[str, _StoredModel]) -> _Comparison:
    is_ollama = listing.version is not None
    listed = {model.name: _listed_values(model, is_ollama=is_ollama) for model in listing.models}
    comparison = _Comparison(server_id=server_id, new=[], same=[], changed=[], vanished=[])
    for name, values in listed.items():
        row = stored.get(name)
        if row is None:
            comparison.new.append(_by_column(values) | {"server_id": server_id})
        elif row.is_available and row.listed == values:
            comparison.same.append(row)
        else:
            comparison.changed.append((row, _by_column(values)))
    for name, row in stored.items():
        if row.is_available and name not in listed:
            comparison.vanished.append(row)
    return comparison


def _listed_values(model: ListedModel, *, is_ollama: bool) -> tuple[Any, ...]:
    """What _LISTED_COLUMNS are to hold. On a server that is not Ollama ids are opaque: a name is
    its own key.
    """
    key = model_key(model.name) if is_ollama else model.name
    families = None if model.families is None else list(model.families)
    beginning: tuple[Any, ...] = (model.name, key, families)
    return beginning + _listed_as_they_are(model)


def _by_column(values: tuple[Any, ...]) -> dict[str, Any]:
    return dict(zip(_LISTED_COLUMNS, values, strict=True))


def _stored_models(
    connection: Connection, server_ids: Collection[int]
) -> Mapping[int, dict[str, _StoredModel]]:
    """The rows of servers by name. Those that cannot be read are deleted: the listing tells what
    they should hold.
    """
    names = list(_LISTED_COLUMNS)
    names.extend(("id", "server_id", "is_available"))
    names.extend(DETAIL_COLUMNS)
    columns = [_unread(models.c[name]) for name in names]
    query = select(*columns).where(models.c.server_id.in_(server_ids))
    try:
        return _by_server_and_name(connection.execute(query))
    except readers.UNREADABLE:
        for row_id in connection.scalars(query.with_only_columns(models.c.id)).all():
            if readers.unreadable_column(connection, models, row_id, READERS):
                registry.touch(connection)
                connection.execute(delete(models).where(models.c.id == row_id))
        return _by_server_and_name(connection.execute(query))


def _unread(column: Any) -> Any:
    """The column, its JSON as text: rows by the thousand repeat a few texts."""
    if isinstance(column.type, JSONDocument):
        return type_coerce(column, UnreadJSON)
    return column


def _by_server_and_name(rows: Iterable[Row[Any]]) -> Mapping[int, dict[str, _StoredModel]]:
    stored: dict[int, dict[str, _StoredModel]] = defaultdict(dict)
    load = cache(json.loads)

    def read(value: Any) -> Any:
        return load(value) if isinstance(value, str) else value

    check_capabilities, check_context, check_embedding = (READERS[name] for name in DETAIL_COLUMNS)
    after = len(_LISTED_COLUMNS)
    for values in map(tuple, rows):
        row_id, server_id, is_available, capabilities, context, embedding = values[after:]
        check_capabilities(read(capabilities))
        check_context(context)
        check_embedding(embedding)
        listed = list(values[:after])
        listed[2] = read(listed[2])  # families
        stored[server_id][listed[0]] = _StoredModel(
            row_id, is_available, capabilities is not None, tuple(listed)
        )
    return stored


def _write(
    connection: Connection, comparisons: Sequence[_Comparison], now: datetime
) -> KnownDetails:
    """Write what differs; gives back what other rows know of the digests that are new here."""
    new: list[dict[str, Any]] = []
    changed: list[ChangedRow] = []
    vanished: list[int] = []
    new_digests: set[str] = set()
    for comparison in comparisons:
        new.extend(comparison.new)
        changed.extend(comparison.changed)
        vanished.extend(row.id for row in comparison.vanished)
        new_digests |= comparison.new_digests
    details = _known_details(connection, new_digests)
    _touch(connection, comparisons, now)
    _insert(connection, new, details, now)
    _change(connection, changed, details, now)
    _mark_vanished(connection, vanished)
    return details


def _known_details(connection: Connection, digests: Collection[str]) -> KnownDetails:
    details: dict[str | None, dict[str, Any]] = {}
    columns = [models.c[name] for name in DETAIL_COLUMNS]
    for chunk in chunks(sorted(digests)):
        query = select(models.c.digest, *columns).where(
            models.c.digest.in_(chunk), models.c.capabilities.is_not(None)
        )
        # a row that another program wrote: the server is asked instead
        with suppress(*readers.UNREADABLE):
            for row in connection.execute(query):
                readers.read_values(zip(row._fields, row, strict=True), READERS)
                details[row.digest] = {name: getattr(row, name) for name in DETAIL_COLUMNS}
    return details


def _touch(connection: Connection, comparisons: Iterable[_Comparison], now: datetime) -> None:
    """Note that rows are as they were: by their server where all are, else one by one."""
    server_ids: list[int] = []
    row_ids: list[int] = []
    for comparison in comparisons:
        if comparison.is_unchanged:
            server_ids.append(comparison.server_id)
        else:
            row_ids.extend(row.id for row in comparison.same)
    seen = update(models).where(models.c.is_available).values(last_seen_at=now)
    for chunk in chunks(server_ids):
        connection.execute(seen.where(models.c.server_id.in_(chunk)))
    for chunk in chunks(row_ids):
        connection.execute(seen.where(models.c.id.in_(chunk)))


def _insert(
    connection: Connection, new: list[dict[str, Any]], details: KnownDetails, now: datetime
) -> None:
    if not new:
        return
    seen = {"is_available": True, "first_seen_at": now, "last_seen_at": now}
    rows = [values | seen | details.get(values["digest"], _UNKNOWN_DETAILS) for values in new]
    connection.execute(insert(models), rows)


def _change(
    connection: Connection, changed: list[ChangedRow], details: KnownDetails, now: datetime
) -> None:
    for row, listed in changed:
        values = listed | {"is_available": True, "last_seen_at": now}
        if row.digest != listed["digest"]:
            values["digest_changed_at"] = now
            values |= details.get(listed["digest"], _UNKNOWN_DETAILS)
        connection.execute(update(models).where(models.c.id == row.id).values(values))


def _mark_vanished(connection: Connection, row_ids: list[int]) -> None:
    for chunk in chunks(row_ids):
        connection.execute(update(models).where(models.c.id.in_(chunk)).values(is_available=False))


def _prune(connection: Connection, server_ids: Collection[int]) -> Mapping[int, int]:
    """Delete the rows of vanished models; gives back how many of each server."""
    vanished = delete(models).where(
        models.c.server_id.in_(server_ids), models.c.is_available.is_(False)
    )
    return Counter(connection.scalars(vanished.returning(models.c.server_id)))
