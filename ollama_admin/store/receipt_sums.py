"""Receipts added up in SQL, so that no row of them need be read."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    Row,
    Text,
    case,
    cast,
    extract,
    func,
    select,
)

from ollama_admin.domain.receipts import NO_FAILURE, ReceiptStats
from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.store import readers
from ollama_admin.store.receipts import (
    READERS,
    Wanted,
    condition,
    key_ref,
    server_ref,
)
from ollama_admin.store.tables import receipts

_REFS = ("model", "server_id", "server_name", "server_url", "key_id", "key_name")
_STATS_READERS: readers.Readers = {name: READERS[name] for name in _REFS}
_NUMBERS = [
    name for name in ReceiptStats.__slots__ if name not in ("by", "model", "server", "key", "day")
]
_MODEL = func.coalesce(receipts.c.model, receipts.c.asked_model)
_SERVER = (
    receipts.c.server_id,
    case((receipts.c.server_id.is_(None), receipts.c.server_url)),
)
# of one that was renamed, the receipts before that, too
_KEY = (receipts.c.key_id, case((receipts.c.key_id.is_(None), receipts.c.key_name)))


def stats(connection: Connection, wanted: Wanted, by: str | None = None) -> list[ReceiptStats]:
    """One for each model and server, or for each of `by`, the most used first; days come in their
    order. Servers and keys go by the name in their last receipt.

    Percentiles are by nearest rank: the least time that at least so many of a hundred do not
    exceed.
    """
    group = _group(connection, by)
    ranked = _ranked(condition(connection, wanted), group).subquery()
    counted = _counted(ranked, len(group)).subquery()
    first = counted.c["count"]
    if by == "day":
        first = counted.c.group_0
    columns: list[Any] = [_MODEL.label("model"), _day(connection).label("day")]
    columns += [receipts.c[name] for name in _REFS[1:]]
    query = (
        select(counted)
        .add_columns(*columns)
        .join(receipts, receipts.c.id == counted.c.last)
        .order_by(first.desc(), counted.c.last.desc())
    )
    try:
        return [_stats(row, by) for row in connection.execute(query)]
    except readers.UNREADABLE as exc:
        raise _unreadable() from exc


def tokens_since(connection: Connection, since: datetime) -> dict[int, float]:
    """The tokens of answers that ended since then, by the id of their server; of an answer that
    began before, those of its time since then.
    """
    ms, total_ms = _ms_since(connection, since), cast(receipts.c.total_ms, Double)
    share = case((total_ms > ms, ms / total_ms), else_=1.0)
    query = (
        select(receipts.c.server_id, func.sum(receipts.c.output_tokens * share))
        .where(receipts.c.created_at >= since, receipts.c.server_id.is_not(None))
        .group_by(receipts.c.server_id)
    )
    return {server_id: tokens or 0.0 for server_id, tokens in connection.execute(query)}


def _ms_since(connection: Connection, since: datetime) -> ColumnElement[float]:
    """Milliseconds from then to the end of a receipt's answer."""
    if connection.dialect.name == "postgresql":
        return cast(extract("epoch", receipts.c.created_at - since), Double) * 1000
    begun = since.astimezone(UTC).replace(tzinfo=None).isoformat(" ")
    return (func.julianday(receipts.c.created_at) - func.julianday(begun)) * 86_400_000.0


def _unreadable() -> DatabaseUnavailable:
    return DatabaseUnavailable(
        "a receipt cannot be read; another program wrote it",
        "see which one: ollama-admin receipts list",
    )


def _group(connection: Connection, by: str | None) -> tuple[ColumnElement[Any], ...]:
    match by:
        case "key":
            return _KEY
        case "model":
            return (_MODEL,)
        case "server":
            return _SERVER
        case "day":
            return (_day(connection),)
        case _:
            return (_MODEL,) + _SERVER


def _day(connection: Connection) -> ColumnElement[str]:
    """The day of a receipt in UTC."""
    if connection.dialect.name == "postgresql":
        return func.to_char(func.timezone("UTC", receipts.c.created_at), "YYYY-MM-DD")
    return func.substr(cast(receipts.c.created_at, Text), 1, 10)


def _sum(column: Any) -> Any:
    return cast(func.coalesce(func.sum(column), 0), BigInteger)


def _ranked(chosen: ColumnElement[bool], group: Sequence[ColumnElement[Any]]) -> Any:
    """Receipts with the group that each belongs to, and the rank of its time to first token in that
    group.
    """
    time = receipts.c.time_to_first_token_ms
    labelled = [column.label(f"group_{number}") for number, column in enumerate(group)]
    return select(
        receipts.c.id,
        receipts.c.outcome,
        receipts.c.prompt_tokens,
        receipts.c.output_tokens,
        receipts.c.tokens_per_second,
        time,
        *labelled,
        func.row_number().over(partition_by=group, order_by=time.nulls_last()).label("rank"),
        func.count(time)
        .over(partition_by=group, order_by=time.nulls_last(), rows=(None, None))
        .label("timed"),
    ).where(chosen)


def _counted(ranked: Any, parts: int) -> Any:
    has_rate = ranked.c.output_tokens.is_not(None) & ranked.c.tokens_per_second.is_not(None)
    tokens = cast(ranked.c.output_tokens, Double)
    seconds = func.sum(tokens / ranked.c.tokens_per_second).filter(has_rate)
    group = [ranked.c[f"group_{number}"] for number in range(parts)]
    return select(
        group[0],
        func.max(ranked.c.id).label("last"),
        func.count().label("count"),
        func.count().filter(ranked.c.outcome.not_in(NO_FAILURE)).label("failures"),
        cast(func.sum(ranked.c.prompt_tokens), BigInteger).label("prompt_tokens"),
        cast(func.sum(ranked.c.output_tokens), BigInteger).label("output_tokens"),
        (func.sum(tokens).filter(has_rate) / func.nullif(seconds, 0.0)).label("tokens_per_second"),
        _percentile(ranked, 50),
        _percentile(ranked, 95),
    ).group_by(*group)


def _percentile(ranked: Any, percent: int) -> Any:
    is_reached = ranked.c.rank * 100 >= ranked.c.timed * percent
    return (
        func.min(ranked.c.time_to_first_token_ms)
        .filter(is_reached)
        .label(f"time_to_first_token_p{percent}_ms")
    )


def _stats(row: Row[Any], by: str | None) -> ReceiptStats:
    values = readers.read_values(zip(row._fields, row, strict=True), _STATS_READERS)
    server = server_ref(values["server_id"], values["server_name"], values["server_url"])
    key = key_ref(values["key_id"], values["key_name"])
    numbers = {name: values[name] for name in _NUMBERS}
    model, day = values["model"], values["day"]
    return ReceiptStats(by=by, model=model, server=server, key=key, day=day, **numbers)
