"""Receipts on their way into `ollama_receipts`."""

import json
import re
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import UTC
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from ollama_admin.domain.answers import Stats
from ollama_admin.domain.keys import KeyRef
from ollama_admin.domain.receipts import BOUNDS, NO_FAILURE, Receipt
from ollama_admin.domain.servers import ServerRef
from ollama_admin.store.tables import receipts, usage

MOST_REASONS = 100  # servers that were passed over, of one receipt
_COUNTS = ("prompt_tokens", "output_tokens", "total_ms", "load_ms", "time_to_first_token_ms")
STATS_COLUMNS = (*_COUNTS, "tokens_per_second")
TEXT_LIMIT = 1000  # characters of a name or URL
_INT_LIMIT = 2**53 - 1  # the sum of a thousand such still fits into 64 bits
_RATES = (1e-6, 1e9)  # tokens per second; what divides by them stays finite

# PostgreSQL takes no NUL, no driver takes half a surrogate pair
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")

_NEW = (
    "created_at",
    "way",
    "asked_model",
    "model",
    "digest",
    "proof",
    "verified",
    "outcome",
    "attempts",
    "request_id",
    "server_id",
    "server_name",
    "server_url",
    "key_id",
    "key_name",
    "client",
    "server_version",
    "estimated",
    "truncated",
    "queued_ms",
    "passed_over",
) + STATS_COLUMNS
ROWS = 36  # of one statement: SQLite may allow no more than 999 values
USAGE_ROWS = 25
NAME_LIMIT = 200  # characters of a name in sums: PostgreSQL indexes no more than 2,700 bytes
MOST_TOKENS = 2**41  # of one answer, in sums
_IDENTITY = tuple(column.name for column in usage.primary_key)
_SUMS = (
    "requests",
    "failures",
    "prompt_tokens",
    "output_tokens",
    "estimated_tokens",
    "timed_tokens",
    "timed_seconds",
) + tuple(f"within_{bound}" for bound in BOUNDS)
_TIMES = _SUMS.index(f"within_{BOUNDS[0]}")


def add(connection: Connection, new: Sequence[Receipt]) -> None:
    """Insert receipts, and add them to the usage of their days. What no column takes is changed:
    these rows tell of errors, too, and of what servers made up.

    Many rows go into one statement: the thread of `serve` that answers waits less often for the one
    that writes, which gives way to it between two statements only.
    """
    dialect = connection.dialect
    time_type: Any = receipts.c.created_at.type.dialect_impl(dialect)
    stored_time = time_type.bind_processor(dialect)
    mark = "?" if dialect.positional else "%s"
    for start in range(0, len(new), ROWS):
        batch = new[start : start + ROWS]
        values: list[Any] = []
        for receipt in batch:
            values += _values(receipt, stored_time(receipt.created_at))
        connection.exec_driver_sql(_insert(len(batch), mark), tuple(values))
    _add_up(connection, new, mark)


@lru_cache(maxsize=2 * ROWS)
def _insert(rows: int, mark: str) -> str:
    row = f"({', '.join([mark] * len(_NEW))})"
    head = f"INSERT INTO {receipts.name} ({', '.join(_NEW)}) VALUES "  # noqa: S608 (our own names)
    return head + ", ".join([row] * rows)


def _values(receipt: Receipt, created_at: Any) -> tuple[Any, ...]:
    """What is written, in the order of `_NEW`."""
    return (
        created_at,
        receipt.way,
        _text(receipt.asked_model),
        _text(receipt.model),
        _text(receipt.digest),
        receipt.proof,
        receipt.verified,
        receipt.outcome,
        receipt.attempts,
        receipt.request_id,
        *_values_of_server(receipt.server),
        *_values_of_key(receipt.key),
        _text(receipt.client),
        _text(receipt.server_version),
        receipt.estimated,
        receipt.truncated,
        _count(receipt.queued_ms),
        _reasons(receipt.passed_over),
        *_values_of_stats(receipt.stats),
    )


def _values_of_server(server: ServerRef | None) -> tuple[int | str | None, ...]:
    if server is None:
        return (None, None, None)
    return server.id, _text(server.name), _text(server.url)


def _values_of_key(key: KeyRef | None) -> tuple[int | str | None, ...]:
    if key is None:
        return (None, None)
    return key.id, _text(key.name)


def _values_of_stats(stats: Stats | None) -> tuple[float | None, ...]:
    if stats is None:
        return (None,) * len(STATS_COLUMNS)
    return (
        _count(stats.prompt_tokens),
        _count(stats.output_tokens),
        _count(stats.total_ms),
        _count(stats.load_ms),
        _count(stats.time_to_first_token_ms),
        _rate(stats.tokens_per_second),
    )


def _text(value: str | None) -> str | None:
    if value is None:
        return None
    if value.isascii() and "\0" not in value:  # as a rule: it takes a tenth of the search
        return value[:TEXT_LIMIT]
    return _UNSTORABLE.sub("\ufffd", value[:TEXT_LIMIT])


def _count(value: int | None) -> int | None:
    return None if value is None else max(-_INT_LIMIT, min(value, _INT_LIMIT))


def _rate(value: float | None) -> float | None:
    return value if value is not None and _RATES[0] <= value <= _RATES[1] else None


def _reasons(passed_over: Mapping[str, str] | None) -> str | None:
    """The JSON of why servers were passed over; as a rule there is nothing to say."""
    if not passed_over:
        return None
    first = list(passed_over.items())[:MOST_REASONS]
    return json.dumps({_text(server): _text(why) for server, why in first})


def _add_up(connection: Connection, new: Sequence[Receipt], mark: str) -> None:
    """Add receipts to the usage of their days. Rows are written in one order by all processes, so
    that none waits for one that waits for it.
    """
    sums: dict[tuple[Any, ...], list[Any]] = {}
    for receipt in new:
        identity = _whose(receipt)
        row = sums.get(identity)
        if row is None:
            row = sums[identity] = [0] * len(_SUMS)
        _add_to(row, receipt)
    rows = sorted(sums.items(), key=lambda item: item[0][1:])
    for start in range(0, len(rows), USAGE_ROWS):
        batch = rows[start : start + USAGE_ROWS]
        values: list[Any] = []
        for identity, row in batch:
            values += identity
            values += row
        connection.exec_driver_sql(_upsert(len(batch), mark), tuple(values))


def _whose(receipt: Receipt) -> tuple[Any, ...]:
    """The row that a receipt is added to: the URL of its server, which is no part of what it goes
    by, and the values of `_IDENTITY`.
    """
    server, key = receipt.server, receipt.key
    server_id, server_name, url, key_id, key_name = 0, "", "", 0, ""
    if server is not None:
        server_id, server_name = server.id or 0, _name(server.name or server.url)
        url = _text(server.url) or ""
    if key is not None:
        key_id, key_name = key.id or 0, _name(key.name)
    day = receipt.created_at.astimezone(UTC).date().isoformat()
    model = _name(receipt.model or receipt.asked_model)
    return url, day, key_id, key_name, model, server_id, server_name


def _add_to(row: list[Any], receipt: Receipt) -> None:
    """Add the numbers of a receipt to those of a row, as `_SUMS` names them."""
    row[0] += 1
    row[1] += receipt.outcome not in NO_FAILURE
    stats = receipt.stats
    if stats is None:
        return
    tokens = _tokens(stats.output_tokens)
    row[2] += _tokens(stats.prompt_tokens)
    row[3] += tokens
    if receipt.estimated:
        row[4] += tokens
    rate = _rate(stats.tokens_per_second)
    if rate is not None:
        row[5] += tokens
        row[6] += tokens / rate
    if stats.time_to_first_token_ms is not None:
        place = bisect_left(BOUNDS, stats.time_to_first_token_ms)
        row[_TIMES + min(place, len(BOUNDS) - 1)] += 1


def _name(text: str | None) -> str:
    return (_text(text) or "")[:NAME_LIMIT]


def _tokens(count: int | None) -> int:
    """A number that a server told, within what can be added up."""
    return max(0, min(count or 0, MOST_TOKENS))


@lru_cache(maxsize=2 * USAGE_ROWS)
def _upsert(rows: int, mark: str) -> str:
    columns = ("server_url",) + _IDENTITY + _SUMS
    row = f"({', '.join([mark] * len(columns))})"
    added = [f"{name} = {usage.name}.{name} + excluded.{name}" for name in _SUMS]
    added.append("server_url = excluded.server_url")
    return (
        f"INSERT INTO {usage.name} ({', '.join(columns)})"  # noqa: S608 (our own names)
        f" VALUES {', '.join([row] * rows)}"
        f" ON CONFLICT ({', '.join(_IDENTITY)}) DO UPDATE SET {', '.join(added)}"
    )
