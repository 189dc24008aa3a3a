"""What became of each request: read, added up, deleted."""

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.callers import Way
from ollama_admin.domain.keys import KeyRef
from ollama_admin.domain.receipts import Receipt
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import InvalidInput, ServerNotFound
from ollama_admin.store import new_receipts as store
from tests.receipts import NOON, ONE, new_receipt

TWO = ServerRef(id=2, name="Two", url="http://two")
DYNAMIC = ServerRef(id=None, name=None, url="http://10.0.0.9:11434")


def receipt(minute: int = 0, *, told: dict[str, Any] | None = None, **values: Any) -> Receipt:
    return new_receipt(told, **{"created_at": NOON + timedelta(minutes=minute)} | values)


async def write(client: Client, *new: Receipt) -> None:
    await client._resources.db.write(store.add, new)


async def ids(client: Client, **filters: Any) -> list[int | None]:
    return [found.id for found in await client.receipts.list(**filters)]


# list


async def test_receipt_comes_back_as_it_was_recorded(client: Client) -> None:
    recorded = [
        receipt(),
        receipt(
            1,
            server=DYNAMIC,
            digest=None,
            proof=None,
            verified=False,
            attempts=3,
            stats=None,
            outcome="cancelled",
        ),
        receipt(
            2,
            server=None,
            model=None,
            asked_model=None,
            way=Way.CLI,
            outcome="invalid_input",
            attempts=0,
        ),
    ]
    await write(client, *recorded)
    found = await client.receipts.list()
    assert [one.id for one in found] == [3, 2, 1]
    assert [_without_id(one) for one in found] == [_without_id(one) for one in reversed(recorded)]


def _without_id(one: Receipt) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Receipt.__slots__ if name != "id"}


async def test_receipts_are_the_newest_first_by_the_time_of_the_request(client: Client) -> None:
    await write(client, receipt(5), receipt(1), receipt(9), receipt(9))
    assert await ids(client) == [4, 3, 1, 2]
    assert await ids(client, limit=2) == [4, 3]
    assert await ids(client, since=NOON + timedelta(minutes=5)) == [4, 3, 1]


async def test_failed_ones_are_those_with_an_error(client: Client) -> None:
    await write(
        client, receipt(), receipt(outcome="server_unreachable"), receipt(outcome="cancelled")
    )
    assert await ids(client, failed=True) == [2]


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("alpha", [1, 2, 4]),
        ("ALPHA:Latest", [1, 2, 4]),
        ("registry.ollama.ai/library/alpha", [1, 2, 4]),
        ("Ünï/Straße:7B", [3]),
        ("ünï/strasse:7b", [3]),
        ("alpha:7b", []),
        ("alph", []),
        ("%", []),
        ("a\x00\ud800", []),
        ("", []),
    ],
)
async def test_model_is_found_by_any_spelling_of_what_was_asked_or_sent(
    client: Client, model: str, found: list[int]
) -> None:
    await write(
        client,
        receipt(asked_model="ALPHA", model=None, server=None, outcome="model_not_found"),
        receipt(asked_model=None, model="library/Alpha:latest"),
        receipt(asked_model="ÜNÏ/straße:7b", model="ÜNÏ/straße:7b"),
        receipt(asked_model="alpha:latest", model="alpha"),
        receipt(asked_model=None, model=None),
    )
    assert sorted(number for number in await ids(client, model=model) if number) == found


async def test_server_is_found_by_id_and_name_after_it_was_renamed_and_removed(
    client: Client,
) -> None:
    await client.servers.add(name="one", url="http://one")
    await client.servers.add(name="other", url="http://two")
    await write(
        client,
        receipt(server=ONE),
        receipt(server=TWO),
        receipt(server=DYNAMIC),
        receipt(server=None),
    )
    await client.servers.update("one", name="first")
    for server in (1, "1", "ONE", "first"):
        assert await ids(client, server=server) == [1], server
    for server in (2, "two", "other"):
        assert await ids(client, server=server) == [2], server
    await client.servers.remove("first")
    assert await ids(client, server=1) == [1]
    assert await ids(client, server="One") == [1]
    with pytest.raises(ServerNotFound):
        await client.receipts.list(server="first")  # no receipt was written under this name


@pytest.mark.parametrize(
    "server", [7, "7", "9" * 40, "nobody", "", "a\x00\ud800", "http://10.0.0.9:11434"]
)
async def test_server_that_neither_a_row_nor_a_receipt_knows_is_not_found(
    client: Client, server: int | str
) -> None:
    await write(client, receipt(server=DYNAMIC), receipt())
    with pytest.raises(ServerNotFound):
        await client.receipts.list(server=server)
    with pytest.raises(ServerNotFound):
        await client.receipts.stats(server=server)


async def test_registered_server_without_receipts_has_none(client: Client) -> None:
    await client.servers.add(name="one", url="http://one")
    assert await client.receipts.list(server="one") == []
    assert await client.receipts.stats(server="one") == []


async def test_search_looks_at_the_newest_and_says_where_to_go_on(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ollama_admin.services.receipts.LOOKED_AT", 3)
    kept = [receipt(outcome="upstream_error")] + [receipt(), receipt()] * 3  # all at one time
    await write(client, *kept)
    first = await client.receipts.search(failed=True)
    assert (list(first.receipts), first.last_id) == ([], 5)
    second = await client.receipts.search(failed=True, below=first.last_id)
    assert (list(second.receipts), second.last_id) == ([], 2)
    third = await client.receipts.search(failed=True, below=second.last_id)
    assert ([one.id for one in third.receipts], third.last_id) == ([1], None)


async def test_search_that_finds_enough_need_not_go_on(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ollama_admin.services.receipts.LOOKED_AT", 60)
    await write(client, *[receipt(key=KeyRef(id=number % 2, name="x")) for number in range(130)])
    found = await client.receipts.search()
    assert ([one.id for one in found.receipts], found.last_id) == (list(range(130, 80, -1)), None)
    of_one = await client.receipts.search(key=1)  # of which 60 are looked at, and not of all
    assert [one.id for one in of_one.receipts] == list(range(130, 30, -2))
    with pytest.raises(ServerNotFound):
        await client.receipts.search(server="nobody")


@pytest.mark.parametrize("limit", [0, -1, 2**31, 1.5, True])
async def test_limit_that_is_none_is_refused(client: Client, limit: Any) -> None:
    with pytest.raises(InvalidInput, match="the limit must be a whole number from 1 to 2147483647"):
        await client.receipts.list(limit=limit)


async def test_time_without_a_zone_is_refused(client: Client) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001
    for asked in (client.receipts.list(since=naive), client.receipts.stats(since=naive)):
        with pytest.raises(InvalidInput, match="has no time zone"):
            await asked
    with pytest.raises(InvalidInput, match="has no time zone"):
        await client.receipts.prune(before=naive)


# stats


async def test_stats_are_sums_for_each_model_on_each_server(client: Client) -> None:
    await write(
        client,
        receipt(told={"output_tokens": 100, "tokens_per_second": 10.0}),
        receipt(told={"output_tokens": 100, "tokens_per_second": 50.0}),
        receipt(
            outcome="stream_interrupted", told={"output_tokens": None, "tokens_per_second": None}
        ),
        receipt(outcome="cancelled", stats=None),
        receipt(server=TWO),
        receipt(server=TWO, asked_model="beta", model="beta:7b", stats=None),
    )
    first, second, third = await client.receipts.stats()
    assert (first.model, first.server, first.count, first.failures) == ("alpha:latest", ONE, 4, 1)
    assert (first.prompt_tokens, first.output_tokens) == (33, 200)
    assert first.tokens_per_second == pytest.approx(200 / 12)  # 10 s and 2 s
    assert (first.time_to_first_token_p50_ms, first.time_to_first_token_p95_ms) == (400, 400)
    assert (third.model, third.server, third.count) == ("alpha:latest", TWO, 1)
    assert (second.model, second.server, second.count, second.failures) == ("beta:7b", TWO, 1, 0)
    nothing = (second.prompt_tokens, second.output_tokens, second.tokens_per_second)
    assert nothing == (None, None, None)
    assert (second.time_to_first_token_p50_ms, second.time_to_first_token_p95_ms) == (None, None)


async def test_stats_are_filtered_as_lists_are(client: Client) -> None:
    await write(
        client,
        receipt(),
        receipt(9),
        receipt(9, server=TWO),
        receipt(9, asked_model="b", model="b:1"),
    )

    async def counted(**filters: Any) -> list[tuple[str | None, str, int]]:
        return sorted(
            (one.model, str(one.server), one.count)
            for one in await client.receipts.stats(**filters)
        )

    assert await counted(server="two") == [("alpha:latest", "Two", 1)]
    assert await counted(model="ALPHA", server=1) == [("alpha:latest", "one", 2)]
    assert await counted(model="b:1") == [("b:1", "one", 1)]
    assert await counted(since=NOON + timedelta(minutes=1), server="one") == [
        ("alpha:latest", "one", 1),
        ("b:1", "one", 1),
    ]
    assert await counted(since=NOON + timedelta(days=1)) == []


async def test_renamed_server_is_one_in_the_stats_by_its_last_name(client: Client) -> None:
    renamed = ServerRef(id=1, name="first", url="http://first")
    others = [DYNAMIC, ServerRef(id=None, name=None, url="http://10.0.0.8:11434"), None]
    await write(
        client,
        receipt(),
        receipt(1, server=renamed),
        *(receipt(server=server) for server in others),
    )
    found = {one.server: one.count for one in await client.receipts.stats()}
    assert found == {renamed: 2, others[0]: 1, others[1]: 1, None: 1}


@pytest.mark.parametrize("seed", range(3))
async def test_percentiles_are_those_of_a_simple_count(client: Client, seed: int) -> None:
    draw = random.Random(seed)
    times: dict[str, list[int]] = defaultdict(list)
    new = []
    for _ in range(draw.choice((1, 19, 20, 21, 200))):
        model, time = draw.choice(("a:1", "b:1")), draw.choice((None, draw.randrange(10_000)))
        new.append(receipt(model=model, told={"time_to_first_token_ms": time}))
        times[model] += [] if time is None else [time]
    await write(client, *new)
    for one in await client.receipts.stats():
        assert one.time_to_first_token_p50_ms == nearest_rank(times[str(one.model)], 0.5)
        assert one.time_to_first_token_p95_ms == nearest_rank(times[str(one.model)], 0.95)


def nearest_rank(values: list[int], part: float) -> int | None:
    return sorted(values)[ceil(len(values) * part) - 1] if values else None


async def test_numbers_that_a_server_made_up_break_no_sum(client: Client) -> None:
    wild = {
        "prompt_tokens": 2**80,
        "output_tokens": 2**80,
        "tokens_per_second": 1e-300,
        "time_to_first_token_ms": 2**80,
    }
    await write(
        client, *(receipt(told=wild) for _ in range(3)), receipt(told={"tokens_per_second": 0.0})
    )
    (one,) = await client.receipts.stats()
    assert one.prompt_tokens == 3 * (2**53 - 1) + 11
    assert one.tokens_per_second is None


# prune


async def test_old_receipts_are_deleted(client: Client) -> None:
    now = datetime.now(UTC)
    ages = [timedelta(days=91), timedelta(days=89), timedelta(0)]
    await write(client, *(receipt(created_at=now - age) for age in ages))
    assert await client.receipts.prune() == 1
    assert await client.receipts.prune() == 0
    assert await client.receipts.prune(before=now - timedelta(days=1)) == 1
    assert await ids(client) == [3]
