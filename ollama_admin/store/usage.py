"""SQL on `ollama_usage`: what was used on each day of UTC, added up once more."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    Row,
    RowMapping,
    and_,
    cast,
    func,
    select,
)

from ollama_admin.domain.keys import KeyRef
from ollama_admin.domain.names import model_key
from ollama_admin.domain.receipts import BOUNDS, Usage
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import NotFound
from ollama_admin.store import keys as store_keys
from ollama_admin.store import servers as store_servers
from ollama_admin.store.receipts import Wanted
from ollama_admin.store.tables import usage
from ollama_admin.store.usage_names import former, since_day, spellings

_WITHIN = {bound: f"within_{bound}" for bound in BOUNDS}  # the column of each
_NUMBERS = (
    "requests",
    "failures",
    "prompt_tokens",
    "output_tokens",
    "estimated_tokens",
    "timed_tokens",
) + tuple(_WITHIN.values())
_OF_DAY: tuple[Column[Any], ...] = (usage.c.day,)
_OF_KEY: tuple[Column[Any], ...] = (usage.c.key_id, usage.c.key_name)
_OF_MODEL: tuple[Column[Any], ...] = (usage.c.model,)
_OF_SERVER: tuple[Column[Any], ...] = (usage.c.server_id, usage.c.server_name)
_GROUPS: dict[str | None, tuple[Column[Any], ...]] = {
    None: _OF_DAY + _OF_KEY,
    "day": _OF_DAY,
    "key": _OF_KEY,
    "model": _OF_MODEL,
    "server": _OF_SERVER,
}


def added_up(connection: Connection, wanted: Wanted, by: str | None = None) -> list[Usage]:
    """Of each key on each day, the newest day first; or of each of `by`, the most used first, and
    days in their order. Whole days count: from the one on that `since` is in.

    Raises NotFound for a key, a server or a model that neither a row nor the usage knows.
    """
    group, chosen = _GROUPS[by], _condition(connection, wanted)
    totals: dict[tuple[Any, ...], _Total] = {}
    for row in connection.execute(_sums(group, chosen)):
        identity = _identity(row._mapping)
        total = totals.get(identity)
        if total is None:
            totals[identity] = _Total(row)
        else:
            total.add(row)
    sums = [total.usage(by) for total in totals.values()]
    if by == "day":
        return sorted(sums, key=lambda one: one.day or "")
    sums.sort(key=lambda one: one.requests, reverse=True)
    if by is None:
        sums.sort(key=lambda one: one.day or "", reverse=True)
    return sums


class _Total:
    """The sums of one group, as `_NUMBERS` names them, and the row that tells whose they are: of a
    key or server that was renamed the last one, which has its last name.
    """

    def __init__(self, row: Row[Any]) -> None:
        self._row = row
        self._numbers: Sequence[int] = row[-len(_NUMBERS) - 1 : -1]
        self._timed_seconds: float = row[-1]

    def add(self, row: Row[Any]) -> None:
        """Add the numbers of a row."""
        more = row[-len(_NUMBERS) - 1 : -1]
        self._numbers = [one + other for one, other in zip(self._numbers, more, strict=True)]
        self._timed_seconds += row[-1]
        if row.last >= self._row.last:
            self._row = row

    def usage(self, by: str | None) -> Usage:
        values = self._row._mapping
        numbers = dict(zip(_NUMBERS, self._numbers, strict=True))
        times = {bound: numbers.pop(column) for bound, column in _WITHIN.items()}
        timed_tokens, speed = numbers.pop("timed_tokens"), None
        if self._timed_seconds > 0:
            speed = round(timed_tokens / self._timed_seconds, 2)
        return Usage(
            by=by,
            day=values.get("day"),
            key=_key(values),
            model=values.get("model") or None,
            server=_server(values),
            tokens_per_second=speed,
            time_to_first_token_p50_ms=percentile(times, 50),
            time_to_first_token_p95_ms=percentile(times, 95),
            **numbers,
        )


def percentile(times: Mapping[int, int], percent: int) -> int | None:
    """The least of the times, each with how often it came, that at least so many of a hundred do
    not exceed.
    """
    total, so_far = sum(times.values()), 0
    for time in sorted(times):
        so_far += times[time]
        if so_far and so_far * 100 >= total * percent:
            return time
    return None


def _sums(group: Sequence[Column[Any]], chosen: ColumnElement[bool]) -> Any:
    columns: list[Any] = list(group)
    columns.append(func.max(usage.c.day).label("last"))
    columns.append(func.max(usage.c.server_url).label("server_url"))
    for name in _NUMBERS:
        total = cast(func.sum(usage.c[name]), BigInteger)
        columns.append(total.label(name))
    columns.append(func.sum(usage.c.timed_seconds).label("timed_seconds"))
    return select(*columns).where(chosen).group_by(*group)


def _identity(values: RowMapping) -> tuple[Any, ...]:
    """Whose row it is: a key or a server with a row of its own is one, whatever it was called."""
    return (
        values.get("day"),
        values.get("model"),
        values.get("key_id") or values.get("key_name"),
        values.get("server_id") or values.get("server_name"),
    )


def _key(values: RowMapping) -> KeyRef | None:
    if not values.get("key_name"):
        return None
    return KeyRef(id=values["key_id"] or None, name=values["key_name"])


def _server(values: RowMapping) -> ServerRef | None:
    name = values.get("server_name")
    if not name:
        return None
    if not values["server_id"]:
        return ServerRef(id=None, name=None, url=name)
    return ServerRef(id=values["server_id"], name=name, url=values["server_url"])


def _condition(connection: Connection, wanted: Wanted) -> ColumnElement[bool]:
    conditions: list[ColumnElement[bool]] = [since_day(wanted.since)]
    if wanted.of is not None:
        conditions.append(usage.c.key_id == (wanted.of.id or 0))
        conditions.append(usage.c.key_name != "")
    if wanted.key is not None:
        conditions.append(_named(connection, "key", wanted.key, store_keys.find))
    if wanted.server is not None:
        conditions.append(_named(connection, "server", wanted.server, store_servers.find))
    if wanted.model is not None:
        names = spellings(connection, usage.c.model, wanted.model, model_key, wanted.since)
        conditions.append(usage.c.model.in_(names))
    return and_(*conditions)


def _named(
    connection: Connection, noun: str, word: int | str, find: Callable[[Connection, Any], Any]
) -> ColumnElement[bool]:
    """Of the row with this id or name, whatever it was called; of one that was removed, by what it
    was called then.
    """
    row_id, name = usage.c[f"{noun}_id"], usage.c[f"{noun}_name"]
    try:
        known: int = find(connection, word).id
    except NotFound:
        pairs = former(connection, noun, str(word))
        if not pairs:
            raise
        if str(word).isdecimal():
            return and_(row_id == pairs[0][0])
        return name.in_([each for _, each in pairs])
    return and_(row_id == known)
