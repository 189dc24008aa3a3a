"""The faults do to a client what they say, byte for byte."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from ollama_admin.simulator.server import HoldAt, SimulatedModel
from tests.fake_ollama import (
    Answer,
    CutAfter,
    Drip,
    Ending,
    FakeOllama,
    Fault,
    Held,
    Huge,
    Raw,
    Recording,
    Silence,
    redirect,
)
from tests.fake_ollama_thread import FakeOllamaThread

GET_TAGS = b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        yield fake


@pytest.fixture
async def client(fake: FakeOllama) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=fake.url, verify=False, trust_env=False) as client:
        yield client


async def receive(fake: FakeOllama, fault: Fault) -> bytes:
    """All bytes that a client of /api/tags receives, until the connection ends."""
    fake.script("/api/tags", fault)
    reader, writer = await asyncio.open_connection("127.0.0.1", fake.port)
    writer.write(GET_TAGS)
    try:
        return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    ("answer", "content_type", "body"),
    [
        (Answer(500, {"error": "no"}), "application/json; charset=utf-8", b'{"error":"no"}'),
        (Answer(502, "<html>bad</html>"), "text/html; charset=utf-8", b"<html>bad</html>"),
        (Answer(503, "busy"), "text/plain", b"busy"),
        (Answer(200, b"\x00\xff"), "application/octet-stream", b"\x00\xff"),
        (Answer(200, "{}", content_type="text/x"), "text/x", b"{}"),
        (Answer(403), None, b""),
    ],
)
async def test_an_answer_arrives_as_scripted(
    fake: FakeOllama,
    client: httpx.AsyncClient,
    answer: Answer,
    content_type: str | None,
    body: bytes,
) -> None:
    fake.script("/api/tags", answer)
    response = await client.get("/api/tags")
    assert (response.status_code, response.content) == (answer.status, body)
    assert response.headers.get("Content-Type") == content_type


async def test_faults_are_met_once_in_order_then_always(
    fake: FakeOllama, client: httpx.AsyncClient
) -> None:
    fake.script("/api/tags", Answer(500), Answer(501))
    first = [(await client.get("/api/tags")).status_code for _ in range(3)]
    fake.script_always("/api/tags", Answer(502))
    fake.script("/api/tags", Answer(503))
    second = [(await client.get("/api/tags")).status_code for _ in range(3)]
    fake.clear_script()
    assert (first, second) == ([500, 501, 200], [503, 502, 502])
    assert (await client.get("/api/tags")).status_code == 200
    assert len(fake.requests_to("/api/tags")) == 7


async def test_a_redirect_names_its_target(fake: FakeOllama, client: httpx.AsyncClient) -> None:
    fake.script("/api/tags", redirect("http://elsewhere/api/tags", 302))
    response = await client.get("/api/tags")
    assert (response.status_code, response.headers["Location"]) == (
        302,
        "http://elsewhere/api/tags",
    )


@pytest.mark.parametrize(
    ("required", "scheme"),
    [
        (("Authorization", "Bearer t"), "Bearer"),
        (("Authorization", "Basic dTpw"), "Basic"),
        (("X-API-Key", "k"), "Bearer"),
    ],
)
async def test_a_required_header_is_asked_for(
    fake: FakeOllama, client: httpx.AsyncClient, required: tuple[str, str], scheme: str
) -> None:
    fake.require_header = required
    denied = await client.get("/api/tags")
    allowed = await client.get("/api/tags", headers=[required])
    assert (denied.status_code, allowed.status_code) == (401, 200)
    assert denied.headers["WWW-Authenticate"].startswith(f"{scheme} ")


async def test_raw_bytes_end_with_fin(fake: FakeOllama) -> None:
    assert await receive(fake, Raw((b"HTTP/1.1 ", b"banana"))) == b"HTTP/1.1 banana"


async def test_raw_bytes_end_with_reset(fake: FakeOllama) -> None:
    with pytest.raises(ConnectionResetError):
        await receive(fake, Raw((b"HTTP/1.1 ",), Ending.RESET))


async def test_raw_bytes_may_leave_the_connection_open(
    fake: FakeOllama, client: httpx.AsyncClient
) -> None:
    fake.script("/api/tags", Raw((OK,), Ending.KEEP))
    assert (await client.get("/api/tags")).text == "ok"
    assert (await client.get("/api/version")).status_code == 200


async def test_raw_bytes_wait_at_a_gate(fake: FakeOllama) -> None:
    gate = asyncio.Event()
    fake.script("/api/tags", Raw((b"before", gate, b"after")))
    reader, writer = await asyncio.open_connection("127.0.0.1", fake.port)
    writer.write(GET_TAGS)
    assert await reader.readexactly(6) == b"before"
    gate.set()
    assert await reader.read() == b"after"
    writer.close()


async def test_no_bytes_at_all(fake: FakeOllama, client: httpx.AsyncClient) -> None:
    assert await receive(fake, Raw()) == b""
    fake.script("/api/tags", Raw())
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get("/api/tags")


async def test_silence_lasts_until_the_client_leaves(
    fake: FakeOllama, client: httpx.AsyncClient
) -> None:
    silence = Silence()
    fake.script("/api/tags", silence)
    asking = asyncio.create_task(client.get("/api/tags"))
    await silence.arrived.wait()
    asking.cancel()
    await fake.client_left.wait()
    assert [request.path for request in fake.abandoned] == ["/api/tags"]


async def test_silence_ends_with_the_server() -> None:
    silence = Silence()
    async with FakeOllama() as fake:
        asking = asyncio.create_task(receive(fake, silence))
        await silence.arrived.wait()
    assert await asking == b""


async def test_a_held_answer_comes_when_released(
    fake: FakeOllama, client: httpx.AsyncClient
) -> None:
    held = Held()
    fake.script("/api/tags", held)
    asking = asyncio.create_task(client.get("/api/tags"))
    await held.arrived.wait()
    fake.remove("alpha")
    held.release.set()
    assert (await asking).json() == {"models": []}


async def test_a_drip_gives_every_byte(fake: FakeOllama, client: httpx.AsyncClient) -> None:
    fake.script("/api/tags", Drip(OK, every=0))
    assert (await client.get("/api/tags")).text == "ok"


@pytest.mark.parametrize("ending", [Ending.FIN, Ending.RESET])
async def test_the_usual_answer_can_be_cut(
    fake: FakeOllama, client: httpx.AsyncClient, ending: Ending
) -> None:
    fake.script("/api/generate", CutAfter(150, ending))
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await client.post("/api/generate", json={"model": "alpha", "prompt": "hi"})
    assert not fake.abandoned


async def test_a_cut_is_exact(fake: FakeOllama) -> None:
    assert len(await receive(fake, CutAfter(77))) == 77


async def test_a_recording_is_served_as_it_was(fake: FakeOllama, client: httpx.AsyncClient) -> None:
    stream, usage = Recording.load("generate-stream"), Recording.load("v1-stream-usage")
    fake.script("/api/tags", stream, usage, Recording.load("version"), Recording.load("error-host"))
    first, second, third, fourth = [await client.get("/api/tags") for _ in range(4)]
    assert first.content == stream.body
    assert first.content.count(b"\n") == 4
    assert second.text.endswith("}\n\ndata: [DONE]\n\n")
    assert third.json() == {"version": "0.33.0"}
    assert (fourth.status_code, fourth.content) == (403, b"")


async def test_a_recording_can_be_cut_at_every_byte(fake: FakeOllama) -> None:
    recording = Recording.load("tags-empty")
    for offset in range(len(recording.response)):
        assert await receive(fake, recording.cut_at(offset)) == recording.response[:offset]


async def test_a_recording_can_be_chunked_anew(fake: FakeOllama, client: httpx.AsyncClient) -> None:
    recording = Recording.load("chat-stream")
    fake.script("/api/tags", recording.rechunked(1), recording.rechunked(7, 1, 300))
    for _ in range(2):
        async with client.stream("GET", "/api/tags") as response:
            assert b"".join([piece async for piece in response.aiter_raw()]) == recording.body


async def test_a_huge_body_has_the_announced_size(
    fake: FakeOllama, client: httpx.AsyncClient
) -> None:
    fake.script("/api/tags", Huge(head=b'{"a":"', unit=b"x" * 10, times=1_000_001, tail=b'"}'))
    async with client.stream("GET", "/api/tags") as response:
        size = sum([len(piece) async for piece in response.aiter_raw()])
    assert size == 10_000_018


async def test_a_huge_body_stops_when_the_client_leaves(
    fake: FakeOllama, client: httpx.AsyncClient
) -> None:
    fake.script("/api/tags", Huge(unit=b"x" * 65536, times=10**9))
    async with client.stream("GET", "/api/tags") as response:
        await anext(response.aiter_raw())
    await fake.client_left.wait()


def test_a_thread_serves_clients_of_another_loop() -> None:
    fakes = FakeOllama(SimulatedModel("alpha")), FakeOllama(version="0.9.6")
    with FakeOllamaThread(*fakes) as thread:
        versions = [httpx.get(f"{fake.url}/api/version").json()["version"] for fake in thread.fakes]
        thread.call(lambda: fakes[0].remove("alpha"))
        tags = httpx.get(f"{thread.url}/api/tags").json()
        paths = [request.path for request in thread.requests()]
    assert versions == ["0.33.0", "0.9.6"]
    assert tags == {"models": []}
    assert paths == ["/api/version", "/api/tags"]


def test_a_thread_can_be_waited_on() -> None:
    fake = FakeOllama(SimulatedModel("alpha"), before_token=(hold := HoldAt(1)))
    body = {"model": "alpha", "prompt": "hi"}
    with (
        FakeOllamaThread(fake) as thread,
        httpx.stream("POST", f"{fake.url}/api/generate", json=body) as response,
    ):
        thread.run(hold.reached.wait())
        thread.call(hold.release.set)
        assert response.read().count(b"\n") == 4


def test_a_thread_reports_a_port_in_use() -> None:
    with FakeOllamaThread(FakeOllama()) as thread:
        second = FakeOllamaThread(FakeOllama(port=thread.fakes[0].port))
        with pytest.raises(OSError, match="address already in use"):
            second.__enter__()
