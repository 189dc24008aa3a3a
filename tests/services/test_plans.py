"""Who may answer a relayed call: kept while the database stays as it is, and no longer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.callers import OWNER, Way
from ollama_admin.domain.relayed import RelayedCall
from ollama_admin.domain.traces import continued
from ollama_admin.errors import InvalidInput, ServerNotFound
from ollama_admin.rules.access import TOKEN
from ollama_admin.services.plans import Planned, Wish
from tests.fake_ollama import FakeOllama, SimulatedModel
from tests.services.asking import TAGS, register

ALPHA = SimulatedModel("alpha")
CALL: dict[str, Any] = {
    "method": "POST",
    "path": "/api/chat",
    "target": "/api/chat",
    "model": "alpha",
    "headers": (),
    "body": b"{}",
}


@pytest.fixture
async def fakes() -> AsyncIterator[list[FakeOllama]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(FakeOllama(ALPHA)) for _ in range(2)]


def names(planned: Planned) -> list[str | None]:
    return [candidate.target.ref.name for candidate in planned.plan.candidates]


async def test_a_plan_is_kept_and_nobody_is_asked_for_it(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, *fakes)
    reads = [len(fake.requests) for fake in fakes]
    planned = await client.plans.of(Wish("alpha"))
    assert names(planned) == ["one", "two"]
    assert await client.plans.of(Wish("alpha")) is planned
    assert [len(fake.requests) for fake in fakes] == reads


async def test_those_who_ask_at_once_share_a_plan(client: Client, fakes: list[FakeOllama]) -> None:
    await register(client, *fakes)
    plans = await asyncio.gather(*[client.plans.of(Wish("alpha")) for _ in range(5)])
    assert len({id(planned) for planned in plans}) == 1


async def test_a_change_of_the_registry_makes_another_plan(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, *fakes)
    assert names(await client.plans.of(Wish("alpha"))) == ["one", "two"]
    await client.servers.update("one", is_active=False)
    assert names(await client.plans.of(Wish("alpha"))) == ["two"]


@pytest.mark.parametrize(
    ("wish", "servers"),
    [
        (Wish("ALPHA"), ["one", "two"]),
        (Wish("alpha", server="two"), ["two"]),
        (Wish("alpha", server=1), ["one"]),
        (Wish("alpha", digest="0" * 64), []),
        (Wish("missing"), []),
        (Wish("alpha", native_only="/api/chat"), ["one", "two"]),
    ],
)
async def test_each_wish_has_a_plan_of_its_own(
    client: Client, fakes: list[FakeOllama], wish: Wish, servers: list[str]
) -> None:
    await register(client, *fakes)
    await client.plans.of(Wish("alpha"))
    planned = await client.plans.of(wish)
    assert names(planned) == servers
    assert (planned.plan.refusal is None) is bool(servers)
    assert planned.request.name is not None
    assert planned.request.name.text == wish.model


async def test_a_server_is_found_by_its_url(client: Client, fakes: list[FakeOllama]) -> None:
    await register(client, *fakes)
    planned = await client.plans.of(Wish("alpha", server_url=fakes[1].url))
    assert names(planned) == ["two"]


async def test_the_build_that_is_demanded_is_that_of_the_wish(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, *fakes)
    [model] = fakes[0].models.values()
    planned = await client.plans.of(Wish("alpha", digest=model.digest[:12]))
    demands = [candidate.demand for candidate in planned.plan.candidates]
    assert [demand is not None and demand.digest for demand in demands] == [model.digest[:12]] * 2


@pytest.mark.parametrize("remote", [False, True])
async def test_a_plan_may_leave_the_fleet_where_the_rights_say_so(
    client: Client, fakes: list[FakeOllama], remote: bool
) -> None:
    await register(client, *fakes)
    planned = await client.plans.of(Wish("alpha", rights=replace(OWNER, remote=remote)))
    assert planned.request.terms.allow_remote is remote


async def test_a_path_that_only_ollama_has_is_not_asked_of_a_v1_server(client: Client) -> None:
    async with FakeOllama(ALPHA, version=None) as fake:
        await client.servers.add(name="llama", url=f"{fake.url}/v1")
        await client.discover()
        assert names(await client.plans.of(Wish("alpha"))) == ["llama"]
        planned = await client.plans.of(Wish("alpha", native_only="/api/embed"))
    assert names(planned) == []
    assert planned.plan.refusal is not None
    assert "cannot carry /api/embed" in str(planned.plan.refusal.summary)


async def test_a_plan_for_which_a_server_was_asked_is_of_that_moment(client: Client) -> None:
    async with FakeOllama(SimulatedModel("north.gguf"), version=None) as fake:
        await client.servers.add(name="llama", url=f"{fake.url}/v1")
        await client.discover()
        before = len(fake.requests_to("/v1/models"))
        wish = Wish("north.gguf", server="llama")
        one, two = await client.plans.of(wish), await client.plans.of(wish)
        assert names(one) == names(two) == ["llama"]
        assert one is not two
        assert len(fake.requests_to("/v1/models")) == before + 2


async def test_what_the_caller_should_know_is_kept_with_the_plan(
    client: Client, fakes: list[FakeOllama], notes: list[str]
) -> None:
    await register(client, *fakes)
    await client.servers.update("one", is_active=False)
    notes.clear()
    wish = Wish("alpha", server_url=fakes[0].url)
    said = ("server one is inactive; it is asked because its URL was given",)
    for _ in range(2):
        assert (await client.plans.of(wish)).notes == said
    assert (await client.plans.of(Wish("alpha"))).notes == ()
    assert notes == []


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        (Wish("alpha", server="nobody"), ServerNotFound),
        (Wish("alpha", server="one", server_url="http://127.0.0.1:1"), InvalidInput),
        (Wish("alpha", digest="xyz"), InvalidInput),
        (Wish(""), InvalidInput),
    ],
)
async def test_what_is_wrong_with_the_wish_is_an_error_each_time(
    client: Client, fakes: list[FakeOllama], wish: Wish, error: type[Exception]
) -> None:
    await register(client, *fakes)
    for _ in range(2):
        with pytest.raises(error):
            await client.plans.of(wish)
    assert not any(fake.requests_to("/api/chat") for fake in fakes)


async def test_what_is_wrong_with_the_wish_is_told_before_what_is_wrong_with_the_server(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, *fakes)
    await client.servers.disable("one")
    with pytest.raises(InvalidInput, match="digest"):
        await client.plans.of(Wish("alpha", server="one", digest="xyz"))


@pytest.mark.parametrize("native_only", [None, "/api/chat"])
async def test_each_call_is_a_request_of_its_own(
    client: Client, fakes: list[FakeOllama], native_only: str | None
) -> None:
    await register(client, *fakes)
    planned = await client.plans.of(Wish("alpha", "one", native_only=native_only))
    heard: list[str] = []
    note: Callable[[str], None] = heard.append
    trace = continued("r1", "")
    call = RelayedCall(id="r1", affinity=b"a", key=TOKEN, client="curl/8", trace=trace, **CALL)
    request = planned.request_of(call, note)
    assert (request.id, request.affinity) == ("r1", b"a")
    assert (request.name, request.route, request.terms, request.cannot_carry) == (
        planned.request.name,
        planned.request.route,
        planned.request.terms,
        planned.request.cannot_carry,
    )
    assert (request.route.model, request.route.server) == ("alpha", "one")
    assert (request.caller.way, request.caller.rights) == (Way.PYTHON, OWNER)
    assert (request.caller.key, request.caller.client) == (TOKEN, "curl/8")
    assert request.caller.trace is trace
    request.caller.note("said")
    assert heard == ["said"]
    other = planned.request_of(RelayedCall(id="r2", **CALL), note)
    assert (other.id, other.affinity) == ("r2", None)
    assert not fakes[0].requests_to(TAGS)[1:]
