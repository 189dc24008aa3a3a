import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from ollama_admin.client import Client
from ollama_admin.domain.models import DigestChange, DiscoverResult, Model
from ollama_admin.domain.servers import ApiVersion, ServerStatus
from ollama_admin.errors import (
    Conflict,
    InvalidInput,
    ServerNotFound,
    ServerUnauthorized,
    ServerUnreachable,
    UpstreamError,
)
from ollama_admin.simulator.model import SimulatedModel
from tests.fake_ollama import Answer, CutAfter, FakeOllama, Fault, Held, Raw, Silence
from tests.llama_server import LlamaServer

ALPHA = SimulatedModel("alpha")
BETA = SimulatedModel("beta", capabilities=("completion", "vision"), context_length=8192)
NEW_ALPHA = SimulatedModel(
    "alpha", build="2", capabilities=("completion", "tools"), context_length=4096
)
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    """An Ollama that holds alpha and beta."""
    async with FakeOllama(ALPHA, BETA) as server:
        yield server


@pytest.fixture
async def one(client: Client, fake: FakeOllama) -> Client:
    """A client that knows the server as `one`, and has asked it nothing."""
    await client.servers.add(name="one", url=fake.url)
    return client


@pytest.fixture
def written() -> Iterator[list[str]]:
    """The statements that wrote rows of models, in order."""
    statements: list[str] = []

    def hear(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(
            ("INSERT INTO ollama_models", "UPDATE ollama_models", "DELETE FROM ollama_models")
        ):
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", hear)
    yield statements
    event.remove(Engine, "before_cursor_execute", hear)


async def rows(client: Client, *servers: int | str, **filters: Any) -> dict[str, Model]:
    """All rows of the servers, by name."""
    return {model.name: model for model in await client.models.list(servers, all=True, **filters)}


async def names(client: Client, *servers: int | str, **filters: Any) -> list[str]:
    return [model.name for model in await client.models.list(servers, **filters)]


def asked_to_show(fake: FakeOllama) -> list[str]:
    return [request.body["model"] for request in fake.requests_to("/api/show")]


# what is stored


async def test_first_discovery_stores_all_that_the_server_tells(
    one: Client, fake: FakeOllama
) -> None:
    before = datetime.now(UTC)
    (result,) = await one.discover()
    assert result == DiscoverResult(server=result.server, added=("alpha:latest", "beta:latest"))
    assert (result.server.id, result.server.name, result.server.url) == (1, "one", fake.url)
    beta = (await rows(one))["beta:latest"]
    assert before <= beta.first_seen_at == beta.last_seen_at <= datetime.now(UTC)
    assert beta == Model(
        id=beta.id,
        server_id=1,
        server="one",
        name="beta:latest",
        digest=BETA.digest,
        size=BETA.size,
        format=BETA.format,
        family=BETA.family,
        families=(BETA.family,),
        parameter_size=BETA.parameter_size,
        quantization_level=BETA.quantization_level,
        modified_at=BETA.modified_at,
        remote_host=None,
        remote_model=None,
        context_length=8192,
        embedding_length=BETA.embedding_length,
        capabilities=("completion", "vision"),
        is_available=True,
        first_seen_at=beta.first_seen_at,
        last_seen_at=beta.last_seen_at,
        digest_changed_at=None,
    )


async def test_discovery_notes_what_the_server_is(one: Client) -> None:
    before = datetime.now(UTC)
    await one.discover()
    server = await one.servers.show("one")
    assert (server.status, server.version, server.last_error) == (
        ServerStatus.ONLINE,
        "0.33.0",
        None,
    )
    assert server.last_seen_at is not None
    assert before <= server.last_seen_at == server.last_discovered_at


async def test_second_discovery_changes_nothing_and_writes_once_a_server(
    client: Client, fake: FakeOllama, written: list[str]
) -> None:
    async with FakeOllama(
        ALPHA, *(SimulatedModel(f"model-{number}") for number in range(40))
    ) as other:
        await client.servers.add(name="one", url=fake.url)
        await client.servers.add(name="two", url=other.url)
        await client.discover()
        before = await client.models.list()
        written.clear()
        results = await client.discover()
    after = await client.models.list()
    assert [
        (result.added, result.changed, result.unchanged, result.vanished) for result in results
    ] == [
        ((), (), 2, ()),
        ((), (), 41, ()),
    ]
    assert [statement.split()[:2] for statement in written] == [["UPDATE", "ollama_models"]] * 2
    seen = [(old.last_seen_at, new.last_seen_at) for old, new in zip(before, after, strict=True)]
    assert all(old < new for old, new in seen)
    assert [
        (model.id, model.digest, model.first_seen_at, model.capabilities) for model in after
    ] == [(model.id, model.digest, model.first_seen_at, model.capabilities) for model in before]


async def test_changed_digest_is_reported_and_the_facts_are_those_of_the_new_build(
    one: Client, fake: FakeOllama
) -> None:
    await one.discover()
    before = (await rows(one))["alpha:latest"]
    fake.point("alpha", NEW_ALPHA)
    (result,) = await one.discover()
    after = (await rows(one))["alpha:latest"]
    assert result.changed == (
        DigestChange(name="alpha:latest", before=ALPHA.digest, after=NEW_ALPHA.digest),
    )
    assert (result.added, result.unchanged, result.vanished) == ((), 1, ())
    assert (after.id, after.first_seen_at) == (before.id, before.first_seen_at)
    assert (after.digest, after.digest_changed_at) == (NEW_ALPHA.digest, after.last_seen_at)
    assert (after.capabilities, after.context_length) == (("completion", "tools"), 4096)


async def test_changed_digest_whose_facts_cannot_be_read_does_not_keep_those_of_the_old_build(
    one: Client, fake: FakeOllama
) -> None:
    await one.discover()
    fake.point("alpha", NEW_ALPHA)
    fake.script_always("/api/show", Answer(500, {"error": "broken"}))
    (result,) = await one.discover()
    assert result.error is None
    after = (await rows(one))["alpha:latest"]
    assert (after.digest, after.capabilities, after.context_length) == (
        NEW_ALPHA.digest,
        None,
        None,
    )


async def test_what_changed_beside_the_digest_is_stored_and_counts_as_unchanged(
    one: Client, fake: FakeOllama
) -> None:
    await one.discover()
    fake.point("alpha", ALPHA)
    (result,) = await one.discover()
    after = (await rows(one))["alpha:latest"]
    assert (result.changed, result.unchanged) == ((), 2)
    assert after.modified_at == fake.models["alpha:latest"].modified_at
    assert after.digest_changed_at is None


async def test_vanished_model_keeps_its_row_and_is_reported_once(
    one: Client, fake: FakeOllama
) -> None:
    await one.discover()
    fake.remove("beta")
    (first,) = await one.discover()
    (second,) = await one.discover()
    assert (first.vanished, first.unchanged, first.pruned) == (("beta:latest",), 1, 0)
    assert second.vanished == ()
    assert await names(one) == ["alpha:latest"]
    assert not (await rows(one))["beta:latest"].is_available


async def test_prune_deletes_what_vanished_now_and_before(one: Client, fake: FakeOllama) -> None:
    await one.discover()
    fake.remove("beta")
    await one.discover()
    fake.remove("alpha")
    fake.point("gamma", SimulatedModel("gamma"))
    (result,) = await one.discover(prune=True)
    assert (result.vanished, result.pruned) == (("alpha:latest",), 2)
    assert list(await rows(one)) == ["gamma:latest"]


async def test_prune_leaves_the_rows_of_other_servers(one: Client, fake: FakeOllama) -> None:
    async with FakeOllama(SimulatedModel("gamma")) as other:
        await one.servers.add(name="two", url=other.url)
        await one.discover()
        other.remove("gamma")
        await one.discover()
        (result,) = await one.discover(["one"], prune=True)
    assert result.pruned == 0
    assert "gamma:latest" in await rows(one, "two")


async def test_reappearing_model_gets_its_row_back(one: Client, fake: FakeOllama) -> None:
    await one.discover()
    before = (await rows(one))["beta:latest"]
    fake.remove("beta")
    await one.discover()
    fake.point("beta", BETA)
    (result,) = await one.discover()
    after = (await rows(one))["beta:latest"]
    assert (result.added, result.unchanged) == (("beta:latest",), 1)
    assert (after.id, after.first_seen_at, after.is_available) == (
        before.id,
        before.first_seen_at,
        True,
    )
    assert after.capabilities == before.capabilities


async def test_model_that_reappears_as_another_build_is_a_change(
    one: Client, fake: FakeOllama
) -> None:
    await one.discover()
    fake.remove("alpha")
    await one.discover()
    fake.point("alpha", NEW_ALPHA)
    (result,) = await one.discover()
    assert (result.added, [change.after for change in result.changed]) == ((), [NEW_ALPHA.digest])
    assert (await rows(one))["alpha:latest"].is_available


async def test_names_equal_after_folding_are_all_kept(client: Client) -> None:
    async with FakeOllama(
        SimulatedModel("Alpha"), NEW_ALPHA, SimulatedModel("library/alpha")
    ) as fake:
        await client.servers.add(name="one", url=fake.url)
        (result,) = await client.discover()
        assert result.added == ("Alpha:latest", "alpha:latest", "library/alpha:latest")
        (again,) = await client.discover()
    assert again.unchanged == 3
    assert (await rows(client))["alpha:latest"].digest == NEW_ALPHA.digest


async def test_remote_model_says_where_its_prompts_go_and_is_not_shown(client: Client) -> None:
    remote = SimulatedModel("big:cloud", remote_host="https://ollama.com:443", remote_model="big")
    async with FakeOllama(remote) as fake:
        await client.servers.add(name="one", url=fake.url)
        await client.discover()
    stored = (await rows(client))["big:cloud"]
    assert (stored.remote_host, stored.remote_model, stored.capabilities) == (
        "https://ollama.com:443",
        "big",
        None,
    )
    assert asked_to_show(fake) == []


# servers that fail


@pytest.mark.parametrize(
    ("path", "fault", "kind", "status"),
    [
        ("/api/version", Raw(), ServerUnreachable, ServerStatus.OFFLINE),
        ("/api/version", Answer(401), ServerUnauthorized, ServerStatus.UNAUTHORIZED),
        ("/api/tags", Answer(401), ServerUnauthorized, ServerStatus.UNAUTHORIZED),
        ("/api/tags", Answer(500, {"error": "broken"}), UpstreamError, ServerStatus.ERROR),
        ("/api/tags", Answer(200, "<html>welcome</html>"), UpstreamError, ServerStatus.ERROR),
        ("/api/tags", Answer(200, {"error": "no list"}), UpstreamError, ServerStatus.ERROR),
        ("/api/tags", Raw(), ServerUnreachable, ServerStatus.OFFLINE),
        ("/api/tags", CutAfter(400), ServerUnreachable, ServerStatus.OFFLINE),
    ],
)
@pytest.mark.parametrize("prune", [False, True])
async def test_failing_server_keeps_its_rows_and_costs_the_others_nothing(
    client: Client,
    fake: FakeOllama,
    path: str,
    fault: Fault,
    kind: type[Exception],
    status: ServerStatus,
    prune: bool,
) -> None:
    async with FakeOllama(SimulatedModel("gamma")) as other:
        await client.servers.add(name="one", url=fake.url)
        await client.servers.add(name="two", url=other.url)
        await client.discover(["one"])
        before = await rows(client, "one")
        version = (await client.servers.show("one")).version
        fake.script_always(path, fault)
        first, second = await client.discover(prune=prune)
    assert type(first.error) is kind
    assert second.added == ("gamma:latest",)
    assert await rows(client, "one") == before
    server = await client.servers.show("one")
    assert (server.status, server.last_error, server.version) == (status, str(first.error), version)


async def test_unreachable_server_is_an_error_of_its_own_result(client: Client) -> None:
    await client.servers.add(name="one", url=NOWHERE)
    (result,) = await client.discover()
    assert isinstance(result.error, ServerUnreachable)
    assert (result.added, result.vanished, result.unchanged) == ((), (), 0)


async def test_server_that_never_answers_is_given_up_after_the_timeout(
    one: Client, fake: FakeOllama
) -> None:
    fake.script_always("/api/tags", Silence())
    (result,) = await one.discover(timeout=0.1)
    assert isinstance(result.error, ServerUnreachable)
    assert "0.1 s" in result.error.message
    assert [request.path for request in fake.requests] == ["/api/version", "/api/tags"]


async def test_empty_list_is_asked_for_again_before_models_are_called_gone(
    one: Client, fake: FakeOllama
) -> None:
    await one.discover()
    fake.requests.clear()
    fake.script("/api/tags", Answer(200, {"models": []}))
    (result,) = await one.discover()
    assert (result.vanished, result.unchanged) == ((), 2)
    assert len(fake.requests_to("/api/tags")) == 2

    fake.script_always("/api/tags", Answer(200, {"models": None}))
    (result,) = await one.discover()
    assert result.vanished == ("alpha:latest", "beta:latest")


async def test_empty_list_and_then_a_failure_keep_the_rows(one: Client, fake: FakeOllama) -> None:
    await one.discover()
    fake.script("/api/tags", Answer(200, {"models": []}), Answer(500, {"error": "broken"}))
    (result,) = await one.discover()
    assert isinstance(result.error, UpstreamError)
    assert await names(one) == ["alpha:latest", "beta:latest"]


async def test_fifty_servers_do_not_wait_for_one_that_never_answers(client: Client) -> None:
    silence, all_others = Silence(), asyncio.Event()
    results: list[DiscoverResult] = []

    def hear(result: DiscoverResult) -> None:
        results.append(result)
        if len(results) == 49:
            all_others.set()

    models = [SimulatedModel(f"model-{number}") for number in range(40)]
    async with AsyncExitStack() as stack:
        fleet = [await stack.enter_async_context(FakeOllama(*models)) for _ in range(50)]
        fleet[0].script_always("/api/version", silence)
        for number, fake in enumerate(fleet):
            await client.servers.add(name=f"server-{number}", url=fake.url)
        started: list[int] = []
        discovering = asyncio.create_task(
            client.discover(on_start=started.append, on_result=hear, timeout=100)
        )
        await silence.arrived.wait()
        await all_others.wait()

        assert not discovering.done()
        assert fleet[0].in_flight == 1
        stored = await client.models.list()
        assert len(stored) == 49 * 40
        assert {model.server for model in stored} == {f"server-{number}" for number in range(1, 50)}
        assert [result for result in results if result.error or len(result.added) != 40] == []
        assert started == [50]

        discovering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await discovering
    assert len(await client.models.list()) == 49 * 40


async def test_only_so_many_servers_are_asked_at_once(client: Client) -> None:
    held = [Held() for _ in range(3)]
    async with AsyncExitStack() as stack:
        fleet = [await stack.enter_async_context(FakeOllama(ALPHA)) for _ in held]
        for number, (fake, fault) in enumerate(zip(fleet, held, strict=True)):
            fake.script("/api/version", fault)
            await client.servers.add(name=f"server-{number}", url=fake.url)
        discovering = asyncio.create_task(client.discover(concurrency=2))
        await asyncio.gather(held[0].arrived.wait(), held[1].arrived.wait())
        assert fleet[2].requests == []
        held[1].release.set()
        await held[2].arrived.wait()
        assert fleet[0].in_flight == 1
        for fault in held:
            fault.release.set()
        results = await discovering
    assert [str(result.server) for result in results] == ["server-0", "server-1", "server-2"]


@pytest.mark.parametrize(
    "values", [{"concurrency": 0}, {"timeout": 0}, {"timeout": -1}, {"timeout": float("nan")}]
)
async def test_limits_that_make_no_sense_are_refused(
    one: Client, fake: FakeOllama, values: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput):
        await one.discover(**values)
    assert fake.requests == []


# which servers


async def test_active_servers_are_asked_or_those_that_are_named_once(
    client: Client, fake: FakeOllama
) -> None:
    async with FakeOllama(SimulatedModel("gamma")) as other:
        await client.servers.add(name="on", url=fake.url)
        await client.servers.add(name="off", url=other.url, is_active=False)
        assert [str(result.server) for result in await client.discover()] == ["on"]
        assert [str(result.server) for result in await client.discover(["OFF", 2, "off"])] == [
            "off"
        ]
        assert [str(result.server) for result in await client.discover(all=True)] == ["on", "off"]


async def test_unknown_server_is_refused_before_any_is_asked(one: Client, fake: FakeOllama) -> None:
    with pytest.raises(ServerNotFound):
        await one.discover(["one", "nobody"])
    assert fake.requests == []


async def test_discovery_of_nothing_is_nothing(client: Client) -> None:
    started: list[int] = []
    assert await client.discover(on_start=started.append) == []
    assert started == [0]


@pytest.mark.parametrize("move", [True, False])
async def test_server_removed_or_moved_meanwhile_is_a_conflict_and_stores_nothing(
    one: Client, fake: FakeOllama, move: bool
) -> None:
    held = Held()
    fake.script("/api/tags", held)
    discovering = asyncio.create_task(one.discover())
    await held.arrived.wait()
    if move:
        await one.servers.update("one", url=NOWHERE)
    else:
        await one.servers.remove("one")
    held.release.set()
    (result,) = await discovering
    assert isinstance(result.error, Conflict)
    assert result.server.name == "one"
    assert await rows(one) == {}
    if move:
        server = await one.servers.show("one")
        assert (server.status, server.version, server.last_discovered_at) == (
            ServerStatus.UNKNOWN,
            None,
            None,
        )


async def test_failure_at_the_old_url_says_nothing_about_the_new_one(
    one: Client, fake: FakeOllama
) -> None:
    held = Held()
    fake.script("/api/tags", held)
    discovering = asyncio.create_task(one.discover())
    await held.arrived.wait()
    await one.servers.update("one", url=NOWHERE)
    await fake.stop()
    (result,) = await discovering
    assert isinstance(result.error, ServerUnreachable)
    assert (await one.servers.show("one")).status is ServerStatus.UNKNOWN


# facts


async def test_each_build_is_shown_once_in_the_fleet_by_the_newest_server(client: Client) -> None:
    async with (
        FakeOllama(ALPHA, version="0.9.6") as old,
        FakeOllama(ALPHA, BETA, version="0.33.0") as new,
    ):
        await client.servers.add(name="old", url=old.url, is_default=True)
        await client.servers.add(name="new", url=new.url)
        await client.discover()
        await client.discover()
    assert asked_to_show(old) == []
    assert sorted(asked_to_show(new)) == ["alpha:latest", "beta:latest"]
    assert (await rows(client, "old"))["alpha:latest"].capabilities == ("completion",)
    assert (await rows(client, "old"))["alpha:latest"].context_length == ALPHA.context_length


async def test_known_build_on_another_server_or_under_another_name_is_not_shown_again(
    one: Client, fake: FakeOllama
) -> None:
    await one.discover()
    async with FakeOllama(SimulatedModel("copy-of-beta", BETA.digest)) as other:
        await one.servers.add(name="two", url=other.url)
        await one.discover()
    assert asked_to_show(other) == []
    copy = (await rows(one, "two"))["copy-of-beta:latest"]
    assert (copy.capabilities, copy.context_length) == (("completion", "vision"), 8192)


async def test_build_whose_facts_could_not_be_read_is_asked_again_next_time(
    one: Client, fake: FakeOllama
) -> None:
    fake.script_always("/api/show", Answer(500, {"error": "broken"}))
    (result,) = await one.discover()
    assert (result.error, len(result.added)) == (None, 2)
    assert [model.capabilities for model in await one.models.list()] == [None, None]
    fake.clear_script()
    fake.requests.clear()
    await one.discover()
    assert sorted(asked_to_show(fake)) == ["alpha:latest", "beta:latest"]
    assert (await rows(one))["beta:latest"].capabilities == ("completion", "vision")


async def test_build_whose_server_tells_no_capabilities_is_asked_again_next_time(
    one: Client, fake: FakeOllama
) -> None:
    """Servers before 0.6.4 know none; the build is the same when they are newer one day."""
    info = {"general.architecture": "llama", "llama.context_length": 77}
    fake.script_always("/api/show", Answer(200, {"model_info": info}))
    await one.discover()
    alpha = (await rows(one))["alpha:latest"]
    assert (alpha.capabilities, alpha.context_length) == (None, 77)
    fake.clear_script()
    await one.discover()
    assert (await rows(one))["alpha:latest"].capabilities == ("completion",)


async def test_next_server_is_asked_when_the_newest_cannot_tell(client: Client) -> None:
    async with (
        FakeOllama(ALPHA, version="0.9.6") as old,
        FakeOllama(ALPHA, version="0.33.0") as new,
    ):
        new.script_always("/api/show", Answer(500, {"error": "broken"}))
        await client.servers.add(name="old", url=old.url)
        await client.servers.add(name="new", url=new.url)
        await client.discover()
    assert (asked_to_show(new), asked_to_show(old)) == (["alpha:latest"], ["alpha:latest"])
    assert (await rows(client, "new"))["alpha:latest"].capabilities == ("completion",)


async def test_server_that_fell_silent_is_asked_nothing_more(client: Client) -> None:
    async with (
        FakeOllama(ALPHA, BETA, version="0.9.6") as old,
        FakeOllama(ALPHA, BETA, version="0.33.0") as new,
    ):
        new.script_always("/api/show", Silence())
        await client.servers.add(name="old", url=old.url)
        await client.servers.add(name="new", url=new.url)
        await client.discover(timeout=0.2, concurrency=1)
    assert len(asked_to_show(new)) == 1
    assert sorted(asked_to_show(old)) == ["alpha:latest", "beta:latest"]
    assert [model.capabilities is None for model in await client.models.list()] == [False] * 4


# servers that speak v1


async def test_v1_row_of_an_ollama_server_is_read_with_digests(
    client: Client, fake: FakeOllama
) -> None:
    await client.servers.add(name="one", url=f"{fake.url}/v1")
    (result,) = await client.discover()
    assert result.added == ("alpha:latest", "beta:latest")
    assert (await rows(client))["alpha:latest"].digest == ALPHA.digest
    assert fake.requests_to("/v1/models") == []
    server = await client.servers.show("one")
    assert (server.api_version, server.version) == (ApiVersion.V1, "0.33.0")


async def test_server_that_is_not_ollama_tells_names_alone(client: Client) -> None:
    async with FakeOllama(
        SimulatedModel("Org/Model"), SimulatedModel("org/model"), version=None
    ) as fake:
        await client.servers.add(name="one", url=f"{fake.url}/v1")
        (result,) = await client.discover()
    assert result.added == ("Org/Model", "org/model")
    model = (await rows(client))["Org/Model"]
    assert (model.digest, model.size, model.family, model.capabilities) == (None, None, None, None)
    server = await client.servers.show("one")
    assert (server.status, server.version, server.is_ollama) == (ServerStatus.ONLINE, None, False)
    assert fake.requests_to("/api/tags") == []
    assert fake.requests_to("/api/show") == []


async def test_native_row_of_a_server_that_is_not_ollama_is_an_error_with_the_way_out(
    client: Client,
) -> None:
    async with FakeOllama(ALPHA, version=None) as fake:
        await client.servers.add(name="one", url=fake.url)
        (result,) = await client.discover()
    assert isinstance(result.error, UpstreamError)
    assert result.error.hint is not None
    assert "--api-version v1" in result.error.hint
    assert await rows(client) == {}


async def test_real_llama_servers_are_discovered_by_the_ids_they_list(
    client: Client, llama_servers: tuple[LlamaServer, LlamaServer]
) -> None:
    for server in llama_servers:
        await client.servers.add(name=server.model_id, url=f"{server.url}/v1")
    first, second = await client.discover()
    assert (first.added, second.added) == tuple((server.model_id,) for server in llama_servers)
    first, second = await client.discover()
    assert (first.unchanged, second.unchanged) == (1, 1)


async def test_server_that_becomes_ollama_gets_digests(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha:latest"), version=None) as fake:
        await client.servers.add(name="one", url=f"{fake.url}/v1")
        await client.discover()
        fake.version = "0.33.0"
        (result,) = await client.discover()
        (change,) = result.changed
        assert (change.before, change.after) == (None, fake.models["alpha:latest"].digest)
    assert (await rows(client))["alpha:latest"].capabilities == ("completion",)


async def test_times_come_back_in_utc(client: Client) -> None:
    """Also from SQLite, which keeps no time zone, and to the microsecond."""
    told = datetime(2026, 11, 23, 5, 6, 7, 123456, tzinfo=UTC)
    entry = {
        "name": "alpha:latest",
        "digest": ALPHA.digest,
        "modified_at": "2026-11-23T07:06:07.123456789+02:00",
    }
    async with FakeOllama() as fake:
        fake.script_always("/api/tags", Answer(200, {"models": [entry]}))
        await client.servers.add(name="one", url=fake.url)
        await client.discover()
        (result,) = await client.discover()
    model = (await rows(client))["alpha:latest"]
    assert model.modified_at == told
    assert model.modified_at.utcoffset() == timedelta(0)
    assert result.unchanged == 1
