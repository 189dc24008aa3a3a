"""SQL on `ollama_waiting`: which holders have requests that wait for a slot, and since when.

It carries no promise but that of turns: who has waited longest gets the next slot. A row ends by
itself soon, so that a holder that is gone or stands still keeps nobody from taking a slot.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    ScalarSelect,
    bindparam,
    delete,
    func,
    select,
    tuple_,
)

from ollama_admin.store.clocks import CLOCKS, Clock, moment
from ollama_admin.store.dialects import insert_or
from ollama_admin.store.tables import waiting

LIFE = 5.0  # seconds; who waits tells it again several times meanwhile
SWEPT = 100  # rows that are over and are deleted at once

Elsewhere = Mapping[int, tuple[float, ...]]  # seconds waited, longest first, by server


def older(clock: Clock, server_id: ColumnElement[int]) -> ScalarSelect[int]:
    """How many requests of other holders than `by` wait at a server, where one of the holder's has
    waited for more than `waited` seconds: as a column of a query that is given these.
    """
    return (
        select(func.coalesce(func.sum(waiting.c.count), 0))
        .where(
            waiting.c.server_id == server_id,
            waiting.c.holder != bindparam("by"),
            clock.is_live(waiting),
            waiting.c.since < clock.now - bindparam("waited", type_=Double),
        )
        .scalar_subquery()
    )


def tell(
    connection: Connection, server_id: int, *, holder: str, count: int, waited: float
) -> tuple[float, ...]:
    """Say that `count` requests of the holder wait, one of them for `waited` seconds; gives back
    how long the longest of each other holder has, longest first.
    """
    clock = CLOCKS[connection.dialect.name]
    at = moment(connection)
    new: dict[str, Any] = {
        "count": count,
        "since": clock.now - waited,
        "clock": clock.name,
        "expires_at": clock.now + LIFE,
    }
    row = insert_or(connection, waiting).values(holder=holder, server_id=server_id, **new)
    keys = (waiting.c.holder, waiting.c.server_id)
    connection.execute(row.on_conflict_do_update(index_elements=keys, set_=new), at)
    return elsewhere(connection, [server_id], holder=holder).get(server_id, ())


def forget(connection: Connection, server_id: int, *, holder: str) -> None:
    """Say that no request of the holder waits there any more."""
    is_ours = (waiting.c.holder == holder) & (waiting.c.server_id == server_id)
    connection.execute(delete(waiting).where(is_ours))


def elsewhere(connection: Connection, server_ids: Collection[int], *, holder: str) -> Elsewhere:
    """How long the longest request of each other holder has waited, longest first, by server."""
    clock = CLOCKS[connection.dialect.name]
    query = (
        select(waiting.c.server_id, (clock.now - waiting.c.since).label("waited"))
        .where(waiting.c.server_id.in_(server_ids), waiting.c.holder != holder)
        .where(clock.is_live(waiting))
        .order_by(waiting.c.since)
    )
    found: defaultdict[int, tuple[float, ...]] = defaultdict(tuple)
    for row in connection.execute(query, moment(connection)):
        found[row.server_id] += (row.waited,)
    return found


def sweep(connection: Connection) -> None:
    """Delete rows that are over; those that somebody else is at are left to him."""
    clock = CLOCKS[connection.dialect.name]
    key = (waiting.c.holder, waiting.c.server_id)
    is_over = ~clock.is_live(waiting) | clock.is_too_long(waiting)
    over = select(*key).where(is_over).limit(SWEPT)
    over = over.with_for_update(skip_locked=True)
    connection.execute(delete(waiting).where(tuple_(*key).in_(over)), moment(connection))


def counts(connection: Connection) -> dict[int, int]:
    """How many requests of all holders wait at each server; none for a server without any."""
    clock = CLOCKS[connection.dialect.name]
    query = (
        select(waiting.c.server_id, func.sum(waiting.c.count))
        .where(clock.is_live(waiting))
        .group_by(waiting.c.server_id)
    )
    rows = connection.execute(query, moment(connection))
    return {server_id: int(count) for server_id, count in rows}
