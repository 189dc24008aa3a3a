"""SQL on `ollama_servers`. Every function takes a connection in a transaction that its caller
owns.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    false,
    func,
    insert,
    select,
    text,
    update,
)

from ollama_admin.domain.names import server_key
from ollama_admin.domain.servers import (
    ApiVersion,
    AuthType,
    CheckResult,
    Server,
    ServerRef,
    ServerStatus,
)
from ollama_admin.domain.values import Json
from ollama_admin.errors import Conflict, DatabaseUnavailable, ServerExists, ServerNotFound
from ollama_admin.store import rows, slots
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
    alike = servers.c.name_key.startswith(server_key(beginning), autoescape=True)
    return list(
        connection.scalars(select(servers.c.name).where(alike).order_by(servers.c.name_key))
    )


def ids(connection: Connection) -> list[int]:
    """The ids of all rows, in the same order."""
    order = select(servers.c.id).order_by(servers.c.is_default.desc(), *_PREFERENCE)
    return list(connection.scalars(order))


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
    row = connection.execute(select(*_REF).where(_is(server))).first()
    if row is None:
        raise ServerNotFound(
            f"no server {_called(server)}", "list them with: ollama-admin server list"
        )
    return _ref(row)


def find(connection: Connection, server: int | str, *, hold: bool = False) -> Server:
    """The row of an id or a name (digits are an id); raises ServerNotFound.

    With `hold` nobody else changes it until the transaction ends (SQLite holds the whole file
    already).
    """
    query = _select(connection.dialect.name).where(_is(server))
    if hold:  # its key stays: a grant that makes the server's first slots need not wait
        query = query.with_for_update(of=servers, key_share=True)
    found = _one(connection, query)
    if found is None:
        raise ServerNotFound(
            f"no server {_called(server)}", "list them with: ollama-admin server list"
        )
    return found


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
    row = connection.execute(insert(servers).values(**values).returning(servers)).one()
    return _server(row)


def change(connection: Connection, server: int | str, values: Mapping[str, Any]) -> Server:
    """Set columns of a row; another URL marks its models unavailable until the next discovery."""
    values = dict(values)
    if values.get("is_default"):
        lock_writers(connection)
    current = find(connection, server)
    if "max_concurrent" in values:
        slots.hold_off_leases(connection, current.id)
    _refuse_taken(connection, values.get("name"), values.get("url"), but=current.id)
    if values.get("is_default"):
        _clear_default(connection)
    if "name" in values:
        values["name_key"] = server_key(values["name"])
    moves = values.get("url", current.url) != current.url
    values |= _UNKNOWN_STATE if moves else {}
    changed = (
        update(servers)
        .where(servers.c.id == current.id)
        .values(**values, updated_at=datetime.now(UTC))
    )
    told = changed.returning(*_columns(connection.dialect.name))
    row = connection.execute(told, slots.moment(connection)).first()
    if row is None:
        raise ServerNotFound(f"the server {_called(server)} was removed meanwhile")
    if moves:  # after the server's row, as discovery does: two writers in two orders would deadlock
        connection.execute(
            update(models).where(models.c.server_id == current.id).values(is_available=False)
        )
    return _server(row)


def remove(connection: Connection, server: int | str, *, force: bool = False) -> ServerRef:
    """Delete a row, readable or not, and its models; gives back which one it was.

    Raises Conflict while requests run there, without `force`. With it they lose their slots and end
    as they would.
    """
    found = find_ref(connection, server)
    slots.hold_off_leases(connection, found.id or 0)
    in_use = connection.scalar(
        select(slots.in_use(connection.dialect.name)).where(servers.c.id == found.id),
        slots.moment(connection),
    )
    if in_use and not force:
        running = "1 request runs" if in_use == 1 else f"{in_use} requests run"
        raise Conflict(
            f"{running} at server {found.name}",
            "wait until they have ended, or remove it all the same with --force",
        )
    if not connection.execute(delete(servers).where(servers.c.id == found.id)).rowcount:
        raise ServerNotFound(f"the server {_called(server)} was removed meanwhile")
    return found


def record_checks(connection: Connection, results: Sequence[CheckResult]) -> Sequence[CheckResult]:
    """Note what checks saw, and give it back. An unreachable server keeps the version it had."""
    # two runs take the rows in one order
    for result in sorted(results, key=lambda result: result.server.id or 0):
        values: dict[str, Any] = {
            "status": result.status,
            "last_error": result.error and result.error.message,
        }
        if result.error is None:
            values |= {"version": result.version, "last_seen_at": datetime.now(UTC)}
        connection.execute(update(servers).where(_is_still(result.server)).values(**values))
    return results


def record_listings(
    connection: Connection, versions: Mapping[ServerRef, str | None], now: datetime
) -> set[int]:
    """Note that servers of these versions listed their models, and hold their rows until the
    transaction ends.

    Gives back the ids of those that were not removed or moved to another URL meanwhile.
    """
    # the UPDATE takes it anyway, but `lock_writers` may come in between
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE ollama_servers IN ROW EXCLUSIVE MODE"))
    urls = {server.id: server.url for server in versions}
    held = select(servers.c.id, servers.c.url).where(servers.c.id.in_(urls)).order_by(servers.c.id)
    still = {
        row.id
        for row in connection.execute(held.with_for_update(key_share=True))
        if row.url == urls[row.id]
    }
    told = [
        {"server_id": server.id, "told": version}
        for server, version in versions.items()
        if server.id in still
    ]
    if told:
        seen = update(servers).where(servers.c.id == bindparam("server_id"))
        online: dict[str, Any] = {
            "status": ServerStatus.ONLINE,
            "version": bindparam("told"),
            "last_error": None,
        }
        connection.execute(seen.values(**online, last_seen_at=now, last_discovered_at=now), told)
    return still


_PREFERENCE = (servers.c.priority.desc(), servers.c.id)
# of another URL: what was learnt at the old one says nothing about it
_UNKNOWN_STATE: dict[str, Any] = {
    "status": ServerStatus.UNKNOWN,
    "version": None,
    "last_error": None,
    "last_seen_at": None,
    "last_discovered_at": None,
}


# Statements are kept, by dialect: to put one together takes longer than to look up a row.


@cache
def _select(dialect: str) -> Select[Any]:
    return select(*_columns(dialect))


@cache
def _preferred(dialect: str) -> Select[Any]:
    return _select(dialect).order_by(servers.c.is_default.desc(), *_PREFERENCE)


@cache
def _holders(dialect: str) -> Select[Any]:
    named = models.c.name_key.in_(bindparam("keys", expanding=True))
    return _preferred(dialect).where(
        servers.c.id.in_(select(models.c.server_id).where(named, models.c.is_available))
    )


def _columns(dialect: str) -> tuple[ColumnElement[Any], ...]:
    return (*servers.c, slots.in_use(dialect).label("slots_in_use"))


def _read(connection: Connection, query: Select[Any], **values: Any) -> list[Server]:
    try:
        found = connection.execute(query, values | slots.moment(connection))
        return [_server(row) for row in found]
    except rows.UNREADABLE as exc:
        raise _unreadable(connection, query, values) from exc


def _unreadable(
    connection: Connection, query: Select[Any], values: Mapping[str, Any]
) -> DatabaseUnavailable:
    """The error for the first row of a query that cannot be read: SQL cannot check every value."""
    for row in connection.execute(query.with_only_columns(*_REF), values).all():
        column = rows.unreadable_column(connection, servers, row.id, _READERS)
        if column is not None:
            return DatabaseUnavailable(
                f"server {row.id}, {_ref(row).name!a}: its {column} cannot be read; "
                "another program wrote it",
                f"mend it in the database, or: ollama-admin server remove {row.id}",
            )
    return DatabaseUnavailable("a row of ollama_servers could not be read", "run the command again")


_REF = (servers.c.id, servers.c.name, servers.c.url)
_READERS: rows.Readers = {
    "name": rows.text,
    "url": rows.url,
    "api_version": ApiVersion,
    "capabilities": rows.texts,
    "max_concurrent": rows.number,
    "priority": rows.number,
    "default_model": rows.optional(rows.text),
    "auth_type": AuthType,
    "auth_config": rows.json_object,
    "headers": rows.json_object,
    "status": ServerStatus,
    "version": rows.optional(rows.text),
    "last_error": rows.optional(rows.text),
}


def _ref(row: Row[Any, Any, Any]) -> ServerRef:
    # SQLite: bytes
    name, url = (value if isinstance(value, str) else ascii(value) for value in (row.name, row.url))
    return ServerRef(id=row.id, name=name, url=url)


def _server(row: Row[Any]) -> Server:
    values = rows.read_values(zip(row._fields, row, strict=True), _READERS)
    del values["name_key"]
    return Server(**values)


def _one(connection: Connection, query: Select[Any]) -> Server | None:
    """The row of a query that means one at most."""
    try:
        row = connection.execute(query, slots.moment(connection)).first()
        return None if row is None else _server(row)
    except rows.UNREADABLE as exc:
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


def _is_still(server: ServerRef) -> Any:
    return (servers.c.id == server.id) & (servers.c.url == server.url)


def _called(server: int | str) -> str:
    return f"with id {server}" if str(server).isdecimal() else f"named {str(server)!r}"


def _refuse_taken(
    connection: Connection, name: str | None, url: str | None, but: int | None
) -> None:
    for column, value, what in (
        (servers.c.name_key, name and server_key(name), f"the name {name!r}"),
        (servers.c.url, url, f"the URL {url}"),
    ):
        taken = select(servers.c.id, servers.c.name).where(
            column == value, servers.c.id != (but or 0)
        )
        row = connection.execute(taken).first() if value else None
        if row:
            raise ServerExists(
                f"{what} is taken by server {row.id}, {row.name!r}",
                f"see it with: ollama-admin server show {row.id}",
                existing_id=row.id,
            )


def lock_writers(connection: Connection) -> None:
    """Hold off other writers of servers until the transaction ends: two changes of the default
    would deadlock.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE ollama_servers IN SHARE ROW EXCLUSIVE MODE"))


def _clear_default(connection: Connection) -> None:
    connection.execute(update(servers).where(servers.c.is_default).values(is_default=False))


def count(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(servers)) or 0
