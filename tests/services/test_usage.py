"""Receipts added up by key and day: the same by hand and by query."""

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.keys import KeyRef
from ollama_admin.domain.receipts import BOUNDS, GROUPS, Receipt
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import InvalidInput, NotFound
from ollama_admin.store import new_receipts as store
from ollama_admin.store import receipts as receipt_store
from ollama_admin.store import usage as store_usage
from ollama_admin.store.receipts import Wanted
from ollama_admin.store.usage import percentile
from tests.benchmarks.plans import heard
from tests.receipts import ONE, new_receipt
from tests.store.revisions import execute, is_postgresql, usage_of_receipts

DAY = timedelta(days=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = (KeyRef(id=1, name="team"), KeyRef(id=2, name="app"), KeyRef(id=None, name="TOKEN"), None)
TWO = ServerRef(id=2, name="two", url="http://two")


def some(count: int) -> list[Receipt]:
    """Receipts of five days that differ in all that is added up."""
    chance = random.Random(7)
    return [
        new_receipt(
            {
                "prompt_tokens": chance.choice((None, 0, 11, 2**40)),
                "output_tokens": chance.choice((None, 1, 70)),
                "time_to_first_token_ms": chance.choice((None, round(chance.expovariate(0.001)))),
                "total_ms": 900,
            },
            created_at=START + timedelta(seconds=chance.randrange(5 * 86_400)),
            key=chance.choice(KEYS),
            model=chance.choice(("alpha:latest", "beta:7b")),
            server=chance.choice((ONE, TWO)),
            outcome=chance.choice(("ok", "cancelled", "server_busy")),
            estimated=chance.choice((None, False, True)),
        )
        for _ in range(count)
    ]


async def write(client: Client, receipts: Sequence[Receipt]) -> None:
    for start in range(0, len(receipts), 10_000):
        await client._resources.db.write(store.add, receipts[start : start + 10_000])


def group_of(receipt: Receipt, by: str) -> Any:
    match by:
        case "key":
            return receipt.key
        case "model":
            return receipt.model
        case "server":
            return receipt.server
        case _:
            return receipt.created_at.date().isoformat()


def added_up(receipts: Sequence[Receipt], *by: str) -> dict[Any, tuple[int, ...]]:
    """Requests, failures, tokens in and out and estimated ones of each group, by hand."""
    sums: dict[Any, list[int]] = defaultdict(lambda: [0] * 5)
    for one in receipts:
        assert one.stats is not None
        output = one.stats.output_tokens or 0
        values = (1, one.outcome == "server_busy", one.stats.prompt_tokens or 0, output)
        row = sums[tuple(group_of(one, name) for name in by)]
        for number, value in enumerate((*values, output if one.estimated else 0)):
            row[number] += value
    return {group: tuple(row) for group, row in sums.items()}


async def compare(client: Client, receipts: Sequence[Receipt]) -> None:
    rows = await client.receipts.usage(since=START)
    assert {
        (row.day, row.key): (
            row.requests,
            row.failures,
            row.prompt_tokens,
            row.output_tokens,
            row.estimated_tokens,
        )
        for row in rows
    } == added_up(receipts, "day", "key")
    assert [row.day for row in rows] == sorted((row.day for row in rows), reverse=True)
    for by in GROUPS:
        used = await client.receipts.usage(since=START, by=by)
        assert {
            (getattr(one, by),): (
                one.requests,
                one.failures,
                one.prompt_tokens,
                one.output_tokens,
                one.estimated_tokens,
            )
            for one in used
        } == added_up(receipts, by)
        sums = await client.receipts.stats(by=by)
        assert {
            (getattr(one, by),): (
                one.count,
                one.failures,
                one.prompt_tokens or 0,
                one.output_tokens or 0,
            )
            for one in sums
        } == {group: row[:4] for group, row in added_up(receipts, by).items()}


async def test_sums_by_query_are_those_by_hand(client: Client) -> None:
    receipts = some(3000)
    await write(client, receipts)
    await compare(client, receipts)


@pytest.mark.chaos
@pytest.mark.timeout(600)
async def test_sums_of_a_million_are_those_by_hand(client: Client) -> None:
    receipts = some(1_000_000)
    await write(client, receipts)
    await compare(client, receipts)


async def test_receipts_of_a_key_are_found_by_its_id_and_names(client: Client) -> None:
    key = (await client.keys.add(name="Team")).key
    await write(client, [new_receipt(key=key.ref), new_receipt(key=KeyRef(id=9, name="Gone"))])
    await client.keys.update("team", name="group")

    async def ids(word: int | str) -> list[int | None]:
        return [one.id for one in await client.receipts.list(key=word)]

    assert await ids("group") == await ids(1) == await ids("1") == [1]
    assert await ids("GONE") == await ids(9) == [2]
    with pytest.raises(NotFound, match="no key named 'other'"):
        await ids("other")
    [one] = await client.receipts.stats(key="group", by="key")
    assert (one.count, one.key) == (1, KeyRef(id=1, name="Team"))
    assert [row.requests for row in await client.receipts.usage(key="gone", since=START)] == [1]


async def test_a_key_without_a_row_is_found_by_its_name_and_by_no_id(client: Client) -> None:
    """As the token of the settings is; the usage has zero for its id."""
    await write(client, [new_receipt(key=KeyRef(id=None, name="TOKEN")), new_receipt()])
    assert [one.id for one in await client.receipts.list(key="token")] == [1]
    assert [day.requests for day in await client.receipts.usage(key="token", since=START)] == [1]
    for nobody in (0, "0"):
        with pytest.raises(NotFound):
            await client.receipts.list(key=nobody)
        with pytest.raises(NotFound):
            await client.receipts.usage(key=nobody, since=START)


async def test_renamed_key_is_one_and_goes_by_its_last_name(client: Client) -> None:
    names = ("old", "new")
    await write(client, [new_receipt(key=KeyRef(id=1, name=name)) for name in names])
    [one] = await client.receipts.stats(by="key")
    assert (one.key, one.count) == (KeyRef(id=1, name="new"), 2)
    [day] = await client.receipts.usage(since=START)
    assert day.requests == 2


async def test_usage_is_of_thirty_days_unless_it_is_said(client: Client) -> None:
    now = datetime.now(UTC)
    await write(client, [new_receipt(created_at=now - 31 * DAY), new_receipt(created_at=now)])
    assert len(await client.receipts.usage()) == 1
    assert len(await client.receipts.usage(since=now - 32 * DAY)) == 2


async def test_unknown_groups_are_refused(client: Client) -> None:
    with pytest.raises(InvalidInput, match="cannot add up by 'way'"):
        await client.receipts.stats(by="way")


@pytest.mark.parametrize("by", GROUPS)
async def test_times_are_the_bounds_that_the_exact_ones_do_not_exceed(
    client: Client, by: str
) -> None:
    await write(client, some(3000))
    exact = {getattr(one, by): one for one in await client.receipts.stats(by=by)}
    for one in await client.receipts.usage(since=START, by=by):
        stats = exact[getattr(one, by)]
        for name in ("time_to_first_token_p50_ms", "time_to_first_token_p95_ms"):
            bounds = [bound for bound in BOUNDS if bound >= getattr(stats, name)]
            assert getattr(one, name) == bounds[0]
        assert stats.tokens_per_second is not None
        assert one.tokens_per_second == pytest.approx(stats.tokens_per_second, abs=0.01)


def by_hand(times: Sequence[int], percent: int) -> int | None:
    """The nearest rank, as textbooks have it."""
    ordered = sorted(times)
    rank = -(-len(ordered) * percent // 100)
    return ordered[rank - 1] if ordered else None


@pytest.mark.parametrize("count", [0, 1, 2, 3, 19, 20, 21, 100, 101])
def test_percentiles_are_by_nearest_rank(count: int) -> None:
    chance = random.Random(count)
    times = [chance.choice(BOUNDS) for _ in range(count)]
    for percent in (50, 95):
        assert percentile(Counter(times), percent) == by_hand(times, percent)


async def test_usage_stays_when_receipts_are_deleted(client: Client) -> None:
    await write(client, some(300))
    before = await client.receipts.usage(since=START)
    assert await client.receipts.prune() == 300
    assert await client.receipts.usage(since=START) == before


async def test_usage_of_older_receipts_is_what_would_have_been_written(
    client: Client, database_url: str
) -> None:
    """The revision adds up in SQL what the program adds up in Python."""
    strange = new_receipt(
        {"prompt_tokens": -1, "output_tokens": 2**50, "time_to_first_token_ms": 10**9},
        key=KeyRef(id=3, name="k" * 900),
        server=ServerRef(id=None, name=None, url="http://elsewhere"),
        model=None,
        asked_model=None,
        estimated=True,
    )
    await write(client, [*some(2000), strange])
    query = f"SELECT * FROM ollama_usage ORDER BY {', '.join(store._IDENTITY)}"
    written = execute(database_url, query)
    execute(database_url, "DELETE FROM ollama_usage", usage_of_receipts(database_url))
    added = execute(database_url, query)
    assert [row[14:] for row in added] == [row[14:] for row in written]
    for row, before in zip(added, written, strict=True):
        assert row[:13] == before[:13]
        assert row[13] == pytest.approx(before[13])  # seconds


async def test_usage_is_of_whole_days_from_the_one_on_that_is_named(client: Client) -> None:
    await write(client, [new_receipt(created_at=START + hour * DAY / 24) for hour in (1, 23, 25)])
    rows = await client.receipts.usage(since=START + 12 * DAY / 24)
    assert [(row.day, row.requests) for row in rows] == [("2026-01-02", 1), ("2026-01-01", 2)]


async def test_usage_of_a_renamed_server_is_one_and_of_a_removed_one_is_found(
    client: Client,
) -> None:
    await client.servers.add(name="new", url="http://new")
    receipts = [
        new_receipt(server=ServerRef(id=1, name="old", url="http://old")),
        new_receipt(created_at=START + 5 * DAY, server=ServerRef(id=1, name="new", url="http://n")),
        new_receipt(server=ServerRef(id=9, name="Gone", url="http://gone")),
    ]
    await write(client, receipts)
    first, second = await client.receipts.usage(since=START, by="server")
    assert first.server == ServerRef(id=1, name="new", url="http://n")
    assert (first.requests, second.requests) == (2, 1)
    for word in ("gone", 9, "9"):
        assert await client.receipts.usage(since=START, by="server", server=word) == [second]
    [only] = await client.receipts.usage(since=START, by="model", server="new", model="ALPHA")
    assert only.requests == 2
    with pytest.raises(NotFound):
        await client.receipts.usage(since=START, server="nobody")


async def test_no_text_keeps_receipts_from_being_added_up(client: Client) -> None:
    long = "\U0001f999" * 990
    receipt = new_receipt(
        key=KeyRef(id=1, name=long),
        server=ServerRef(id=1, name=long, url=long),
        model="a\0\ud800" + long,
    )
    await write(client, [receipt, receipt])
    [row] = await client.receipts.usage(since=START)
    assert row.requests == 2


def plan_of(connection: Any, query: Any) -> str:
    """How the database would run a query of ours, which could be one of millions of rows."""
    text = query.compile(connection, compile_kwargs={"literal_binds": True})
    if connection.dialect.name == "sqlite":
        return str(connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}").all())
    connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
    escaped = str(text).replace("%", "%%")
    return str(connection.exec_driver_sql(f"EXPLAIN {escaped}").all())


@pytest.mark.parametrize("by", [None, *GROUPS])
async def test_usage_is_read_by_an_index(client: Client, by: str | None) -> None:
    await write(client, some(3000))

    def explained(connection: Any) -> str:
        chosen = store_usage._condition(connection, Wanted(since=START + 3 * DAY))
        return plan_of(connection, store_usage._sums(store_usage._GROUPS[by], chosen))

    plan = await client._resources.db.read(explained)
    assert "pk_ollama_usage" in plan or "sqlite_autoindex_ollama_usage_1 (day>?)" in plan


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (Wanted(since=START + 3 * DAY), "created_at"),
        (Wanted(since=START + 3 * DAY, failed=True), "created_at"),
        (Wanted(since=START + 3 * DAY, model="alpha", server="one"), "created_at"),
        (Wanted(since=START + 3 * DAY, below=1500), "created_at"),
        (Wanted(key=1, since=START + 3 * DAY), "key_id_created_at"),
    ],
)
async def test_log_is_read_by_an_index(client: Client, wanted: Wanted, index: str) -> None:
    await write(client, some(3000))

    def explained(connection: Any) -> str:
        return plan_of(connection, receipt_store.newest_query(connection, wanted).limit(50))

    plan = await client._resources.db.read(explained)
    assert f"ix_ollama_receipts_{index}" in plan


async def test_spellings_of_a_name_are_not_looked_for_in_all_receipts(client: Client) -> None:
    await client.servers.add(name="one", url="http://one")
    await write(client, [new_receipt(key=KeyRef(id=9, name="Gone"))])
    with heard() as statements:
        assert await client.receipts.list(server="ONE", model="alpha", key="gone")
        assert await client.receipts.usage(since=START, server="ONE", model="alpha", key="gone")
    distinct = [statement for statement, _ in statements if "DISTINCT" in statement]
    assert len(distinct) == 5
    assert not any("ollama_receipts" in statement for statement in distinct)


async def test_receipts_of_a_key_are_read_by_an_index(client: Client, database_url: str) -> None:
    await write(client, some(3000))
    where = "FROM ollama_receipts WHERE key_id = 1 AND created_at >= '2026-01-05 00:00:00'"
    if is_postgresql(database_url):
        plan = execute(database_url, "SET enable_seqscan = off", f"EXPLAIN SELECT count(*) {where}")
    else:
        plan = execute(database_url, f"EXPLAIN QUERY PLAN SELECT count(*) {where}")
    assert "ix_ollama_receipts_key_id_created_at" in str(plan)
