"""The published clients of OpenAI and Anthropic: answers, streams, and errors in their terms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from ollama_admin.simulator.http import encode_chunk
from tests.api.conftest import Serve, register
from tests.api.service import TOKEN, Service
from tests.fake_ollama import Answer, Ending, Fault, Raw
from tests.fake_ollama_thread import FakeOllamaThread
from tests.gateway.answers import JSON, MODEL, SAMPLES, compact
from tests.gateway.upstream import chunked, head, script, whole

if TYPE_CHECKING:  # each process of the tests would take two seconds and 50 MB to load them
    import anthropic
    import openai

HI: Any = [{"role": "user", "content": "hi"}]
COMPLETIONS, MESSAGES = "/v1/chat/completions", "/v1/messages"
CHOICE = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hey"}}
COMPLETION = {"id": "c", "object": "chat.completion", "created": 1, "model": MODEL}
MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": MODEL, "stop_reason": None}


@pytest.fixture
def fake(sqlite_api: Service, fakes: Serve) -> FakeOllamaThread:
    opened = fakes(MODEL)
    register(sqlite_api, opened)
    return opened


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes the clients."""
    with ExitStack() as opened:
        yield opened


def openai_at(service: Service, stack: ExitStack, key: str = TOKEN) -> openai.OpenAI:
    import openai

    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key=key, max_retries=0)
    return stack.enter_context(client)


def anthropic_at(service: Service, stack: ExitStack, key: str = TOKEN) -> anthropic.Anthropic:
    import anthropic

    client = anthropic.Anthropic(base_url=service.url, api_key=key, max_retries=0)
    return stack.enter_context(client)


def asking(module: str, service: Service, stack: ExitStack, key: str = TOKEN) -> Any:
    """The call of a published client that asks a model."""
    if module == "openai":
        return openai_at(service, stack, key).chat.completions.create
    return partial(anthropic_at(service, stack, key).messages.create, max_tokens=5)


def test_openai_lists_asks_and_streams(
    sqlite_api: Service, fake: FakeOllamaThread, stack: ExitStack
) -> None:
    client, sample = openai_at(sqlite_api, stack), SAMPLES["completions"]
    assert [model.id for model in client.models.list()] == ["alpha:latest"]
    assert client.models.retrieve("alpha").id == "alpha:latest"
    body = compact(COMPLETION | {"choices": [CHOICE]})
    script(fake, COMPLETIONS, Answer(200, body, content_type=JSON))
    said = client.chat.completions.create(model=MODEL, messages=HI)
    assert said.choices[0].message.content == "hey"
    script(fake, COMPLETIONS, Raw((chunked(sample.body, sample.content_type, 9),), Ending.KEEP))
    chunks = list(client.chat.completions.create(model=MODEL, messages=HI, stream=True))
    assert [chunk.model for chunk in chunks] == [MODEL] * 3


def test_anthropic_asks_and_streams(
    sqlite_api: Service, fake: FakeOllamaThread, stack: ExitStack
) -> None:
    client, sample = anthropic_at(sqlite_api, stack), SAMPLES["messages"]
    content = {"content": [{"type": "text", "text": "hey"}], "usage": {"input_tokens": 1}}
    script(fake, MESSAGES, Raw((whole(compact(MESSAGE | content), JSON),), Ending.KEEP))
    said = client.messages.create(model=MODEL, messages=HI, max_tokens=5)
    assert said.content[0].text == "hey"  # type: ignore[union-attr]
    script(fake, MESSAGES, Raw((chunked(sample.body, sample.content_type, 9),), Ending.KEEP))
    events = list(client.messages.create(model=MODEL, messages=HI, max_tokens=5, stream=True))
    assert [events[0].type, events[-1].type] == ["message_start", "message_stop"]


ERRORS = [  # of a server that holds the model; none for a fault of the question
    (None, {"model": "beta"}, 404, "NotFoundError"),
    (None, {"key": "wrong"}, 401, "AuthenticationError"),
    (None, {"server": "other"}, 404, "NotFoundError"),
    (None, {"digest": "0" * 64}, 409, "ConflictError"),
    (None, {"digest": "no digest"}, 400, "BadRequestError"),
    (Answer(400, "<html>no</html>"), {}, 400, "BadRequestError"),
    (Answer(413, "<html>no</html>"), {}, 413, "APIStatusError"),
    (Answer(429, "<html>no</html>"), {}, 429, "RateLimitError"),
    (Answer(502, "<html>no</html>"), {}, 502, "InternalServerError"),
    (Answer(503, "<html>no</html>"), {}, 503, "APIStatusError"),
    (Answer(200, "<html>no</html>"), {}, 502, "InternalServerError"),
    (Answer(200, {"model": "beta"}), {}, 409, "ConflictError"),
    (Answer(401, "no"), {}, 502, "InternalServerError"),
]


@pytest.mark.parametrize(("fault", "question", "status", "kind"), ERRORS)
@pytest.mark.parametrize("module", ["openai", "anthropic"])
def test_each_error_is_the_one_that_the_client_knows_for_it(
    sqlite_api: Service,
    fake: FakeOllamaThread,
    stack: ExitStack,
    module: str,
    fault: Fault | None,
    question: dict[str, str],
    status: int,
    kind: str,
) -> None:
    given = {"model": MODEL, "key": TOKEN, **question}
    headers = {
        f"X-Ollama-Admin-{name.title()}": given[name]
        for name in ("server", "digest")
        if name in given
    }
    for path in (COMPLETIONS, MESSAGES):
        if fault is not None:
            script(fake, path, fault)
    asked: dict[str, Any] = {"model": given["model"], "messages": HI, "extra_headers": headers}
    with pytest.raises(getattr(import_module(module), kind)) as failed:
        asking(module, sqlite_api, stack, given["key"])(**asked)
    assert failed.value.status_code == status
    assert isinstance(failed.value.body, dict)
    assert "html" not in failed.value.response.headers["content-type"]


@pytest.mark.parametrize("module", ["openai", "anthropic"])
def test_a_stream_that_breaks_raises_and_is_never_whole(
    sqlite_api: Service, fake: FakeOllamaThread, stack: ExitStack, module: str
) -> None:
    sample = SAMPLES["completions" if module == "openai" else "messages"]
    before = sample.body.removesuffix(sample.mark)
    broken = head(sample.content_type) + encode_chunk(before)
    script(fake, sample.path, Raw((broken, encode_chunk(b""))))
    said = asking(module, sqlite_api, stack)(model=MODEL, messages=HI, stream=True)
    with pytest.raises(import_module(module).APIError) as failed:
        list(said)
    assert "without its end mark" in str(failed.value)
