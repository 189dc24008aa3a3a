"""LangChain's own integration for Ollama, with the key as the password of its URL."""

import base64
import gc
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.clients.conftest import CALL, PERSON, PNG, SAYS, SCHEMA, THOUGHT, WRONG, Gateway

pytestmark = pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture
def base_url(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    yield gateway.with_password
    gc.collect()  # it leaves connections open, of which Python warns


def chat(base_url: str, model: str, **more: Any) -> Any:
    from langchain_ollama import ChatOllama

    return ChatOllama(model=model, base_url=base_url, **more)


def test_a_chat_answers_whole_and_in_pieces(base_url: str) -> None:
    asked = chat(base_url, "alpha", validate_model_on_init=True)
    answer = asked.invoke("hi")
    assert answer.content == SAYS
    assert answer.usage_metadata["output_tokens"] > 0
    assert "".join(piece.content for piece in asked.stream("hi")) == SAYS


def test_a_chat_calls_tools_keeps_to_a_schema_thinks_and_sees(base_url: str) -> None:
    tool = {"name": "weather", "description": "The weather", "parameters": {"type": "object"}}
    called = chat(base_url, "caller").bind_tools([tool]).invoke("hi")
    assert called.tool_calls[0]["args"] == CALL.arguments
    schema = SCHEMA | {"title": "person"}
    formed = chat(base_url, "former").with_structured_output(schema, method="json_schema")
    assert formed.invoke("hi") == PERSON
    thought = chat(base_url, "thinker", reasoning=True).invoke("hi")
    assert thought.additional_kwargs["reasoning_content"] == THOUGHT
    picture = {"url": f"data:image/png;base64,{base64.b64encode(PNG).decode()}"}
    content = [{"type": "image_url", "image_url": picture}]
    assert chat(base_url, "seer").invoke([("user", content)]).content == "a red square"


def test_texts_and_vectors_are_answered(base_url: str) -> None:
    from langchain_ollama import OllamaEmbeddings, OllamaLLM

    assert OllamaLLM(model="alpha", base_url=base_url).invoke("hi") == SAYS
    vectors = OllamaEmbeddings(model="emb", base_url=base_url)
    assert vectors.embed_documents(["x", "y"])[0] == vectors.embed_query("x")


def test_a_model_that_nobody_has_and_a_wrong_key_are_errors(
    gateway: Gateway, base_url: str
) -> None:
    from ollama import ResponseError

    with pytest.raises(ResponseError, match="nothing"):
        chat(base_url, "nothing").invoke("hi")
    wrong = gateway.with_password.replace(gateway.key, WRONG)
    with pytest.raises(ResponseError, match="key is not known"):
        chat(wrong, "alpha").invoke("hi")
