"""Asking several servers, whatever the question: nothing here listens and nothing is stored."""

import asyncio
from datetime import UTC, datetime

import pytest

from ollama_admin.domain.servers import ApiVersion, AuthType, Server, ServerStatus
from ollama_admin.errors import DatabaseUnavailable, ServerUnreachable
from ollama_admin.services.fleet import Answered, Failed, ask_each
from ollama_admin.services.tasks import WorkLimit

NOW = datetime.now(UTC)
FLEET = [
    Server(
        id=number,
        name=f"server-{number}",
        url=f"http://server-{number}:11434",
        api_version=ApiVersion.NATIVE,
        capabilities=(),
        max_concurrent=1,
        priority=0,
        is_default=False,
        is_active=True,
        default_model=None,
        auth_type=AuthType.NONE,
        auth_config={},
        headers={},
        status=ServerStatus.UNKNOWN,
        version=None,
        last_error=None,
        last_seen_at=None,
        last_discovered_at=None,
        created_at=NOW,
        updated_at=NOW,
    )
    for number in range(1, 5)
]


async def name_of(asked: Server) -> str:
    return asked.name


async def said(outcome: Answered[str] | Failed) -> str:
    if isinstance(outcome, Failed):
        return f"{outcome.server.name} failed: {outcome.error.message}"
    return f"{outcome.server.name} said {outcome.answer}"


async def test_results_are_in_the_order_of_the_servers_however_they_come() -> None:
    order: list[str] = []
    answered = {asked.id: asyncio.Event() for asked in FLEET}
    answered[FLEET[-1].id + 1] = asyncio.Event()
    answered[FLEET[-1].id + 1].set()

    async def last_one_first(asked: Server) -> str:
        await answered[asked.id + 1].wait()
        return asked.name

    def hear(result: str) -> None:
        order.append(result)
        answered[FLEET[-len(order)].id].set()

    async with asyncio.timeout(20):
        results = await ask_each(FLEET, last_one_first, said, limit=WorkLimit(), on_result=hear)
    assert results == [f"server-{number} said server-{number}" for number in range(1, 5)]
    assert order == results[::-1]


async def test_error_of_one_server_is_its_result_and_costs_the_others_nothing() -> None:
    async def ask(asked: Server) -> str:
        if asked.id == 2:
            raise ServerUnreachable("nobody there")
        return "yes"

    assert await ask_each(FLEET, ask, said, limit=WorkLimit()) == [
        "server-1 said yes",
        "server-2 failed: nobody there",
        "server-3 said yes",
        "server-4 said yes",
    ]


async def test_outcome_says_how_long_asking_took() -> None:
    async def ask(asked: Server) -> str:
        await asyncio.sleep(0.02)
        if asked.id == 2:
            raise ServerUnreachable("nobody there")
        return "yes"

    async def time(outcome: Answered[str] | Failed) -> int:
        return outcome.ms

    times = await ask_each(FLEET[:2], ask, time, limit=WorkLimit())
    assert all(10 <= ms < 10_000 for ms in times)


async def test_bug_is_raised_and_cancels_the_rest() -> None:
    all_asked = asyncio.Barrier(len(FLEET))
    cancelled: set[int] = set()

    async def ask(asked: Server) -> str:
        await all_asked.wait()
        if asked.id == 2:
            raise ZeroDivisionError
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.add(asked.id)
            raise
        return "never"

    async with asyncio.timeout(20):
        with pytest.raises(ZeroDivisionError):
            await ask_each(FLEET, ask, said, limit=WorkLimit())
    assert cancelled == {1, 3, 4}


async def test_result_that_cannot_be_stored_is_an_error_of_all() -> None:
    async def store(outcome: Answered[str] | Failed) -> str:
        raise DatabaseUnavailable("the database is gone")

    with pytest.raises(DatabaseUnavailable):
        await ask_each(FLEET, name_of, store, limit=WorkLimit())


async def test_no_more_servers_are_asked_at_once_than_the_limit_lets() -> None:
    asked_now, most = 0, 0

    async def ask(asked: Server) -> str:
        nonlocal asked_now, most
        asked_now += 1
        most = max(most, asked_now)
        await asyncio.sleep(0)
        asked_now -= 1
        return asked.name

    await ask_each(FLEET, ask, said, limit=WorkLimit(2))
    assert most == 2


async def test_no_servers_give_no_results() -> None:
    assert await ask_each([], name_of, said, limit=WorkLimit()) == []
