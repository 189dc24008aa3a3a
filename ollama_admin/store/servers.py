"""SQL on `ollama_servers`. Every function takes a connection in a transaction that its caller
owns.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    bindparam,
    delete,
    false,
    func,
    insert,
    select,
    update,
)

from ollama_admin.domain.names import server_key
from ollama_admin.domain.servers import (
    ApiVersion,
    AuthType,
    Server,
    ServerRef,
    ServerStatus,
)
from ollama_admin.domain.values import Json
from ollama_admin.errors import Conflict, DatabaseUnavailable, ServerExists, ServerNotFound
from ollama_admin.rules.likeness import nearest_servers
from ollama_admin.store import clocks, readers, registry, server_rows, slots
from ollama_admin.store.locks import lock_for_rows, lock_writers
from ollama_admin.store.tables import models, servers


@dataclass(frozen=True, slots=True, kw_only=True)
class NewServer:
    """The columns that a new row is given; the name and the URL are already normalised."""

    name: str
    url: str
    api_version: ApiVersion
    capabilities: tuple[str, ...] = ()
    max_concurrent: int = 1
    priority: int = 0
    is_default: bool = False
    is_active: bool = True
    default_model: str | None = None
    auth_type: AuthType = AuthType.NONE
    auth_config: Mapping[str, Json] = field(default_factory=dict, repr=False)
    headers: Mapping[str, Json] = field(default_factory=dict, repr=False)
    labels: Mapping[str, str] = field(default_factory=dict)
    managed_by: str | None = None
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    proxy: str | None = None


def by_preference(query: Select[Any]) -> Select[Any]:
    """Put the servers of a query in the order in which they are chosen, as `preference` of
    `rules/routing.py` does with servers that were read.
    """
    return query.order_by(servers.c.is_default.desc(), servers.c.priority.desc(), servers.c.id)


def all_servers(connection: Connection, *, inactive: bool = True) -> list[Server]:
    """Every row, or every active one, in the order in which servers are chosen.

    Like each function here that gives back servers, raises DatabaseUnavailable for a row that
    another program wrote and that cannot be read.
    """
    query = _preferred(connection.dialect.name)
    if not inactive:
        query = query.where(servers.c.is_active)
    return _read(connection, query)


def names(connection: Connection, beginning: str) -> list[str]:
    """The names of rows that begin so, whatever their case, by name."""
    begins_so = servers.c.name_key.startswith(server_key(beginning), autoescape=True)
    query = select(servers.c.name).where(begins_so).order_by(servers.c.name_key)
    return list(connection.scalars(query))


def at_urls(connection: Connection, urls: Collection[str]) -> list[ServerRef]:
    """The rows that have one of these normalised URLs, by id."""
    query = select(servers.c.id, servers.c.name, servers.c.url).where(servers.c.url.in_(urls))
    return [server_rows.ref(row) for row in connection.execute(query.order_by(servers.c.id))]


def ids(connection: Connection) -> list[int]:
    """The ids of all rows, in the order in which servers are chosen."""
    return list(connection.scalars(by_preference(select(servers.c.id))))


def among(connection: Connection, server_ids: Collection[int]) -> list[Server]:
    """The rows with these ids, in the order in which servers are chosen."""
    query = _preferred(connection.dialect.name)
    return _read(connection, query.where(servers.c.id.in_(server_ids)))


def page(connection: Connection, after: int, limit: int) -> list[Server]:
    """Up to `limit` rows by id, beginning after an id."""
    query = (
        _select(connection.dialect.name)
        .where(servers.c.id > after)
        .order_by(servers.c.id)
        .limit(limit)
    )
    return _read(connection, query)


def holders(connection: Connection, keys: Collection[str]) -> list[Server]:
    """The servers that list a model with one of these keys, in the order in which they are
    chosen.
    """
    return _read(connection, _holders(connection.dialect.name), keys=list(keys))


def find_ref(connection: Connection, server: int | str) -> ServerRef:
    """Which row an id or a name means, whatever else it holds; raises ServerNotFound."""
    query = select(servers.c.id, servers.c.name, servers.c.url).where(_is(server))
    row = connection.execute(query).first()
    if row is None:
        raise _not_found(connection, server)
    return server_rows.ref(row)


def find(connection: Connection, server: int | str, *, hold: bool = False) -> Server:
    """The row of an id or a name (digits are an id); raises ServerNotFound.

    With `hold` nobody else changes it until the transaction ends (SQLite holds the whole file
    already).
    """
    query = _select(connection.dialect.name).where(_is(server))
    if hold:
        lock_for_rows(connection)
        # its key stays: a lease that makes the server's first slots need not wait
        query = query.with_for_update(of=servers, key_share=True)
    row = _one(connection, query)
    if row is None:
        raise _not_found(connection, server)
    return row


def find_url(connection: Connection, url: str) -> Server | None:
    """The row that has this normalised URL."""
    return _one(connection, _select(connection.dialect.name).where(servers.c.url == url))


def find_default(connection: Connection) -> Server | None:
    return _one(connection, _select(connection.dialect.name).where(servers.c.is_default))


def add(connection: Connection, new: NewServer) -> Server:
    """Insert a row; raises ServerExists for a name or URL that another row has."""
    if new.is_default:
        lock_writers(connection)
    _refuse_taken(connection, new.name, new.url, but=None)
    if new.is_default:
        _clear_default(connection)
    now = datetime.now(UTC)
    values = {name: getattr(new, name) for name in NewServer.__slots__}
    values |= {"name_key": server_key(new.name), "created_at": now, "updated_at": now}
    row = connection.execute(insert(servers).values(values).returning(servers)).one()
    registry.touch(connection)
    return server_rows.server(row)


def change(connection: Connection, server: int | str, values: Mapping[str, Any]) -> Server:
    """Set columns of a row; another URL marks its models unavailable until the next discovery."""
    values = dict(values)
    if values.get("is_default"):
        lock_writers(connection)
    current = find(connection, server, hold=True)
    if "max_concurrent" in values:
        slots.hold_off_leases(connection, current.id)
    _refuse_taken(connection, values.get("name"), values.get("url"), but=current.id)
    if values.get("is_default"):
        _clear_default(connection)
    if "name" in values:
        values["name_key"] = server_key(values["name"])
    moves = values.get("url", current.url) != current.url
    if moves:
        values |= _UNKNOWN_STATE
    changed = _update(connection, current.id, values)
    if changed is None:
        raise ServerNotFound(f"the server {_called(server)} was removed meanwhile")
    if moves:  # after the server's row, as discovery does: two writers in two orders would deadlock
        connection.execute(
            update(models).where(models.c.server_id == current.id).values(is_available=False)
        )
    if not _is_same(current, changed):
        registry.touch(connection)
    return changed


def _is_same(before: Server, after: Server) -> bool:
    """Whether a row says what it said, whenever it was written and whatever runs there."""
    unchanged = replace(after, updated_at=before.updated_at, slots_in_use=before.slots_in_use)
    return unchanged == before


def _update(connection: Connection, server_id: int, values: dict[str, Any]) -> Server | None:
    """The row with these values; None for one that is no longer there."""
    slots_in_use = slots.in_use(connection.dialect.name).label("slots_in_use")
    query = (
        update(servers)
        .where(servers.c.id == server_id)
        .values(values | {"updated_at": datetime.now(UTC)})
        .returning(servers, slots_in_use)
    )
    row = connection.execute(query, clocks.moment(connection)).first()
    return None if row is None else server_rows.server(row)


def remove(connection: Connection, server: int | str, *, force: bool = False) -> ServerRef:
    """Delete a row, readable or not, and its models; gives back which one it was.

    Raises Conflict while slots are held there, without `force`: a slot is kept for a second after
    its request. With it they lose their slots and end
    as they would.
    """
    ref = find_ref(connection, server)
    lock_for_rows(connection)
    row = select(servers.c.id).where(servers.c.id == ref.id)
    connection.execute(row.with_for_update(key_share=True))
    slots.hold_off_leases(connection, ref.id or 0)
    count = slots.in_use(connection.dialect.name)
    in_use = connection.scalar(
        select(count).where(servers.c.id == ref.id), clocks.moment(connection)
    )
    if in_use and not force:
        running = "1 request runs" if in_use == 1 else f"{in_use} requests run"
        raise Conflict(
            f"{running} at server {ref.name}, or did a second ago",
            "wait until they have ended, or remove it anyway with --force",
        )
    if not connection.execute(delete(servers).where(servers.c.id == ref.id)).rowcount:
        raise ServerNotFound(f"the server {_called(server)} was removed meanwhile")
    registry.touch(connection)
    return ref


# of another URL: what was learnt at the old one says nothing about it
_UNKNOWN_STATE: dict[str, Any] = {
    "status": ServerStatus.UNKNOWN,
    "version": None,
    "last_error": None,
    "last_seen_at": None,
    "last_discovered_at": None,
    "status_since": None,
    "status_at": None,
    "latency_ms": None,
    "failures": 0,
    "asked_last_until": None,
}


# Statements are kept, by dialect: to put one together takes longer than to look up a row.


@cache
def _select(dialect: str) -> Select[Any]:
    return select(servers, slots.in_use(dialect).label("slots_in_use"))


@cache
def _preferred(dialect: str) -> Select[Any]:
    return by_preference(_select(dialect))


@cache
def _holders(dialect: str) -> Select[Any]:
    named = models.c.name_key.in_(bindparam("keys", expanding=True))
    return _preferred(dialect).where(
        servers.c.id.in_(select(models.c.server_id).where(named, models.c.is_available))
    )


def _read(connection: Connection, query: Select[Any], **values: Any) -> list[Server]:
    try:
        rows = connection.execute(query, values | clocks.moment(connection))
        return [server_rows.server(row) for row in rows]
    except readers.UNREADABLE as exc:
        raise _unreadable(connection, query, values) from exc


def _unreadable(
    connection: Connection, query: Select[Any], values: Mapping[str, Any]
) -> DatabaseUnavailable:
    """The error for the first row of a query that cannot be read."""
    refs = query.with_only_columns(servers.c.id, servers.c.name, servers.c.url)
    hint = "mend it in the database, or: ollama-admin server remove"
    rows = [
        (row.id, f"server {row.id}, {server_rows.ref(row).name!a}", f"{hint} {row.id}")
        for row in connection.execute(refs, values).all()
    ]
    return readers.first_unreadable(connection, servers, rows, server_rows.READERS)


def _one(connection: Connection, query: Select[Any]) -> Server | None:
    """The row of a query that means one at most."""
    try:
        row = connection.execute(query, clocks.moment(connection)).first()
        return None if row is None else server_rows.server(row)
    except readers.UNREADABLE as exc:
        raise _unreadable(connection, query, {}) from exc


def _is(server: int | str) -> Any:
    text_id = str(server)
    if text_id.isdecimal():
        return servers.c.id == row_id(text_id)
    # no row has such a name, and the drivers refuse NUL and lone surrogates
    if not text_id.isprintable():
        return false()
    return servers.c.name_key == server_key(text_id)


def row_id(digits: str) -> int:
    """An id as it was typed; one that no column holds is the highest, which no row has."""
    return min(int(digits[:20]), 2**63 - 1)


def _not_found(connection: Connection, server: int | str) -> ServerNotFound:
    near = nearest_servers(str(server), names(connection, ""))
    hint = f"nearest: {', '.join(near)}" if near else "list them with: ollama-admin server list"
    return ServerNotFound(f"no server {_called(server)}", hint)


def _called(server: int | str) -> str:
    return f"with id {server}" if str(server).isdecimal() else f"named {str(server)!r}"


def _refuse_taken(
    connection: Connection, name: str | None, url: str | None, but: int | None
) -> None:
    if name:
        is_same = servers.c.name_key == server_key(name)
        _refuse_other(connection, is_same, but, f"the name {name!r}")
    if url:
        _refuse_other(connection, servers.c.url == url, but, f"the URL {url}")


def _refuse_other(
    connection: Connection, condition: ColumnElement[bool], but: int | None, what: str
) -> None:
    query = select(servers.c.id, servers.c.name, servers.c.url)
    query = query.where(condition, servers.c.id != (but or 0))
    row = connection.execute(query).first()
    if row is not None:
        ref = server_rows.ref(row)
        raise ServerExists(
            f"{what} is taken by server {row.id}, {row.name!r}",
            f"see it with: ollama-admin server show {ref.word}",
            existing_id=row.id,
        )


def _clear_default(connection: Connection) -> None:
    connection.execute(update(servers).where(servers.c.is_default).values(is_default=False))


def count(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(servers)) or 0
