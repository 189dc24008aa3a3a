"""SQL on `ollama_slots`: the limit at a server, of which `max_concurrent` may be held at once.

A lease is a slot that is held until `expires_at`, by a clock that all holders share: the database's
on PostgreSQL, on SQLite the kernel's seconds since boot, which no process has a copy of its own of.
So the time of day never matters. A lease that ends later than any lease could is of an earlier
boot, and over. The promise: never more than `max_concurrent` live leases; a holder cut off from the
database may finish its answer.
"""

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    FromClause,
    ScalarSelect,
    Update,
    bindparam,
    cast,
    extract,
    func,
    literal,
    select,
    tuple_,
    update,
)

from ollama_admin.errors import DatabaseUnavailable, ServerInactive, ServerNotFound
from ollama_admin.store.dialects import insert_or
from ollama_admin.store.tables import servers, slots

LOCKS = (
    0x6F6C6C61  # the advisory locks of servers: a number of our own among those of other programs
)

_POSTGRES_NOW: ColumnElement[float] = cast(extract("epoch", func.clock_timestamp()), Double)
LONGEST_TTL = 60.0  # seconds that a lease may live for without being renewed
_FURTHEST = LONGEST_TTL + 1.0  # seconds from now to the end of a live lease; more than rounding
_PROC_SELF = Path("/proc/self")
_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseKey:
    """Who holds a slot: nobody else is ever given this token of it."""

    server_id: int
    slot: int
    token: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The clock of a database. `restarts`: it begins again at 0, and then knows the leases from
    before by their ends, which are further away than `_FURTHEST`.
    """

    name: ColumnElement[str]
    now: ColumnElement[float]
    restarts: bool

    def is_live(self, table: FromClause = slots) -> ColumnElement[bool]:
        is_running = table.c.expires_at > self.now
        if self.restarts:
            return is_running & (table.c.expires_at <= self.now + _FURTHEST)
        return (table.c.clock == self.name) & is_running


CLOCKS = {
    "postgresql": Clock(name=literal("postgresql"), now=_POSTGRES_NOW, restarts=False),
    "sqlite": Clock(name=literal("boot"), now=bindparam("at", type_=Double), restarts=True),
}


def moment(connection: Connection) -> dict[str, Any]:
    """The parameters of a statement that asks which leases are live; on SQLite read here, so inside
    the transaction.
    """
    if connection.dialect.name == "postgresql":
        return {}
    return {"at": time.clock_gettime(_BOOT_CLOCK) - (_namespace_offset(_PROC_SELF) or 0.0)}


def acquire(
    connection: Connection, server_id: int, *, holder: str, ttl: float, even_inactive: bool = False
) -> LeaseKey | None:
    """Take a free slot for `ttl` seconds; None when all are held. Raises ServerNotFound,
    ServerInactive, and DatabaseUnavailable where the clock of others cannot be told.

    Slots are made when they are first needed, as `max_concurrent` may be two thousand million, and
    stay when it is lowered.
    """
    _require_shared_clock(connection)
    _share_limit(connection, server_id)
    take = _take(connection.dialect.name, even_inactive=even_inactive)
    values = {"at_server": server_id, "by": holder, "seconds": ttl} | moment(connection)
    while True:
        row = connection.execute(take, values).first()
        if row is not None:
            return LeaseKey(server_id=server_id, slot=row.slot, token=row.token)
        made, limit = _made_and_limit(connection, server_id, even_inactive=even_inactive)
        if made >= limit:
            return None
        # by us or by somebody else: there is one more at the next turn
        _make(connection, server_id, made + 1)


def renew(connection: Connection, leases: Sequence[LeaseKey], ttl: float) -> frozenset[LeaseKey]:
    """Let those leases that are not over yet live for `ttl` seconds from now; gives back which they
    are.
    """
    clock = CLOCKS[connection.dialect.name]
    keys = [(lease.server_id, lease.slot, lease.token) for lease in leases]
    is_ours = tuple_(slots.c.server_id, slots.c.slot, slots.c.token).in_(keys)
    query = (
        update(slots)
        .where(is_ours, clock.is_live())
        .values(expires_at=clock.now + ttl)
        .returning(slots.c.server_id, slots.c.slot, slots.c.token)
    )
    rows = connection.execute(query, moment(connection))
    return frozenset(
        LeaseKey(server_id=row.server_id, slot=row.slot, token=row.token) for row in rows
    )


def release(connection: Connection, lease: LeaseKey) -> bool:
    """Free the slot; False, and nothing done, when somebody else has leased it since."""
    is_ours = (
        (slots.c.server_id == lease.server_id)
        & (slots.c.slot == lease.slot)
        & (slots.c.token == lease.token)
    )
    query = update(slots).where(is_ours).values(holder=None, clock="", expires_at=0)
    return connection.execute(query).rowcount == 1


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
def _take(dialect: str, *, even_inactive: bool) -> Update:
    """One statement: lock a free slot that nobody else is about to take, and write the lease into
    it.

    Slots above a lowered limit may still be held; each of them closes one of the slots below. The
    statement is kept: to put it together takes longer than to run it.
    """
    clock = CLOCKS[dialect]
    free = (
        select(slots.c.slot)
        .join(servers, servers.c.id == slots.c.server_id)
        .where(slots.c.server_id == bindparam("at_server"), ~clock.is_live())
        .where(slots.c.slot <= servers.c.max_concurrent)
        .where(slots.c.slot + _live_above(clock) <= servers.c.max_concurrent)
        .order_by(slots.c.slot)
        .limit(1)
        .with_for_update(of=slots, skip_locked=True)
    )
    if not even_inactive:
        free = free.where(servers.c.is_active)
    free_slot = select(free.cte("free").c.slot).scalar_subquery()
    lease = {
        "token": slots.c.token + 1,
        "holder": bindparam("by"),
        "clock": clock.name,
        "expires_at": clock.now + bindparam("seconds", type_=Double),
    }
    return (
        update(slots)
        .where(slots.c.server_id == bindparam("at_server"), slots.c.slot == free_slot)
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
            clock.is_live(higher),
        )
        .correlate(slots)
        .scalar_subquery()
    )


def _made_and_limit(
    connection: Connection, server_id: int, *, even_inactive: bool
) -> tuple[int, int]:
    made = (
        select(func.count())
        .select_from(slots)
        .where(slots.c.server_id == server_id)
        .scalar_subquery()
    )
    query = select(
        servers.c.name, servers.c.is_active, servers.c.max_concurrent, made.label("made")
    )
    row = connection.execute(query.where(servers.c.id == server_id)).first()
    if row is None:
        raise ServerNotFound(
            f"no server with id {server_id}", "list them with: ollama-admin server list"
        )
    if not row.is_active and not even_inactive:
        raise inactive(server_id, row.name)
    return row.made, row.max_concurrent


def inactive(server_id: int, name: str) -> ServerInactive:
    return ServerInactive(
        f"server {name} is inactive", f"enable it with: ollama-admin server enable {server_id}"
    )


def _make(connection: Connection, server_id: int, slot: int) -> None:
    made = insert_or(connection, slots).values(server_id=server_id, slot=slot)
    connection.execute(made.on_conflict_do_nothing())


def _require_shared_clock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql" or _namespace_offset(_PROC_SELF) is not None:
        return
    raise DatabaseUnavailable(
        f"no slot is given out by an SQLite file: without {_PROC_SELF} nobody can tell whether "
        "other processes see the same clock",
        "mount /proc, or keep the servers in PostgreSQL",
    )


@cache
def _namespace_offset(process: Path) -> float | None:
    """Seconds that this process's clock is ahead of the kernel's: those of a time namespace. None
    when it cannot be told. Kept: a running process changes no namespace.
    """
    if sys.platform != "linux":
        return 0.0
    namespaces = process / "ns"
    if not namespaces.is_dir():
        return None
    if not (namespaces / "time").is_symlink():  # a kernel without time namespaces
        return 0.0
    try:
        if (namespaces / "time").readlink() != (namespaces / "time_for_children").readlink():
            return None  # the offsets are those of children
        lines = (process / "timens_offsets").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    for name, seconds, nanoseconds in map(str.split, lines):
        if name == "boottime":
            return float(seconds) + float(nanoseconds) / 1e9
    return None
