"""The clock of leases, which all holders share: the database's on PostgreSQL, on SQLite the
kernel's seconds since boot, which no process has a copy of its own of. So the time of day never
matters but for PostgreSQL's own: where that is set back, see `shorten`; where it is set ahead by
more than a life, leases are over too early.
"""

import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    FromClause,
    Table,
    and_,
    bindparam,
    cast,
    extract,
    func,
    literal,
    select,
    tuple_,
    update,
)

from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.store.tables import slots

_POSTGRES_NOW: ColumnElement[float] = cast(extract("epoch", func.clock_timestamp()), Double)
LIFE = bindparam("seconds", type_=Double)
_POSTGRES_YOUNG_UNTIL: ColumnElement[float] = func.greatest(
    cast(extract("epoch", func.pg_postmaster_start_time()), Double) + LIFE,
    cast(extract("epoch", func.pg_last_xact_replay_timestamp()), Double) + 3 * LIFE,
)
# a clock that was set back to before the start knows nothing of it
_POSTGRES_IS_YOUNG: ColumnElement[bool] = and_(
    _POSTGRES_YOUNG_UNTIL > _POSTGRES_NOW, _POSTGRES_YOUNG_UNTIL <= _POSTGRES_NOW + 4 * LIFE
)
LONGEST_TTL = 60.0  # seconds that a lease may live for without being renewed
_FURTHEST = LONGEST_TTL + 1.0  # seconds from now to the end of a live lease; more than rounding
_PROC_SELF = Path("/proc/self")
_BOOT_CLOCK: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """The clock of a database. `restarts`: it begins again at 0, and then knows the leases from
    before by their ends, which are further away than `_FURTHEST`.

    `is_young` says of PostgreSQL that it came back less than a lease's life (`seconds`) ago: its
    holders could not renew while it was away, and their requests may still run. Until then a slot
    that is over but has a holder is renewed by this holder, and given to nobody else. It came back
    when its first process was started; or, where it recovered or was promoted, some time after the
    last transaction that it read: three lives are taken for that.
    """

    name: ColumnElement[str]
    now: ColumnElement[float]
    restarts: bool
    is_young: ColumnElement[bool] | None = None

    def may_renew(self, table: FromClause = slots) -> ColumnElement[bool]:
        if self.is_young is None:
            return self.is_live(table)
        return self.is_live(table) | self.is_young

    def is_held(self, table: FromClause = slots) -> ColumnElement[bool]:
        """Whether nobody else may have the slot."""
        if self.is_young is None:
            return self.is_live(table)
        return self.is_live(table) | (table.c.holder.is_not(None) & self.is_young)

    def is_live(self, table: FromClause = slots) -> ColumnElement[bool]:
        is_running = table.c.expires_at > self.now
        if self.restarts:
            return is_running & (table.c.expires_at <= self.now + _FURTHEST)
        return (table.c.clock == self.name) & is_running

    def is_too_long(self, table: FromClause) -> ColumnElement[bool]:
        """Whether a lease ends later than any lease of now could."""
        return (table.c.clock == self.name) & (table.c.expires_at > self.now + _FURTHEST)


CLOCKS = {
    "postgresql": Clock(
        name=literal("postgresql"), now=_POSTGRES_NOW, restarts=False, is_young=_POSTGRES_IS_YOUNG
    ),
    "sqlite": Clock(name=literal("boot"), now=bindparam("at", type_=Double), restarts=True),
}


def moment(connection: Connection) -> dict[str, Any]:
    """The parameters of a statement that asks which leases are live; on SQLite read here, so inside
    the transaction.
    """
    if connection.dialect.name == "postgresql":
        return {}
    return {"at": time.clock_gettime(_BOOT_CLOCK) - (_namespace_offset(_PROC_SELF) or 0.0)}


def shorten(connection: Connection, table: Table) -> None:
    """Let leases that were written before PostgreSQL's clock was set back live for a minute more:
    their holders renew them meanwhile, if they are still there. Rows that somebody else is at are
    left to him.
    """
    if connection.dialect.name != "postgresql":
        return
    clock, key = CLOCKS["postgresql"], table.primary_key.columns
    rows = select(*key).where(clock.is_too_long(table)).with_for_update(skip_locked=True)
    shorter = update(table).where(tuple_(*key).in_(rows))
    connection.execute(shorter.values(expires_at=clock.now + LONGEST_TTL))


def require_shared_clock(connection: Connection) -> None:
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
