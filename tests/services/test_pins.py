"""Which build a name means for the whole fleet."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection

from ollama_admin.client import Client
from ollama_admin.domain.names import ModelName
from ollama_admin.errors import AdminError, Conflict, ModelNotFound
from ollama_admin.settings import Settings
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.store import pins as store
from ollama_admin.store.database import Database
from ollama_admin.store.tables import models
from tests.fake_ollama import FakeOllama

OLD, NEW = SimulatedModel("alpha"), SimulatedModel("alpha", build="2")
GONE = SimulatedModel("gone")


@pytest.fixture
async def fleet(client: Client) -> AsyncIterator[Client]:
    """`one` and `two` have old alpha, `off` is inactive with the new one, `plain` is no Ollama;
    `gone` vanished.
    """
    async with AsyncExitStack() as stack:
        one, two, off, plain = [
            await stack.enter_async_context(FakeOllama(*held, **options))
            for held, options in (
                ((OLD, GONE), {}),
                ((SimulatedModel("Library/Alpha:latest"),), {}),
                ((NEW,), {}),
                ((SimulatedModel("alpha"),), {"version": None}),
            )
        ]
        for name, url in (
            ("one", one.url),
            ("two", two.url),
            ("off", off.url),
            ("plain", f"{plain.url}/v1"),
        ):
            await client.servers.add(name=name, url=url, is_active=name != "off")
        await client.discover(all=True)
        one.remove("gone:latest")
        await client.discover(["one"])
        yield client


async def error_of(client: Client, name: str, **given: str | int) -> AdminError:
    with pytest.raises(AdminError) as raised:
        await client.pins.set(name, **given)
    return raised.value


async def test_digest_is_that_of_all_active_servers_that_list_the_name(
    fleet: Client, notes: list[str]
) -> None:
    before = datetime.now(UTC)
    pin = await fleet.pins.set("ALPHA")
    assert (pin.name, pin.digest, pin.before) == ("alpha:latest", OLD.digest, None)
    assert before <= pin.created_at == pin.updated_at <= datetime.now(UTC)
    assert notes == []


async def test_digest_is_that_of_the_named_server_though_it_is_inactive(
    fleet: Client, notes: list[str]
) -> None:
    assert (await fleet.pins.set("alpha", server="off")).digest == NEW.digest
    assert notes == [f"no active server is known to have build {NEW.digest[:12]} of alpha:latest"]


async def test_servers_that_differ_are_listed_in_the_order_in_which_they_are_chosen(
    fleet: Client,
) -> None:
    await fleet.servers.update("off", priority=5)
    await fleet.servers.enable("off")
    error = await error_of(fleet, "alpha")
    assert type(error) is Conflict
    old, new = OLD.digest[:12], NEW.digest[:12]
    assert (
        error.message
        == f"2 builds of 'alpha' on the active servers: off {new}, one {old}, two {old}"
    )


async def test_long_list_of_servers_that_differ_is_cut(client: Client) -> None:
    async with AsyncExitStack() as stack:
        for number in range(22):
            fake = await stack.enter_async_context(FakeOllama(NEW if number else OLD))
            await client.servers.add(name=f"s{number}", url=fake.url)
        await client.discover()
    error = await error_of(client, "alpha")
    assert error.message.endswith(f"s19 {NEW.digest[:12]} and 2 more")


@pytest.mark.parametrize("name", ["gone", "nothing", "alpha:7b"])
async def test_name_that_no_active_server_lists_is_not_found(fleet: Client, name: str) -> None:
    error = await error_of(fleet, name)
    assert type(error) is ModelNotFound
    assert error.message == f"no active server lists model {name!r} with a digest"


async def test_server_that_tells_no_digest_has_no_build_to_pin(fleet: Client) -> None:
    error = await error_of(fleet, "alpha", server="plain")
    assert (type(error), error.message) == (
        ModelNotFound,
        "server plain does not list model 'alpha' with a digest",
    )
    assert error.hint == (
        "the servers that list it show no digest, or were not asked; see: ollama-admin "
        "models --by-model"
    )
    assert "nearest: " in str((await error_of(fleet, "alph")).hint)


async def test_emulation_with_one_digest_for_everything_does_not_count(client: Client) -> None:
    async with (
        FakeOllama(SimulatedModel("alpha", family="koboldcpp")) as kobold,
        FakeOllama(NEW) as ollama,
    ):
        await client.servers.add(name="kobold", url=kobold.url)
        await client.servers.add(name="ollama", url=ollama.url)
        await client.discover()
    assert (await client.pins.set("alpha")).digest == NEW.digest
    assert type(await error_of(client, "alpha", server="kobold")) is ModelNotFound


async def test_names_of_one_server_that_are_equal_but_not_the_same_build_are_a_conflict(
    client: Client,
) -> None:
    async with FakeOllama(
        SimulatedModel("alpha"), SimulatedModel("Alpha:latest", build="2")
    ) as fake:
        await client.servers.add(name="one", url=fake.url)
        await client.discover()
    error = await error_of(client, "alpha", server=1)
    assert (type(error), error.hint) == (Conflict, "choose one with --digest D")


# --digest


@pytest.mark.parametrize(
    "model", [OLD, NEW, GONE], ids=["listed", "on an inactive server", "vanished"]
)
async def test_prefix_is_resolved_against_all_known_builds_of_the_name(
    fleet: Client, model: SimulatedModel
) -> None:
    pin = await fleet.pins.set(model.name, digest=f"sha256:{model.digest[:12].upper()}")
    assert pin.digest == model.digest


async def test_prefix_of_another_names_build_is_not_found_and_the_known_ones_are_shown(
    fleet: Client,
) -> None:
    error = await error_of(fleet, "alpha", digest=GONE.digest[:12])
    assert type(error) is ModelNotFound
    assert error.hint is not None
    assert f"one {OLD.digest[:12]}, two {OLD.digest[:12]}, off {NEW.digest[:12]}" in error.hint
    assert (await error_of(fleet, "nothing", digest=GONE.digest[:12])).hint == (
        "no build of it is known; all 64 digits will do"
    )


async def test_prefix_of_several_builds_is_a_conflict_that_shows_them_whole(client: Client) -> None:
    twins = ["ab" * 6 + tail * 52 for tail in "01"]
    async with (
        FakeOllama(SimulatedModel("alpha")) as one,
        FakeOllama(SimulatedModel("alpha")) as two,
    ):
        for name, fake in (("one", one), ("two", two)):
            await client.servers.add(name=name, url=fake.url)
        await client.discover()
    await client._resources.db.write(_set_digests, twins)
    error = await error_of(client, "alpha", digest="ab" * 6)
    assert (type(error), error.hint) == (Conflict, f"give more of: {', '.join(twins)}")
    assert (await client.pins.set("alpha", digest="ab" * 6 + "1")).digest == twins[1]


def _set_digests(connection: Connection, digests: list[str]) -> None:
    for server_id, digest in enumerate(digests, 1):
        rows = models.update().where(models.c.server_id == server_id)
        connection.execute(rows.values(digest=digest))


async def test_whole_digest_needs_no_server(client: Client, notes: list[str]) -> None:
    pin = await client.pins.set("Some/Model", digest="0f" * 32)
    assert (pin.name, pin.digest) == ("some/model:latest", "0f" * 32)
    assert notes == ["no active server is known to have build 0f0f0f0f0f0f of some/model:latest"]


async def test_pin_of_a_remote_model_comes_with_a_note(client: Client, notes: list[str]) -> None:
    remote = SimulatedModel("big:cloud", remote_host="https://ollama.com:443", remote_model="big")
    async with FakeOllama(remote) as fake:
        await client.servers.add(name="one", url=fake.url)
        await client.discover()
    await client.pins.set("big:cloud")
    assert notes == [
        (
            "big:cloud is a remote model: no server can prove its build, so nothing answers while "
            "it is pinned"
        )
    ]


# rows


async def test_setting_again_keeps_the_time_of_the_first(fleet: Client) -> None:
    first = await fleet.pins.set("alpha")
    again = await fleet.pins.set("library/alpha:LATEST", server="off")
    assert (again.before, again.created_at) == (OLD.digest, first.created_at)
    assert again.updated_at >= first.updated_at
    assert [pin.digest for pin in await fleet.pins.list()] == [NEW.digest]


async def test_pins_are_counted_against_what_active_servers_list(fleet: Client) -> None:
    await fleet.pins.set("gone", digest=GONE.digest)
    await fleet.pins.set("alpha", server="off")
    counted = {pin.name: (pin.agree, pin.differ) for pin in await fleet.pins.list()}
    assert counted == {"alpha:latest": (0, 2), "gone:latest": (0, 0)}
    await fleet.servers.enable("off")
    assert {pin.name: (pin.agree, pin.differ) for pin in await fleet.pins.list()}[
        "alpha:latest"
    ] == (1, 2)


async def test_pin_is_found_by_any_spelling_of_its_name(fleet: Client) -> None:
    pin = await fleet.pins.set("alpha")
    for spelling in (
        "alpha",
        "Alpha:Latest",
        "library/alpha",
        "registry.ollama.ai/library/alpha:latest",
    ):
        stored = await fleet._resources.db.read(store.for_name, ModelName.parse(spelling))
        assert stored == pin
    assert await fleet._resources.db.read(store.for_name, ModelName.parse("alpha:7b")) is None
    assert (await fleet.pins.remove("LIBRARY/alpha")).digest == pin.digest
    assert await fleet._resources.db.read(store.for_name, ModelName.parse("alpha")) is None


async def test_pins_set_at_once_leave_one_row_and_no_error(database_url: str) -> None:
    async with AsyncExitStack() as stack:
        pools = [Database(Settings.read({}, database_url), lambda: None) for _ in range(2)]
        for db in pools:
            stack.callback(db.close)
        digests = [f"{number:064x}" for number in range(20)]
        await asyncio.gather(
            *(pools[i % 2].write(store.put, "alpha", digest) for i, digest in enumerate(digests))
        )
        (pin,) = await pools[0].read(store.checked)
    assert pin.digest in digests


async def test_opaque_id_carries_the_pin_of_its_name_but_no_build_that_differs(
    fleet: Client,
) -> None:
    await fleet.pins.set("alpha")
    shown = {model.server: (model.digest, model.pinned) for model in await fleet.models.list()}
    assert shown == {
        "one": (OLD.digest, OLD.digest),
        "two": (OLD.digest, OLD.digest),
        "plain": (None, OLD.digest),
    }
    (result,) = await fleet.discover(["plain"])
    assert result.error is None
    assert result.off_pin == ()
