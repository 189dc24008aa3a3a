"""`Client.fleet.sync`: servers that pull what another one holds."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.documents import document
from ollama_admin.domain.sync import SyncReport
from ollama_admin.errors import (
    Conflict,
    InvalidInput,
    ModelMismatch,
    ModelNotFound,
    ServerNotFound,
    ServerUnreachable,
    UpstreamError,
)
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.pulling import Registry
from tests.fake_ollama import FakeOllama, Silence

ALPHA, BETA = SimulatedModel("alpha", size=10_000), SimulatedModel("beta:2b", size=10_000)
OLD_BETA = SimulatedModel("beta:2b", build="old", size=10_000)
REMOTE = SimulatedModel("far:cloud", remote_host="https://ollama.com", remote_model="far")

Start = Callable[..., Any]


@pytest.fixture
async def start(client: Client) -> AsyncIterator[Start]:
    """Starts a server that holds the models and can pull alpha and beta, under a name."""
    async with AsyncExitStack() as stack:

        async def started(name: str, *models: SimulatedModel) -> FakeOllama:
            fake = FakeOllama(*models, registry=Registry([ALPHA, BETA]))
            await stack.enter_async_context(fake)
            await client.servers.add(name=name, url=fake.url)
            return fake

        yield started


def told(report: SyncReport) -> Sequence[tuple[str | None, str | None, str, bool]]:
    return [
        (result.server.name, result.model, result.action, result.is_done)
        for result in report.results
    ]


def changes(fake: FakeOllama) -> list[str]:
    paths = ("/api/pull", "/api/delete")
    return [request.path for request in fake.requests if request.path in paths]


async def test_servers_pull_what_they_lack_or_have_in_another_build(
    client: Client, start: Start
) -> None:
    source = await start("one", ALPHA, BETA)
    two, three = await start("two", OLD_BETA), await start("three", ALPHA, BETA)
    report = await client.fleet.sync("one", ["two", "three"])
    assert told(report) == [
        ("two", "alpha:latest", "pull", True),
        ("two", "beta:2b", "pull", True),
    ]
    assert [(each.before, each.digest) for each in report.results] == [
        (None, ALPHA.digest),
        (OLD_BETA.digest, BETA.digest),
    ]
    assert (report.same, report.failed, report.skipped) == (2, 0, ())
    assert (changes(source), changes(three)) == ([], [])
    assert changes(two) == ["/api/pull"] * 2
    await client.discover(["one"])
    assert (await client.fleet.diff("one", "two")).is_none
    again = await client.fleet.sync("one", ["two", "three"])
    assert (again.results, again.same) == ((), 4)


async def test_a_plan_changes_nothing(client: Client, start: Start) -> None:
    await start("one", ALPHA)
    two = await start("two", BETA)
    plan = await client.fleet.sync_plan("one", ["two"])
    assert told(plan.report(prune=True)) == [
        ("two", "alpha:latest", "pull", False),
        ("two", "beta:2b", "remove", False),
    ]
    assert told(plan.report(prune=False))[1] == ("two", "beta:2b", "keep", False)
    assert changes(two) == []


async def test_nothing_is_deleted_unless_that_is_asked_for(client: Client, start: Start) -> None:
    await start("one", ALPHA)
    two = await start("two", ALPHA, BETA)
    assert told(await client.fleet.sync("one", ["two"])) == [("two", "beta:2b", "keep", False)]
    assert changes(two) == []
    report = await client.fleet.sync("one", ["two"], prune=True)
    assert told(report) == [("two", "beta:2b", "remove", True)]
    assert list(two.models) == ["alpha:latest"]
    [entry] = await client.audit.list(action="model.delete")
    assert entry.subject == "model beta:2b on server two"


async def test_a_build_that_the_registry_has_no_more_is_told(client: Client, start: Start) -> None:
    await start("one", ALPHA, OLD_BETA)
    two = await start("two", SimulatedModel("gamma"))
    report = await client.fleet.sync("one", ["two"], prune=True)
    first, second, third = report.results
    assert (first.model, first.error) == ("alpha:latest", None)
    assert isinstance(second.error, ModelMismatch)
    assert (second.digest, second.is_done) == (BETA.digest, False)
    assert (third.model, third.action) == ("gamma:latest", "keep")  # where a pull failed
    assert report.failed == 1
    assert "gamma:latest" in two.models


async def test_only_names_that_match_are_pulled_and_deleted(client: Client, start: Start) -> None:
    await start("one", ALPHA, BETA)
    two = await start("two", SimulatedModel("alphabet"), SimulatedModel("gamma"))
    report = await client.fleet.sync("one", ["two"], model="alpha*", prune=True)
    assert told(report) == [
        ("two", "alpha:latest", "pull", True),
        ("two", "alphabet:latest", "remove", True),
    ]
    assert sorted(two.models) == ["alpha:latest", "gamma:latest"]


async def test_a_server_that_is_away_costs_its_own_row_only(client: Client, start: Start) -> None:
    await start("one", ALPHA)
    await start("two")
    await client.servers.add(name="away", url="http://127.0.0.1:9")
    report = await client.fleet.sync("one", all=True)
    assert told(report) == [
        ("two", "alpha:latest", "pull", True),
        ("away", None, "none", False),
    ]
    assert isinstance(report.results[1].error, ServerUnreachable)
    assert list(document(report)) == ["event", "source", "results", "same", "skipped", "failed"]


async def test_what_runs_elsewhere_is_skipped(client: Client, start: Start) -> None:
    await start("one", ALPHA, REMOTE)
    await start("two", ALPHA)
    report = await client.fleet.sync("one", ["two"])
    assert (report.results, report.skipped) == ((), ("far:cloud",))


async def test_a_model_that_was_made_there_is_in_no_registry(client: Client, start: Start) -> None:
    await start("one", SimulatedModel("mine"))
    await start("two")
    [result] = (await client.fleet.sync("one", ["two"])).results
    assert isinstance(result.error, ModelNotFound)


async def test_a_source_that_holds_nothing_empties_nobody(client: Client, start: Start) -> None:
    await start("one")
    two = await start("two", ALPHA)
    with pytest.raises(Conflict, match="has no model that matches"):
        await client.fleet.sync("one", ["two"], prune=True)
    assert list(two.models) == ["alpha:latest"]


async def test_what_cannot_be_meant_is_refused_before_anything_is_asked(
    client: Client, start: Start
) -> None:
    one = await start("one", ALPHA)
    with pytest.raises(InvalidInput, match="no server is named"):
        await client.fleet.sync("one")
    with pytest.raises(InvalidInput, match="with itself"):
        await client.fleet.sync("one", ["one"])
    with pytest.raises(ServerNotFound):
        await client.fleet.sync("one", ["two"])
    with pytest.raises(ServerNotFound):
        await client.fleet.sync("two", ["one"])
    with pytest.raises(InvalidInput, match="model is of type int"):
        await client.fleet.sync("one", ["two"], model=1)  # type: ignore[arg-type]
    assert changes(one) == []


async def test_the_source_has_to_answer_as_ollama(client: Client, start: Start) -> None:
    await start("two")
    await client.servers.add(name="away", url="http://127.0.0.1:9")
    with pytest.raises(ServerUnreachable):
        await client.fleet.sync("away", ["two"])
    async with FakeOllama(ALPHA, version=None) as other:
        await client.servers.add(name="vllm", url=f"{other.url}/v1")
        await client.servers.check(["vllm"])
        with pytest.raises(UpstreamError, match="is not Ollama"):
            await client.fleet.sync("vllm", ["two"])


async def test_who_leaves_stops_the_pulls(client: Client, start: Start) -> None:
    await start("one", ALPHA)
    two = await start("two")
    silence = Silence()
    two.script_always("/api/pull", silence)
    plan = await client.fleet.sync_plan("one", ["two"])
    events = client.fleet.syncing(plan)
    assert (await anext(events)).model == "alpha:latest"  # type: ignore[union-attr]
    await silence.arrived.wait()
    await events.aclose()
    await two.client_left.wait()
