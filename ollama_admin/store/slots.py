"""SQL on `ollama_slots`: the limit at a server, of which `max_concurrent` may be held at once.

A lease is a slot that is held until `expires_at`, by the clock of `store/clocks.py`. A lease that
ends later than any lease could is of an earlier boot, and over. The promise: never more than
`max_concurrent` live leases; a holder cut off from the database may finish its answer.

It holds over a restart of PostgreSQL. Grants are on disk before they are used; renewals and
releases do not wait for it, so that a crash may forget those of the last instants. A renewal that
is forgotten comes again five seconds later, of a life of thirty; a release that is forgotten leaves
a slot held until its life is over. A database that was away for longer than a life finds leases
that are over and whose requests may still run: see `Clock.is_young`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    ScalarSelect,
    Select,
    Update,
    bindparam,
    func,
    select,
    text,
    tuple_,
    update,
)

from ollama_admin.errors import ServerInactive, ServerNotFound
from ollama_admin.store import clocks, contention
from ollama_admin.store.clocks import CLOCKS, LIFE, Clock, moment
from ollama_admin.store.dialects import insert_or
from ollama_admin.store.tables import servers, slots

_ON_UNLESS_STRONGER = """
SELECT set_config('synchronous_commit', 'on', true)
WHERE current_setting('synchronous_commit') = 'off'
"""
LOCKS = (
    0x6F6C6C61  # the advisory locks of servers: a number of our own among those of other programs
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseKey:
    """Who holds a slot: nobody else is ever given this token of it."""

    server_id: int
    slot: int
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How many slots a server has, and whether it gives any out: one that is inactive or draining
    does not.
    """

    limit: int
    is_active: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What was taken, by slot, at a server that has this limit."""

    keys: tuple[LeaseKey, ...]
    limit: int
    is_active: bool


def take(
    connection: Connection,
    server_id: int,
    wanted: int,
    *,
    holder: str,
    ttl: float,
    waited: float = 0.0,
    even_inactive: bool = False,
) -> Grant:
    """Take up to `wanted` free slots for `ttl` seconds each. Raises ServerNotFound, ServerInactive,
    and DatabaseUnavailable where the clock of others cannot be told.

    Free slots are left to requests of other holders that have waited for more than `waited`
    seconds. Slots are made when they are first needed, as `max_concurrent` may be two thousand
    million, and stay when it is lowered. The commit waits for the disk: a slot that was granted is
    never forgotten.
    """
    clocks.require_shared_clock(connection)
    _share_limit(connection, server_id)
    values = {"at_server": server_id, "by": holder, "seconds": ttl, "waited": waited}
    values |= moment(connection)
    room = _room(connection, server_id, values, even_inactive=even_inactive)
    count = min(wanted, room.limit - room.held - room.older)
    if count > 0:
        _be_durable(connection)
    keys: list[LeaseKey] = []
    made = room.made
    while len(keys) < count:
        rows = connection.execute(
            _take(connection.dialect.name), values | {"wanted": count - len(keys)}
        )
        keys += [LeaseKey(server_id=server_id, slot=row.slot, token=row.token) for row in rows]
        if made >= room.limit:
            break
        # by us or by somebody else: there are more at the next turn
        made = _make(connection, server_id, made, min(made + count - len(keys), room.limit))
    keys.sort(key=lambda key: key.slot)
    return Grant(keys=tuple(keys), limit=room.limit, is_active=room.is_active)


def renew(
    connection: Connection, leases: Sequence[LeaseKey], ttl: float, *, holder: str
) -> frozenset[LeaseKey]:
    """Let those leases that are not over yet live for `ttl` seconds from now; gives back which they
    are.

    While the database is young, those that are over live again, see `Clock.is_young`. The holder is
    asked for, too: a database that forgot its last instants gives out a token twice.
    """
    clock = CLOCKS[connection.dialect.name]
    query = (
        update(slots)
        .where(_is_one_of(leases), slots.c.holder == bindparam("by"), clock.may_renew())
        .values(expires_at=clock.now + LIFE)
        .returning(slots.c.server_id, slots.c.slot, slots.c.token)
    )
    rows = connection.execute(query, {"by": holder, "seconds": ttl} | moment(connection))
    return frozenset(
        LeaseKey(server_id=row.server_id, slot=row.slot, token=row.token) for row in rows
    )


def release(connection: Connection, leases: Sequence[LeaseKey], *, holder: str) -> int:
    """Free the slots, but for those that somebody else has leased since; gives back how many."""
    query = update(slots).where(_is_one_of(leases), slots.c.holder == holder)
    return connection.execute(query.values(holder=None, clock="", expires_at=0)).rowcount


def limits(connection: Connection, server_ids: Collection[int]) -> dict[int, Limit]:
    """What is allowed at those of the servers that are still there, by id."""
    gives = servers.c.is_active & ~servers.c.is_draining
    query = select(servers.c.id, servers.c.max_concurrent, gives.label("is_active"))
    rows = connection.execute(query.where(servers.c.id.in_(server_ids)))
    return {row.id: Limit(limit=row.max_concurrent, is_active=row.is_active) for row in rows}


def _is_one_of(leases: Sequence[LeaseKey]) -> ColumnElement[bool]:
    keys = [(lease.server_id, lease.slot, lease.token) for lease in leases]
    return tuple_(slots.c.server_id, slots.c.slot, slots.c.token).in_(keys)


@cache
def in_use(dialect: str) -> ScalarSelect[int]:
    """The number of live leases, as a column of a query on servers that is given a `moment`."""
    return (
        select(func.count())
        .select_from(slots)
        .where(slots.c.server_id == servers.c.id, CLOCKS[dialect].is_live())
        .correlate(servers)
        .scalar_subquery()
    )


def hold_off_leases(connection: Connection, server_id: int) -> None:
    """Wait for leases that are being taken, and let no other be taken until the transaction ends.

    Without it a lease by the old limit and one by the new limit could pass each other. Renewals and
    releases go on.
    """
    _advisory_lock(connection, func.pg_advisory_xact_lock, server_id)


def _share_limit(connection: Connection, server_id: int) -> None:
    """Hold the limit as it is until the transaction ends, together with others who take a
    lease.
    """
    _advisory_lock(connection, func.pg_advisory_xact_lock_shared, server_id)


def _advisory_lock(connection: Connection, lock: Any, server_id: int) -> None:
    if connection.dialect.name == "postgresql":  # SQLite has one writer at a time
        connection.execute(select(lock(LOCKS, server_id & 0x7FFFFFFF)))


@cache
def _take(dialect: str) -> Update:
    """One statement: lock free slots that nobody else is about to take, and write leases into them.

    Slots above a lowered limit may still be held; each of them closes one of the slots below. The
    statement is kept: to put it together takes longer than to run it.
    """
    clock = CLOCKS[dialect]
    free = (
        select(slots.c.slot)
        .join(servers, servers.c.id == slots.c.server_id)
        .where(slots.c.server_id == bindparam("at_server"), ~clock.is_held())
        .where(slots.c.slot <= servers.c.max_concurrent)
        .where(slots.c.slot + _live_above(clock) <= servers.c.max_concurrent)
        .order_by(slots.c.slot)
        .limit(bindparam("wanted"))
        .with_for_update(of=slots, skip_locked=True)
    )
    free_slots = select(free.cte("free").c.slot)
    lease = {
        "token": slots.c.token + 1,
        "holder": bindparam("by"),
        "clock": clock.name,
        "expires_at": clock.now + LIFE,
    }
    return (
        update(slots)
        .where(slots.c.server_id == bindparam("at_server"), slots.c.slot.in_(free_slots))
        .values(lease)
        .returning(slots.c.slot, slots.c.token)
    )


def _live_above(clock: Clock) -> ScalarSelect[int]:
    """How many live leases there are of higher slots than the row's."""
    higher = slots.alias("higher")
    return (
        select(func.count())
        .select_from(higher)
        .where(
            higher.c.server_id == slots.c.server_id,
            higher.c.slot > slots.c.slot,
            clock.is_held(higher),
        )
        .correlate(slots)
        .scalar_subquery()
    )


@cache
def _room_query(dialect: str) -> Select[Any]:
    """What a server has: `held` are the slots that are not free, `older` the requests of other
    holders that have waited for longer.
    """
    clock = CLOCKS[dialect]
    of_server = slots.c.server_id == servers.c.id
    made = select(func.count()).select_from(slots).where(of_server)
    return select(
        servers.c.name,
        servers.c.is_active,
        servers.c.is_draining,
        servers.c.max_concurrent.label("limit"),
        made.scalar_subquery().label("made"),
        made.where(clock.is_held()).scalar_subquery().label("held"),
        contention.older(clock, servers.c.id).label("older"),
    ).where(servers.c.id == bindparam("at_server"))


def _room(
    connection: Connection, server_id: int, values: dict[str, Any], *, even_inactive: bool
) -> Row[Any]:
    row = connection.execute(_room_query(connection.dialect.name), values).first()
    if row is None:
        raise ServerNotFound(
            f"no server with id {server_id}", "list them with: ollama-admin server list"
        )
    if not row.is_active and not even_inactive:
        raise inactive(server_id, row.name)
    if row.is_draining:
        raise draining(row.name, str(server_id))
    if row.held >= row.limit:
        clocks.shorten(connection, slots)
    return row


def inactive(server_id: int, name: str) -> ServerInactive:
    return ServerInactive(
        f"server {name} is inactive", f"enable it with: ollama-admin server enable {server_id}"
    )


def draining(name: str, word: str) -> ServerInactive:
    """The error for a server that gets no new requests; `word` names it in a command."""
    return ServerInactive(
        f"server {name} is draining", f"let it answer again with: ollama-admin server resume {word}"
    )


def _make(connection: Connection, server_id: int, made: int, wanted: int) -> int:
    """The rows behind the first `made`, so that there are `wanted`; gives back how many there
    are.
    """
    rows = [{"server_id": server_id, "slot": slot} for slot in range(made + 1, wanted + 1)]
    if rows:
        connection.execute(insert_or(connection, slots).values(rows).on_conflict_do_nothing())
    return wanted


def _be_durable(connection: Connection) -> None:
    """Let the commit wait for the disk, and for standbys where the database is set so."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SET LOCAL synchronous_commit TO DEFAULT"))
        connection.execute(text(_ON_UNLESS_STRONGER))
