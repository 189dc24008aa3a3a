"""SQL on `ollama_key_budgets` and `ollama_key_leases`: what all processes together use of a key.

A process takes a part of a budget before it spends it, and a lease before a request runs, so that
no two can spend the same. What it takes and does not spend, it gives back.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Connection,
    Double,
    cast,
    delete,
    extract,
    func,
    select,
    text,
    update,
)

from ollama_admin.store.clocks import CLOCKS, LIFE, moment, shorten
from ollama_admin.store.dialects import insert_or
from ollama_admin.store.tables import key_budgets, key_leases

LEASE = 30.0  # seconds that a lease lives without being renewed
# the advisory locks of keys: a number of our own beside that of servers
_LOCKS = 0x6F6C6C6B
_HOLD = text("SELECT pg_advisory_xact_lock(:space, hashint8(:key_id))")


class Kind(StrEnum):
    """What a budget counts."""

    REQUESTS = "requests"
    TOKENS = "tokens"

    @property
    def seconds(self) -> int:
        """The length of its period: a minute, or a day in UTC."""
        return 60 if self is Kind.REQUESTS else 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a budget that was taken: in which period, `seconds` before its end, and how much
    of the budget is left to all.
    """

    period: int
    amount: int
    left: int
    seconds: float


def take(
    connection: Connection, key_id: int, kind: Kind, *, wanted: int, limit: int, debt: int = 0
) -> Part:
    """Take as much of a budget as there is, up to `wanted`, in its present period. `debt` was spent
    already, and is taken whatever there is.

    A clock that is set back into the period before begins none anew: the later one goes on until it
    is over. One that is set back further does: else nobody could ask for hours.
    """
    now = _now(connection)
    period, granted = _counted(connection, key_id, kind, int(now // kind.seconds))
    granted += debt
    amount = max(0, min(wanted, limit - granted))
    _write(connection, key_id, kind, period, granted + amount)
    return Part(
        period=period,
        amount=amount,
        left=max(0, limit - granted - amount),
        seconds=(period + 1) * kind.seconds - now,
    )


def give_back(connection: Connection, key_id: int, kind: Kind, period: int, amount: int) -> None:
    """Give back what was not spent of a period, unless it is over."""
    row = (key_budgets.c.key_id == key_id) & (key_budgets.c.kind == kind)
    left = func.greatest if connection.dialect.name == "postgresql" else func.max
    connection.execute(
        update(key_budgets)
        .where(row, key_budgets.c.period == period)
        .values(granted=left(key_budgets.c.granted - amount, 0))
    )


def lease(connection: Connection, key_id: int, holder: str, *, wanted: int, limit: int) -> int:
    """Have up to `wanted` leases of a key, for all requests of a holder together, as far as others
    leave some; gives back how many it has now.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_HOLD, {"space": _LOCKS, "key_id": key_id})
    clock = CLOCKS[connection.dialect.name]
    others = (
        select(func.coalesce(func.sum(key_leases.c.count), 0))
        .where(key_leases.c.key_id == key_id, key_leases.c.holder != holder)
        .where(clock.is_held(key_leases))
    )
    taken = connection.scalar(others, moment(connection) | {"seconds": LEASE}) or 0
    count = max(0, min(wanted, limit - taken))
    if count < wanted:
        shorten(connection, key_leases)
    renew(connection, holder, {key_id: count})
    return count


def renew(connection: Connection, holder: str, counts: Mapping[int, int]) -> None:
    """Have so many leases of each key for another 30 seconds; those of 0 are given back."""
    clock = CLOCKS[connection.dialect.name]
    for key_id, count in sorted(counts.items()):
        row = {"count": count, "clock": clock.name, "expires_at": clock.now + LIFE}
        upsert = (
            insert_or(connection, key_leases)
            .values(row | {"key_id": key_id, "holder": holder})
            .on_conflict_do_update(index_elements=["key_id", "holder"], set_=row)
        )
        if count:
            connection.execute(upsert, moment(connection) | {"seconds": LEASE})
        else:
            mine = (key_leases.c.key_id == key_id) & (key_leases.c.holder == holder)
            connection.execute(delete(key_leases).where(mine))


def _now(connection: Connection) -> float:
    if connection.dialect.name == "postgresql":
        now = select(cast(extract("epoch", func.clock_timestamp()), Double))
        return float(connection.execute(now).scalar_one())
    return time.time()


def _counted(connection: Connection, key_id: int, kind: Kind, present: int) -> tuple[int, int]:
    """The period that counts, and how much was taken in it; the row is held until the transaction
    ends.
    """
    row: dict[str, Any] = {"key_id": key_id, "kind": kind, "period": present, "granted": 0}
    connection.execute(insert_or(connection, key_budgets).values(row).on_conflict_do_nothing())
    query = select(key_budgets.c.period, key_budgets.c.granted).where(
        key_budgets.c.key_id == key_id, key_budgets.c.kind == kind
    )
    stored = connection.execute(query.with_for_update()).one()
    if stored.period in (present, present + 1):
        return int(stored.period), int(stored.granted)
    return present, 0


def _write(connection: Connection, key_id: int, kind: Kind, period: int, granted: int) -> None:
    row = (key_budgets.c.key_id == key_id) & (key_budgets.c.kind == kind)
    connection.execute(update(key_budgets).where(row).values(period=period, granted=granted))
