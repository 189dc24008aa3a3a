"""The official `anthropic` for Python, which Claude Code is built like: with the key as Bearer, in
`x-api-key`, and in the path.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.gateway.clients.conftest import CALL, PNG, SAYS, THOUGHT, WEATHER, WRONG, Gateway

if TYPE_CHECKING:  # each process of the tests would take a second and 40 MB to load it
    from anthropic import Anthropic

HI = [{"role": "user", "content": "hi"}]
TOOL = {
    "name": "weather",
    "description": WEATHER["description"],
    "input_schema": WEATHER["parameters"],
}


@pytest.fixture(params=["bearer", "x-api-key", "path"])
def client(gateway: Gateway, request: pytest.FixtureRequest) -> Iterator[Anthropic]:
    with _client(gateway, request.param) as client:
        yield client


def _client(gateway: Gateway, way: str) -> Anthropic:
    from anthropic import Anthropic

    if way == "bearer":
        return Anthropic(base_url=gateway.url, auth_token=gateway.key, max_retries=0)
    if way == "path":
        return Anthropic(base_url=gateway.with_key, auth_token="ollama", max_retries=0)
    headers = {"x-api-key": gateway.key}
    return Anthropic(
        base_url=gateway.url, auth_token="ollama", default_headers=headers, max_retries=0
    )


def test_messages_answer_whole_and_in_events(client: Anthropic) -> None:
    answer = client.messages.create(model="alpha", max_tokens=99, messages=HI)
    assert (answer.content[0].text, answer.model, answer.stop_reason) == (SAYS, "alpha", "end_turn")
    with client.messages.stream(model="alpha", max_tokens=99, messages=HI) as stream:
        assert "".join(stream.text_stream) == SAYS
        assert stream.get_final_message().usage == answer.usage


def test_messages_think(client: Anthropic) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    answer = client.messages.create(
        model="thinker", max_tokens=2048, messages=HI, thinking=thinking
    )
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.content[0].thinking == THOUGHT


def test_messages_call_a_tool_and_read_its_result(client: Anthropic) -> None:
    with client.messages.stream(model="caller", max_tokens=99, messages=HI, tools=[TOOL]) as stream:
        called = stream.get_final_message()
    assert called.stop_reason == "tool_use"
    use = called.content[0]
    assert (use.name, use.input) == ("weather", CALL.arguments)
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    messages = [
        *HI,
        {"role": "assistant", "content": [use.to_dict()]},
        {"role": "user", "content": [result]},
    ]
    answer = client.messages.create(model="caller", max_tokens=99, messages=messages, tools=[TOOL])
    assert answer.content[0].text == "It is sunny"


def test_messages_see(client: Anthropic) -> None:
    data = base64.b64encode(PNG).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    content = [{"type": "image", "source": source}, {"type": "text", "text": "what?"}]
    answer = client.messages.create(
        model="seer", max_tokens=99, messages=[{"role": "user", "content": content}]
    )
    assert answer.content[0].text == "a red square"


def test_the_beta_is_passed_on_with_its_header(client: Anthropic, gateway: Gateway) -> None:
    answer = client.beta.messages.create(
        model="alpha",
        max_tokens=99,
        messages=HI,
        betas=["some-beta-2026-01-01"],
        extra_query={"beta": "true"},
    )
    assert answer.content[0].text == SAYS
    [last] = [r for r in gateway.upstream.requests() if r.path == "/v1/messages"][-1:]
    assert last.query == "beta=true"
    assert last.headers["anthropic-beta"] == "some-beta-2026-01-01"


def test_models_are_listed_to_their_end(client: Anthropic) -> None:
    assert "alpha:latest" in [model.id for model in client.models.list()]


def test_tokens_that_no_server_counts_are_not_found(client: Anthropic) -> None:
    from anthropic import NotFoundError

    with pytest.raises(NotFoundError):
        client.messages.count_tokens(model="alpha", messages=HI)


def test_a_model_that_nobody_has_is_an_error_with_a_text(client: Anthropic) -> None:
    from anthropic import NotFoundError

    for stream in (False, True):
        with pytest.raises(NotFoundError, match="nothing") as caught:
            client.messages.create(model="nothing", max_tokens=9, messages=HI, stream=stream)
        assert caught.value.body["error"]["type"] == "not_found_error"


def test_a_wrong_key_is_not_tried_again(gateway: Gateway) -> None:
    from anthropic import Anthropic, AuthenticationError

    with (
        Anthropic(base_url=gateway.url, auth_token=WRONG) as client,
        pytest.raises(AuthenticationError, match="key is not known"),
    ):
        client.messages.create(model="alpha", max_tokens=9, messages=HI)


async def test_the_asynchronous_client_reads_a_stream(gateway: Gateway) -> None:
    from anthropic import AsyncAnthropic

    async with (
        AsyncAnthropic(base_url=gateway.url, auth_token=gateway.key) as client,
        client.messages.stream(model="alpha", max_tokens=9, messages=HI) as stream,
    ):
        assert await stream.get_final_text() == SAYS
