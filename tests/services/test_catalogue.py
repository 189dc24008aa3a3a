"""The server and the model of a request that names none."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from ollama_admin.client import Client
from ollama_admin.errors import InvalidInput, ServerInactive
from tests.fake_ollama import FakeOllama, SimulatedModel
from tests.services.asking import ask

ALPHA, BETA = SimulatedModel("alpha"), SimulatedModel("beta")


@pytest.fixture
async def fakes(client: Client) -> AsyncIterator[tuple[FakeOllama, ...]]:
    """Servers one, two and three; two is the default, and each has a default model."""
    async with AsyncExitStack() as stack:
        fakes = [await stack.enter_async_context(FakeOllama(ALPHA, BETA)) for _ in range(3)]
        for name, fake in zip(("one", "two", "three"), fakes, strict=True):
            await client.servers.add(name=name, url=fake.url, default_model="alpha")
        await client.servers.set_default("two")
        await client.discover()
        yield tuple(fakes)


pytestmark = pytest.mark.usefixtures("fakes")


async def answers(client: Client, capability: str | None = None) -> str | None:
    """The server that answers a request for no model."""
    reply = (await ask(client, model=None, capability=capability)).accepted
    assert reply.model == "alpha:latest"
    return reply.server.name


async def test_without_a_model_the_default_server_answers_with_its_default_model(
    client: Client,
) -> None:
    assert await answers(client) == "two"


async def test_the_first_active_server_with_the_capability_answers(client: Client) -> None:
    await client.servers.update("one", capabilities=["Vision"], is_active=False)
    await client.servers.update("three", capabilities=["vision", "fast"])
    assert await answers(client, "VISION") == "three"


async def test_a_capability_that_no_active_server_has_is_an_error(client: Client) -> None:
    await client.servers.update("one", capabilities=["vision"], is_active=False)
    error = (await ask(client, model=None, capability="vision")).error
    assert type(error) is InvalidInput
    assert error.message == ("no model is named, and no active server has the capability 'vision'")


@pytest.mark.parametrize(
    ("capability", "hint"),
    [
        ("completion", "see ollama-admin models --capability completion"),
        ("vision", "use --model"),
    ],
)
async def test_a_capability_that_models_have_and_no_server_leads_to_these_models(
    client: Client, capability: str, hint: str
) -> None:
    error = (await ask(client, model=None, capability=capability)).error
    assert type(error) is InvalidInput
    assert error.hint is not None
    assert error.hint.endswith(hint)


async def test_without_a_default_server_a_model_must_be_named(client: Client) -> None:
    await client.servers.update("two", is_default=False)
    error = (await ask(client, model=None)).error
    assert type(error) is InvalidInput
    assert error.message == "no model is named, and there is no default server"


async def test_an_inactive_default_server_is_stood_in_for_by_nobody(client: Client) -> None:
    await client.servers.update("two", is_active=False)
    error = (await ask(client, model=None)).error
    assert type(error) is ServerInactive
    assert error.message == "the default server two is inactive"


async def test_a_server_without_a_default_model_needs_one_named(client: Client) -> None:
    await client.servers.update("two", clear=["default_model"])
    error = (await ask(client, model=None)).error
    assert type(error) is InvalidInput
    assert error.message == "no model is named, and server two has no default model"
