"""Clients that come from no registry, call by call as their sources send them, with what each
checks of the answer. Where it can send a key it does, else the key is in the path.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from tests.gateway.clients.conftest import SAYS, Gateway

Check = Callable[[httpx.Response], object]
HI = [{"role": "user", "content": "hi"}]
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


@dataclass(frozen=True, slots=True)
class Call:
    """`check` sees the answer, which has the `status`; `body` is sent as JSON."""

    request: str
    check: Check = lambda _: True
    body: object = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def lists(answer: httpx.Response) -> bool:
    """What Zed and Open WebUI read of each model, without which they read none."""
    return all(
        model["name"]
        and model["model"]
        and model["modified_at"]
        and model["digest"]
        and model["size"] > 0
        and model["details"]["family"]
        and model["details"]["format"]
        for model in answer.json()["models"]
    ) and "alpha:latest" in [model["name"] for model in answer.json()["models"]]


def lists_ids(answer: httpx.Response) -> bool:
    listed = answer.json()
    return listed["object"] == "list" and "alpha:latest" in [one["id"] for one in listed["data"]]


def shows(answer: httpx.Response) -> bool:
    shown = answer.json()
    return "completion" in shown["capabilities"] and shown["details"]["family"] == "llama"


def versioned(answer: httpx.Response) -> bool:
    """As Copilot, Codex and Open WebUI compare it: three plain numbers."""
    numbers = [int(part) for part in answer.json()["version"].split(".")]
    return len(numbers) == 3 and numbers >= [0, 13, 4]


def is_alive(answer: httpx.Response) -> bool:
    return answer.text in ("Ollama is running", "")


def streams(answer: httpx.Response) -> bool:
    """Lines of JSON, none of them blank, of which the last is done."""
    records = [json.loads(line) for line in answer.text.removesuffix("\n").split("\n")]
    said = [one.get("response") or one.get("message", {}).get("content", "") for one in records]
    return "".join(said) == SAYS and records[-1]["done"] and "error" not in records[-1]


def streams_chunks(answer: httpx.Response) -> bool:
    events = answer.text.strip().split("\n\n")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    said = [chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"]]
    return "".join(said) == SAYS and events[-1] == "data: [DONE]"


def streams_named_events(last: str) -> Check:
    def check(answer: httpx.Response) -> bool:
        events = answer.text.strip().split("\n\n")
        return events[-1].startswith(f"event: {last}\n") and "alpha" in answer.text

    return check


def has_vectors(answer: httpx.Response) -> bool:
    return len(answer.json()["embeddings"]) == 1


def succeeded(answer: httpx.Response) -> bool:
    return json.loads(answer.text.splitlines()[-1])["status"] == "success"


def error_names(*words: str) -> Check:
    return lambda answer: all(word in answer.json()["error"] for word in words)


def ends_as(reason: str) -> Check:
    return lambda answer: answer.json()["done_reason"] == reason


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "alpha", "messages": HI, **more}


HEAD, VERSION = Call("HEAD /", is_alive), Call("GET /api/version", versioned)
TAGS, PS = Call("GET /api/tags", lists), Call("GET /api/ps")
MODELS = Call("GET /v1/models", lists_ids)
SHOW = Call("POST /api/show", shows, {"model": "alpha"})
SHOW_NAME = Call("POST /api/show", shows, {"name": "alpha"})
CHAT = Call("POST /api/chat", streams, chat(stream=True))
CHUNKS = Call("POST /v1/chat/completions", streams_chunks, chat(stream=True))
EMBED = Call("POST /api/embed", has_vectors, {"model": "emb", "input": "x", "truncate": True})
RESPONSES = Call(
    "POST /v1/responses",
    streams_named_events("response.completed"),
    {"model": "alpha", "input": "hi", "stream": True, "store": False},
)
MESSAGES = Call(
    "POST /v1/messages?beta=true",
    streams_named_events("message_stop"),
    chat(max_tokens=99, stream=True, system=[{"type": "text", "text": "Be short"}]),
    headers={
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219",
        "x-claude-code-session-id": "4f1c",
    },
)
COUNT = Call("POST /v1/messages/count_tokens", lambda _: True, chat(), 404)
LOAD = Call("POST /api/generate", ends_as("load"), {"model": "alpha", "stream": False})
STOP = Call(
    "POST /api/generate",
    ends_as("unload"),
    {"model": "alpha", "keep_alive": 0, "stream": False},
)
PULL_THERE = Call("POST /api/pull", succeeded, {"model": "alpha:latest", "stream": True})

BEARER = "bearer"
API_KEY = "x-api-key"
PATH = "path"  # for those that cannot send one
# what it does, how it gives its key, and its calls in order
CLIENTS: Mapping[str, tuple[str, tuple[Call, ...]]] = {
    "the CLI lists, shows, asks and stops": (
        PATH,
        (HEAD, TAGS, HEAD, PS, HEAD, SHOW, LOAD, CHAT, STOP, VERSION),
    ),
    "the CLI does not start a pull of a model that nobody has": (
        PATH,
        (HEAD, Call("POST /api/show", error_names("nothing"), {"model": "nothing"}, 404),
         Call("POST /api/pull", error_names("/servers/NAME"), {"model": "nothing"}, 403)),
    ),
    "the CLI launches a tool without an account": (
        PATH,
        (HEAD, Call("GET /api/status", lambda a: a.json()["cloud"]["disabled"]),
         Call("POST /api/me", error_names("not served"), None, 404),
         Call("GET /api/experimental/model-recommendations", lambda _: True, None, 404), PS),
    ),
    "Open WebUI verifies, lists and chats": (
        BEARER,
        (VERSION, TAGS, PS, SHOW_NAME, EMBED,
         Call("POST /api/chat", streams, chat(stream=True, options={}, keep_alive="5m"),
              headers={"X-OpenWebUI-User-Email": "a@example.org", "X-OpenWebUI-Chat-Id": "7"})),
    ),
    "VS Code Copilot finds models and asks the other API": (PATH, (VERSION, TAGS, SHOW, CHUNKS)),
    "Cline lists and chats": (PATH, (TAGS, CHAT)),
    "Roo Code shows all models at once": (BEARER, (TAGS, SHOW, SHOW, SHOW, CHAT, EMBED)),
    "Continue completes code in the middle": (
        BEARER,
        (TAGS, SHOW_NAME,
         Call("POST /api/generate", streams, {"model": "alpha", "prompt": "a", "raw": True,
              "suffix": "", "stream": True, "options": {"num_predict": 99}}), EMBED),
    ),
    "aider posts JSON without saying so": (
        BEARER,
        (SHOW_NAME,
         Call("POST /api/chat", streams, chat(stream=True), headers={"Content-Type": ""})),
    ),
    "an old ollama-python sends an empty format": (
        BEARER,
        (Call("POST /api/chat", streams, chat(format="", tools=[], options={}, stream=True)),
         Call("POST /api/generate", streams, {"model": "alpha", "prompt": "hi", "format": "",
              "template": "", "system": "", "context": [], "images": [], "width": 0})),
    ),
    "Zed reads every field of the list": (BEARER, (TAGS, SHOW, CHAT)),
    "JetBrains AI tests the connection": (PATH, (Call("GET /", is_alive), TAGS, MODELS, CHUNKS)),
    "JetBrains AI asks as of OpenAI": (BEARER, (MODELS, CHUNKS)),
    "Codex --oss probes and asks": (PATH, (MODELS, VERSION, TAGS, PULL_THERE, RESPONSES)),
    "Codex tries a WebSocket first": (
        BEARER,
        (Call("GET /v1/responses", lambda _: True, None, 426, UPGRADE), RESPONSES),
    ),
    "Copilot CLI asks for a response": (BEARER, (RESPONSES,)),
    "Claude Code with a token counts, and asks": (BEARER, (HEAD, COUNT, MESSAGES)),
    "Claude Code with an API key asks": (API_KEY, (MODELS, MESSAGES)),
    "n8n tests its credential at the root": (BEARER, (Call("GET /", is_alive), TAGS, CHAT)),
    "Dify validates by a real answer": (BEARER, (CHAT, EMBED)),
    "LibreChat lists without a key, and chats": (PATH, (TAGS, CHUNKS)),
    "LibreChat asks as of Anthropic": (API_KEY, (MESSAGES,)),
    "AnythingLLM reads what each model can": (BEARER, (TAGS, SHOW, SHOW, CHAT, EMBED)),
    "Home Assistant pulls what is there": (BEARER, (TAGS, PULL_THERE, CHAT)),
    "LangFlow lists and shows": (PATH, (TAGS, SHOW)),
    "LlamaIndex sets the context": (
        BEARER,
        (SHOW, Call("POST /api/chat", streams, chat(stream=True, options={"num_ctx": 2048}))),
    ),
}  # fmt: skip


@pytest.fixture
def http(gateway: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(verify=False, trust_env=False, timeout=30) as client:
        yield client


@pytest.mark.parametrize("client", CLIENTS)
def test_each_call_is_answered_as_the_client_needs(
    gateway: Gateway, http: httpx.Client, client: str
) -> None:
    way, calls = CLIENTS[client]
    base = gateway.with_key if way == PATH else gateway.url
    own = {BEARER: {"Authorization": f"Bearer {gateway.key}"}, API_KEY: {"x-api-key": gateway.key}}
    for call in calls:
        method, path = call.request.split()
        content = None if call.body is None else json.dumps(call.body)
        headers = {"Content-Type": "application/json"} | own.get(way, {}) | dict(call.headers)
        sent = {name: value for name, value in headers.items() if value}
        answer = http.request(method, base + path, content=content, headers=sent)
        assert answer.status_code == call.status, (call.request, answer.text)
        assert call.check(answer), (call.request, answer.text)


@pytest.mark.parametrize("request_", ["HEAD /", "GET /", "GET /api/version", "HEAD /api/version"])
def test_what_clients_probe_without_a_key_is_open(
    gateway: Gateway, http: httpx.Client, request_: str
) -> None:
    method, path = request_.split()
    assert http.request(method, gateway.url + path).status_code == 200


@pytest.mark.parametrize("word", ["ollama", "ollama-local", ""])
def test_placeholders_beside_a_key_in_the_path_are_no_keys(
    gateway: Gateway, http: httpx.Client, word: str
) -> None:
    headers = {"Authorization": f"Bearer {word}".strip(), "x-api-key": word}
    assert lists(http.get(f"{gateway.with_key}/api/tags", headers=headers))
