"""`Client.chat`: conversations, by the same rules as prompts."""

import json
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.documents import document
from ollama_admin.domain.answers import Proof
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.errors import InvalidInput, ModelMismatch, ModelNotFound
from tests.fake_ollama import Answer, FakeOllama, SimulatedModel
from tests.services.asking import CHAT, GENERATE, V1_CHAT, prompts, register

HI: list[dict[str, Any]] = [
    {"role": "system", "content": "be kind"},
    {"role": "user", "content": "hi"},
]


async def test_a_conversation_is_answered_and_its_build_proven(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha", says="one two")) as fake:
        await register(client, fake)
        reply = await client.chat(messages=HI, model="alpha", options={"seed": 1})
        assert (reply.response, reply.proof, reply.server.name) == ("one two", Proof.DIGEST, "one")
        [sent] = fake.requests_to(CHAT)
        assert sent.body == {
            "model": "alpha:latest",
            "stream": True,
            "truncate": False,
            "shift": False,
            "options": {"seed": 1},
            "messages": HI,
        }


async def test_a_conversation_comes_in_pieces(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha", says="one two")) as fake:
        async with client.stream_chat(messages=HI, model="alpha", server_url=fake.url) as stream:
            assert [piece.response async for piece in stream] == ["one", " two"]
        assert stream.reply.response == "one two"


async def test_calls_of_tools_are_part_of_the_reply_and_not_of_its_json(client: Client) -> None:
    call = {"function": {"name": "look", "arguments": {"at": "it"}}}
    records = (
        {
            "model": "alpha:latest",
            "message": {"role": "assistant", "content": "", "tool_calls": [call]},
            "done": False,
        },
        {
            "model": "alpha:latest",
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
        },
    )
    tools = [{"type": "function", "function": {"name": "look"}}]
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        fake.script(
            CHAT, Answer(200, "".join(json.dumps(record) + "\n" for record in records).encode())
        )
        reply = await client.chat(messages=HI, tools=tools, model="alpha", server_url=fake.url)
        [sent] = fake.requests_to(CHAT)
    assert reply.tool_calls == (call,)
    assert isinstance(sent.body, dict)
    assert sent.body["tools"] == tools
    assert not {"tool_calls", "record"} & document(reply).keys()


async def test_a_v1_server_gets_the_messages(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha", says="one"), version=None) as fake:
        reply = await client.chat(messages=HI, model="alpha", server_url=f"{fake.url}/v1")
        [sent] = fake.requests_to(V1_CHAT)
    assert reply.response == "one"
    assert isinstance(sent.body, dict)
    assert sent.body["messages"] == HI


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"content": "hi"}],
        [{"role": "", "content": "hi"}],
        [{"role": "user", "content": 1}],
        [{"role": "user", "images": "x"}],
        [{"role": "user", "images": ["no base64"]}],
        [{"role": "user", "content": "\ud800"}],
        [{"role": "user", "content": "hi", "n": float("nan")}],
    ],
)
async def test_what_is_no_conversation_is_refused(
    client: Client, messages: list[dict[str, Any]]
) -> None:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        with pytest.raises(InvalidInput):
            await client.chat(messages=messages, model="alpha", server_url=fake.url)
        assert fake.requests == []


@pytest.mark.parametrize("beside", [{"prompt": "hi"}, {"system": "be kind"}, {"images": (b"x",)}])
async def test_messages_and_a_prompt_are_not_both_given(
    client: Client, beside: dict[str, Any]
) -> None:
    request = GenerateRequest(messages=tuple(HI), model="alpha", **beside)
    with pytest.raises(InvalidInput, match="messages are given beside a prompt"):
        await anext(client.ask(request))


async def test_the_rules_of_choice_and_proof_hold_for_conversations(client: Client) -> None:
    old, new = SimulatedModel("alpha", build="old"), SimulatedModel("alpha", build="new")
    async with FakeOllama(old) as fake:
        await register(client, fake)
        with pytest.raises(ModelNotFound):
            await client.chat(messages=HI, model="beta")
        fake.point("alpha", new)
        with pytest.raises(ModelMismatch):
            await client.chat(messages=HI, model="alpha", verified=True)
        assert prompts(fake) == 0
        assert fake.requests_to(GENERATE) == []
