"""What was used, and a million receipts: each question about them, and how the databases answer."""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ollama_admin.client import Client
from ollama_admin.domain.receipts import GROUPS, SORTS
from ollama_admin.settings import Settings
from ollama_admin.store.migrations import upgrade
from tests.benchmarks.measuring import BenchmarkError, Note, Row, Told, median
from tests.benchmarks.plans import Statement, explained, heard
from tests.postgres import OwnPostgresServer
from tests.store.revisions import execute, is_postgresql, usage_of_receipts

RECEIPTS = 1_000_000
DAYS, KEYS, MODELS, SERVERS = 90, 50, 20, 10
ROUNDS = 5
SECONDS = 5.0  # after which no further round of one question is begun
BAR = 300  # ms
DAY = timedelta(days=1)

Ask = Callable[[Client], Awaitable[Any]]

_SECOND = f"i * {DAYS * 86_400} / {{receipts}}"  # in the order of their numbers
_KEY, _MODEL, _SERVER = f"1 + i % {KEYS}", f"i / 7 % {MODELS}", f"1 + i / 49 % {SERVERS}"
# Each key uses four models, at all servers.
_OF_KEY = f"({_KEY} + {_MODEL} % 4) % {MODELS}"
_SAME: Mapping[str, str] = {
    "way": "'api'",
    "asked_model": f"'model-' || ({_OF_KEY})",
    "model": f"'model-' || ({_OF_KEY}) || '\\:latest'",
    "server_id": _SERVER,
    "server_name": f"'server-' || ({_SERVER})",
    "server_url": f"'http://server-' || ({_SERVER})",
    "digest": f"'{'d' * 64}'",
    "proof": "'digest'",
    "outcome": "CASE WHEN i % 20 = 0 THEN 'server_busy' ELSE 'ok' END",
    "attempts": "1",
    "prompt_tokens": "i % 4000",
    "output_tokens": "i % 700",
    "tokens_per_second": "20.5 + i % 40",
    "total_ms": "500 + i % 30000",
    "load_ms": "5",
    "time_to_first_token_ms": "i * 7 % 9000",
    "key_id": _KEY,
    "key_name": f"'key-' || ({_KEY})",
    "client": "'ollama-python/0.6.0'",
    "server_version": "'0.33.0'",
}
_SQLITE = {
    "created_at": f"strftime('%Y-%m-%d %H:%M:%S', '{{start}}', ({_SECOND}) || ' seconds')"
    " || '.000000'",
    "verified": "1",
    "estimated": "0",
    "request_id": "printf('%016x', i)",
}
_POSTGRESQL = {
    "created_at": f"timestamp '{{start}}' AT TIME ZONE 'UTC' + make_interval(secs => {_SECOND})",
    "verified": "true",
    "estimated": "false",
    "request_id": "lpad(to_hex(i), 16, '0')",
}
_NUMBERS = (
    "WITH RECURSIVE numbers(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM numbers"
    " WHERE i < {receipts}) "
)


def rows(rounds: int | None) -> Iterator[Told]:
    with tempfile.TemporaryDirectory() as folder, OwnPostgresServer(durable=True) as server:
        urls = {
            "SQLite": f"sqlite:///{Path(folder) / 'one.db'}",
            "PostgreSQL": server.create_database(),
        }
        for name, url in urls.items():
            yield from _of(name, url, RECEIPTS, rounds or ROUNDS)


def _of(name: str, url: str, receipts: int, rounds: int) -> Iterator[Told]:
    began = time.monotonic()
    days = build(url, receipts)
    yield Note(
        f"{name}: {receipts} receipts and {days} rows of usage written in "
        f"{time.monotonic() - began:.0f} s"
    )
    for work, ask in QUESTIONS.items():
        times, statements = asyncio.run(_times(url, ask, rounds))
        bar = BAR if work in BARRED else None
        yield Row(work=f"{name}: {work}", unit="ms", ours=median(times), bar=bar)
        yield from explained(name, url, work, statements)


def build(url: str, receipts: int) -> int:
    """Fill an empty database; gives back how many rows the usage has."""
    upgrade(Settings.read({}, url))
    asyncio.run(_add_rows(url))
    values = dict(_SAME, **(_POSTGRESQL if is_postgresql(url) else _SQLITE))
    start = datetime.now(UTC) - DAYS * DAY + timedelta(hours=1)
    chosen = ", ".join(values.values()).format(
        start=f"{start:%Y-%m-%d %H:%M:%S}", receipts=receipts
    )
    insert = f"INSERT INTO ollama_receipts ({', '.join(values)}) SELECT {chosen}"
    if is_postgresql(url):
        insert += f" FROM generate_series(1, CAST({receipts} AS bigint)) AS numbers(i)"
    else:
        insert = f"{_NUMBERS.format(receipts=receipts)}{insert} FROM numbers"
    execute(url, insert, usage_of_receipts(url))
    if is_postgresql(url):  # day by day, as the program writes it
        execute(url, "CLUSTER ollama_usage USING pk_ollama_usage")
    execute(url, "ANALYZE")
    [[days]] = execute(url, "SELECT count(*) FROM ollama_usage")
    return int(str(days))


async def _add_rows(url: str) -> None:
    """The keys and servers that the receipts are of."""
    async with Client(database_url=url, environ={}) as client:
        for number in range(1, KEYS + 1):
            await client.keys.add(name=f"key-{number}")
        for number in range(1, SERVERS + 1):
            await client.servers.add(name=f"server-{number}", url=f"http://server-{number}")


async def _times(url: str, ask: Ask, rounds: int) -> tuple[list[float], Sequence[Statement]]:
    """Milliseconds of each round, and the statements of the one before them, of warm-up."""
    times: list[float] = []
    async with Client(database_url=url, environ={}) as client:
        await client.ready()
        until = time.monotonic() + SECONDS
        with heard() as statements:
            await _timed(client, ask)
        while not times or (len(times) < rounds and time.monotonic() < until):
            times.append(await _timed(client, ask))
    return times, statements


async def _timed(client: Client, ask: Ask) -> float:
    began = time.perf_counter()
    if not await ask(client):
        raise BenchmarkError("a question has no answer")
    return (time.perf_counter() - began) * 1000


def _of_last_day() -> datetime:
    return datetime.now(UTC) - DAY


def _usage(work: str, **wanted: Any) -> tuple[str, Ask]:
    return f"usage{work}", lambda client: client.receipts.usage(**wanted)


def _stats(by: str) -> tuple[str, Ask]:
    return (
        f"receipts stats --since 1d --by {by}",
        lambda client: client.receipts.stats(since=_of_last_day(), by=by),
    )


def _list(work: str, **wanted: Any) -> tuple[str, Ask]:
    return f"receipts list{work}", lambda client: client.receipts.list(**wanted)


BARRED = ("usage, by key and day, of 30 days", *(f"usage --by {by}" for by in GROUPS))
QUESTIONS: Mapping[str, Ask] = dict(
    (
        _usage(", by key and day, of 30 days"),
        *(_usage(f" --by {by}", by=by) for by in GROUPS),
        _usage(" --key K", key="key-7"),
        _usage(" --model M", model="model-7"),
        _usage(" --server S", server="server-7"),
        _usage(", by key and day, of 90 days", since=datetime.now(UTC) - DAYS * DAY),
        *(_stats(by) for by in GROUPS),
        ("receipts stats, of all", lambda client: client.receipts.stats()),
        _list(""),
        _list(" --failed", failed=True),
        _list(" --key K", key="key-7"),
        _list(" --model M", model="model-7"),
        _list(" --server S", server="server-7"),
        _list(", the page behind the middle", below=RECEIPTS // 2),
        *(_list(f" --since 1d --sort {sort}", sort=sort, since=_of_last_day()) for sort in SORTS),
        ("receipts show ID", lambda client: client.receipts.show(RECEIPTS // 2)),
        ("receipts show REQUEST", lambda client: client.receipts.show(f"{RECEIPTS // 2:016x}")),
        (
            "receipts prune --dry-run",
            lambda client: client.receipts.count_before(datetime.now(UTC) - (DAYS - 1) * DAY),
        ),
    )
)
