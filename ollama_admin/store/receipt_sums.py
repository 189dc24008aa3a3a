"""Receipts added up in SQL, so that no row of them need be read."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Double, Row, case, cast, func, select

from ollama_admin.domain.receipts import ReceiptStats
from ollama_admin.errors import DatabaseUnavailable
from ollama_admin.store import readers
from ollama_admin.store.receipts import (
    NO_FAILURE,
    READERS,
    Wanted,
    condition,
    server_ref,
)
from ollama_admin.store.tables import receipts

_TEXTS_OF_STATS = ("model", "server_id", "server_name", "server_url")
_STATS_READERS: readers.Readers = {name: READERS[name] for name in _TEXTS_OF_STATS}


def stats(connection: Connection, wanted: Wanted) -> list[ReceiptStats]:
    """One for each model and server, the most used first; a server goes by the name in its last
    receipt.

    Percentiles are by nearest rank: the least time that at least so many of a hundred do not
    exceed.
    """
    ranked = _ranked(condition(connection, wanted)).subquery()
    counted = _counted(ranked).subquery()
    query = (
        select(counted, receipts.c.server_id, receipts.c.server_name, receipts.c.server_url)
        .join(receipts, receipts.c.id == counted.c.last)
        .order_by(counted.c["count"].desc(), counted.c.last.desc())
    )
    try:
        return [_stats(row) for row in connection.execute(query)]
    except readers.UNREADABLE as exc:
        raise DatabaseUnavailable(
            "a receipt cannot be read; another program wrote it",
            "see which one: ollama-admin receipts list",
        ) from exc


def _ranked(chosen: ColumnElement[bool]) -> Any:
    """Receipts with the group that each belongs to, and the rank of its time to first token in that
    group.
    """
    model = func.coalesce(receipts.c.model, receipts.c.asked_model)
    dynamic_url = case((receipts.c.server_id.is_(None), receipts.c.server_url))
    group = (model, receipts.c.server_id, dynamic_url)
    time = receipts.c.time_to_first_token_ms
    return select(
        receipts.c.id,
        receipts.c.server_id,
        receipts.c.outcome,
        receipts.c.prompt_tokens,
        receipts.c.output_tokens,
        receipts.c.tokens_per_second,
        time,
        model.label("group_model"),
        dynamic_url.label("group_url"),
        func.row_number().over(partition_by=group, order_by=time.nulls_last()).label("rank"),
        func.count(time)
        .over(partition_by=group, order_by=time.nulls_last(), rows=(None, None))
        .label("timed"),
    ).where(chosen)


def _counted(ranked: Any) -> Any:
    has_rate = ranked.c.output_tokens.is_not(None) & ranked.c.tokens_per_second.is_not(None)
    tokens = cast(ranked.c.output_tokens, Double)
    seconds = func.sum(tokens / ranked.c.tokens_per_second).filter(has_rate)
    return select(
        ranked.c.group_model.label("model"),
        func.max(ranked.c.id).label("last"),
        func.count().label("count"),
        func.count().filter(ranked.c.outcome.not_in(NO_FAILURE)).label("failures"),
        cast(func.sum(ranked.c.prompt_tokens), BigInteger).label("prompt_tokens"),
        cast(func.sum(ranked.c.output_tokens), BigInteger).label("output_tokens"),
        (func.sum(tokens).filter(has_rate) / func.nullif(seconds, 0.0)).label("tokens_per_second"),
        _percentile(ranked, 50),
        _percentile(ranked, 95),
    ).group_by(ranked.c.group_model, ranked.c.server_id, ranked.c.group_url)


def _percentile(ranked: Any, percent: int) -> Any:
    is_reached = ranked.c.rank * 100 >= ranked.c.timed * percent
    return (
        func.min(ranked.c.time_to_first_token_ms)
        .filter(is_reached)
        .label(f"time_to_first_token_p{percent}_ms")
    )


def _stats(row: Row[Any]) -> ReceiptStats:
    values = readers.read_values(zip(row._fields, row, strict=True), _STATS_READERS)
    server = server_ref(values["server_id"], values["server_name"], values["server_url"])
    stats = {name: value for name, value in values.items() if name in ReceiptStats.__slots__}
    return ReceiptStats(**stats, server=server)
