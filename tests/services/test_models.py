from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.models import Model, ModelHolder
from ollama_admin.errors import ServerNotFound
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.store import models as store
from tests.fake_ollama import Answer, FakeOllama

ALPHA = SimulatedModel("alpha")
BETA = SimulatedModel("beta")
NEW_ALPHA = SimulatedModel("alpha", build="2", capabilities=("completion", "tools"))


@pytest.fixture
async def catalogue(client: Client) -> AsyncIterator[Client]:
    """Three servers: alpha on all of them in two builds, beta on one, gamma on an inactive one,
    delta vanished.
    """
    delta = SimulatedModel("Delta:7b")
    async with (
        FakeOllama(ALPHA, delta) as one,
        FakeOllama(NEW_ALPHA, BETA) as two,
        FakeOllama(ALPHA, SimulatedModel("gamma", capabilities=("embedding",))) as three,
    ):
        for name, fake in (("one", one), ("two", two), ("three", three)):
            await client.servers.add(name=name, url=fake.url)
        await client.servers.disable("three")
        await client.discover(all=True)
        one.remove("Delta:7b")
        await client.discover(["one"])
        yield client


def server_and_name(models: list[Model]) -> list[tuple[str, str]]:
    return [(model.server, model.name) for model in models]


async def test_models_are_those_that_can_be_asked_for_now(catalogue: Client) -> None:
    assert server_and_name(await catalogue.models.list()) == [
        ("one", "alpha:latest"),
        ("two", "alpha:latest"),
        ("two", "beta:latest"),
    ]


async def test_everything_adds_vanished_models_and_those_of_inactive_servers(
    catalogue: Client,
) -> None:
    found = await catalogue.models.list(all=True)
    assert set(server_and_name(found)) == {
        *(
            ("one", "Delta:7b"),
            ("one", "alpha:latest"),
            ("two", "alpha:latest"),
            ("three", "alpha:latest"),
        ),
        *(("two", "beta:latest"), ("three", "gamma:latest")),
    }
    assert [model.name for model in found if not model.is_available] == ["Delta:7b"]


async def test_models_of_a_server_that_is_named_are_shown_though_it_is_inactive(
    catalogue: Client,
) -> None:
    assert server_and_name(await catalogue.models.list(["three"])) == [
        ("three", "alpha:latest"),
        ("three", "gamma:latest"),
    ]
    assert server_and_name(await catalogue.models.list(["one", 2])) == [
        ("one", "alpha:latest"),
        ("two", "alpha:latest"),
        ("two", "beta:latest"),
    ]
    with pytest.raises(ServerNotFound):
        await catalogue.models.list(["nobody"])


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("alpha", ["alpha:latest", "alpha:latest"]),
        ("ALPHA:latest", ["alpha:latest", "alpha:latest"]),
        ("library/alpha", ["alpha:latest", "alpha:latest"]),
        ("alph", []),
        ("*a:*", ["alpha:latest", "alpha:latest", "beta:latest"]),
        ("B*", ["beta:latest"]),
        ("[bc]eta*", ["beta:latest"]),
        ("?eta", []),
        ("*:7b", []),
    ],
)
async def test_models_are_filtered_by_name(
    catalogue: Client, pattern: str, found: list[str]
) -> None:
    assert [model.name for model in await catalogue.models.list(name=pattern)] == found


async def test_models_are_filtered_by_capability_in_any_case(catalogue: Client) -> None:
    assert server_and_name(await catalogue.models.list(capability="Tools")) == [
        ("two", "alpha:latest")
    ]
    assert await catalogue.models.list(capability="embedding") == []
    assert server_and_name(await catalogue.models.list(capability="embedding", all=True)) == [
        ("three", "gamma:latest")
    ]


async def test_models_by_name_show_where_builds_differ(catalogue: Client) -> None:
    alpha, beta = await catalogue.models.by_model()
    assert (alpha.name, alpha.builds, beta.name, beta.builds) == (
        "alpha:latest",
        2,
        "beta:latest",
        1,
    )
    assert alpha.servers == (
        ModelHolder(server="one", digest=ALPHA.digest, is_available=True),
        ModelHolder(server="two", digest=NEW_ALPHA.digest, is_available=True),
    )
    everything = {group.name: group for group in await catalogue.models.by_model(all=True)}
    assert [place.server for place in everything["alpha:latest"].servers] == ["one", "two", "three"]
    assert [place.is_available for place in everything["Delta:7b"].servers] == [False]


async def test_spellings_of_one_name_are_one_group_but_opaque_ids_are_not(client: Client) -> None:
    async with (
        FakeOllama(SimulatedModel("Alpha")) as first,
        FakeOllama(SimulatedModel("library/alpha")) as second,
        FakeOllama(
            SimulatedModel("alpha:latest"), SimulatedModel("ALPHA:latest"), version=None
        ) as opaque,
    ):
        for name, url in (("one", first.url), ("two", second.url), ("three", f"{opaque.url}/v1")):
            await client.servers.add(name=name, url=url)
        await client.discover()
    groups = [[place.server for place in group.servers] for group in await client.models.by_model()]
    assert sorted(groups) == [["one", "two"], ["three"], ["three"]]


async def test_order_of_models_follows_the_preference_of_their_servers(client: Client) -> None:
    async with AsyncExitStack() as stack:
        for name, values in {
            "low": {},
            "high": {"priority": 3},
            "default": {"is_default": True},
        }.items():
            fake = await stack.enter_async_context(FakeOllama(ALPHA))
            await client.servers.add(name=name, url=fake.url, **values)
        await client.discover()
    assert [model.server for model in await client.models.list()] == ["default", "high", "low"]


async def test_builds_that_differ_are_one_group_though_a_server_in_between_tells_no_digest(
    client: Client,
) -> None:
    """Rows without a digest are a group of their own, wherever their servers stand in the order."""
    async with FakeOllama(ALPHA) as one, FakeOllama(ALPHA) as two, FakeOllama(NEW_ALPHA) as three:
        listing = [{"name": "alpha:latest", "model": "alpha:latest", "digest": ""}]
        two.script_always("/api/tags", Answer(200, {"models": listing}))
        for name, fake in (("one", one), ("two", two), ("three", three)):
            await client.servers.add(name=name, url=fake.url)
        await client.discover()
    groups = await client.models.by_model()
    assert [
        (group.name, group.builds, [place.server for place in group.servers]) for group in groups
    ] == [
        ("alpha:latest", 2, ["one", "three"]),
        ("alpha:latest", 0, ["two"]),
    ]


async def test_lists_that_come_in_many_batches_are_whole_and_no_group_is_cut(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "BATCH", 2)
    names = [f"model-{number}" for number in range(5)]
    async with (
        FakeOllama(*map(SimulatedModel, names)) as one,
        FakeOllama(*map(SimulatedModel, names)) as two,
    ):
        for name, fake in (("one", one), ("two", two)):
            await client.servers.add(name=name, url=fake.url)
        await client.discover()
    found = await client.models.list()
    assert server_and_name(found) == [
        (server, f"{name}:latest") for name in names for server in ("one", "two")
    ]
    groups = await client.models.by_model()
    assert [(group.name, len(group.servers)) for group in groups] == [
        (f"{name}:latest", 2) for name in names
    ]
    assert server_and_name(await client.models.list(name="model-[13]")) == []
    assert len(await client.models.list(name="model-[13]:*")) == 4
    assert len(await client.models.list(name="MODEL-1")) == 2
