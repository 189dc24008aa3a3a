"""What a process asks about its slots in one transaction: to renew them all, and to take some or
say that it waits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from ollama_admin.store import contention, slots
from ollama_admin.store.contention import Elsewhere
from ollama_admin.store.slots import Grant, LeaseKey, Limit


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """Which leases still live, what is allowed at the servers that are still there, and who waits
    in other processes.
    """

    renewed: frozenset[LeaseKey]
    limits: Mapping[int, Limit]
    elsewhere: Elsewhere


def beat(connection: Connection, leases: Sequence[LeaseKey], ttl: float, *, holder: str) -> Beat:
    """Renew the leases for `ttl` seconds, and look what has changed at their servers."""
    server_ids = {lease.server_id for lease in leases}
    renewed = slots.renew(connection, leases, ttl, holder=holder)
    contention.sweep(connection)
    return Beat(
        renewed=renewed,
        limits=slots.limits(connection, server_ids),
        elsewhere=contention.elsewhere(connection, server_ids, holder=holder),
    )


def listen(
    connection: Connection, server_ids: Sequence[int], *, holder: str
) -> tuple[Mapping[int, Limit], Elsewhere]:
    """What is allowed at those of the servers that are still there, and who waits in other
    processes.
    """
    limits = slots.limits(connection, server_ids)
    return limits, contention.elsewhere(connection, server_ids, holder=holder)


def take_or_tell(
    connection: Connection,
    server_id: int,
    count: int,
    *,
    most: int,
    holder: str,
    ttl: float,
    waited: float,
    even_inactive: bool,
) -> tuple[Grant, tuple[float, ...]]:
    """Take slots for `count` requests that wait, up to `most`, and say how many are left; gives
    back for how long others have waited, longest first.
    """
    grant = slots.take(
        connection,
        server_id,
        min(count, most),
        holder=holder,
        ttl=ttl,
        waited=waited,
        even_inactive=even_inactive,
    )
    left = count - len(grant.keys)
    if left:
        others = contention.tell(connection, server_id, holder=holder, count=left, waited=waited)
        return grant, others
    contention.forget(connection, server_id, holder=holder)
    by_server = contention.elsewhere(connection, [server_id], holder=holder)
    return grant, by_server.get(server_id, ())
