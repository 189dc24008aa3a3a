"""What goes through the gateway is equal byte for byte, both ways, but for the two fields that ask
for a whole prompt.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ollama_admin.simulator.model import SimulatedModel
from tests.api.conftest import register
from tests.api.service import Service
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread
from tests.gateway.answers import JSON, MODEL, NDJSON, SAMPLES, SSE, VECTORS, compact
from tests.gateway.upstream import RELAYED, chunked, pieces, script, sent_to, whole

MODEL_HELD = SimulatedModel(MODEL)
WHOLE = {
    "/api/generate": b'"truncate":false,"shift":false,',
    "/api/chat": b'"truncate":false,"shift":false,',
    "/api/embed": b'"truncate":false,',
}
STREAMED = {  # what each path streams, where it does
    "/api/generate": SAMPLES["lines"].body,
    "/api/chat": SAMPLES["lines"].body,
    "/v1/chat/completions": SAMPLES["completions"].body,
    "/v1/completions": SAMPLES["completions with CRLF"].body,
    "/v1/responses": SAMPLES["responses"].body,
    "/v1/messages": SAMPLES["messages"].body,
}
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
ours = ("model", "server", "server_url", "digest", "prompt", "messages")
fields = st.dictionaries(
    st.text(max_size=12).filter(lambda key: key.casefold() not in ours), values, max_size=5
)
numbers = st.lists(st.integers(1, 400), min_size=1, max_size=6)
spaces = st.sampled_from(["", " ", "\n", "\t \r\n"])


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeOllamaThread]:
    with FakeOllamaThread(FakeOllama(MODEL_HELD)) as opened:
        yield opened


@pytest.fixture(scope="module")
def service(
    fake: FakeOllamaThread, migrated_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    path = shutil.copy(migrated_sqlite_file, tmp_path_factory.mktemp("bytes") / "one.db")
    with Service(f"sqlite:///{path}") as opened:
        register(opened, fake)
        yield opened


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as opened:
        yield opened


def written(draw: Any, path: str) -> bytes:
    """A request as somebody else's program may write it."""
    items = list((draw(fields) | RELAYED[path]).items())
    items.insert(draw(st.integers(0, len(items))), ("model", MODEL))
    space = draw(spaces)
    separators = (f",{space}", f":{space}")
    text = json.dumps(dict(items), ensure_ascii=draw(st.booleans()), separators=separators)
    try:
        return (draw(spaces) + text + draw(spaces)).encode()
    except UnicodeEncodeError:
        return json.dumps(dict(items)).encode()


def answer_to(draw: Any, path: str) -> tuple[bytes, str]:
    streamed = STREAMED.get(path)
    if streamed is not None and draw(st.booleans()):
        return streamed, NDJSON if path.startswith("/api/") else f"{SSE}; charset=utf-8"
    if path not in STREAMED:
        return VECTORS, JSON
    record = draw(fields) | {"model": MODEL, "done": True, "error": None, "response": "x"}
    return draw(spaces).encode() + compact(record), f"{JSON}; charset=utf-8"


# the service is a thread of this process, and may use `random` while an example is drawn
@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisDeprecationWarning")
@pytest.mark.parametrize("path", RELAYED)
@settings(
    max_examples=1000 if settings.get_current_profile_name() == "fuzz" else 25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_any_body_and_any_answer_pass_byte_for_byte(
    data: st.DataObject, path: str, service: Service, client: httpx.Client, fake: FakeOllamaThread
) -> None:
    body = written(data.draw, path)
    answer, content_type = answer_to(data.draw, path)
    response = chunked(answer, content_type, *data.draw(numbers))
    if data.draw(st.booleans()):
        response = whole(answer, content_type)
    fake.call(fake.fakes[0].clear_script)
    script(fake, path, pieces(response, *data.draw(numbers)))
    before = len(sent_to(fake, path))
    query = data.draw(st.sampled_from(["", "?beta=true", "?a=%2F&b"]))
    heard = client.post(path + query, content=body, headers={"Content-Type": "application/json"})
    assert heard.status_code == 200, heard.text
    assert heard.content == answer
    assert heard.headers["content-type"] == content_type
    [sent] = sent_to(fake, path)[before:]
    begins = body.index(b"{") + 1
    assert sent.raw == body[:begins] + WHOLE.get(path, b"") + body[begins:]
    assert sent.query == query.removeprefix("?")
