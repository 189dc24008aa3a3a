"""Servers and answers met in the field: proxies, half answers, lists without digests."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.answers import Proof
from ollama_admin.domain.servers import ApiVersion
from ollama_admin.errors import AdminError, InvalidInput
from ollama_admin.simulator.model import SimulatedModel
from tests.fake_ollama import Answer, FakeOllama
from tests.ollama.test_endpoint import tls_server
from tests.services.asking import GENERATE, TAGS, V1_CHAT

ONE = SimulatedModel("alpha")
JSON = "application/json"
NGINX_400 = (
    "<html><head><title>400 The plain HTTP request was sent to HTTPS port</title></head></html>"
)
GO_400 = "Client sent an HTTP request to an HTTPS server.\n"


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(ONE) as fake:
        yield fake


async def failure(client: Client, url: str) -> AdminError:
    with pytest.raises(AdminError) as failed:
        await client.generate(model="alpha", prompt="hi", server_url=url, no_verify=True)
    return failed.value


HINTS: dict[str, tuple[Answer, str, str]] = {
    "TLS wanted by nginx": (
        Answer(400, NGINX_400),
        "400",
        "that port speaks https: https://127.0.0.1:",
    ),
    "TLS wanted by Go": (
        Answer(400, GO_400.encode()),
        "400",
        "that port speaks https: https://127.0.0.1:",
    ),
    "a web page": (
        Answer(200, "<!DOCTYPE html><html><head><title>Sign in\n to GPU</title></head></html>"),
        "a web page, 'Sign in to GPU'",
        "check the URL's port and path",
    ),
    "a body that is too long for a proxy": (
        Answer(413, "<html><title>413 Request Entity Too Large</title></html>"),
        "413",
        "client_max_body_size",
    ),
    "a proxy that waits too short a time": (
        Answer(504, "<html><title>504 Gateway Time-out</title></html>"),
        "504",
        "proxy_read_timeout",
    ),
}


@pytest.mark.parametrize(("answer", "said", "hint"), HINTS.values(), ids=HINTS)
async def test_what_stands_before_a_server_is_told_by_what_it_says(
    client: Client, fake: FakeOllama, answer: Answer, said: str, hint: str
) -> None:
    fake.script_always(GENERATE, answer)
    error = await failure(client, fake.url)
    assert said in error.message
    assert hint in (error.hint or "")


async def test_a_page_where_a_list_is_expected_is_named_as_one(
    client: Client, fake: FakeOllama
) -> None:
    await client.servers.add(name="gpu", url=fake.url)
    fake.script_always(TAGS, Answer(200, "<html><h1>Welcome to nginx!</h1></html>"))
    (result,) = await client.discover()
    assert result.error is not None
    assert "a web page, 'Welcome to nginx!'" in result.error.message


async def test_a_certificate_that_nobody_vouches_for_leads_to_the_setting(client: Client) -> None:
    async with tls_server([]) as port:
        error = await failure(client, f"https://localhost:{port}")
    assert "certificate" in error.message
    assert "OLLAMA_ADMIN_CA_FILE" in (error.hint or "")


# answers


def thoughts(tokens: int) -> Answer:
    record = {"model": "alpha:latest", "created_at": "2026-01-01T00:00:00Z", "response": ""}
    lines = [
        record | {"thinking": "hm", "done": False},
        record | {"done": True, "done_reason": "length", "eval_count": tokens},
    ]
    body = "".join(json.dumps(line) + "\n" for line in lines).encode()
    return Answer(200, body, content_type="application/x-ndjson")


async def test_an_answer_of_thinking_alone_is_told(
    client: Client, fake: FakeOllama, notes: list[str]
) -> None:
    fake.script(GENERATE, thoughts(64))
    fake.script(GENERATE.replace("generate", "chat"), thoughts(64))
    reply = await client.generate(model="alpha", prompt="hi", server_url=fake.url)
    assert (reply.response, reply.thinking) == ("", "hm")
    assert notes == ["64 tokens of thinking, and no answer: allow more with --option num_predict=N"]


async def test_thinking_alone_of_a_v1_server_is_told(client: Client, notes: list[str]) -> None:
    chunk = {"model": "alpha", "choices": [{"delta": {"reasoning_content": "hm"}}]}
    last = {"model": "alpha", "choices": [{"delta": {}, "finish_reason": "length"}]}
    body = f"data: {json.dumps(chunk)}\n\ndata: {json.dumps(last)}\n\ndata: [DONE]\n\n".encode()
    async with FakeOllama(ONE, version=None) as fake:
        await add_v1(client, fake)
        fake.script(V1_CHAT, Answer(200, body, content_type="text/event-stream"))
        assert (await client.generate(model="alpha", prompt="hi")).thinking == "hm"
    assert "all tokens of thinking, and no answer" in notes[-1]


async def test_a_v1_server_that_ignores_stream_is_read_as_a_whole(client: Client) -> None:
    document = {
        "model": "alpha",
        "choices": [
            {"message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2},
    }
    async with FakeOllama(ONE, version=None) as fake:
        await add_v1(client, fake)
        fake.script(
            V1_CHAT, Answer(200, json.dumps(document, indent=1).encode(), content_type=JSON)
        )
        fake.script(V1_CHAT, Answer(200, document))
        for _ in range(2):
            reply = await client.generate(model="alpha", prompt="hi")
            assert (reply.response, reply.done_reason) == ("hello", "stop")
            assert (reply.stats.prompt_tokens, reply.stats.output_tokens) == (3, 2)


async def test_that_only_a_name_was_compared_is_told_once_for_each_server(
    client: Client, notes: list[str]
) -> None:
    async with FakeOllama(ONE, version=None) as fake:
        await add_v1(client, fake)
        for _ in range(3):
            reply = await client.generate(model="alpha", prompt="hi")
            assert reply.proof is Proof.NAME
    assert [note for note in notes if "lists no digests" in note] == [
        "server gpu lists no digests: only the name of the model was compared"
    ]


async def test_a_time_that_nobody_set_is_none(client: Client, fake: FakeOllama) -> None:
    entry = {"name": "alpha:latest", "digest": "a" * 64, "modified_at": "0001-01-01T00:00:00Z"}
    fake.script_always(TAGS, Answer(200, {"models": [entry]}))
    await client.servers.add(name="gpu", url=fake.url)
    await client.discover()
    (part,) = [part async for part in client.models.stream()]
    assert [model.modified_at for model in part] == [None]


async def add_v1(client: Client, fake: FakeOllama) -> None:
    await client.servers.add(name="gpu", url=fake.url, api_version=ApiVersion.V1)
    await client.discover()


EMPTY = {
    "suffix": "",
    "context": [],
    "tools": [],
    "format": "",
    "system": "",
    "template": "",
    "options": {},
    "images": [],
}


@pytest.mark.parametrize("field", EMPTY)
async def test_an_empty_value_is_as_if_not_given(client: Client, field: str) -> None:
    """Also to a server that cannot carry the field: clients send such values with every request."""
    async with FakeOllama(ONE, version=None) as fake:
        await add_v1(client, fake)
        asked: dict[str, Any] = {field: EMPTY[field]}
        assert (await client.generate(model="alpha", prompt="hi", **asked)).response == ONE.says


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"prompt": 5}, "prompt is of type int, not text"),
        ({"prompt": None}, "prompt is of type NoneType, not text"),
        ({"model": 5}, "model is of type int, not text"),
        ({"system": b"x"}, "system is of type bytes, not text"),
        ({"options": [1]}, "options is of type list, not an object"),
        ({"options": {1: 2}}, "a name among the options is of type int, not text"),
        ({"options": {"stop": {1, 2}}}, "option stop cannot be written as JSON"),
        ({"format": 5}, "format is of type int, not json or a JSON schema"),
        ({"format": {"type": object()}}, "the JSON schema cannot be written as JSON"),
        ({"images": ["x"]}, "images[0] is of type str, not bytes"),
        ({"images": b"x"}, "images is of type bytes, not a list"),
        ({"context": ["x"]}, "context[0] is of type str, not a whole number"),
        ({"prompt": "", "messages": "hi"}, "messages is of type str, not a list"),
        ({"prompt": "", "messages": ["hi"]}, "messages[0] is of type str, not an object"),
        ({"think": 1.5}, "think is of type float, not true, false or a level"),
        ({"keep_alive": []}, "keep_alive is of type list, not seconds or a duration"),
        ({"timeout": "5"}, "timeout is of type str, not a number"),
        ({"wait": True}, "wait is of type bool, not a number"),
        ({"raw": "yes"}, "raw is of type str, not true or false"),
        ({"server": 1.5}, "server is of type float, not a name or a number"),
        ({"digest": 5}, "digest is of type int, not text"),
    ],
)
async def test_an_argument_of_another_type_is_invalid_input(
    client: Client, asked: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInput) as failed:
        await client.generate(**{"model": "alpha", "prompt": "hi", **asked})
    assert failed.value.message == said
