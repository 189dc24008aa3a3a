"""The official `ollama` for Python, with the key in each way that it has."""

import json
from collections.abc import Callable, Iterator

import ollama
import pytest

from tests.gateway.clients.conftest import (
    CALL,
    PERSON,
    PNG,
    SAYS,
    SCHEMA,
    THOUGHT,
    WRONG,
    Gateway,
    function,
)

HI = [{"role": "user", "content": "hi"}]


def by_header(gateway: Gateway, _: pytest.MonkeyPatch) -> ollama.Client:
    return ollama.Client(gateway.url, headers={"Authorization": f"Bearer {gateway.key}"})


def by_variable(gateway: Gateway, environ: pytest.MonkeyPatch) -> ollama.Client:
    environ.setenv("OLLAMA_API_KEY", gateway.key)
    return ollama.Client(gateway.url)


def by_path(gateway: Gateway, _: pytest.MonkeyPatch) -> ollama.Client:
    return ollama.Client(gateway.with_key)


@pytest.fixture(params=[by_header, by_variable, by_path], ids=lambda way: way.__name__)
def client(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[ollama.Client]:
    make: Callable[[Gateway, pytest.MonkeyPatch], ollama.Client] = request.param
    with make(gateway, monkeypatch) as client:
        yield client


def test_list_show_and_ps_tell_what_the_server_has(client: ollama.Client) -> None:
    listed = {model.model: model for model in client.list().models}
    assert listed["alpha:latest"].digest
    assert listed["org/space:Tag-1"].details is not None
    assert client.show("thinker").capabilities == ["thinking", "completion"]
    assert client.generate("alpha", "hi").response == SAYS
    assert "alpha:latest" in [model.model for model in client.ps().models]


def test_generate_answers_whole_and_in_pieces(client: ollama.Client) -> None:
    answer = client.generate("alpha", "hi", options={"seed": 1}, keep_alive="5m")
    assert (answer.response, answer.model, answer.done_reason) == (SAYS, "alpha", "stop")
    pieces = list(client.generate("alpha", "hi", stream=True))
    assert "".join(piece.response for piece in pieces) == SAYS
    assert pieces[-1].done
    assert client.generate("org/space:Tag-1", "hi").response == "I have a namespace"


def test_generate_without_a_prompt_loads(client: ollama.Client) -> None:
    assert client.generate("alpha").done_reason == "load"


def test_chat_answers_whole_and_in_pieces(client: ollama.Client) -> None:
    assert client.chat("alpha", HI).message.content == SAYS
    pieces = [piece.message.content or "" for piece in client.chat("alpha", HI, stream=True)]
    assert "".join(pieces) == SAYS


def test_chat_calls_a_tool_and_reads_its_result(client: ollama.Client) -> None:
    called = client.chat("caller", HI, tools=[function()]).message
    assert called.tool_calls is not None
    assert dict(called.tool_calls[0].function.arguments) == CALL.arguments
    result = {"role": "tool", "tool_name": "weather", "content": "sunny"}
    answer = client.chat("caller", [*HI, called, result], tools=[function()])
    assert answer.message.content == "It is sunny"


def test_chat_keeps_to_a_schema_thinks_and_sees(client: ollama.Client) -> None:
    formed = client.chat("former", HI, format=SCHEMA).message.content
    assert formed is not None
    assert json.loads(formed) == PERSON
    thought = client.chat("thinker", HI, think=True).message
    assert (thought.thinking, thought.content) == (THOUGHT, "It is done")
    seen = client.chat("seer", [{"role": "user", "content": "what?", "images": [PNG]}])
    assert seen.message.content == "a red square"


def test_vectors_come_in_both_forms(client: ollama.Client) -> None:
    first, second = client.embed("emb", ["x", "y"]).embeddings
    assert list(client.embeddings("emb", "x").embedding) == list(first) != list(second)


def test_probabilities_are_passed_on(client: ollama.Client) -> None:
    told = client.chat("alpha", HI, logprobs=True).logprobs
    assert told is not None
    assert "".join(entry.token for entry in told) == SAYS


def test_a_model_that_nobody_has_is_an_error_with_a_text(client: ollama.Client) -> None:
    for ask in (client.show, client.generate, client.chat, client.embed):
        with pytest.raises(ollama.ResponseError, match="nothing") as caught:
            ask("nothing")
        assert caught.value.status_code == 404


def test_pull_of_a_model_that_is_there_succeeds_and_of_others_says_where(
    client: ollama.Client,
) -> None:
    assert client.pull("alpha").status == "success"
    assert [piece.status for piece in client.pull("alpha", stream=True)] == ["success"]
    for change in (client.pull, client.delete):
        with pytest.raises(ollama.ResponseError, match="/servers/NAME") as caught:
            change("nothing")
        assert caught.value.status_code == 403


async def test_the_asynchronous_client_reads_a_stream(gateway: Gateway) -> None:
    async with ollama.AsyncClient(gateway.with_key) as client:
        pieces = [piece async for piece in await client.chat("alpha", HI, stream=True)]
    assert "".join(piece.message.content or "" for piece in pieces) == SAYS


@pytest.mark.parametrize("base", ["{url}", "{url}/k/" + WRONG])
def test_a_wrong_key_is_an_error_with_a_text(gateway: Gateway, base: str) -> None:
    headers = {"Authorization": f"Bearer {WRONG}"}
    with (
        ollama.Client(base.format(url=gateway.url), headers=headers) as client,
        pytest.raises(ollama.ResponseError, match="key is not known") as caught,
    ):
        client.list()
    assert caught.value.status_code == 401
