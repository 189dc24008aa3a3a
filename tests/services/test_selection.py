"""Who may answer, and what is said where nobody may."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.callers import Caller, Rights, Way
from ollama_admin.domain.servers import ApiVersion
from ollama_admin.errors import InvalidInput, ModelMismatch, ModelNotFound, ServerNotFound
from ollama_admin.services.plans import Wish
from tests.fake_ollama import Answer, FakeOllama, SimulatedModel
from tests.services.asking import GENERATE, TAGS, ask, prompts, register

PNG = b"\x89PNG\r\n\x1a\n"
ALPHA = SimulatedModel("alpha")
GUEST = Rights(dynamic_servers=False, inactive_by_url=False, any_address=True)


@pytest.fixture
async def fakes() -> AsyncIterator[list[FakeOllama]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(FakeOllama(ALPHA)) for _ in range(2)]


async def refusal(client: Client, **asked: Any) -> tuple[type[Exception], str]:
    """The error of a request, and what it says."""
    error = (await ask(client, **asked)).error
    assert error is not None
    return type(error), error.message


# at a URL


async def test_a_url_that_a_row_has_is_asked_with_the_credentials_of_the_row(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, fakes[0])
    given = {"auth_type": "bearer", "auth_config": {"token": "t"}}
    assert await refusal(client, server_url=fakes[0].url, **given) == (
        InvalidInput,
        "server one has this URL, and its own credentials",
    )
    assert prompts(fakes[0]) == 0


@pytest.mark.parametrize("is_active", [True, False])
async def test_an_inactive_server_that_is_asked_by_its_url_is_noted(
    client: Client, fakes: list[FakeOllama], notes: list[str], is_active: bool
) -> None:
    await register(client, fakes[0])
    await client.servers.update("one", is_active=is_active)
    assert (await ask(client, server_url=fakes[0].url)).accepted.server.name == "one"
    said = "server one is inactive; it is asked because its URL was given"
    assert (said in notes) is not is_active


async def test_a_guest_names_registered_servers_only(
    client: Client, fakes: list[FakeOllama]
) -> None:
    guest = client.for_caller(Caller(way=Way.API, rights=GUEST))
    url = fakes[0].url
    assert await refusal(guest, server_url=url) == (ServerNotFound, f"no server has the URL {url}")
    assert fakes[0].requests == []


async def test_a_server_that_no_row_has_needs_a_model_named(
    client: Client, fakes: list[FakeOllama]
) -> None:
    assert await refusal(client, server_url=fakes[0].url, model=None) == (
        InvalidInput,
        "no model is named, and a server that is not registered has no default",
    )


async def test_what_is_cut_off_a_url_is_noted(
    client: Client, fakes: list[FakeOllama], notes: list[str]
) -> None:
    url = fakes[0].url
    assert (await ask(client, server_url=f"{url}/api/generate")).accepted.server.url == url
    assert notes == [f"/api/generate is the path of one call: the server is {url}"]


async def test_the_default_model_that_is_used_is_noted(
    client: Client, fakes: list[FakeOllama], notes: list[str]
) -> None:
    await register(client, fakes[0], default_model="alpha")
    assert (await ask(client, model=None, server="one")).accepted.model == "alpha:latest"
    assert notes == ["using the default model of server one: alpha"]
    assert (await ask(client, server="one")).accepted.model == "alpha:latest"
    assert len(notes) == 1


# nobody


@pytest.mark.parametrize(
    ("asked", "wanted"),
    [
        ({"digest": "f" * 64}, f"{'f' * 12} (--digest)"),
        ({"verified": True}, "the stored one (--verified)"),
    ],
)
async def test_the_build_that_no_server_has_is_named(
    client: Client, fakes: list[FakeOllama], asked: dict[str, Any], wanted: str
) -> None:
    remote = SimulatedModel("alpha", remote_host="https://far.example", remote_model="alpha")
    fakes[0].point("alpha", remote)
    await register(client, fakes[0])
    assert await refusal(client, **asked) == (
        ModelMismatch,
        f"no active server has the build of model 'alpha' that is demanded: {wanted}",
    )


async def test_a_model_that_no_server_can_be_asked_so_is_not_called_unknown(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, *fakes, api_version=ApiVersion.V1)
    assert await refusal(client, keep_alive=1) == (
        InvalidInput,
        "the v1 API of server one cannot carry --keep-alive",
    )


@pytest.mark.parametrize(
    ("capability", "lacking"), [(None, ""), ("sight", " with the capability 'sight'")]
)
async def test_a_model_that_nobody_has_is_named_with_what_it_should_be_able_to_do(
    client: Client, fakes: list[FakeOllama], capability: str | None, lacking: str
) -> None:
    await register(client, fakes[0])
    assert await refusal(client, model="beta", capability=capability) == (
        ModelNotFound,
        f"no active server has model 'beta'{lacking}",
    )


# the others


async def test_only_servers_with_each_label_may_answer_and_it_is_said(
    client: Client, fakes: list[FakeOllama]
) -> None:
    async with FakeOllama(ALPHA) as third:
        await register(client, *fakes, third)
        await client.servers.update("two", labels={"gpu": "a100", "room": "2"})
        await client.servers.update("three", labels={"gpu": "a100"})
        labels = ("gpu=a100", "room")
        explained = await client.explain(model="alpha", labels=labels)
        assert (await ask(client, labels=labels)).accepted.server.name == "two"
        assert (await ask(client, labels=("gpu",))).accepted.server.name in ("two", "three")
    assert {candidate.server.name: candidate.reason for candidate in explained.candidates} == {
        "one": "it has no label gpu=a100",
        "two": None,
        "three": "it has no label room",
    }
    assert prompts(fakes[0]) == 0


async def test_a_label_that_no_holder_has_is_an_error_and_nobody_answers(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, fakes[0], default_model="alpha")
    error = (await ask(client, labels=("gpu=a100",))).error
    assert isinstance(error, ModelNotFound)
    assert error.message == "no active server has model 'alpha' with the label gpu=a100"
    assert error.hint == (
        "it is there, but without that label: see ollama-admin server list -o json"
    )
    kind, message = await refusal(client, model=None, labels=("gpu",))
    assert (kind, message) == (
        InvalidInput,
        "no model is named, and there is no active server with the label gpu",
    )
    assert prompts(fakes[0]) == 0


async def test_without_a_model_the_default_of_a_server_with_the_label_answers(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, *fakes, default_model="alpha")
    await client.servers.update("one", is_default=True)
    await client.servers.update("two", labels={"gpu": "a100"})
    assert (await ask(client, model=None, labels=["gpu=a100"])).accepted.server.name == "two"


@pytest.mark.parametrize(
    "asked",
    [
        {"labels": ("gpu=a100",), "server": "one"},
        {"labels": ("gpu=a100",), "server_url": "http://gpu"},
        {"labels": ("gpu=",)},
        {"labels": "gpu"},
    ],
)
async def test_labels_that_cannot_be_meant_are_refused(client: Client, asked: Any) -> None:
    assert (await refusal(client, **asked))[0] is InvalidInput


async def test_every_server_has_a_verdict_though_the_first_may_not_be_asked(
    client: Client, fakes: list[FakeOllama]
) -> None:
    """What keeps a server from answering anyway is said of it still."""
    both = [{"name": name, "digest": ALPHA.digest} for name in ("alpha", "Alpha")]
    fakes[0].script_always(TAGS, Answer(200, {"models": both}))
    async with FakeOllama(ALPHA) as third:
        await register(client, *fakes, third)
        await client.servers.update("three", is_active=False)
        explained = await client.explain(model="alpha")
    assert {candidate.server.name: candidate.reason for candidate in explained.candidates} == {
        "one": "several of its models have that name",
        "two": "one comes first, and may not be asked",
        "three": "it is inactive",
    }


async def test_a_build_that_must_answer_instead_is_called_that_of_the_first_server(
    client: Client, fakes: list[FakeOllama]
) -> None:
    await register(client, *fakes)
    fakes[0].script(GENERATE, Answer(503))
    fakes[1].point("alpha", SimulatedModel("alpha", build="other"))
    kind, message = await refusal(client)
    assert kind is ModelMismatch
    assert message.endswith(
        f"but {ALPHA.digest[:12]} (the build of server one) is demanded; nothing was sent to it"
    )


@pytest.mark.parametrize("named", [{}, {"server": "one"}])
async def test_a_model_that_takes_no_images_is_sent_none(
    client: Client, fakes: list[FakeOllama], named: dict[str, Any]
) -> None:
    sees = SimulatedModel("llava", capabilities=("completion", "vision"))
    async with FakeOllama(sees) as third:
        await register(client, fakes[0], third)
        error = (await ask(client, images=[PNG], **named)).error
        assert isinstance(error, InvalidInput)
        name = "alpha:latest" if named else "alpha"
        assert error.message == f"model {name!r} takes no images"
        assert error.hint == "these take images: llava:latest"
        reply = (await ask(client, model="llava", server="two", images=[PNG])).accepted
        assert reply.response == sees.says
    assert prompts(fakes[0]) == 0


async def test_a_plan_says_of_each_server_why_it_is_asked_or_not(
    client: Client, fakes: list[FakeOllama]
) -> None:
    fakes[1].point("alpha", other := SimulatedModel("alpha", build="other"))
    async with FakeOllama(SimulatedModel("north.gguf"), version=None) as third:
        await register(client, *fakes)
        await client.servers.add(name="llama", url=f"{third.url}/v1")
        await client.discover()
        wishes = [Wish("alpha"), Wish("north.gguf", server="llama")]
        plans = [(await client.plans.of(wish)).plan for wish in wishes]
    one, two = ALPHA.digest[:12], other.digest[:12]
    assert [plan.lines() for plan in plans] == [
        [
            f"server two is not asked: its build is {two}, that of one is {one}",
            f"choice 1: server one, build {one}",
        ],
        ["choice 1: server llama, build unknown"],
    ]
