"""The limits of keys, over several processes that share a database."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.keys import Key
from ollama_admin.errors import DatabaseUnavailable, LimitReached
from ollama_admin.services.key_limits import Admission, KeyLimits
from ollama_admin.store import budgets as store
from ollama_admin.store.budgets import Kind
from tests.conftest import migrate
from tests.postgres import OwnPostgresServer
from tests.store.revisions import execute


@pytest.fixture
async def three(database_url: str) -> AsyncIterator[list[Client]]:
    """Three clients, each with connections and counts of its own, as processes have them."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Client(database_url=database_url, environ={}))
            for _ in range(3)
        ]


async def new_key(client: Client, **limits: int) -> Key:
    return (await client.keys.add(name="team", **limits)).key  # type: ignore[arg-type]


async def asked(limits: KeyLimits, key: Key, *, tokens: int = 1, used: int | None = None) -> bool:
    """Whether a request was let in, which then used so many tokens."""
    try:
        async with limits.admitted(key, tokens) as admission:
            admission.used = used
    except LimitReached:
        return False
    return True


async def refusal(limits: KeyLimits, key: Key) -> LimitReached:
    """What the first request is told that is not let in."""
    while True:
        try:
            async with limits.admitted(key, 1):
                pass
        except LimitReached as refused:
            return refused


async def test_requests_of_a_minute_hold_for_three_processes(three: list[Client]) -> None:
    key = await new_key(three[0], requests_per_minute=40)
    began = time.time() // 60
    rounds = [asked(client.key_limits, key) for _ in range(20) for client in three]
    let_in = sum(await asyncio.gather(*rounds))
    if time.time() // 60 == began:
        assert let_in == 40
    else:
        assert let_in > 40


async def test_refused_request_says_when_it_may_be_asked_again(client: Client) -> None:
    key = await new_key(client, requests_per_minute=1)
    results = [await asked(client.key_limits, key) for _ in range(3)]
    assert results.count(True) <= 2
    refused = await refusal(client.key_limits, key)
    assert refused.message == "key team has asked 1 times this minute, as often as it may"
    assert 0 < refused.seconds <= 60
    assert not refused.is_spent


async def test_spent_tokens_are_refused_until_the_day_is_over(three: list[Client]) -> None:
    key = await new_key(three[0], tokens_per_day=1000)
    one, two, _ = [client.key_limits for client in three]
    assert await asked(one, key, tokens=300, used=700)
    await one._states[key.id].tend(is_due=False)
    assert await asked(two, key, tokens=300, used=300)
    await two._states[key.id].tend(is_due=False, is_end=True)
    for limits in (one, two):
        with pytest.raises(LimitReached, match="has used its 1000 tokens of today") as refused:
            async with limits.admitted(key, 1):
                pass
        assert refused.value.is_spent
        assert 0 < refused.value.seconds <= 86_400


async def test_budget_that_ends_in_the_middle_of_an_answer_lets_it_end(client: Client) -> None:
    key = await new_key(client, tokens_per_day=100)
    assert await asked(client.key_limits, key, tokens=10, used=5000)
    assert not await asked(client.key_limits, key, tokens=1)


async def test_tokens_that_were_reserved_and_not_used_are_there_again(client: Client) -> None:
    key = await new_key(client, tokens_per_day=100)
    for _ in range(50):
        assert await asked(client.key_limits, key, tokens=60, used=1)
    assert await asked(client.key_limits, key, tokens=1000, used=100)
    assert not await asked(client.key_limits, key, tokens=1, used=0)


async def test_what_running_requests_reserve_nobody_else_spends(three: list[Client]) -> None:
    key = await new_key(three[0], tokens_per_day=1000)
    async with AsyncExitStack() as stack:
        admissions: list[Admission] = []
        for number in range(10):
            limits = three[number % 3].key_limits
            admissions.append(await stack.enter_async_context(limits.admitted(key, 100)))
        assert sum(admission.reserved for admission in admissions) <= 1000
        assert sum(admission.reserved for admission in admissions) >= 1000 - 3 * 5


async def test_requests_at_once_hold_exactly_for_three_processes(three: list[Client]) -> None:
    key = await new_key(three[0], max_concurrent=4)
    running, most = 0, 0

    async def work(client: Client) -> bool:
        nonlocal running, most
        try:
            async with client.key_limits.admitted(key, 1):
                running += 1
                most = max(most, running)
                await asyncio.sleep(0.02)
                running -= 1
        except LimitReached:
            return False
        return True

    done = await asyncio.gather(*(work(three[number % 3]) for number in range(30)))
    assert most <= 4
    assert sum(done) >= 4


async def test_lease_that_one_process_keeps_is_soon_another_one_s(three: list[Client]) -> None:
    key = await new_key(three[0], max_concurrent=1)
    for client in (three[0], three[1], three[2], three[0]):
        assert await asked(client.key_limits, key)


async def test_process_that_ends_leaves_nothing_behind(database_url: str) -> None:
    async with Client(database_url=database_url, environ={}) as client:
        key = await new_key(
            client, max_concurrent=1, requests_per_minute=400, tokens_per_day=40_000
        )
        assert await asked(client.key_limits, key, tokens=10, used=7)
    assert execute(database_url, "SELECT * FROM ollama_key_leases") == []
    counts = dict(execute(database_url, "SELECT kind, granted FROM ollama_key_budgets"))
    assert counts == {"requests": 1, "tokens": 7}


async def test_budget_begins_anew_with_its_period(client: Client, database_url: str) -> None:
    key = await new_key(client, tokens_per_day=10)
    db = client._resources.db
    part = await db.write(store.take, key.id, Kind.TOKENS, wanted=10, limit=10)
    assert (part.amount, part.left) == (10, 0)
    assert 0 < part.seconds <= 86_400
    again = await db.write(store.take, key.id, Kind.TOKENS, wanted=1, limit=10)
    assert (again.amount, again.left) == (0, 0)
    execute(database_url, "UPDATE ollama_key_budgets SET period = period - 1")
    anew = await db.write(store.take, key.id, Kind.TOKENS, wanted=1, limit=10)
    assert (anew.amount, anew.left) == (1, 9)
    await db.write(store.give_back, key.id, Kind.TOKENS, part.period - 1, 1)  # is over
    last = await db.write(store.take, key.id, Kind.TOKENS, wanted=99, limit=10)
    assert last.amount == 9


async def test_lower_limit_counts_from_the_next_request_on(client: Client) -> None:
    key = await new_key(client, requests_per_minute=1000, max_concurrent=5)
    async with client.key_limits.admitted(key, 1):
        changed = await client.keys.update("team", max_concurrent=1)
        with pytest.raises(LimitReached, match="1 requests of key team run"):
            async with client.key_limits.admitted(changed, 1):
                pass


async def test_limits_need_no_statement_for_each_request(client: Client) -> None:
    key = await new_key(client, requests_per_minute=100_000, tokens_per_day=10**9, max_concurrent=9)
    assert await asked(client.key_limits, key)
    db = client._resources.db
    statements: list[object] = []
    run = db._run
    db._run = lambda *words: statements.append(words) or run(*words)  # type: ignore[method-assign, func-returns-value]
    for _ in range(200):
        assert await asked(client.key_limits, key)
    assert len(statements) < 10


async def test_database_that_is_away_for_a_moment_costs_no_request(
    stoppable_postgres: OwnPostgresServer,
) -> None:
    url = stoppable_postgres.create_database()
    migrate(url)
    async with Client(database_url=url, environ={}) as client:
        key = await new_key(client, requests_per_minute=9, tokens_per_day=9, max_concurrent=2)
        await asyncio.to_thread(stoppable_postgres.stop)
        request = asyncio.create_task(asked(client.key_limits, key))
        await asyncio.sleep(0.5)
        assert not request.done()
        await asyncio.to_thread(stoppable_postgres.start)
        assert await request
    stoppable_postgres.drop_database(url)


async def test_file_that_is_no_database_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    migrate(f"sqlite:///{path}")
    async with Client(database_url=f"sqlite:///{path}", environ={}) as client:
        key = await new_key(client, requests_per_minute=9)
        path.write_bytes(b"no database at all, but longer than the head of one" * 30)
        with pytest.raises(DatabaseUnavailable):
            await asyncio.wait_for(asked(client.key_limits, key), 10)
