"""What a caller that speaks Ollama's own API gets: its path, its records, nothing added."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.answers import Proof
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.errors import InvalidInput, ServerBusy, UpstreamError
from tests.fake_ollama import Answer, FakeOllama, SimulatedModel
from tests.services.asking import CHAT, GENERATE, ask, prompts, register

ALPHA = SimulatedModel("alpha", says="one two")


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(ALPHA) as fake:
        yield fake


def asked(**values: Any) -> GenerateRequest:
    return GenerateRequest(**{"model": "alpha", "allow_truncate": True, **values})


async def test_every_record_is_a_piece_and_the_last_one_comes_with_the_reply(
    client: Client, fake: FakeOllama
) -> None:
    await register(client, fake)
    async with client.ask(asked(prompt="hi"), path=GENERATE) as stream:
        pieces = [piece async for piece in stream]
        reply = stream.reply
    assert [piece.response for piece in pieces] == ["one", " two"]
    assert all(piece.record is not None and not piece.record["done"] for piece in pieces)
    assert reply.record is not None
    assert (reply.record["done"], reply.record["done_reason"]) == (True, "stop")
    assert (reply.response, reply.done_reason, reply.proof) == ("one two", "stop", Proof.DIGEST)


async def test_an_empty_record_is_a_piece_of_a_path_and_of_nothing_else(
    client: Client, fake: FakeOllama
) -> None:
    await register(client, fake)
    empty = b'{"model":"alpha:latest","response":"","done":false}\n'
    last = b'{"model":"alpha:latest","response":"one","done":true,"done_reason":"stop"}\n'
    fake.script(GENERATE, *[Answer(200, empty + last)] * 2)
    async with client.ask(asked(prompt="hi"), path=GENERATE) as stream:
        assert [piece.response async for piece in stream] == [""]
        assert stream.reply.response == "one"
    assert (await ask(client)).pieces == ["one"]


async def test_a_question_goes_to_its_path_as_it_was_asked(
    client: Client, fake: FakeOllama
) -> None:
    await register(client, fake)
    async with client.ask(asked(prompt="hi", shift=True), path=GENERATE) as stream:
        async for _ in stream:
            pass
    [sent] = fake.requests_to(GENERATE)
    assert sent.body == {"model": "alpha:latest", "stream": True, "prompt": "hi", "shift": True}


@pytest.mark.parametrize(("path", "said"), [(GENERATE, {}), (CHAT, {"messages": ()})])
async def test_an_empty_prompt_loads_the_model_by_its_path_alone(
    client: Client, fake: FakeOllama, path: str, said: dict[str, Any]
) -> None:
    await register(client, fake)
    async with client.ask(asked(**said), path=path) as stream:
        assert [piece async for piece in stream] == []
        assert (stream.reply.response, stream.reply.done_reason) == ("", "load")
    with pytest.raises(InvalidInput):
        await anext(client.ask(asked(**said)))
    assert prompts(fake) == 1


async def test_a_prompt_is_not_answered_by_loading_the_model(
    client: Client, fake: FakeOllama
) -> None:
    await register(client, fake)
    loaded = {"model": "alpha:latest", "response": "", "done": True, "done_reason": "load"}
    fake.script(GENERATE, Answer(200, loaded))
    error = (await ask(client)).error
    assert type(error) is UpstreamError
    assert "did not read the prompt, and says 'load'" in error.message


async def test_an_unknown_option_is_noted_once_however_many_servers_are_asked(
    client: Client, fake: FakeOllama, notes: list[str]
) -> None:
    async with FakeOllama(ALPHA) as other:
        await register(client, fake, other)
        fake.script(GENERATE, Answer(503))
        options = {"seed": 1, "mirostat": 2}
        reply = (await ask(client, options=options)).accepted
        [sent] = other.requests_to(GENERATE)
    assert isinstance(sent.body, dict)
    assert sent.body["options"] == options
    assert [type(attempt.error) for attempt in reply.attempts] == [ServerBusy]
    noted = [note for note in notes if "option" in note]
    assert noted == ["Ollama is not known to read option mirostat; it is sent as given"]


async def test_a_reply_is_not_there_before_the_last_piece_was_read(
    client: Client, fake: FakeOllama
) -> None:
    await register(client, fake)
    async with client.stream(prompt="hi", model="alpha") as stream:
        await anext(stream)
        with pytest.raises(RuntimeError, match="not been read to its end"):
            _ = stream.reply
        assert [piece.response async for piece in stream] == [" two"]
        assert stream.reply.response == "one two"
