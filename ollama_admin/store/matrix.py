"""Reads of `ollama_models` by name: at thousands of names and hundreds of servers, a page at a
time.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, func, select

from ollama_admin.store.tables import models, servers


def names(
    connection: Connection, server_ids: Collection[int] | None, key: str | None = None
) -> Sequence[tuple[str, str]]:
    """The key and a spelling of each name that an active server lists, by key; None is every
    server, and every name.
    """
    query = (
        select(models.c.name_key, func.min(models.c.name))
        .join(servers, servers.c.id == models.c.server_id)
        .where(models.c.is_available, servers.c.is_active)
        .group_by(models.c.name_key)
        .order_by(models.c.name_key)
    )
    if server_ids is not None:
        query = query.where(models.c.server_id.in_(server_ids))
    if key is not None:
        query = query.where(models.c.name_key == key)
    return [(row[0], row[1]) for row in connection.execute(query)]


def digests(connection: Connection, keys: Collection[str]) -> Mapping[str, dict[int, str | None]]:
    """What each active server lists under these keys, by key and id of the server."""
    query = (
        select(models.c.name_key, models.c.server_id, models.c.digest)
        .join(servers, servers.c.id == models.c.server_id)
        .where(models.c.is_available, servers.c.is_active, models.c.name_key.in_(keys))
    )
    held: dict[str, dict[int, Any]] = defaultdict(dict)
    for key, server_id, digest in connection.execute(query):
        held[key][server_id] = digest
    return held
