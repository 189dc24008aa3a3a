"""One gateway before one server, for clients that others have written."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ollama_admin.simulator.model import SimulatedModel, ToolCall
from tests.api.service import TOKEN, Service
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread

SERVERS_KEY = "key-of-the-server"
WRONG = "not-the-key"
SAYS = "I am alpha"
THOUGHT = "let me see"
PERSON = {"name": "Ada", "age": 36}
CALL = ToolCall("weather", {"city": "Paris"})
MODELS = (
    SimulatedModel("alpha", says=SAYS),
    SimulatedModel("org/space:Tag-1", says="I have a namespace"),
    SimulatedModel(
        "caller", says="It is sunny", calls=(CALL,), capabilities=("tools", "completion")
    ),
    SimulatedModel("ear", says="hello there", capabilities=("completion", "audio")),
    SimulatedModel("emb", capabilities=("embedding",)),
    SimulatedModel("former", says=json.dumps(PERSON)),
    SimulatedModel("seer", says="a red square", capabilities=("completion", "vision")),
    SimulatedModel(
        "thinker", says="It is done", thinking=THOUGHT, capabilities=("thinking", "completion")
    ),
)
WEATHER = {
    "name": "weather",
    "description": "The weather of a city",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
# one red pixel
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108020000009077"
    "53de0000000c4944415478da63f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
)


@dataclass(frozen=True, slots=True)
class Gateway:
    """`url` needs a key; `with_key` has it in its path, and `with_password` before its host."""

    url: str
    upstream: FakeOllamaThread
    key: str = TOKEN

    @property
    def with_key(self) -> str:
        return f"{self.url}/k/{self.key}"

    @property
    def with_password(self) -> str:
        return self.url.replace("://", f"://anyone:{self.key}@")


@pytest.fixture(scope="package")
def upstream() -> Iterator[FakeOllamaThread]:
    fake = FakeOllama(*MODELS, require_header=("Authorization", f"Bearer {SERVERS_KEY}"))
    with FakeOllamaThread(fake) as thread:
        yield thread


@pytest.fixture(scope="package")
def running(
    upstream: FakeOllamaThread,
    migrated_sqlite_file: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Gateway]:
    path = shutil.copy(migrated_sqlite_file, tmp_path_factory.mktemp("clients") / "one.db")
    with Service(f"sqlite:///{path}") as service:
        auth = {"auth_type": "bearer", "auth_config": {"token": SERVERS_KEY}}
        server = {"name": "one", "url": upstream.url} | auth
        added = service.ask("POST", "/api/servers", server)
        assert added.status_code == 201, added.text
        assert service.ask("POST", "/api/discover").json()["failed"] == 0
        yield Gateway(service.url, upstream)


@pytest.fixture
def gateway(running: Gateway, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """Afterwards nothing that the server was sent has the client's key in it."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "OLLAMA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    before = len(running.upstream.requests())
    yield running
    for request in running.upstream.requests()[before:]:
        sent = repr((request.path, request.query, request.headers, request.raw))
        assert TOKEN not in sent
        assert WRONG not in sent
        assert request.headers["authorization"] == f"Bearer {SERVERS_KEY}"


def function(parameters: dict[str, Any] = WEATHER) -> dict[str, Any]:
    """A tool as Ollama's and OpenAI's chats take it."""
    return {"type": "function", "function": parameters}
