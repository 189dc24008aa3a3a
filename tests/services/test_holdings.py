"""Models removed, copied, loaded and unloaded at servers, what is in memory there, and what is told
of a model.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.holdings import ChangeResult
from ollama_admin.errors import (
    AdminError,
    Conflict,
    InvalidInput,
    ModelNotFound,
    RemoteNotAllowed,
    ServerUnreachable,
    UpstreamError,
)
from ollama_admin.simulator.model import SimulatedModel
from tests.fake_ollama import Answer, FakeOllama, Fault, Recording
from tests.llama_server import LlamaServer

ALPHA = SimulatedModel("alpha", gpu_share=0.5)
NEW_ALPHA = SimulatedModel("alpha", build="2")
BETA = SimulatedModel("beta")
EMB = SimulatedModel("emb", capabilities=("embedding",))
CLOUD = SimulatedModel("far", remote_host="https://ollama.com:443", remote_model="far")
NOWHERE = "http://127.0.0.1:9"

Start = Callable[..., Any]


@pytest.fixture
async def start(client: Client) -> AsyncIterator[Start]:
    """Starts a server that holds the models, adds it under a name and discovers it."""
    async with AsyncExitStack() as stack:

        async def started(name: str, *models: SimulatedModel, **columns: Any) -> FakeOllama:
            fake = await stack.enter_async_context(FakeOllama(*models))
            await client.servers.add(name=name, url=fake.url, **columns)
            await client.discover([name])
            return fake

        yield started


def changes(results: list[ChangeResult]) -> list[tuple[str | None, str, type | None]]:
    return [
        (result.server.name, str(result.change), result.error and type(result.error))
        for result in results
    ]


async def models(client: Client) -> list[tuple[str, str]]:
    return sorted([(model.server, model.name) for model in await client.models.list()])


async def audited(client: Client) -> list[tuple[str, str | None, str]]:
    entries = await client.audit.list(action="model")
    return sorted((entry.action, entry.subject, entry.outcome) for entry in entries)


async def loaded(client: Client) -> list[str]:
    return [
        f"{result.server.name} {model.name}"
        for result in await client.fleet.ps()
        for model in result.models or ()
    ]


# remove


async def test_remove_deletes_and_the_catalogue_knows(client: Client, start: Start) -> None:
    await start("one", ALPHA, BETA)
    await start("two", ALPHA)
    results = await client.fleet.remove("Alpha:LATEST", ["one"])
    assert changes(results) == [("one", "removed", None)]
    assert results[0].digest == ALPHA.digest
    assert await models(client) == [("one", "beta:latest"), ("two", "alpha:latest")]
    [entry] = await client.audit.list(action="model")
    assert (entry.action, entry.subject) == ("model.delete", "model Alpha:LATEST on server one")
    assert entry.before == {"digest": ALPHA.digest}


async def test_remove_lets_go_of_a_model_in_memory(client: Client, start: Start) -> None:
    await start("one", ALPHA, BETA)
    await client.fleet.load("alpha", ["one"])
    await client.fleet.load("beta", ["one"])
    await client.fleet.remove("alpha", ["one"])
    assert await loaded(client) == ["one beta:latest"]


async def test_server_that_lacks_the_model_fails_only_where_it_is_named(
    client: Client, start: Start
) -> None:
    await start("one", ALPHA)
    await start("two", BETA)
    assert changes(await client.fleet.remove("alpha", ["two"])) == [
        ("two", "failed", ModelNotFound)
    ]
    assert changes(await client.fleet.remove("alpha", all=True)) == [
        ("one", "removed", None),
        ("two", "not there", None),
    ]
    with pytest.raises(ModelNotFound, match="no server has model 'alpha'"):
        await client.fleet.remove("alpha", all=True)
    assert await audited(client) == [
        ("model.delete", "model alpha on server one", "ok"),
        ("model.delete", "model alpha on server two", "model_not_found"),
    ]


async def test_server_that_is_away_costs_its_own_result_only(client: Client, start: Start) -> None:
    await start("one", ALPHA)
    gone = await start("two", ALPHA)
    await gone.stop()
    for work in (client.fleet.load, client.fleet.unload, client.fleet.remove):
        results = await work("alpha", all=True)
        assert [result.error and type(result.error) for result in results] == [
            None,
            ServerUnreachable,
        ]


async def test_removal_says_what_would_break_and_asks_nobody(client: Client, start: Start) -> None:
    one = await start("one", ALPHA, default_model="alpha")
    await start("two", NEW_ALPHA, default_model="beta")
    await client.pins.set("alpha", server="one")
    asked = len(one.requests)
    removal = await client.fleet.removal("alpha", ["one"])
    assert [server.name for server in removal.holders] == ["one"]
    assert removal.breaks == (
        "one answers with alpha when no model is named",
        f"no other server is known to have build {ALPHA.digest[:12]}, which is pinned",
    )
    assert (await client.fleet.removal("alpha", ["two"])).breaks == ()
    await start("three", ALPHA)
    removal = await client.fleet.removal("alpha", ["one", "two"])
    assert removal.breaks == ("one answers with alpha when no model is named",)
    assert len(one.requests) == asked


# copy


async def test_copy_is_a_second_name_of_the_same_build(client: Client, start: Start) -> None:
    fake = await start("one", ALPHA)
    [result] = await client.fleet.copy("alpha", "team/alpha:1", ["one"])
    assert (str(result.change), result.digest) == ("copied", ALPHA.digest)
    assert await models(client) == [("one", "alpha:latest"), ("one", "team/alpha:1")]
    [request] = fake.requests_to("/api/copy")
    assert request.body == {"source": "alpha:latest", "destination": "team/alpha:1"}
    assert await audited(client) == [("model.copy", "model team/alpha:1 on server one", "ok")]
    assert changes(await client.fleet.copy("alpha", "team/alpha:1", ["one"])) == [
        ("one", "copied", None)
    ]


@pytest.mark.parametrize("again", ["alpha", "ALPHA:latest", "library/alpha"])
async def test_a_copy_under_the_same_name_is_refused(
    client: Client, start: Start, again: str
) -> None:
    fake = await start("one", SimulatedModel("alpha"))
    with pytest.raises(InvalidInput, match="are one name"):
        await client.fleet.copy("alpha", again, ["one"])
    assert fake.requests_to("/api/copy") == []


async def test_copy_replaces_no_other_build(client: Client, start: Start) -> None:
    await start("one", ALPHA, BETA)
    [result] = await client.fleet.copy("alpha", "BETA", ["one"])
    assert isinstance(result.error, Conflict)
    assert str(result.error).startswith(f"'beta:latest' is build {BETA.digest[:12]} on server one")
    assert dict(await models(client)) == {"one": "beta:latest"}


# load and unload


async def test_load_keeps_a_model_in_memory_as_long_as_it_is_told(
    client: Client, start: Start
) -> None:
    fake = await start("one", ALPHA)
    assert changes(await client.fleet.load("alpha", ["one"], keep_alive="1h")) == [
        ("one", "loaded", None)
    ]
    [result] = await client.fleet.ps()
    assert result.models is not None
    [model] = result.models
    assert (model.name, model.digest, model.gpu_share) == ("alpha:latest", ALPHA.digest, 0.5)
    assert (model.context_length, model.expires_at is not None) == (2048, True)
    [request] = fake.requests_to("/api/generate")
    assert request.body == {"model": "alpha:latest", "stream": False, "keep_alive": "1h"}
    assert changes(await client.fleet.unload("alpha", ["one"])) == [("one", "unloaded", None)]
    assert await loaded(client) == []
    assert changes(await client.fleet.unload("alpha", ["one"])) == [("one", "not loaded", None)]
    assert await audited(client) == []


async def test_model_for_vectors_alone_is_loaded_too(client: Client, start: Start) -> None:
    await start("one", EMB)
    assert changes(await client.fleet.load("emb", ["one"], keep_alive=-1)) == [
        ("one", "loaded", None)
    ]
    assert await loaded(client) == ["one emb:latest"]
    assert changes(await client.fleet.unload("emb", ["one"])) == [("one", "unloaded", None)]
    assert await loaded(client) == []


async def test_load_pulls_nothing_and_sends_nothing_out_of_the_fleet(
    client: Client, start: Start
) -> None:
    fake = await start("one", CLOUD)
    assert changes(await client.fleet.load("alpha", ["one"])) == [("one", "failed", ModelNotFound)]
    assert changes(await client.fleet.load("far", ["one"])) == [("one", "failed", RemoteNotAllowed)]
    assert not fake.requests_to("/api/generate")
    assert not fake.requests_to("/api/pull")


async def test_load_that_the_server_cannot_do_says_why(client: Client, start: Start) -> None:
    fake = await start("one", ALPHA)
    fake.script("/api/generate", Answer(500, {"error": "timed out waiting for llama-server"}))
    [result] = await client.fleet.load("alpha", ["one"])
    assert str(result.error) == (
        "server one answered 500 to /api/generate: timed out waiting for llama-server"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"model": "alpha"}, "no server is named"),
        ({"model": "al*", "all": True}, "is a glob"),
        ({"model": "alpha", "all": True, "keep_alive": "5x"}, "is not a duration"),
        ({"model": " ", "all": True}, "the model name is empty"),
    ],
)
async def test_mistake_is_refused_before_anybody_is_asked(
    client: Client, words: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        await client.fleet.load(**words)


async def test_server_that_is_not_ollama_is_left_alone(client: Client) -> None:
    async with FakeOllama(ALPHA, version=None) as fake:
        await client.servers.add(name="v1", url=f"{fake.url}/v1")
        await client.servers.check(["v1"])
        for work in (client.fleet.load, client.fleet.unload, client.fleet.remove):
            assert changes(await work("alpha", ["v1"])) == [("v1", "failed", UpstreamError)]
        [result] = await client.fleet.ps(["v1"])
        assert (result.models, result.error) == (None, None)
        report = await client.fleet.pull("alpha", ["v1"])
        assert str(report.results[0].error) == "server v1 is not Ollama: it pulls nothing"


async def test_fleet_with_another_program_in_it(
    client: Client, start: Start, llama_servers: tuple[LlamaServer, LlamaServer]
) -> None:
    """It is left out of changes, unless it is named, and its row says that it does not tell."""
    await start("one", ALPHA)
    await start("two", ALPHA)
    await client.servers.add(name="llama", url=f"{llama_servers[0].url}/v1")
    assert (await client.discover(["llama"]))[0].error is None
    for work, change in (
        (client.fleet.load, "loaded"),
        (client.fleet.unload, "unloaded"),
        (client.fleet.remove, "removed"),
    ):
        results = await work("alpha", all=True)
        assert changes(results) == [("one", change, None), ("two", change, None)]
    running = await client.fleet.ps()
    assert [(row.server.name, row.models, row.error) for row in running] == [
        ("one", (), None),
        ("two", (), None),
        ("llama", None, None),
    ]
    report = await client.fleet.pull("alpha", all=True)
    assert [result.server.name for result in report.results] == ["one", "two"]
    assert changes(await client.fleet.load("alpha", ["llama"])) == [
        ("llama", "failed", UpstreamError)
    ]
    with pytest.raises(UpstreamError, match="no active Ollama server has model"):
        await client.fleet.show(llama_servers[0].model_id)


# ps


async def test_ps_shows_two_builds_of_one_name(client: Client, start: Start) -> None:
    fake = await start("one", ALPHA)
    fake.script("/api/ps", Recording.load("ps-two-builds"))
    [result] = await client.fleet.ps(["one"])
    assert result.models is not None
    assert [model.name for model in result.models] == ["alpha:latest", "alpha:latest", "emb:latest"]
    assert len({model.digest for model in result.models}) == 3
    assert [model.gpu_share for model in result.models] == [0, 0, 0]


ODD: dict[str, tuple[Fault, type[AdminError] | None]] = {
    "an old server without a context": (Recording.load("old-ps"), None),
    "nothing loaded": (Recording.load("ps-nothing-loaded"), None),
    "null": (Answer(200, {"models": None}), None),
    "fields of other types": (
        Answer(200, {"models": [{"name": "a", "size": "big", "expires_at": 7}]}),
        None,
    ),
    "a name that is none": (Answer(200, {"models": [{"name": 7}]}), UpstreamError),
    "a list of texts": (Answer(200, {"models": ["a"]}), UpstreamError),
    "a web page": (Answer(200, "<html>"), UpstreamError),
    "an error": (Answer(500, {"error": "no"}), UpstreamError),
}


@pytest.mark.parametrize("odd", ODD)
async def test_whatever_a_server_says_it_runs_is_its_own_result(
    client: Client, start: Start, odd: str
) -> None:
    fake = await start("one", ALPHA)
    await start("two", ALPHA)
    await client.fleet.load("alpha", ["two"])
    fault, kind = ODD[odd]
    fake.script("/api/ps", fault)
    one, two = await client.fleet.ps()
    assert (one.error and type(one.error)) == kind
    assert two.models is not None
    assert [model.name for model in two.models] == ["alpha:latest"]


# show


async def test_show_tells_what_it_is_and_where(client: Client, start: Start) -> None:
    await start("one", ALPHA)
    await start("two", NEW_ALPHA)
    await start("three", BETA)
    await start("four", ALPHA, is_active=False)
    await client.pins.set("alpha", digest=ALPHA.digest)
    await client.fleet.load("alpha", ["one"])
    shown = await client.fleet.show("alpha")
    assert (shown.server.name, shown.digest, shown.pinned) == ("one", ALPHA.digest, ALPHA.digest)
    assert shown.builds == 2
    assert shown.build.capabilities == ("completion",)
    assert (shown.build.context_length, shown.build.family) == (2048, "llama")
    assert [
        (holder.server.name, holder.digest, holder.is_active, holder.is_loaded)
        for holder in shown.holders
    ] == [
        ("one", ALPHA.digest, True, True),
        ("two", NEW_ALPHA.digest, True, False),
        ("four", ALPHA.digest, False, False),
    ]
    assert (await client.fleet.show("alpha", "two")).digest == NEW_ALPHA.digest


async def test_show_asks_the_next_holder_when_one_is_away(client: Client, start: Start) -> None:
    gone = await start("one", ALPHA)
    await start("two", ALPHA)
    await gone.stop()
    shown = await client.fleet.show("alpha")
    assert shown.server.name == "two"
    assert [holder.is_loaded for holder in shown.holders] == [None, False]
    with pytest.raises(ServerUnreachable):
        await client.fleet.show("alpha", "one")


async def test_show_asks_a_server_that_is_named_even_if_nothing_was_discovered(
    client: Client, start: Start
) -> None:
    fake = await start("one", BETA)
    fake.point("alpha", ALPHA)
    assert (await client.fleet.show("alpha", "one")).holders == ()
    with pytest.raises(ModelNotFound, match="no server has model 'alpha'"):
        await client.fleet.show("alpha")
    with pytest.raises(ModelNotFound, match="server one has no model 'gamma'"):
        await client.fleet.show("gamma", "one")


@pytest.mark.parametrize("name", ["show", "show-embedding", "show-thinker", "old-show"])
async def test_show_reads_what_real_servers_say(client: Client, start: Start, name: str) -> None:
    fake = await start("one", ALPHA)
    fake.script("/api/show", Recording.load(name))
    build = (await client.fleet.show("alpha")).build
    assert build.family == "llama"
    assert build.context_length == 2048
    assert build.capabilities


async def test_licences_of_older_servers_are_a_list(client: Client, start: Start) -> None:
    fake = await start("one", ALPHA)
    fake.script("/api/show", Answer(200, {"license": ["MIT", "GPL"], "model_info": {}}))
    assert (await client.fleet.show("alpha")).build.license == "MIT\n\nGPL"
