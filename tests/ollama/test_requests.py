"""`Endpoint.request` and `Endpoint.stream` on real sockets: any path, any status, bytes as they
are. What generates nothing goes this way (a pull), and what is passed on unread (a relay).
"""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from ollama_admin.domain.secret import Secret
from ollama_admin.domain.servers import ApiVersion, ServerRef, Target
from ollama_admin.errors import (
    InvalidInput,
    ModelNotFound,
    RequestRefused,
    ServerBusy,
    ServerUnreachable,
    UpstreamError,
)
from ollama_admin.ollama.calls import json_body
from ollama_admin.ollama.connecting import Times
from ollama_admin.ollama.endpoint import JSON_HEADERS, Endpoint
from ollama_admin.ollama.http import HTTP
from ollama_admin.ollama.raw_http import RawHTTP
from ollama_admin.ollama.response import Patience, lines, read_json
from ollama_admin.simulator.http import encode_chunk
from tests.fake_ollama import (
    Answer,
    Ending,
    FakeOllama,
    Raw,
    Silence,
    SimulatedModel,
    pull_progress,
    redirect,
)

TIMES = Times(connect=2, metadata=5, first_byte=5, idle=5)
SHORT = 0.05  # seconds
HASTY = Times(connect=2, metadata=SHORT, first_byte=SHORT, idle=SHORT)
LONG = Patience(first_byte=5, idle=5)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PULL = json_body({"model": "alpha"})
TRANSPORT: ContextVar[type[HTTP | RawHTTP]] = ContextVar("transport")


@pytest.fixture(params=[HTTP, RawHTTP], autouse=True)
def transport(request: pytest.FixtureRequest) -> Iterator[type[HTTP | RawHTTP]]:
    """What holds of one way to a server holds of the other one."""
    token = TRANSPORT.set(request.param)
    yield request.param
    TRANSPORT.reset(token)


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        yield fake


@asynccontextmanager
async def endpoint(url: str, times: Times = TIMES, **target: Any) -> AsyncIterator[Endpoint]:
    http = TRANSPORT.get()(times)
    ref = ServerRef(id=1, name="gpu", url=url)
    try:
        yield Endpoint(
            http, Target(ref=ref, api_version=ApiVersion.NATIVE, **target), any_address=True
        )
    finally:
        await http.aclose()


# a pull: records of progress, at their own pace


async def test_the_progress_of_a_pull_comes_record_by_record(fake: FakeOllama) -> None:
    records, go_on = pull_progress("alpha"), asyncio.Event()
    first, rest = encode_chunk(records[0]), [encode_chunk(record) for record in records[1:]]
    fake.script("/api/pull", Raw((CHUNKED, first, go_on, *rest, encode_chunk(b""))))
    async with (
        endpoint(fake.url) as asked,
        asked.stream("POST", "/api/pull", headers=JSON_HEADERS, body=PULL) as response,
    ):
        arrived = []
        async for line in lines(response.chunks):
            arrived.append(read_json(line))
            go_on.set()  # the second record is sent when the first one was read
    assert arrived == [json.loads(record) for record in records]
    assert arrived[-1] == {"status": "success"}
    (request,) = fake.requests
    assert (request.method, request.raw) == ("POST", b'{"model":"alpha"}')
    assert request.headers["content-type"] == "application/json"


async def test_a_pull_may_pause_longer_than_an_answer(fake: FakeOllama) -> None:
    """Neither the usual times nor those of the connection itself end it."""
    head, body = asyncio.Event(), asyncio.Event()
    last = encode_chunk(b'{"status":"success"}\n') + encode_chunk(b"")
    fake.script("/api/pull", Raw((head, CHUNKED, encode_chunk(b'{"status":"x"}\n'), body, last)))
    loop = asyncio.get_running_loop()
    loop.call_later(4 * SHORT, head.set)
    loop.call_later(8 * SHORT, body.set)
    async with (
        endpoint(fake.url, HASTY) as asked,
        asked.stream("POST", "/api/pull", body=PULL, patience=LONG) as response,
    ):
        statuses = [read_json(line)["status"] async for line in lines(response.chunks)]
    assert statuses == ["x", "success"]


async def test_a_head_that_takes_longer_than_its_patience_is_given_up(fake: FakeOllama) -> None:
    fake.script("/api/pull", Silence())
    async with endpoint(fake.url) as asked:
        with pytest.raises(ServerUnreachable) as caught:
            async with asked.request(
                "POST", "/api/pull", patience=Patience(first_byte=SHORT, idle=5)
            ):
                raise AssertionError
    assert caught.value.message.endswith(
        "cannot be reached: timed out after 0.05 s without an answer"
    )
    assert not caught.value.may_pass_on


@pytest.mark.parametrize(
    ("pieces", "patience"),
    [
        ((), Patience(first_byte=SHORT, idle=5)),
        ((b'{"status":"x"}\n',), Patience(first_byte=5, idle=SHORT)),
    ],
    ids=["the first", "a later one"],
)
async def test_a_piece_that_takes_longer_than_its_patience_is_given_up(
    fake: FakeOllama, pieces: tuple[bytes, ...], patience: Patience
) -> None:
    sent = CHUNKED + b"".join(encode_chunk(piece) for piece in pieces)
    fake.script("/api/pull", Raw((sent, asyncio.Event())))
    arrived = []
    async with endpoint(fake.url) as asked:
        with pytest.raises(ServerUnreachable) as caught:
            async with asked.request("POST", "/api/pull", patience=patience) as response:
                arrived += [chunk async for chunk in response.chunks]
        await asyncio.wait_for(fake.client_left.wait(), 5)
    assert caught.value.message.endswith("cannot be reached: timed out after 0.05 s without data")
    assert not caught.value.may_pass_on


@pytest.mark.parametrize(
    ("first_byte", "idle", "silence"), [(2, 3, 3), (3, 2, 3), (None, 2, None), (2, None, None)]
)
async def test_the_connection_may_be_silent_as_long_as_the_most_patient_wait(
    fake: FakeOllama,
    monkeypatch: pytest.MonkeyPatch,
    first_byte: float | None,
    idle: float | None,
    silence: float | None,
) -> None:
    patience = Patience(first_byte=first_byte, idle=idle)
    async with endpoint(fake.url) as way:
        asked, send = [], way._http.send

        def heard(*args: Any, **how: Any) -> Any:
            asked.append(how["silence"])
            return send(*args, **how)

        monkeypatch.setattr(way._http, "send", heard)
        async with way.request("GET", "/api/version", patience=patience):
            assert asked == [silence]


# a relay: bytes in, bytes out


async def test_any_path_is_relayed_byte_for_byte(fake: FakeOllama) -> None:
    path, query = "/v1/models/hf.co%2Fa%2fb:Q4_K_M", "a=%41&b=+%20&b=&c"
    body = b'{"model" : "alpha", "x":"\\u00e9\xc3\xa9", "model_":1.0}\x00\xff'
    head = b"HTTP/1.1 207 Multi-Status\r\nX-B: 1\r\nx-a: \xe9\r\nX-B: 2\r\n"
    pieces = [b'data: {"b":1, "a":2}\n', b"\n", b": \xff\x00\r\n", b"data: [DONE]\n\n"]
    read = [asyncio.Event() for _ in pieces]
    script: list[bytes | asyncio.Event] = [head + b"Transfer-Encoding: chunked\r\n\r\n"]
    for piece, event in zip(pieces, read, strict=True):
        script += [encode_chunk(piece), event]
    fake.script(path, Raw((*script, encode_chunk(b""))))
    async with (
        endpoint(fake.url) as asked,
        asked.request("PUT", f"{path}?{query}", headers=[(b"X-Y", b"\xe9")], body=body) as response,
    ):
        assert response.status == 207
        assert response.headers == [
            (b"X-B", b"1"),
            (b"x-a", b"\xe9"),
            (b"X-B", b"2"),
            (b"Transfer-Encoding", b"chunked"),
        ]
        for piece, event in zip(pieces, read, strict=True):
            assert await anext(response.chunks) == piece
            event.set()
        assert [chunk async for chunk in response.chunks] == []
    (request,) = fake.requests
    assert (request.method, request.path, request.query) == ("PUT", path, query)
    assert request.raw == body
    assert request.headers["x-y"] == "\xe9"
    assert "content-type" not in request.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "OPTIONS"])
async def test_any_method_is_asked_for(fake: FakeOllama, method: str) -> None:
    fake.script("/x", Answer(204))
    async with endpoint(fake.url) as asked, asked.request(method, "/x") as response:
        assert response.status == 204
        assert [chunk async for chunk in response.chunks] == []
    assert [request.method for request in fake.requests] == [method]


async def test_a_compressed_answer_is_relayed_as_it_is_and_streamed_by_nobody(
    fake: FakeOllama,
) -> None:
    packed = gzip.compress(b"x" * 1000)
    fake.script_always("/x", Answer(200, packed, headers={"Content-Encoding": "gzip"}))
    async with endpoint(fake.url) as asked:
        async with asked.request("GET", "/x") as response:
            assert b"".join([chunk async for chunk in response.chunks]) == packed
        with pytest.raises(UpstreamError, match="the answer is compressed"):
            async with asked.stream("GET", "/x"):
                raise AssertionError


async def test_the_caller_chooses_headers_but_neither_credentials_nor_compression(
    fake: FakeOllama,
) -> None:
    given = [
        (b"authorization", b"Bearer of-the-client"),
        (b"Accept-Encoding", b"gzip, br"),
        (b"ACCEPT", b"text/event-stream"),
        (b"User-Agent", b"openai/1.0"),
        (b"X-Trace", b"1"),
    ]
    fake.script("/x", Answer(200))
    own = {"Authorization": Secret("Bearer hunter2")}
    async with (
        endpoint(fake.url, headers=own) as asked,
        asked.request("GET", "/x", headers=given),
    ):
        pass
    (request,) = fake.requests
    assert {**request.headers, "host": "", "connection": ""} == {
        "host": "",
        "connection": "",
        "authorization": "Bearer hunter2",
        "accept-encoding": "identity",
        "accept": "text/event-stream",
        "user-agent": "openai/1.0",
        "x-trace": "1",
    }


# a status that is not 200


@pytest.mark.parametrize("status", [201, 204, 301, 400, 401, 404, 418, 429, 500, 503])
async def test_any_status_is_handed_over_as_it_is(fake: FakeOllama, status: int) -> None:
    body = b"" if status == 204 else b'{"error":"as the server says it"}'
    fake.script("/x", Answer(status, body, headers={"Retry-After": "7"}))
    async with endpoint(fake.url) as asked, asked.request("POST", "/x") as response:
        assert response.status == status
        assert response.header("retry-after") == "7"
        assert b"".join([chunk async for chunk in response.chunks]) == body
    assert len(fake.requests) == 1


async def test_a_redirect_is_handed_over_and_not_followed(fake: FakeOllama) -> None:
    async with FakeOllama() as other:
        fake.script("/x", redirect(f"{other.url}/y"))
        async with endpoint(fake.url) as asked, asked.request("GET", "/x") as response:
            assert (response.status, response.header("Location")) == (307, f"{other.url}/y")
        assert other.requests == []


@pytest.mark.parametrize(
    ("status", "kind", "may_pass_on"),
    [
        (400, RequestRefused, False),
        (404, ModelNotFound, False),
        (429, ServerBusy, False),
        (503, ServerBusy, True),
        (201, UpstreamError, False),
    ],
)
async def test_a_stream_raises_what_another_status_means(
    fake: FakeOllama, status: int, kind: type[UpstreamError], may_pass_on: bool
) -> None:
    fake.script("/api/pull", Answer(status, {"error": "no such thing"}))
    async with endpoint(fake.url) as asked:
        with pytest.raises(kind) as caught:
            async with asked.stream("POST", "/api/pull", body=PULL, model="alpha"):
                raise AssertionError
    assert type(caught.value) is kind
    assert getattr(caught.value, "may_pass_on", False) is may_pass_on


# leaving


@pytest.mark.parametrize("pieces_read", [0, 1])
async def test_leaving_early_ends_the_work_at_the_server(
    fake: FakeOllama, pieces_read: int
) -> None:
    fake.script("/api/pull", Raw((CHUNKED + encode_chunk(b"x\n"), asyncio.Event())))
    async with endpoint(fake.url) as asked:
        async with asked.request("POST", "/api/pull", body=PULL) as response:
            for _ in range(pieces_read):
                assert await anext(response.chunks) == b"x\n"
        await asyncio.wait_for(fake.client_left.wait(), 5)
    assert [request.path for request in fake.abandoned] == ["/api/pull"]


async def test_an_error_of_the_caller_ends_the_work_too_and_passes_as_it_is(
    fake: FakeOllama,
) -> None:
    fake.script("/api/pull", Raw((CHUNKED + encode_chunk(b"x\n"), asyncio.Event())))
    async with endpoint(fake.url) as asked:
        with pytest.raises(ZeroDivisionError):
            async with asked.request("POST", "/api/pull", body=PULL):
                raise ZeroDivisionError
        await asyncio.wait_for(fake.client_left.wait(), 5)


async def test_a_cancelled_caller_ends_the_work_too(fake: FakeOllama) -> None:
    silence = Silence()
    fake.script("/api/pull", silence)
    async with endpoint(fake.url) as asked:

        async def pull() -> None:
            async with asked.request("POST", "/api/pull", body=PULL):
                raise AssertionError

        pulling = asyncio.create_task(pull())
        await silence.arrived.wait()
        pulling.cancel()
        await asyncio.wait_for(fake.client_left.wait(), 5)
        with pytest.raises(asyncio.CancelledError):
            await pulling


async def test_a_connection_is_used_again_once_its_answer_was_read(fake: FakeOllama) -> None:
    async with endpoint(fake.url) as asked:
        for _ in range(3):
            async with asked.request("GET", "/api/tags") as response:
                assert [chunk async for chunk in response.chunks]
        assert fake.connections == 1
        assert await asked.version() == "0.33.0"
    assert fake.connections == 1


# errors


async def test_a_break_in_the_middle_is_an_error_where_the_chunk_is_read(fake: FakeOllama) -> None:
    fake.script("/x", Raw((CHUNKED + encode_chunk(b"x"),), Ending.FIN))
    async with endpoint(fake.url) as asked, asked.request("GET", "/x") as response:
        assert await anext(response.chunks) == b"x"
        with pytest.raises(ServerUnreachable) as caught:
            await anext(response.chunks)
    assert caught.value.message.startswith(f"server gpu ({fake.url}) cannot be reached: ")


async def test_what_cannot_be_read_names_the_server_and_the_path_without_its_query(
    fake: FakeOllama,
) -> None:
    fake.script_always("/x", Answer(500, "<html>junk</html>"))
    async with endpoint(fake.url) as asked:
        with pytest.raises(UpstreamError) as caught:
            async with asked.request("GET", "/x?key=hunter2") as response:
                read_json(await anext(response.chunks))
        with pytest.raises(UpstreamError) as refused:
            async with asked.stream("GET", "/x?key=hunter2"):
                raise AssertionError
    assert caught.value.message == "server gpu, /x: the answer cannot be read as JSON: a web page"
    assert refused.value.message == "server gpu answered 500 to /x"


@pytest.mark.parametrize("path", ["", "x", "@10.0.0.9/x", ":1/x", ".far.example/x", "?x"])
async def test_a_path_that_could_lead_to_another_host_is_refused(
    fake: FakeOllama, path: str
) -> None:
    async with endpoint(fake.url) as asked:
        with pytest.raises(InvalidInput, match="does not begin with '/'"):
            async with asked.request("GET", path):
                raise AssertionError
    assert fake.requests == []


@pytest.mark.parametrize("path", ["//far.example/x", "/\\far.example/x", "/@far.example/x"])
async def test_a_path_that_looks_like_a_host_stays_a_path(fake: FakeOllama, path: str) -> None:
    async with endpoint(fake.url) as asked, asked.request("GET", path) as response:
        assert response.status == 404
    (request,) = fake.requests
    assert request.path == path


@pytest.mark.parametrize("path", ["/x HTTP/1.1\r\nX-Evil: 1\r\n\r\n", "/x\x00", "/x\ny"])
async def test_a_path_with_the_end_of_a_line_is_never_sent_as_one(
    fake: FakeOllama, path: str
) -> None:
    async with endpoint(fake.url) as asked:
        with pytest.raises(ServerUnreachable):
            async with asked.request("GET", path):
                raise AssertionError
    assert fake.requests == []


@pytest.mark.parametrize(
    "header", [(b"X-A", b"1\r\nX-Evil: 2"), (b"X-A\r\nX-Evil", b"2"), (b"X A", b"1"), (b"", b"1")]
)
async def test_a_header_with_the_end_of_a_line_is_never_sent(
    fake: FakeOllama, header: tuple[bytes, bytes]
) -> None:
    async with endpoint(fake.url) as asked:
        with pytest.raises(ServerUnreachable):
            async with asked.request("GET", "/x", headers=[header]):
                raise AssertionError
    assert fake.requests == []


async def test_a_connection_that_was_free_to_go_anywhere_is_not_lent_to_who_is_not(
    fake: FakeOllama,
) -> None:
    """Only a connection that is made is looked at: so each kind of caller has its own."""
    http = TRANSPORT.get()(TIMES)
    target = Target(ref=ServerRef(id=1, name="gpu", url=fake.url), api_version=ApiVersion.NATIVE)
    for any_address in (True, False, True):
        assert await Endpoint(http, target, any_address=any_address).version() == "0.33.0"
    assert sorted(http._pools) == [(fake.url, False, None), (fake.url, True, None)]
    await http.aclose()
