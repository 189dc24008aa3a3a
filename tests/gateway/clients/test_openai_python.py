"""The official `openai` for Python, with the key as it sends it and in the path."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.gateway.clients.conftest import (
    CALL,
    PERSON,
    PNG,
    SAYS,
    SCHEMA,
    WEATHER,
    WRONG,
    Gateway,
    function,
)

if TYPE_CHECKING:  # each process of the tests would take a second to load it
    from openai import OpenAI

HI = [{"role": "user", "content": "hi"}]


@pytest.fixture(params=["bearer", "path"])
def client(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[OpenAI]:
    with _client(gateway, request.param) as client:
        yield client


def _client(gateway: Gateway, way: str) -> OpenAI:
    from openai import OpenAI

    if way == "bearer":
        return OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key, max_retries=0)
    return OpenAI(base_url=f"{gateway.with_key}/v1", api_key="ollama", max_retries=0)


def test_models_are_listed_and_found_by_their_names(client: OpenAI) -> None:
    from openai import NotFoundError

    assert "alpha:latest" in [model.id for model in client.models.list()]
    assert client.models.retrieve("org/space:Tag-1").id == "org/space:Tag-1"
    with pytest.raises(NotFoundError, match="nothing"):
        client.models.retrieve("nothing")


def test_chat_answers_whole_and_in_pieces(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="alpha", messages=HI)
    assert (answer.choices[0].message.content, answer.model) == (SAYS, "alpha")
    assert answer.usage is not None
    stream = client.chat.completions.create(
        model="alpha", messages=HI, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(said) == SAYS
    assert chunks[-1].usage == answer.usage


def test_chat_calls_a_tool_and_reads_its_result(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="caller", messages=HI, tools=[function()])
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert json.loads(message.tool_calls[0].function.arguments) == CALL.arguments
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "sunny"}
    answer = client.chat.completions.create(
        model="caller", messages=[*HI, message.to_dict(), result], tools=[function()]
    )
    assert answer.choices[0].message.content == "It is sunny"


def test_chat_keeps_to_a_schema_thinks_and_sees(client: OpenAI) -> None:
    schema = {"name": "person", "schema": SCHEMA, "strict": True}
    formed = client.chat.completions.create(
        model="former",
        messages=HI,
        response_format={"type": "json_schema", "json_schema": schema},
    )
    assert json.loads(formed.choices[0].message.content) == PERSON
    thought = client.chat.completions.create(
        model="thinker", messages=HI, reasoning_effort="low"
    ).choices[0]
    assert (thought.message.to_dict()["reasoning"], thought.message.content) == (
        "let me see",
        "It is done",
    )
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG.hex()}"}}
    seen = client.chat.completions.create(
        model="seer", messages=[{"role": "user", "content": [picture]}]
    )
    assert seen.choices[0].message.content == "a red square"


def test_completions_answer_whole_and_in_pieces(client: OpenAI) -> None:
    assert client.completions.create(model="alpha", prompt="hi").choices[0].text == SAYS
    stream = client.completions.create(model="alpha", prompt="hi", stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == SAYS


def test_probabilities_are_passed_on(client: OpenAI) -> None:
    answer = client.chat.completions.create(model="alpha", messages=HI, logprobs=True)
    told = answer.choices[0].logprobs
    assert told is not None
    assert "".join(entry.token for entry in told.content or ()) == SAYS


def test_vectors_are_packed_as_the_client_asks(client: OpenAI) -> None:
    packed = client.embeddings.create(model="emb", input=["x", "y"]).data
    plain = client.embeddings.create(model="emb", input=["x", "y"], encoding_format="float").data
    assert [entry.index for entry in packed] == [0, 1]
    assert packed[1].embedding == pytest.approx(plain[1].embedding)


def test_responses_answer_whole_and_in_events(client: OpenAI) -> None:
    answer = client.responses.create(model="alpha", input="hi")
    assert (answer.output_text, answer.status, answer.model) == (SAYS, "completed", "alpha")
    events = list(client.responses.create(model="thinker", input="hi", stream=True))
    assert [events[0].type, events[-1].type] == ["response.created", "response.completed"]
    with client.responses.stream(model="alpha", input="hi") as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == SAYS


def test_responses_think_call_and_keep_to_a_schema(client: OpenAI) -> None:
    thought = client.responses.create(model="thinker", input="hi", reasoning={"effort": "low"})
    assert [item.type for item in thought.output] == ["reasoning", "message"]
    tool = {"type": "function", "strict": True} | WEATHER
    called = client.responses.create(model="caller", input="hi", tools=[tool])
    assert called.output[0].type == "function_call"
    assert json.loads(called.output[0].arguments) == CALL.arguments
    form = {"format": {"type": "json_schema", "name": "person", "schema": SCHEMA}}
    formed = client.responses.create(model="former", input="hi", text=form)
    assert json.loads(formed.output_text) == PERSON


def test_a_recording_is_transcribed(client: OpenAI) -> None:
    heard = client.audio.transcriptions.create(model="ear", file=("a.wav", b"RIFF\r\n\0\xff"))
    assert heard.text == "hello there"
    text = client.audio.transcriptions.create(
        model="ear", file=("a.wav", b"RIFF"), response_format="text"
    )
    assert text == "hello there"


def test_a_model_that_nobody_has_is_an_error_with_a_text(client: OpenAI) -> None:
    from openai import NotFoundError

    asks = (
        lambda: client.chat.completions.create(model="nothing", messages=HI),
        lambda: client.chat.completions.create(model="nothing", messages=HI, stream=True),
        lambda: client.completions.create(model="nothing", prompt="hi"),
        lambda: client.embeddings.create(model="nothing", input="x"),
        lambda: client.responses.create(model="nothing", input="x"),
        lambda: client.audio.transcriptions.create(model="nothing", file=("a.wav", b"RIFF")),
    )
    for ask in asks:
        with pytest.raises(NotFoundError, match="nothing"):
            ask()


def test_what_the_model_cannot_do_is_the_server_s_error(client: OpenAI) -> None:
    from openai import APIStatusError

    with pytest.raises(APIStatusError, match="does not support tools") as caught:
        client.chat.completions.create(model="alpha", messages=HI, tools=[function()])
    assert caught.value.status_code == 400


def test_a_wrong_key_is_not_tried_again(gateway: Gateway) -> None:
    from openai import AuthenticationError, OpenAI

    with (
        OpenAI(base_url=f"{gateway.url}/v1", api_key=WRONG) as client,
        pytest.raises(AuthenticationError, match="key is not known"),
    ):
        client.models.list()


async def test_the_asynchronous_client_reads_a_stream(gateway: Gateway) -> None:
    from openai import AsyncOpenAI

    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.key) as client:
        stream = await client.chat.completions.create(model="alpha", messages=HI, stream=True)
        said = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "".join(said) == SAYS
