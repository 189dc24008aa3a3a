"""`Client.embed`: vectors, by the same rules as answers."""

import json
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.documents import document
from ollama_admin.domain.answers import Proof
from ollama_admin.errors import (
    AdminError,
    InvalidInput,
    ModelMismatch,
    ModelNotFound,
    PromptTooLong,
    ServerUnreachable,
    UpstreamError,
)
from ollama_admin.simulator.vectors import vector
from tests.fake_ollama import Answer, FakeOllama, SimulatedModel
from tests.services.asking import register

EMBED, V1_EMBED = "/api/embed", "/v1/embeddings"


def answer(**changed: Any) -> Answer:
    body = {"model": "alpha:latest", "embeddings": [[0.5, 1]], "prompt_eval_count": 1}
    return Answer(200, json.dumps(body | changed).encode())


async def test_a_text_has_a_vector_whose_build_is_proven(client: Client) -> None:
    model = SimulatedModel("alpha")
    async with FakeOllama(model) as fake:
        await register(client, fake)
        reply = await client.embed(input="one two", model="alpha")
        [sent] = fake.requests_to(EMBED)
    assert reply.embeddings == (tuple(vector("one two")),)
    assert (reply.model, reply.digest, reply.proof) == ("alpha:latest", model.digest, Proof.DIGEST)
    assert (reply.verified, reply.truncated, reply.stats.prompt_tokens) == (True, False, 2)
    assert sent.body == {"model": "alpha:latest", "input": ["one two"], "truncate": False}
    assert list(document(reply)) == [
        *("embeddings", "model", "server", "digest", "verified", "proof", "drift", "truncated"),
        *("stats", "attempts"),
    ]
    [receipt] = await client.receipts.list()
    assert (receipt.outcome, receipt.model, receipt.verified) == ("ok", "alpha:latest", True)


async def test_many_texts_go_in_parts_to_one_server(client: Client) -> None:
    texts = [f"text {number}" for number in range(70)]
    async with (
        FakeOllama(SimulatedModel("alpha")) as fake,
        FakeOllama(SimulatedModel("alpha")) as other,
    ):
        await register(client, fake, other)
        reply = await client.embed(input=texts, model="alpha")
        assert len(fake.requests_to(EMBED)) == 3
        assert other.requests_to(EMBED) == []
    assert reply.embeddings == tuple(tuple(vector(text)) for text in texts)
    assert reply.stats.prompt_tokens == 140


async def test_all_that_is_asked_for_is_sent(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        reply = await client.embed(
            input="one",
            model="alpha",
            server_url=fake.url,
            dimensions=2,
            options={"num_ctx": 99},
            keep_alive="1m",
            allow_truncate=True,
        )
        [sent] = fake.requests_to(EMBED)
    assert len(reply.embeddings[0]) == 2
    assert sent.body == {
        "model": "alpha:latest",
        "input": ["one"],
        "dimensions": 2,
        "options": {"num_ctx": 99},
        "keep_alive": "1m",
    }
    assert reply.truncated is None


async def test_a_v1_server_is_asked_in_its_own_way(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha"), version=None) as fake:
        reply = await client.embed(input=["one", "two"], model="alpha", server_url=f"{fake.url}/v1")
        with pytest.raises(InvalidInput, match="cannot carry --keep-alive"):
            await client.embed(
                input="one", model="alpha", server_url=f"{fake.url}/v1", keep_alive="1m"
            )
        with pytest.raises(InvalidInput, match="cannot carry --option num_ctx"):
            await client.embed(
                input="one", model="alpha", server_url=f"{fake.url}/v1", options={"num_ctx": 1}
            )
        [sent] = fake.requests_to(V1_EMBED)
    assert reply.embeddings == (tuple(vector("one")), tuple(vector("two")))
    assert (reply.proof, reply.truncated) == (Proof.NAME, None)
    assert sent.body == {"model": "alpha", "input": ["one", "two"], "encoding_format": "float"}


async def test_vectors_of_a_v1_server_are_put_in_order(client: Client) -> None:
    data = [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}]
    async with FakeOllama(SimulatedModel("alpha"), version=None) as fake:
        fake.script(V1_EMBED, Answer(200, json.dumps({"model": "alpha", "data": data}).encode()))
        reply = await client.embed(input=["a", "b"], model="alpha", server_url=f"{fake.url}/v1")
        assert reply.embeddings == ((1.0,), (2.0,))
        data[1]["index"] = 1
        fake.script(V1_EMBED, Answer(200, json.dumps({"model": "alpha", "data": data}).encode()))
        with pytest.raises(UpstreamError, match="not numbered"):
            await client.embed(input=["a", "b"], model="alpha", server_url=f"{fake.url}/v1")


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        ({"model": "beta"}, ModelMismatch, "answered as 'beta'"),
        ({"model": None}, ModelMismatch, "does not say which model"),
        ({"remote_host": "https://ollama.com"}, ModelMismatch, "to a remote host"),
        ({"embeddings": []}, UpstreamError, "0 vectors for 1 texts"),
        ({"embeddings": None}, UpstreamError, "no list of vectors"),
        ({"embeddings": [[]]}, UpstreamError, "no list of numbers"),
        ({"embeddings": [["a"]]}, UpstreamError, "no list of numbers"),
        ({"embeddings": [[True]]}, UpstreamError, "no list of numbers"),
        ({"embeddings": [[1], [2]]}, UpstreamError, "2 vectors for 1 texts"),
        ({"error": "no", "embeddings": None}, UpstreamError, "no list of vectors"),
    ],
)
async def test_what_is_no_vector_of_that_model_is_an_error(
    client: Client, changed: dict[str, Any], kind: type[AdminError], words: str
) -> None:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        await register(client, fake)
        fake.script(EMBED, answer(**changed))
        with pytest.raises(kind) as caught:
            await client.embed(input="one", model="alpha")
    assert words in caught.value.message


async def test_vectors_of_two_lengths_are_an_error(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        fake.script(EMBED, answer(embeddings=[[1], [1, 2]]))
        with pytest.raises(UpstreamError, match="vectors of 1 and of 2 numbers"):
            await client.embed(input=["a", "b"], model="alpha", server_url=fake.url)


async def test_a_text_that_does_not_fit_is_not_cut(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha", context_length=3)) as fake:
        await register(client, fake)
        with pytest.raises(PromptTooLong):
            await client.embed(input="one two three four", model="alpha")
        assert await client.embed(input="one two three four", model="alpha", allow_truncate=True)


async def test_another_server_of_the_same_build_is_asked_where_one_is_away(client: Client) -> None:
    async with (
        FakeOllama(SimulatedModel("alpha")) as fake,
        FakeOllama(SimulatedModel("alpha")) as other,
    ):
        await register(client, fake, other)
        fake.script(EMBED, Answer(503, {"error": "server busy"}))
        reply = await client.embed(input="one", model="alpha")
    assert reply.server.name == "two"
    assert [attempt.server.name for attempt in reply.attempts] == ["one"]


async def test_a_demanded_build_is_the_one_or_nothing_is_sent(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        await register(client, fake)
        fake.point("alpha", SimulatedModel("alpha", build="2"))
        with pytest.raises(ModelMismatch):
            await client.embed(input="one", model="alpha", verified=True)
        assert fake.requests_to(EMBED) == []
        reply = await client.embed(input="one", model="alpha")
    # vectors come without a time of the server's clock: since when it moved is not known
    assert (reply.proof, reply.verified) == (Proof.CHANGED, False)


async def test_nobody_is_asked_for_what_nobody_has(client: Client) -> None:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        with pytest.raises(ModelNotFound):
            await client.embed(input="one", model="alpha")
        with pytest.raises(ServerUnreachable):
            await client.embed(input="one", model="alpha", server_url="http://127.0.0.1:9")
        assert fake.requests == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"input": ""}, "a text is empty"),
        ({"input": []}, "a text is empty"),
        ({"input": ["a", ""]}, "a text is empty"),
        ({"input": 1}, "input is of type int, not a list"),
        ({"input": [1]}, "input[0] is of type int, not text"),
        ({"input": "\ud800"}, "the text is not UTF-8 text (character 1)"),
        ({"input": "a", "dimensions": 0}, "the number of dimensions must be 1 or more"),
        ({"input": "a", "dimensions": "1"}, "dimensions is of type str, not a whole number"),
        ({"input": "a", "options": {"num_ctx": "a"}}, "option num_ctx must be a whole number"),
        ({"input": "a", "keep_alive": "soon"}, "keep-alive 'soon' is not a duration"),
        ({"input": "a", "timeout": 0}, "the timeout must be greater than 0 seconds"),
        ({"input": "a", "model": ""}, "the model name is empty"),
    ],
)
async def test_what_no_server_could_answer_is_refused(
    client: Client, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        await client.embed(**({"model": "alpha"} | asked))
    assert caught.value.message.startswith(message)
