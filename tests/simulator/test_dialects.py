"""The simulated server in OpenAI's and Anthropic's words, and with vectors.

What the official clients make of these bytes is in tests/gateway/clients.
"""

import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from ollama_admin.simulator.model import SimulatedModel, ToolCall
from ollama_admin.simulator.server import RunnerKilledError, SimulatedServer

TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
MODELS = (
    SimulatedModel("alpha"),
    SimulatedModel(
        "thinker",
        says="It is done",
        thinking="let me see",
        capabilities=("tools", "thinking", "completion"),
    ),
    SimulatedModel(
        "caller",
        capabilities=("tools", "completion"),
        calls=(ToolCall("weather", {"city": "Paris"}), ToolCall("clock", {})),
    ),
    SimulatedModel("emb", capabilities=("embedding",)),
    SimulatedModel("ear", says="hello there", capabilities=("completion", "audio")),
)
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer(*MODELS) as server:
        yield server


async def post(server: SimulatedServer, path: str, body: Any, **more: Any) -> httpx.Response:
    async with httpx.AsyncClient(verify=False, trust_env=False) as client:
        return await client.post(server.url + path, json=body, **more)


def events(response: httpx.Response) -> list[tuple[str, Any]]:
    """The names of events and their data; the name is that of the data, too."""
    found = []
    for event in response.text.strip().split("\n\n"):
        name, data = event.split("\n")
        record = json.loads(data.removeprefix("data: "))
        assert name == f"event: {record['type']}"
        found.append((record["type"], record))
    return found


def names(response: httpx.Response) -> list[str]:
    """Those of the events, each once where it is repeated."""
    listed = [name.removeprefix("response.") for name, _ in events(response)]
    return [name for name, before in zip(listed, ["", *listed], strict=False) if name != before]


async def test_a_response_is_streamed_in_the_order_of_openai(server: SimulatedServer) -> None:
    body = {"model": "thinker", "input": "hi", "stream": True, "reasoning": {"effort": "low"}}
    response = await post(server, "/v1/responses", body)
    assert names(response) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    told = [record for _, record in events(response)]
    assert [record["sequence_number"] for record in told] == list(range(len(told)))
    assert [r["output_index"] for r in told if "output_index" in r] == [0] * 6 + [1] * 8
    whole = await post(server, "/v1/responses", body | {"stream": False})
    assert [item["type"] for item in whole.json()["output"]] == ["reasoning", "message"]
    assert whole.json()["output"][1]["content"] == told[-1]["response"]["output"][1]["content"]


async def test_a_response_that_was_cut_says_so(server: SimulatedServer) -> None:
    body = {"model": "alpha", "input": "hi", "stream": True, "max_output_tokens": 1}
    response = await post(server, "/v1/responses", body)
    name, record = events(response)[-1]
    assert name == "response.incomplete"
    assert record["response"]["incomplete_details"] == {"reason": "max_output_tokens"}


async def test_a_message_is_streamed_in_blocks(server: SimulatedServer) -> None:
    thinking = {"type": "enabled", "budget_tokens": 1024}
    body = {"model": "thinker", "max_tokens": 99, "messages": HI, "thinking": thinking}
    response = await post(server, "/v1/messages", body | {"stream": True})
    block = ["content_block_start", "content_block_delta", "content_block_stop"]
    assert names(response) == ["message_start", *block, *block, "message_delta", "message_stop"]
    whole = (await post(server, "/v1/messages", body)).json()
    assert [part["type"] for part in whole["content"]] == ["thinking", "text"]
    assert whole["stop_reason"] == "end_turn"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/chat", {"messages": HI, "stream": False}),
        ("/v1/chat/completions", {"messages": HI}),
        ("/v1/responses", {"input": "hi"}),
        ("/v1/messages", {"messages": HI, "max_tokens": 99}),
    ],
)
async def test_tools_are_called_until_a_result_is_there(
    server: SimulatedServer, path: str, body: dict[str, Any]
) -> None:
    asked = body | {"model": "caller", "tools": [TOOL]}
    response = await post(server, path, asked)
    assert "Paris" in response.text
    assert "I am alpha" not in response.text
    result = {"role": "tool", "content": "sunny"}
    if path == "/v1/responses":
        output = {"type": "function_call_output", "call_id": "call_weather", "output": "sunny"}
        asked["input"] = [{"role": "user", "content": "hi"}, output]
    elif path == "/v1/messages":
        part = {"type": "tool_result", "tool_use_id": "call_weather", "content": "sunny"}
        asked["messages"] = [*HI, {"role": "user", "content": [part]}]
    else:
        asked["messages"] = [*HI, result]
    assert "I am alpha" in (await post(server, path, asked)).text


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages", "/v1/chat/completions"])
async def test_two_tools_are_called_in_one_stream(server: SimulatedServer, path: str) -> None:
    body = {"model": "caller", "messages": HI, "input": "hi", "max_tokens": 99, "stream": True}
    response = await post(server, path, body | {"tools": [TOOL]})
    assert "call_weather" in response.text
    assert "call_clock" in response.text
    reasons = {"/v1/messages": '"tool_use"', "/v1/chat/completions": '"tool_calls"'}
    assert reasons.get(path, "function_call_arguments.done") in response.text


async def test_probabilities_are_told_when_asked_for(server: SimulatedServer) -> None:
    native = {"model": "alpha", "messages": HI, "stream": False, "logprobs": True}
    told = (await post(server, "/api/chat", native)).json()["logprobs"]
    assert "".join(entry["token"] for entry in told) == "I am alpha"
    body = {"model": "alpha", "messages": HI, "logprobs": True}
    choice = (await post(server, "/v1/chat/completions", body)).json()["choices"][0]
    assert "".join(entry["token"] for entry in choice["logprobs"]["content"]) == "I am alpha"


async def test_vectors_are_the_same_in_every_form(server: SimulatedServer) -> None:
    body = {"model": "emb", "input": ["x", "y"]}
    native = (await post(server, "/api/embed", body)).json()
    old = (await post(server, "/api/embeddings", {"model": "emb", "prompt": "x"})).json()
    v1 = (await post(server, "/v1/embeddings", body)).json()
    packed = (await post(server, "/v1/embeddings", body | {"encoding_format": "base64"})).json()
    vectors = native["embeddings"]
    assert old["embedding"] == vectors[0] != vectors[1]
    assert [entry["embedding"] for entry in v1["data"]] == vectors
    unpacked = struct.unpack("<3f", base64.b64decode(packed["data"][0]["embedding"]))
    assert list(unpacked) == pytest.approx(vectors[0])
    longer = (await post(server, "/api/embed", body | {"dimensions": 8})).json()
    assert [len(vector) for vector in longer["embeddings"]] == [8, 8]


async def test_a_text_that_does_not_fit_is_not_embedded_in_part(server: SimulatedServer) -> None:
    body = {"model": "emb", "input": "x " * 3000, "truncate": False}
    response = await post(server, "/api/embed", body)
    assert response.status_code == 400
    assert response.json() == {"error": "the input length exceeds the context length"}


@pytest.mark.parametrize(("form", "heard"), [("json", '{"text":"hello there"}'), ("text", "hello")])
async def test_a_recording_is_heard(server: SimulatedServer, form: str, heard: str) -> None:
    fields = {"model": "ear", "response_format": form}
    async with httpx.AsyncClient(verify=False, trust_env=False) as client:
        url = f"{server.url}/v1/audio/transcriptions"
        response = await client.post(url, data=fields, files={"file": ("a.wav", b"\0RIFF\r\n")})
        deaf = await client.post(url, data={"model": "alpha"}, files={"file": ("a.wav", b"x")})
    assert response.text.startswith(heard)
    assert (deaf.status_code, deaf.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_refused_messages_have_the_shape_of_anthropic(server: SimulatedServer) -> None:
    response = await post(server, "/v1/messages", {"model": "x", "max_tokens": 9, "messages": HI})
    assert response.status_code == 404
    assert response.json()["type"] == "error"
    assert response.json()["error"] == {"type": "not_found_error", "message": "model 'x' not found"}


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/messages", "/v1/completions"])
async def test_a_killed_runner_ends_a_stream_without_its_mark(
    server: SimulatedServer, path: str
) -> None:
    async def die_at_the_second(index: int) -> None:
        if index == 1:
            raise RunnerKilledError

    server.before_token = die_at_the_second
    body = {"model": "alpha", "max_tokens": 9, "messages": HI, "input": "hi", "prompt": "hi"}
    response = await post(server, path, body | {"stream": True})
    assert response.status_code == 200
    for mark in ("[DONE]", "message_stop", "response.completed"):
        assert mark not in response.text


async def test_older_servers_do_not_have_the_newer_paths(server: SimulatedServer) -> None:
    server.version = "0.13.3"
    assert (await post(server, "/v1/responses", {"model": "alpha", "input": "x"})).is_success
    body = {"model": "alpha", "max_tokens": 9, "messages": HI}
    assert (await post(server, "/v1/messages", body)).status_code == 404
