import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.servers import ApiVersion, AuthType, Server, ServerStatus
from ollama_admin.errors import (
    InvalidInput,
    ServerExists,
    ServerNotFound,
    ServerUnauthorized,
    ServerUnreachable,
)
from ollama_admin.simulator.model import SimulatedModel
from tests.fake_ollama import Answer, FakeOllama, Held, Silence, redirect

NOWHERE = "http://127.0.0.1:9"


async def names(client: Client, **filters: Any) -> list[str]:
    return [server.name for server in await client.servers.list(**filters)]


# add


async def test_added_server_is_normalised_and_has_the_defaults(client: Client) -> None:
    before = datetime.now(UTC)
    server = await client.servers.add(
        name="Server 1 - General/Reasoning", url="HTTP://GPU.Example:11434/"
    )
    assert before <= server.created_at == server.updated_at <= datetime.now(UTC)
    assert server == Server(
        id=1,
        name="Server 1 - General/Reasoning",
        url="http://gpu.example:11434",
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
        created_at=server.created_at,
        updated_at=server.updated_at,
    )
    assert server.is_ollama is None


async def test_every_column_that_is_given_is_stored(client: Client) -> None:
    given: dict[str, Any] = {
        "name": "gpu",
        "url": "http://gpu:1",
        "api_version": "v1",
        "capabilities": ("vision", "Tools"),
        "max_concurrent": 4,
        "priority": -2,
        "is_default": True,
        "is_active": False,
        "default_model": "qwen3-vl:8b",
    }
    added = await client.servers.add(**given)
    shown = await client.servers.show("gpu")
    assert shown == added
    assert {column: getattr(shown, column) for column in given} == given


@pytest.mark.parametrize(
    ("url", "stored", "version"),
    [
        ("http://10.39.0.101:11434/v1", "http://10.39.0.101:11434", ApiVersion.V1),
        ("http://10.39.0.101:11434/", "http://10.39.0.101:11434", ApiVersion.NATIVE),
        ("http://10.39.0.101:11434/api", "http://10.39.0.101:11434", ApiVersion.NATIVE),
        ("10.39.0.101", "http://10.39.0.101:11434", ApiVersion.NATIVE),
    ],
)
async def test_tail_of_the_url_decides_what_is_spoken(
    client: Client, url: str, stored: str, version: ApiVersion
) -> None:
    server = await client.servers.add(name="one", url=url)
    assert (server.url, server.api_version) == (stored, version)


async def test_api_version_that_is_given_wins_over_the_url(client: Client) -> None:
    server = await client.servers.add(
        name="one", url="http://one/v1", api_version=ApiVersion.NATIVE
    )
    assert (server.url, server.api_version) == ("http://one", ApiVersion.NATIVE)


@pytest.mark.parametrize("name", ["gpu", "GPU", "Gpu"])
async def test_name_equal_after_folding_is_taken(client: Client, name: str) -> None:
    await client.servers.add(name="gpu", url="one")
    with pytest.raises(ServerExists, match="is taken by server 1, 'gpu'") as refused:
        await client.servers.add(name=name, url="two")
    assert refused.value.hint == "see it with: ollama-admin server show gpu"
    assert await names(client) == ["gpu"]


@pytest.mark.parametrize(
    ("first", "second"),
    [("stra\u00dfe", "STRASSE"), ("\u00e9t\u00e9", "e\u0301te\u0301"), ("\u03a3", "\u03c2")],
)
async def test_names_of_other_scripts_are_folded_too(
    client: Client, first: str, second: str
) -> None:
    await client.servers.add(name=first, url="one")
    with pytest.raises(ServerExists):
        await client.servers.add(name=second, url="two")
    assert (await client.servers.show(second)).id == 1


@pytest.mark.parametrize(
    "url", ["http://10.39.0.101:11434/v1", "http://10.39.0.101:11434/", "10.39.0.101"]
)
async def test_url_of_the_same_server_is_taken_however_it_is_written(
    client: Client, url: str
) -> None:
    await client.servers.add(name="one", url="http://10.39.0.101:11434")
    with pytest.raises(
        ServerExists, match=r"the URL http://10\.39\.0\.101:11434 is taken by server 1, 'one'"
    ):
        await client.servers.add(name="two", url=url)


async def test_id_of_a_removed_server_is_never_given_again(client: Client) -> None:
    first = await client.servers.add(name="one", url="one")
    await client.servers.remove("one")
    assert (await client.servers.add(name="one", url="one")).id == first.id + 1


# find and list


async def test_server_is_found_by_id_and_by_name_in_any_case(client: Client) -> None:
    added = await client.servers.add(name="GPU \u00e9", url="one")
    for server in (added.id, str(added.id), "GPU \u00e9", "gpu E\u0301"):
        assert await client.servers.show(server) == added


async def test_unknown_server_is_named(client: Client) -> None:
    for server, message in (("gpu-3", "no server named 'gpu-3'"), (7, "no server with id 7")):
        with pytest.raises(ServerNotFound) as missing:
            await client.servers.show(server)
        assert missing.value.message == message


async def test_list_is_in_the_order_in_which_servers_are_chosen(client: Client) -> None:
    await client.servers.add(name="old", url="one")
    await client.servers.add(name="young", url="two")
    await client.servers.add(name="preferred", url="three", priority=5)
    await client.servers.add(name="off", url="four", priority=1, is_active=False)
    await client.servers.add(name="default", url="five", priority=-5, is_default=True)
    assert await names(client) == ["default", "preferred", "off", "old", "young"]


async def test_list_is_filtered_by_capability_in_any_case(client: Client) -> None:
    await client.servers.add(name="one", url="one", capabilities=["Vision", "tools"])
    await client.servers.add(name="two", url="two", capabilities=["tools"])
    assert await names(client, capability="vision") == ["one"]
    assert await names(client, capability="TOOLS") == ["one", "two"]
    assert await names(client, capability="audio") == []
    assert await names(client, capability="") == []  # as `generate` finds none


# update


async def test_update_changes_only_what_is_given(client: Client) -> None:
    before = await client.servers.add(
        name="one", url="one", priority=3, capabilities=["vision"], default_model="a"
    )
    after = await client.servers.update("one", max_concurrent=2)
    assert after.max_concurrent == 2
    assert after.updated_at > before.updated_at
    for column in ("name", "url", "priority", "capabilities", "default_model", "created_at"):
        assert getattr(after, column) == getattr(before, column)


async def test_update_without_a_change_is_refused(client: Client) -> None:
    await client.servers.add(name="one", url="one")
    with pytest.raises(InvalidInput, match="no change was given"):
        await client.servers.update("one")


async def test_server_may_be_renamed_to_another_spelling_of_its_name(client: Client) -> None:
    await client.servers.add(name="one", url="one")
    assert (await client.servers.update("one", name="ONE", url="http://one:11434/")).name == "ONE"


@pytest.mark.parametrize("values", [{"name": "TWO"}, {"url": "two/v1"}])
async def test_name_and_url_of_another_server_are_refused(
    client: Client, values: dict[str, str]
) -> None:
    one = await client.servers.add(name="one", url="one")
    await client.servers.add(name="two", url="two")
    with pytest.raises(ServerExists, match="taken by server 2, 'two'"):
        await client.servers.update("one", **values)
    assert await client.servers.show("one") == one


async def test_capabilities_and_default_model_can_be_cleared(client: Client) -> None:
    await client.servers.add(name="one", url="one", capabilities=["vision"], default_model="alpha")
    server = await client.servers.update("one", clear=["capabilities", "default_model"])
    assert (server.capabilities, server.default_model) == ((), None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"clear": ["name"]}, "'name' cannot be cleared"),
        ({"clear": ["is_default"]}, "'is_default' cannot be cleared"),
        ({"clear": ["default_model"], "default_model": "a"}, "both given and cleared"),
        ({"clear": ["capabilities"], "capabilities": ["a"]}, "both given and cleared"),
    ],
)
async def test_what_cannot_be_cleared_is_refused(
    client: Client, values: dict[str, Any], message: str
) -> None:
    one = await client.servers.add(name="one", url="one", default_model="alpha")
    with pytest.raises(InvalidInput, match=message):
        await client.servers.update("one", **values)
    assert await client.servers.show("one") == one


@pytest.mark.parametrize(
    ("url", "values", "spoken"),
    [
        ("http://new", {}, ApiVersion.V1),
        ("http://new/v1", {}, ApiVersion.V1),
        ("http://new/api", {}, ApiVersion.NATIVE),
        ("http://new/api", {"api_version": "v1"}, ApiVersion.V1),
        ("http://new/v1", {"api_version": "native"}, ApiVersion.NATIVE),
    ],
)
async def test_url_without_a_tail_leaves_what_is_spoken(
    client: Client, url: str, values: dict[str, str], spoken: ApiVersion
) -> None:
    await client.servers.add(name="one", url="http://one/v1")
    server = await client.servers.update("one", url=url, **values)
    assert (server.url, server.api_version) == ("http://new", spoken)


async def test_another_url_makes_models_unavailable_and_forgets_what_was_seen(
    client: Client,
) -> None:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        await client.servers.add(name="one", url=fake.url)
        await client.discover()
        seen = await client.servers.show("one")
        assert (seen.status, seen.version) == (ServerStatus.ONLINE, "0.33.0")

        assert (
            await client.servers.update("one", url=f"{fake.url}/")
        ).last_seen_at == seen.last_seen_at
        assert len(await client.models.list()) == 1

        moved = await client.servers.update("one", url="http://elsewhere", priority=1)
    assert (moved.status, moved.version, moved.last_seen_at, moved.last_discovered_at) == (
        ServerStatus.UNKNOWN,
        None,
        None,
        None,
    )
    assert await client.models.list() == []
    assert [model.name for model in await client.models.list(all=True)] == ["alpha:latest"]


# default, active, remove


async def test_only_one_server_is_the_default(client: Client) -> None:
    for name in ("one", "two", "three"):
        await client.servers.add(name=name, url=name, is_default=name != "three")
    assert [server.name for server in await client.servers.list() if server.is_default] == ["two"]
    assert (await client.servers.set_default("three")).is_default
    assert [server.name for server in await client.servers.list() if server.is_default] == ["three"]
    assert (await client.servers.set_default("three")).is_default
    assert not (await client.servers.update("three", is_default=False)).is_default


async def test_failed_change_leaves_the_default_where_it_was(client: Client) -> None:
    await client.servers.add(name="one", url="one", is_default=True)
    with pytest.raises(ServerExists):
        await client.servers.add(name="ONE", url="two", is_default=True)
    with pytest.raises(ServerNotFound):
        await client.servers.set_default("nobody")
    assert (await client.servers.show("one")).is_default


async def test_disabled_default_is_kept_and_a_person_is_told(
    client: Client, notes: list[str]
) -> None:
    await client.servers.add(name="one", url="one", is_default=True)
    await client.servers.add(name="two", url="two")
    assert not (await client.servers.disable("two")).is_active
    assert notes == []
    server = await client.servers.disable("one")
    assert (server.is_active, server.is_default) == (False, True)
    assert notes == ["server one is still the default; choose another with: server set-default"]
    assert (await client.servers.enable("one")).is_active


async def test_removed_server_takes_its_models_and_only_them_along(client: Client) -> None:
    async with (
        FakeOllama(SimulatedModel("alpha")) as first,
        FakeOllama(SimulatedModel("beta")) as second,
    ):
        one = await client.servers.add(name="one", url=first.url)
        await client.servers.add(name="two", url=second.url)
        await client.discover()
        one = await client.servers.show("one")
        assert await client.servers.remove("ONE") == one.ref
    assert [model.name for model in await client.models.list(all=True)] == ["beta:latest"]
    assert await names(client) == ["two"]


# check


async def test_check_notes_status_and_version(client: Client) -> None:
    async with FakeOllama(version="0.9.6") as fake:
        await client.servers.add(name="one", url=fake.url)
        (result,) = await client.servers.check()
    server = await client.servers.show("one")
    assert (result.server, result.status, result.version, result.error) == (
        server.ref,
        ServerStatus.ONLINE,
        "0.9.6",
        None,
    )
    assert result.ms >= 0
    assert (server.status, server.version, server.last_error, server.is_ollama) == (
        ServerStatus.ONLINE,
        "0.9.6",
        None,
        True,
    )
    assert server.last_seen_at is not None
    assert server.last_discovered_at is None
    assert [request.path for request in fake.requests] == ["/api/version"]


async def test_check_of_an_unreachable_server_keeps_the_version_it_had(client: Client) -> None:
    async with FakeOllama() as fake:
        await client.servers.add(name="one", url=fake.url)
        await client.servers.check()
    before = await client.servers.show("one")
    (result,) = await client.servers.check()
    after = await client.servers.show("one")
    assert result.status is ServerStatus.OFFLINE
    assert isinstance(result.error, ServerUnreachable)
    assert (after.status, after.last_error) == (ServerStatus.OFFLINE, result.error.message)
    assert (after.version, after.last_seen_at) == (before.version, before.last_seen_at)


async def test_check_clears_the_error_of_the_last_one(client: Client) -> None:
    async with FakeOllama() as fake:
        await client.servers.add(name="one", url=fake.url)
        fake.script("/api/version", Answer(500, {"error": "out of memory"}))
        (first,) = await client.servers.check()
        assert first.status is ServerStatus.ERROR
        assert "out of memory" in ((await client.servers.show("one")).last_error or "")
        await client.servers.check()
    server = await client.servers.show("one")
    assert (server.status, server.last_error) == (ServerStatus.ONLINE, None)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Answer(401, "<html>who are you</html>"), ServerStatus.UNAUTHORIZED),
        (Answer(403), ServerStatus.UNAUTHORIZED),
        (Answer(502, "<html>bad gateway</html>"), ServerStatus.ERROR),
        (Answer(200, "<html>welcome</html>"), ServerStatus.ERROR),
        (Answer(404, "not here"), ServerStatus.ERROR),
        (Answer(500, {"error": "a\0b \x1b[31m"}), ServerStatus.ERROR),
        (redirect("http://evil.example/"), ServerStatus.ERROR),
    ],
    ids=lambda value: str(getattr(value, "status", value)),
)
async def test_check_notes_what_kind_of_answer_it_was(
    client: Client, fault: Answer, status: ServerStatus
) -> None:
    async with FakeOllama() as fake:
        fake.script_always("/api/version", fault)
        await client.servers.add(name="one", url=fake.url)
        (result,) = await client.servers.check()
    server = await client.servers.show("one")
    assert (result.status, server.status) == (status, status)
    assert result.error is not None
    assert server.last_error == result.error.message
    assert (server.version, server.last_seen_at) == (None, None)


async def test_check_of_a_server_that_wants_a_header_is_unauthorized(client: Client) -> None:
    async with FakeOllama(require_header=("Authorization", "Bearer x")) as fake:
        await client.servers.add(name="one", url=fake.url)
        (result,) = await client.servers.check()
    assert result.status is ServerStatus.UNAUTHORIZED
    assert isinstance(result.error, ServerUnauthorized)


async def test_native_server_that_is_not_ollama_is_an_error_with_the_way_out(
    client: Client,
) -> None:
    async with FakeOllama(SimulatedModel("alpha"), version=None) as fake:
        await client.servers.add(name="one", url=fake.url)
        (result,) = await client.servers.check()
        assert result.status is ServerStatus.ERROR
        assert result.error is not None
        assert "not as Ollama" in result.error.message
        assert result.error.hint is not None
        assert result.error.hint.endswith("ollama-admin server update one --api-version v1")

        await client.servers.update(1, api_version="v1")
        (result,) = await client.servers.check()
    server = await client.servers.show("one")
    assert (result.status, result.version) == (ServerStatus.ONLINE, None)
    assert (server.is_ollama, server.last_error) == (False, None)


async def test_v1_server_that_does_not_list_models_is_an_error(client: Client) -> None:
    async with FakeOllama(version=None) as fake:
        fake.script_always("/v1/models", Answer(500, {"error": {"message": "broken"}}))
        await client.servers.add(name="one", url=f"{fake.url}/v1")
        (result,) = await client.servers.check()
    assert result.status is ServerStatus.ERROR


async def test_check_asks_the_active_servers_or_those_that_are_named_once(client: Client) -> None:
    async with FakeOllama() as fake:
        await client.servers.add(name="on", url=fake.url)
        await client.servers.add(name="off", url=NOWHERE, is_active=False)
        assert [str(result.server) for result in await client.servers.check()] == ["on"]
        assert [str(result.server) for result in await client.servers.check(all=True)] == [
            "on",
            "off",
        ]
        assert [
            str(result.server) for result in await client.servers.check(["off", 2, "on", "OFF"])
        ] == ["off", "on"]
    with pytest.raises(ServerNotFound):
        await client.servers.check(["on", "nobody"])


async def test_server_that_is_silent_does_not_hold_up_the_check_of_others(client: Client) -> None:
    silence = Silence()
    async with FakeOllama() as quick, FakeOllama() as slow:
        slow.script_always("/api/version", silence)
        await client.servers.add(name="slow", url=slow.url)
        await client.servers.add(name="quick", url=quick.url)
        checking = asyncio.create_task(client.servers.check())
        await silence.arrived.wait()
        while (await client.servers.show("quick")).status is not ServerStatus.ONLINE:
            assert not checking.done()
        checking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await checking


async def test_check_says_nothing_about_a_url_that_was_changed_meanwhile(client: Client) -> None:
    held = Held()
    async with FakeOllama() as fake:
        fake.script("/api/version", held)
        await client.servers.add(name="one", url=fake.url)
        checking = asyncio.create_task(client.servers.check())
        await held.arrived.wait()
        await client.servers.update("one", url=NOWHERE)
        held.release.set()
        await checking
    server = await client.servers.show("one")
    assert (server.status, server.version) == (ServerStatus.UNKNOWN, None)
