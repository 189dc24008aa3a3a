import json

import httpx
import pytest

from tests.llama_server import LlamaServer

MESSAGES = [{"role": "user", "content": "who are you?"}]


@pytest.fixture(params=[0, 1], ids=["north", "south"])
def llama_server(
    request: pytest.FixtureRequest, llama_servers: tuple[LlamaServer, LlamaServer]
) -> LlamaServer:
    return llama_servers[request.param]


def streamed(server: LlamaServer, **fields: object) -> list[str]:
    """The data of each event of a streamed answer."""
    body = {"messages": MESSAGES, "stream": True, **fields}
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=body) as response:
        response.raise_for_status()
        return [line.removeprefix("data: ") for line in response.iter_lines() if line]


def test_it_lists_its_one_model(llama_server: LlamaServer) -> None:
    listed = httpx.get(f"{llama_server.url}/v1/models").json()["data"]
    assert [model["id"] for model in listed] == [llama_server.model_id]


def test_it_streams_its_sentence_word_by_word(llama_server: LlamaServer) -> None:
    *events, last = streamed(llama_server, model=llama_server.model_id, temperature=2)
    deltas = [json.loads(event)["choices"][0]["delta"].get("content") for event in events]
    words = [delta for delta in deltas if delta]
    assert "".join(words) == llama_server.sentence
    assert len(words) == len(llama_server.sentence.split())
    assert json.loads(events[-1])["choices"][0]["finish_reason"] == "stop"
    assert last == "[DONE]"


def test_it_counts_tokens_only_when_asked(llama_server: LlamaServer) -> None:
    *events, _ = streamed(llama_server, stream_options={"include_usage": True})
    usage = json.loads(events[-1])
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == len(llama_server.sentence.split()) + 1


def test_it_answers_for_a_model_it_does_not_have_under_its_own_name(
    llama_server: LlamaServer,
) -> None:
    *events, _ = streamed(llama_server, model="no-such-model:7b")
    assert {json.loads(event)["model"] for event in events} == {llama_server.model_id}


@pytest.mark.parametrize("path", ["/api/version", "/api/tags", "/api/ps"])
def test_it_has_no_native_api(llama_server: LlamaServer, path: str) -> None:
    response = httpx.get(llama_server.url + path)
    assert response.status_code == 404
    assert response.json() == {
        "error": {"message": "File Not Found", "type": "not_found_error", "code": 404}
    }
