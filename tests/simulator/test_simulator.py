"""The simulated server answers as the recorded real ones did."""

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import httpx
import pytest

from ollama_admin.simulator.server import HoldAt, RunnerKilledError, SimulatedModel, SimulatedServer
from tests.fake_ollama import Recording

ALPHA = SimulatedModel("alpha")
MODELS = (
    ALPHA,
    SimulatedModel("beta", says="I am beta"),
    SimulatedModel("endless", says="tick tock", endless=True),
    SimulatedModel("loop", says="yes", endless=True),
    SimulatedModel(
        "thinker",
        says="It is done",
        thinking="hm, let me see ",
        capabilities=("tools", "thinking", "completion"),
    ),
    SimulatedModel("emb", capabilities=("embedding",)),
    SimulatedModel("user/ns:Tag-1", says="I have a namespace"),
)

REFUSALS = [
    "error-bad-format",
    "error-bad-json",
    "error-bad-name",
    "error-bad-option",
    "error-cloud-name",
    "error-embedding-model",
    "error-empty-body",
    "error-empty-model",
    "error-image-to-text-model",
    "error-method",
    "error-missing-model",
    "error-no-thinking",
    "error-not-found",
    "error-raw-and-system",
    "error-suffix",
    "error-tools",
    "error-wrong-type",
    "delete-missing",
    "old-error-no-thinking",
    "show-missing",
    "v1-missing-model",
]
ANSWERS = [
    "chat-no-stream",
    "chat-stream",
    "chat-thinking",
    "context-full-no-shift",
    "context-full-shift",
    "generate-keep-alive-0",
    "generate-length",
    "generate-load",
    "generate-namespace",
    "generate-no-stream",
    "generate-other-case",
    "generate-silent-end",
    "generate-silent-end-no-stream",
    "generate-stream",
    "generate-thinking",
    "generate-unload",
    "old-chat-silent-end",
    "old-generate-stream",
    "old-tags",
    "old-version",
    "ps-nothing-loaded",
    "tags",
    "v1-length",
    "v1-models",
    "v1-no-stream",
    "v1-stream",
    "v1-stream-usage",
    "version",
]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(verify=False, trust_env=False) as client:
        yield client


@pytest.fixture
async def server() -> AsyncIterator[SimulatedServer]:
    async with SimulatedServer(*MODELS) as server:
        yield server


async def replay(client: httpx.AsyncClient, server: SimulatedServer, name: str) -> httpx.Response:
    """Sends the recorded request; one from an old server is asked of an old one."""
    if name.startswith("old-"):
        server.version = "0.9.6"
    request = Recording.load(name).request
    body = request["body"]
    content = body if body is None or isinstance(body, str) else json.dumps(body)
    return await client.request(
        request["method"], server.url + request["path"], content=content, headers=request["headers"]
    )


def documents(body: bytes) -> list[Any]:
    """The JSON documents of a body: one, or one per NDJSON line or SSE event."""
    lines = [line.removeprefix(b"data: ") for line in body.splitlines() if line]
    return [line.decode() if line == b"[DONE]" else json.loads(line) for line in lines]


def shape_of(value: object) -> object:
    """Keys and types, without values."""
    if isinstance(value, dict):
        return {key: shape_of(item) for key, item in value.items()}
    if isinstance(value, list):
        return [shape_of(item) for item in value[:1]]
    return value if value == "[DONE]" else type(value).__name__


def shapes_of(body: bytes) -> set[str]:
    return {json.dumps(shape_of(document)) for document in documents(body)}


@pytest.mark.parametrize("name", REFUSALS)
async def test_refusals_are_those_of_real_servers(
    client: httpx.AsyncClient, server: SimulatedServer, name: str
) -> None:
    recording = Recording.load(name)
    response = await replay(client, server, name)
    assert (response.status_code, response.content) == (recording.status, recording.body)
    assert response.headers["Content-Type"] == recording.headers["Content-Type"]
    assert response.headers.get("Allow") == recording.headers.get("Allow")


@pytest.mark.parametrize("name", ANSWERS)
async def test_answers_have_the_shape_of_real_ones(
    client: httpx.AsyncClient, server: SimulatedServer, name: str
) -> None:
    recording = Recording.load(name)
    response = await replay(client, server, name)
    assert response.status_code == recording.status
    assert response.headers["Content-Type"] == recording.headers["Content-Type"]
    assert shapes_of(response.content) == shapes_of(recording.body)
    assert list(documents(response.content)[0]) == list(documents(recording.body)[0])


@pytest.mark.parametrize("name", ["root", "tags-empty", "v1-models-empty"])
async def test_an_empty_server_answers_in_the_same_bytes(
    client: httpx.AsyncClient, name: str
) -> None:
    async with SimulatedServer() as server:
        response = await replay(client, server, name)
    assert response.content == Recording.load(name).body


@pytest.mark.parametrize("name", ["show", "show-embedding", "show-thinker", "old-show"])
async def test_show_tells_what_real_servers_tell(
    client: httpx.AsyncClient, server: SimulatedServer, name: str
) -> None:
    response = await replay(client, server, name)
    [recorded], [shown] = documents(Recording.load(name).body), documents(response.content)
    recorded_info, shown_info = recorded.pop("model_info"), shown.pop("model_info")
    assert shape_of(shown) == shape_of(recorded)
    assert shown["capabilities"] == recorded["capabilities"]
    assert shape_of(shown_info).items() <= shape_of(recorded_info).items()


@pytest.mark.parametrize("name", ["ps-after-copy", "old-ps"])
async def test_ps_lists_what_was_used(
    client: httpx.AsyncClient, server: SimulatedServer, name: str
) -> None:
    await replay(client, server, "generate-no-stream")
    response = await replay(client, server, name)
    assert shapes_of(response.content) == shapes_of(Recording.load(name).body)
    assert response.json()["models"][0]["name"] == "alpha:latest"


async def test_embedding_models_are_listed_as_others_but_shown_as_such(
    client: httpx.AsyncClient, server: SimulatedServer
) -> None:
    tags = (await client.get(f"{server.url}/api/tags")).json()["models"]
    listed = next(entry for entry in tags if entry["name"] == "emb:latest")
    assert listed["capabilities"] == ["completion"]
    shown = await client.post(f"{server.url}/api/show", json={"model": "emb"})
    assert shown.json()["capabilities"] == ["embedding"]


async def test_the_requested_spelling_is_echoed(
    client: httpx.AsyncClient, server: SimulatedServer
) -> None:
    response = await replay(client, server, "generate-other-case")
    assert response.json()["model"] == "ALPHA:Latest"


async def test_chunks_joined_are_what_the_model_says(
    client: httpx.AsyncClient, server: SimulatedServer
) -> None:
    server.point("poet", SimulatedModel("poet", says="naïve\n  <b>lines</b>"))
    response = await client.post(
        f"{server.url}/api/generate", json={"model": "poet", "prompt": "hi"}
    )
    chunks = [document["response"] for document in documents(response.content)]
    assert "".join(chunks) == "naïve\n  <b>lines</b>"
    assert len(chunks) > 2


async def test_the_silent_end_comes_after_31_equal_tokens(
    client: httpx.AsyncClient, server: SimulatedServer
) -> None:
    response = await replay(client, server, "generate-silent-end")
    assert [document["done"] for document in documents(response.content)] == [False] * 31


@pytest.mark.parametrize(
    ("path", "name"), [("generate", "cut-generate-refused"), ("chat", "cut-chat-refused")]
)
async def test_a_prompt_too_long_is_refused_with_both_numbers(
    client: httpx.AsyncClient, server: SimulatedServer, path: str, name: str
) -> None:
    response = await client.post(
        f"{server.url}/api/{path}", json=long_prompt() | {"truncate": False}
    )
    recorded = Recording.load(name).body.decode()
    assert response.status_code == 400
    assert re.sub(r"\d+", "N", response.text) == re.sub(r"\d+", "N", recorded)
    assert json.loads(response.json()["error"])["error"]["n_prompt_tokens"] == 6000


@pytest.mark.parametrize(("version", "read"), [("0.33.0", 1027), ("0.9.6", 2048)])
async def test_a_prompt_too_long_is_cut_without_a_word(
    client: httpx.AsyncClient, server: SimulatedServer, version: str, read: int
) -> None:
    server.version = version
    response = await client.post(
        f"{server.url}/api/generate", json=long_prompt() | {"stream": False}
    )
    assert shapes_of(response.content) == shapes_of(Recording.load("cut-generate").body)
    assert response.json()["prompt_eval_count"] == read


async def test_chat_drops_the_older_messages(
    client: httpx.AsyncClient, server: SimulatedServer
) -> None:
    words = [{"role": "user", "content": "word " * count} for count in (1500, 1400, 300)]
    body = {"model": "alpha", "messages": words, "stream": False}
    response = await client.post(f"{server.url}/api/chat", json=body)
    assert response.json()["prompt_eval_count"] == 1700


@pytest.mark.parametrize(("version", "status"), [("0.33.0", 400), ("0.9.6", 200)])
async def test_v1_refuses_a_prompt_too_long_since_it_can(
    client: httpx.AsyncClient, server: SimulatedServer, version: str, status: int
) -> None:
    server.version = version
    response = await client.post(f"{server.url}/v1/chat/completions", json=long_prompt())
    assert response.status_code == status


def long_prompt() -> dict[str, object]:
    text = "word " * 6000
    return {"model": "alpha", "prompt": text, "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize(
    "name", ["generate-runner-killed", "chat-runner-killed", "v1-runner-killed"]
)
async def test_a_killed_runner_ends_streams_as_recorded(
    client: httpx.AsyncClient, server: SimulatedServer, name: str
) -> None:
    server.before_token = die_at_third
    response = await replay(client, server, name)
    recorded = documents(Recording.load(name).body)
    last = documents(response.content)[-1]
    assert response.status_code == 200
    assert shape_of(last) == shape_of(recorded[-1])
    assert last.get("model") == recorded[-1].get("model")
    assert last.get("error") == recorded[-1].get("error")


async def die_at_third(index: int) -> None:
    if index == 2:
        raise RunnerKilledError


@pytest.mark.parametrize("stream", [False, True])
async def test_v1_tells_thinking_apart(
    client: httpx.AsyncClient, server: SimulatedServer, stream: bool
) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]
    body = {"model": "thinker", "messages": messages, "reasoning_effort": "high", "stream": stream}
    response = await client.post(f"{server.url}/v1/chat/completions", json=body)
    choices = [
        document["choices"][0] for document in documents(response.content) if document != "[DONE]"
    ]
    parts = [choice.get("delta") or choice.get("message") or {} for choice in choices]
    assert "".join(part.get("reasoning", "") for part in parts) == "hm, let me see "
    assert "".join(part.get("content", "") for part in parts) == "It is done"


@pytest.mark.parametrize(
    ("content", "status", "text"),
    [
        ("null", 404, "model '' not found"),
        ("[1]", 400, "json: cannot unmarshal array into Go value of type api.GenerateRequest"),
        ('{"model":', 400, "unexpected EOF"),
        (b'"\xff"', 400, "invalid character in string literal"),
    ],
)
async def test_odd_bodies_are_refused(
    client: httpx.AsyncClient, server: SimulatedServer, content: str | bytes, status: int, text: str
) -> None:
    response = await client.post(f"{server.url}/api/generate", content=content)
    assert (response.status_code, response.json()) == (status, {"error": text})


async def test_a_moved_tag_answers_at_once_and_shows_another_digest(
    client: httpx.AsyncClient, server: SimulatedServer
) -> None:
    before = await tags_entry(client, server, "alpha:latest")
    server.point("alpha", SimulatedModel("alpha", says="I am new"))
    answer = await replay(client, server, "generate-after-retag")
    after = await tags_entry(client, server, "alpha:latest")
    assert answer.json()["response"] == "I am new"
    assert after["digest"] != before["digest"]
    assert after["modified_at"] > before["modified_at"]


async def tags_entry(
    client: httpx.AsyncClient, server: SimulatedServer, name: str
) -> dict[str, Any]:
    models = (await client.get(f"{server.url}/api/tags")).json()["models"]
    return next(entry for entry in models if entry["name"] == name)


async def test_a_moved_tag_leaves_both_builds_in_ps(
    client: httpx.AsyncClient, server: SimulatedServer
) -> None:
    await replay(client, server, "generate-no-stream")
    server.point("alpha", SimulatedModel("alpha", says="I am new"))
    await replay(client, server, "generate-no-stream")
    listed = (await client.get(f"{server.url}/api/ps")).json()["models"]
    assert [entry["name"] for entry in listed] == ["alpha:latest", "alpha:latest"]


async def test_a_removed_model_is_unknown(
    client: httpx.AsyncClient, server: SimulatedServer
) -> None:
    server.remove("alpha")
    response = await replay(client, server, "generate-no-stream")
    assert (response.status_code, response.json()) == (404, {"error": "model 'alpha' not found"})


async def test_equal_builds_have_equal_digests_everywhere() -> None:
    assert SimulatedModel("alpha").digest == SimulatedModel("alpha:latest").digest
    assert SimulatedModel("alpha", build="2").digest != ALPHA.digest
    assert re.fullmatch(r"[0-9a-f]{64}", ALPHA.digest)


async def test_a_remote_model_says_so(client: httpx.AsyncClient, server: SimulatedServer) -> None:
    remote = {"remote_host": "https://ollama.com:443", "remote_model": "big"}
    server.point("stub", SimulatedModel("stub", **remote))
    server.point("big:120b-cloud", SimulatedModel("big", **remote))
    stub = await client.post(
        f"{server.url}/api/generate", json={"model": "stub", "prompt": "hi", "stream": False}
    )
    cloud = await client.post(
        f"{server.url}/api/generate",
        json={"model": "big:120b-cloud", "prompt": "hi", "stream": False},
    )
    assert stub.json() | remote | {"model": "stub"} == stub.json()
    assert cloud.json()["model"] == "big:120b"
    assert (await tags_entry(client, server, "stub:latest"))["remote_model"] == "big"


async def test_without_a_version_it_is_not_ollama(client: httpx.AsyncClient) -> None:
    body = {"model": "other", "messages": [{"role": "user", "content": "hi"}]}
    async with SimulatedServer(SimulatedModel("org/Model"), version=None) as server:
        native = [
            await client.get(server.url + path) for path in ("/api/version", "/api/tags", "/")
        ]
        listed = await client.get(f"{server.url}/v1/models")
        unknown = await client.post(f"{server.url}/v1/chat/completions", json=body)
        server.answers_any_model = True
        answered = await client.post(f"{server.url}/v1/chat/completions", json=body)
    assert [response.status_code for response in native] == [404, 404, 404]
    assert [entry["id"] for entry in listed.json()["data"]] == ["org/Model"]
    assert unknown.status_code == 404
    assert answered.json()["model"] == "org/Model"


async def test_a_prefix_is_part_of_the_url(client: httpx.AsyncClient) -> None:
    async with SimulatedServer(prefix="/ollama") as server:
        below = await client.get(f"{server.url}/api/version")
        above = await client.get(f"http://127.0.0.1:{server.port}/api/version")
    assert (below.status_code, above.status_code) == (200, 404)


async def test_requests_are_recorded(client: httpx.AsyncClient, server: SimulatedServer) -> None:
    await client.post(
        f"{server.url}/api/show?x=1", json={"model": "alpha"}, headers={"X-Api-Key": "k"}
    )
    [request] = server.requests
    assert (request.method, request.path, request.query) == ("POST", "/api/show", "x=1")
    assert (request.headers["x-api-key"], request.body) == ("k", {"model": "alpha"})


async def test_a_client_that_leaves_in_mid_stream_is_noticed(
    client: httpx.AsyncClient, server: SimulatedServer
) -> None:
    server.before_token = hold = HoldAt(2)
    body = {"model": "endless", "prompt": "hi"}
    async with client.stream("POST", f"{server.url}/api/generate", json=body) as response:
        lines = response.aiter_lines()
        assert json.loads(await anext(lines))["response"] == "tick"
        await hold.reached.wait()
        assert not server.abandoned
        await lines.aclose()
    await server.client_left.wait()
    assert [request.path for request in server.abandoned] == ["/api/generate"]
    await server.until(lambda: server.in_flight == 0)


async def test_a_client_that_leaves_before_the_first_byte_is_noticed(
    server: SimulatedServer,
) -> None:
    server.before_token = hold = HoldAt(0)
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    body = b'{"model":"alpha","prompt":"hi"}'
    writer.write(b"POST /api/generate HTTP/1.1\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    await hold.reached.wait()
    writer.transport.abort()
    await server.client_left.wait()
    writer.close()


async def test_a_client_that_sends_nothing_does_no_harm(
    client: httpx.AsyncClient, server: SimulatedServer
) -> None:
    _, idle = await asyncio.open_connection("127.0.0.1", server.port)
    _, gone = await asyncio.open_connection("127.0.0.1", server.port)
    gone.write(b"POST /api/gen")
    gone.transport.abort()
    assert (await client.get(server.url)).text == "Ollama is running"
    idle.close()
    gone.close()


async def test_a_finished_answer_is_not_abandoned(
    client: httpx.AsyncClient, server: SimulatedServer
) -> None:
    headers = {"Connection": "close"}
    for _ in range(20):
        await client.get(f"{server.url}/api/tags", headers=headers)
    assert not server.abandoned


async def test_many_streams_run_at_once(client: httpx.AsyncClient, server: SimulatedServer) -> None:
    server.before_token = hold = HoldAt(1)
    url, body = f"{server.url}/api/generate", {"model": "alpha", "prompt": "hi"}
    asking = [asyncio.create_task(client.post(url, json=body)) for _ in range(50)]
    await server.until(lambda: server.in_flight == 50)
    hold.release.set()
    answers = await asyncio.gather(*asking)
    assert {documents(answer.content)[-1]["done"] for answer in answers} == {True}
    assert server.peak_in_flight == 50


async def test_pipelined_requests_are_answered_in_order(server: SimulatedServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    last = b"GET /nope HTTP/1.1\r\nConnection: close\r\n\r\n"
    writer.write(b"GET /api/version HTTP/1.1\r\n\r\nHEAD /api/tags HTTP/1.1\r\n\r\n" + last)
    received = await reader.read()
    writer.close()
    assert re.findall(rb"HTTP/1.1 (\d+)", received) == [b"200", b"200", b"404"]
    assert received.count(b"{") == 1


async def test_a_malformed_request_is_refused(server: SimulatedServer) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"nonsense\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
    writer.close()


@pytest.mark.parametrize("turns", range(6))  # of the loop, in which it is accepted
async def test_a_connection_that_comes_as_the_server_stops_is_ended(turns: int) -> None:
    problems: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: problems.append(problem))
    async with SimulatedServer() as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.setblocking(False)
            for _ in range(turns):
                await asyncio.sleep(0)
            await server.stop()
            receiving = asyncio.get_running_loop().sock_recv(client, 1)
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(receiving, 10) == b""
    assert problems == []


async def test_a_stopped_server_comes_back_on_its_port(client: httpx.AsyncClient) -> None:
    server = SimulatedServer()
    async with server:
        url = server.url
        await client.get(url)
    with pytest.raises(httpx.TransportError):
        await client.get(url)
    async with server:
        assert (await client.get(url)).status_code == 200


async def test_a_failing_hook_fails_the_test(client: httpx.AsyncClient) -> None:
    async def fail(index: int) -> None:
        raise ZeroDivisionError

    body = {"model": "alpha", "prompt": "hi"}
    server = await SimulatedServer(ALPHA, before_token=fail).__aenter__()
    with pytest.raises(httpx.RemoteProtocolError):
        await client.post(f"{server.url}/api/generate", json=body)
    with pytest.raises(ZeroDivisionError):
        await server.__aexit__(None, None, None)
