"""The fast way to a server on real sockets: what it promises beside what `test_requests.py` and
`test_endpoint.py` ask of both ways.
"""

import asyncio
import hashlib
import ipaddress
import socket
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import uvloop

from ollama_admin.errors import AddressRefused
from ollama_admin.ollama import addresses, raw_dialing, raw_http
from ollama_admin.ollama.connecting import Times
from ollama_admin.ollama.raw_connection import BUFFERED, Connection, RawResponse
from ollama_admin.ollama.raw_dialing import origin_of
from ollama_admin.ollama.raw_http import RawHTTP
from ollama_admin.ollama.response import (
    AnswerLate,
    BadAnswer,
    BadRequest,
    ConnectionBroken,
    ConnectionClosed,
    ConnectionFault,
    ConnectLate,
    ImproperAnswer,
    NotConnected,
    Sending,
    WriteLate,
)
from tests.ollama.raw_server import Client, RawServer, listening, ok, raw_server

TIMES = Times(connect=5, metadata=5, first_byte=20, idle=20)
SHORT = 0.1  # seconds
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
TWO = b"Content-Length: 2\r\n\r\n{}"


@pytest.fixture
async def http() -> AsyncIterator[RawHTTP]:
    async with opened() as http:
        yield http


@asynccontextmanager
async def opened(*given: Any, times: Times = TIMES) -> AsyncIterator[RawHTTP]:
    http = RawHTTP(times, *given)
    try:
        yield http
    finally:
        await http.aclose()


@pytest.fixture(autouse=True)
def slow_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which may take longer than a server that is closing a connection."""
    monkeypatch.setattr(raw_http, "KEPT", 60)
    monkeypatch.setattr(raw_http, "STALE", 60)


async def ask(
    http: RawHTTP,
    server: RawServer,
    method: str = "GET",
    path: str = "/x",
    headers: Sequence[tuple[bytes, bytes]] = (),
    body: bytes = b"",
    **given: Any,
) -> tuple[RawResponse, bytes]:
    """A response, and its body, which was read to the end."""
    url = server.url + path
    async with http.send(method, url, headers, body, **{"any_address": True, **given}) as response:
        return response, b"".join([piece async for piece in response.chunks])


# what is sent


async def test_a_request_goes_out_as_it_is_given(http: RawHTTP) -> None:
    headers = [(b"content-TYPE", b"application/json"), (b"X-A", b"1"), (b"x-a", b"\xe9")]
    async with raw_server(ok()) as server:
        await ask(http, server, "POST", "/v1/a%2Fb?x=%41&y=+", headers, b'{"a":\xff\x00}')
    [(_, request)] = server.requests
    assert request == (
        b"POST /v1/a%%2Fb?x=%%41&y=+ HTTP/1.1\r\n"
        b"content-TYPE: application/json\r\nX-A: 1\r\nx-a: \xe9\r\n"
        b"Host: 127.0.0.1:%d\r\nUser-Agent: ollama-admin\r\nAccept: */*\r\n"
        b"Accept-Encoding: identity\r\nContent-Length: 8\r\n\r\n" % server.port + b'{"a":\xff\x00}'
    )


@pytest.mark.parametrize(("method", "has_length"), [("GET", False), ("POST", True), ("PUT", True)])
async def test_an_empty_body_has_a_length_where_a_body_is_usual(
    http: RawHTTP, method: str, has_length: bool
) -> None:
    async with raw_server(ok()) as server:
        await ask(http, server, method)
    [(_, request)] = server.requests
    assert (b"Content-Length: 0\r\n" in request) is has_length


async def test_length_and_transfer_of_the_caller_are_never_sent(http: RawHTTP) -> None:
    given = [
        (b"content-length", b"99"),
        (b"Transfer-Encoding", b"chunked"),
        (b"ACCEPT-encoding", b"gzip"),
        (b"Host", b"gpu.example"),
        (b"User-Agent", b"openai"),
    ]
    async with raw_server(ok()) as server:
        await ask(http, server, "POST", "/x", given, b"hi")
    [(_, request)] = server.requests
    lines = request.split(b"\r\n")
    assert sorted(lines[1:-2]) == [
        b"Accept-Encoding: identity",
        b"Accept: */*",
        b"Content-Length: 2",
        b"Host: gpu.example",
        b"User-Agent: openai",
    ]


@pytest.mark.parametrize(
    "header",
    [
        (b"X", b"1\r\nX-Evil: 2"),
        (b"X", b"1\n2"),
        (b"X", b"1\r2"),
        (b"X", b"1\x002"),
        (b"X\r\nX-Evil", b"2"),
        (b"X ", b"2"),
        (b"X:", b"2"),
        (b"", b"2"),
    ],
)
async def test_a_header_that_is_several_is_refused(
    http: RawHTTP, header: tuple[bytes, bytes]
) -> None:
    async with raw_server(ok()) as server:
        with pytest.raises(BadRequest):
            await ask(http, server, headers=[header])
    assert server.connections == 0


@pytest.mark.parametrize("path", ["/x\r\nX: y", "/x\ny", "/\x00", "/x\x7f", "/x#y"])
async def test_a_path_that_is_more_than_one_is_refused(http: RawHTTP, path: str) -> None:
    async with raw_server(ok()) as server:
        with pytest.raises(BadRequest):
            await ask(http, server, path=path)
    assert server.connections == 0


@pytest.mark.parametrize("method", ["GET /y HTTP/1.1\r\nX:", "G T", "", "GÉT"])
async def test_a_method_that_is_none_is_refused(http: RawHTTP, method: str) -> None:
    async with raw_server(ok()) as server:
        with pytest.raises(BadRequest):
            await ask(http, server, method)
    assert server.connections == 0


@pytest.mark.parametrize(
    "url",
    [
        "http://u:p@127.0.0.1:1/x",
        "http://127.0.0.1:1?x",
        "http://127.0.0.1:1#x",
        "http://127.0.0.1:x/",
        "http:///x",
        "ftp://127.0.0.1:1/",
        "127.0.0.1:1/x",
        "http://a b/",
        "http://127.0.0.1:1\r\nX: y/",
        "http://[::1/",
    ],
)
async def test_a_url_that_names_no_server_is_refused(http: RawHTTP, url: str) -> None:
    with pytest.raises(BadRequest):
        async with http.send("GET", url, any_address=True):
            raise AssertionError
    assert http._pools == {}


async def test_characters_that_no_url_may_hold_are_escaped(http: RawHTTP) -> None:
    async with raw_server(ok()) as server:
        await ask(http, server, path="/é x%41|[a]?q=é")
    [(_, request)] = server.requests
    assert request.startswith(b"GET /%C3%A9%20x%41|[a]?q=%C3%A9 HTTP/1.1\r\n")


async def test_a_large_request_arrives_whole_however_slow_its_reader_is(http: RawHTTP) -> None:
    body = bytes(range(256)) * 80_000  # 20 MB
    digest = hashlib.sha256()

    async def read_slowly(client: Client) -> None:
        left = len(body)
        while left:
            data = await client.reader.read(65536)
            digest.update(data)
            left -= len(data)
            await asyncio.sleep(0)
        await client.send(ok())

    sending = Sending()
    async with raw_server(read_slowly) as server:
        for _ in range(2):
            digest = hashlib.sha256()
            await ask(http, server, "POST", body=body, sending=sending)
            assert digest.digest() == hashlib.sha256(body).digest()
    assert sending.is_whole
    assert server.connections == 1


async def test_an_answer_in_the_middle_of_a_request_ends_the_request(http: RawHTTP) -> None:
    async def refuse(client: Client) -> None:
        client.stop_reading()
        await client.send(ok(b"too large", status=b"413 No"))
        await asyncio.Event().wait()

    sending = Sending()
    async with raw_server(refuse) as server:
        response, body = await ask(http, server, "POST", body=bytes(30_000_000), sending=sending)
        assert (response.status, body) == (413, b"too large")
        assert not sending.is_whole
        assert not any(pool.idle for pool in http._pools.values())


@pytest.mark.parametrize("size", [300_000, 30_000_000])
async def test_a_request_that_met_a_closed_connection_is_not_whole(
    http: RawHTTP, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    sending = Sending()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        origin = origin_of(f"http://127.0.0.1:{listener.getsockname()[1]}")
        connection = await http._dialer.connect(origin, http._way, any_address=True)
        reset_now(listener.accept()[0])
        with pytest.raises(ConnectionFault):
            await connection.ask("POST", b"", bytes(size), 20, 20, sending)
    assert not sending.is_whole
    assert caplog.records == []


def reset_now(connection: socket.socket) -> None:
    """Close a connection at once; whoever writes to it from now on gets an error."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


# what is received


async def test_status_and_headers_come_as_they_were_sent(http: RawHTTP) -> None:
    lines = (b"X-B: 1", b"x-a:  \xe9 y \t", b"X-B:", b"Set-Cookie: a=1, b")
    async with raw_server(ok(b"{}", *lines, status=b"207 Multi  Status")) as server:
        response, body = await ask(http, server)
    assert (response.status, body, response.framing) == (207, b"{}", "length")
    assert response.headers == [
        (b"X-B", b"1"),
        (b"x-a", b"\xe9 y"),
        (b"X-B", b""),
        (b"Set-Cookie", b"a=1, b"),
        (b"Content-Length", b"2"),
    ]


FRAMINGS: dict[str, tuple[str, bytes, bytes, str, bool]] = {
    "a length": ("GET", HEAD + TWO, b"{}", "length", True),
    "no reason": ("GET", b"HTTP/1.1 200\r\n" + TWO, b"{}", "length", True),
    "a length of 0": ("GET", HEAD + b"Content-Length: 0\r\n\r\n", b"", "length", True),
    "chunks": ("GET", CHUNKED + b"1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", b"{}", "chunked", True),
    "no chunks": ("GET", CHUNKED + b"0\r\n\r\n", b"", "chunked", True),
    "long sizes": ("GET", CHUNKED + b"00000002\r\n{}\r\n000\r\n\r\n", b"{}", "chunked", True),
    "extensions": ("GET", CHUNKED + b'2;a="b";c=d\r\n{}\r\n0;x\r\n\r\n', b"{}", "chunked", True),
    "capital coding": (
        "GET",
        HEAD + b"transfer-encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"{}",
        "chunked",
        True,
    ),
    "trailers": (
        "GET",
        CHUNKED + b"2\r\n{}\r\n0\r\nX-Digest: 1\r\nX: y\r\n\r\n",
        b"{}",
        "chunked",
        True,
    ),
    "the last one": ("GET", HEAD + b"Connection: x, CLOSE\r\n" + TWO, b"{}", "length", False),
    "an old version": ("GET", b"HTTP/1.0 200 OK\r\n" + TWO, b"{}", "length", False),
    "an excess": ("GET", HEAD + TWO + b"HTTP/1.1 200 OK\r\n", b"{}", "length", False),
    "an excess line": ("GET", CHUNKED + b"2\r\n{}\r\n0\r\n\r\n\r\n", b"{}", "chunked", False),
    "HEAD": ("HEAD", HEAD + b"Content-Length: 2\r\n\r\n", b"", "none", True),
    "HEAD in chunks": ("HEAD", CHUNKED, b"", "none", True),
    "204": ("POST", b"HTTP/1.1 204 No\r\n\r\n", b"", "none", True),
    "304": ("GET", b"HTTP/1.1 304 No\r\nContent-Length: 2\r\n\r\n", b"", "none", True),
    "interim answers": (
        "GET",
        b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" * 5 + HEAD + TWO,
        b"{}",
        "length",
        True,
    ),
}


@pytest.mark.parametrize("name", FRAMINGS)
async def test_a_body_ends_where_it_says_and_its_connection_is_used_again(
    http: RawHTTP, name: str
) -> None:
    method, answer, body, framing, is_kept = FRAMINGS[name]
    async with raw_server(answer) as server:
        for _ in range(3):
            response, received = await ask(http, server, method)
            assert (received, response.framing) == (body, framing)
        assert server.connections == (1 if is_kept else 3)


async def test_a_body_without_a_length_ends_with_its_connection(http: RawHTTP) -> None:
    async def answer(client: Client) -> None:
        await client.send(HEAD + b"\r\nto the ")
        await client.send(b"end")
        client.close()

    async with raw_server(answer) as server:
        for _ in range(2):
            response, body = await ask(http, server)
            assert (response.framing, body) == ("close", b"to the end")
        assert server.connections == 2


async def test_a_piece_is_there_as_soon_as_it_has_come(http: RawHTTP) -> None:
    read = asyncio.Event()

    async def answer(client: Client) -> None:
        await client.send(CHUNKED)
        for piece in (b"a", b"bc", b"d" * 1000):
            await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await read.wait()
            read.clear()
        await client.send(b"0\r\n\r\n")

    async with (
        raw_server(answer) as server,
        http.send("GET", server.url, any_address=True) as response,
    ):
        for piece in (b"a", b"bc", b"d" * 1000):
            assert await anext(response.chunks) == piece
            read.set()
        assert [piece async for piece in response.chunks] == []


# what is refused

SMUGGLED = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
BAD_HEADS = {
    "two lengths": HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "the same length twice": HEAD + b"Content-Length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "a list of lengths": HEAD + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length below zero": HEAD + b"Content-Length: -2\r\n\r\n{}",
    "a length with a sign": HEAD + b"Content-Length: +2\r\n\r\n{}",
    "a length in words": HEAD + b"Content-Length: two\r\n\r\n{}",
    "a length in hexadecimal": HEAD + b"Content-Length: 0x2\r\n\r\n{}",
    "a length with a space": HEAD + b"Content-Length: 1 2\r\n\r\n{}",
    "a length with an underscore": HEAD + b"Content-Length: 1_0\r\n\r\n{}",
    "no length": HEAD + b"Content-Length:\r\n\r\n{}",
    "a huge length": HEAD + b"Content-Length: 18446744073709551618\r\n\r\n{}",
    "an Arabic length": HEAD + "Content-Length: ٢\r\n\r\n{}".encode(),
    "a length and chunks": CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks and a length": HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    "chunks twice": CHUNKED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a coding that is not known": HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "another coding": HEAD + b"Transfer-Encoding: identity\r\n\r\n{}",
    "a coding with a parameter": HEAD + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "a coding in quotes": HEAD + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "a hidden coding": HEAD + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "no coding": HEAD + b"Transfer-Encoding:\r\n\r\n{}",
    "old chunks": CHUNKED.replace(b"1.1", b"1.0") + b"0\r\n\r\n",
    "a folded line": HEAD + b"X: 1\r\n 2\r\n" + TWO,
    "a folded line with a tab": HEAD + b"X: 1\r\n\t2\r\n" + TWO,
    "a folded first line": HEAD + b" X: 1\r\n" + TWO,
    "a bare line feed": HEAD + b"X: 1\nY: 2\r\n" + TWO,
    "bare line feeds": HEAD.replace(b"\r", b"") + TWO.replace(b"\r", b""),
    "a line feed as the end": HEAD + b"Content-Length: 2\r\n\n{}",
    "a bare carriage return": HEAD + b"X: 1\rY: 2\r\n" + TWO,
    "a carriage return twice": HEAD + b"X: 1\r\r\n" + TWO,
    "a bare one in the status": b"HTTP/1.1 200 O\rK\r\n" + TWO,
    "a zero byte": HEAD + b"X: 1\x00\r\n" + TWO,
    "a zero byte in a name": HEAD + b"X\x00: 1\r\n" + TWO,
    "a space before the colon": HEAD + b"Content-Length : 2\r\n\r\n{}",
    "a space in a name": HEAD + b"X Y: 2\r\n" + TWO,
    "a name in UTF-8": HEAD + "é: 2\r\n".encode() + TWO,
    "no name": HEAD + b": 2\r\n" + TWO,
    "no colon": HEAD + b"X\r\n" + TWO,
    "HTTP/0.9": b"{}",
    "HTML": b"<html>\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "RTSP": b"RTSP/1.0 200 OK\r\n" + TWO,
    "HTTP/2": b"HTTP/2.0 200 OK\r\n" + TWO,
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n" + TWO,
    "HTTP/1.10": b"HTTP/1.10 200 OK\r\n" + TWO,
    "HTTP/01.1": b"HTTP/01.1 200 OK\r\n" + TWO,
    "small letters": b"http/1.1 200 OK\r\n" + TWO,
    "no status": b"HTTP/1.1 OK\r\n" + TWO,
    "a status of two digits": b"HTTP/1.1 20 OK\r\n" + TWO,
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n" + TWO,
    "a status that HTTP has not": b"HTTP/1.1 600 OK\r\n" + TWO,
    "a status of 0": b"HTTP/1.1 000 OK\r\n" + TWO,
    "a tab": b"HTTP/1.1\t200 OK\r\n" + TWO,
    "an empty line first": b"\r\n" + HEAD + TWO,
    "a space first": b" " + HEAD + TWO,
    "another protocol from here on": b"HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\n" + HEAD + TWO,
    "too many interim answers": b"HTTP/1.1 103 Hints\r\n\r\n" * 11 + HEAD + TWO,
    "a long head": HEAD + b"X: " + b"x" * 70_000 + b"\r\n" + TWO,
    "a head without an end": HEAD + b"X: " + b"x" * 70_000,
    "a body of 204": b"HTTP/1.1 204 No\r\n\r\n" + SMUGGLED,
    "a body of 304": b"HTTP/1.1 304 No\r\nContent-Length: 60\r\n\r\n" + SMUGGLED,
    "an old one": b"ICY 200 OK\r\n" + TWO,
    "many headers": HEAD + b"X: y\r\n" * 200 + TWO,
}


@pytest.mark.parametrize("name", BAD_HEADS)
async def test_a_head_that_could_be_read_in_two_ways_is_refused(http: RawHTTP, name: str) -> None:
    async with raw_server(BAD_HEADS[name]) as server:
        for number in (1, 2):
            with pytest.raises(BadAnswer):
                await ask(http, server)
            await server.until(lambda number=number: number in server.closed)  # type: ignore[misc]
    assert [connection for connection, _ in server.requests] == [1, 2]


async def test_a_body_after_the_head_of_head_is_refused(http: RawHTTP) -> None:
    async with raw_server(ok()) as server:
        with pytest.raises(ImproperAnswer):
            await ask(http, server, "HEAD")


BAD_CHUNKS = {
    "a size below zero": b"-2\r\n{}\r\n0\r\n\r\n",
    "a size with a sign": b"+2\r\n{}\r\n0\r\n\r\n",
    "a size with a prefix": b"0x2\r\n{}\r\n0\r\n\r\n",
    "a size in words": b"zz\r\n{}\r\n0\r\n\r\n",
    "a huge size": b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n",
    "an endless size": b"0" * 10_000,
    "no size": b"\r\n{}\r\n0\r\n\r\n",
    "a space first": b" 2\r\n{}\r\n0\r\n\r\n",
    "a bare line feed": b"2\n{}\r\n0\r\n\r\n",
    "a bare carriage return": b"2\r{}\r\n0\r\n\r\n",
    "a zero byte": b"2;\x00\r\n{}\r\n0\r\n\r\n",
    "a line feed in an extension": b"2;x\n\r\n{}\r\n0\r\n\r\n",
    "an endless extension": b"2;" + b"x" * 10_000,
    "more than its size": b"2\r\n{}}\r\n0\r\n\r\n",
    "a bare line feed as its end": b"2\r\n{}\n0\r\n\r\n",
    "no end": b"2\r\n{}0\r\n\r\n",
    "a bad trailer": b"2\r\n{}\r\n0\r\nX Y: 1\r\n\r\n",
    "a folded trailer": b"2\r\n{}\r\n0\r\nX: 1\r\n 2\r\n\r\n",
    "a trailer with a line feed": b"2\r\n{}\r\n0\r\nX: 1\n\r\n",
    "endless trailers": b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 50_000,
    "a length as a trailer": b"2\r\n{}\r\n0\r\nContent-Length: 9\r\n\r\n",
    "a space after the size": b"2 \r\n{}\r\n0\r\n\r\n",
    "an empty extension": b"2;\r\n{}\r\n0\r\n\r\n",
    "a tab before the extension": b"2\t;x\r\n{}\r\n0\r\n\r\n",
    "an underscore": b"0_2\r\n{}\r\n0\r\n\r\n",
    "a carriage return too many": b"2\r\r\n{}\r\n0\r\n\r\n",
    "a bare line feed at the last": b"2\r\n{}\r\n0\n\r\n",
    "a line feed as the end": b"2\r\n{}\r\n0\r\n\n",
    "a zero byte in a trailer": b"2\r\n{}\r\n0\r\nX: \x00\r\n\r\n",
    "a line feed before the size": b"\n2\r\n{}\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("is_cut", [False, True], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("name", BAD_CHUNKS)
async def test_chunks_that_could_be_read_in_two_ways_are_refused(
    http: RawHTTP, name: str, is_cut: bool
) -> None:
    async def answer(client: Client) -> None:
        await client.send(CHUNKED)
        size = 1 if is_cut else len(BAD_CHUNKS[name])
        for start in range(0, len(BAD_CHUNKS[name]), size):
            await client.send(BAD_CHUNKS[name][start : start + size])
            await asyncio.sleep(0)
        await client.left()

    async with raw_server(answer) as server:
        with pytest.raises(ImproperAnswer):
            await ask(http, server)
        await server.until(lambda: server.closed == [1])


CUT = {
    "before anything": b"",
    "in the head": HEAD,
    "in a body with a length": HEAD + b"Content-Length: 3\r\n\r\n{}",
    "in a chunk": CHUNKED + b"3\r\n{}",
    "after a chunk": CHUNKED + b"2\r\n{}\r\n",
    "in a size": CHUNKED + b"2\r\n{}\r\n0",
    "before the last line": CHUNKED + b"2\r\n{}\r\n0\r\n",
    "in a trailer": CHUNKED + b"2\r\n{}\r\n0\r\nX: y\r\n",
}


@pytest.mark.parametrize("name", CUT)
async def test_an_answer_that_is_cut_off_is_an_error(http: RawHTTP, name: str) -> None:
    async def answer(client: Client) -> None:
        await client.send(CUT[name])
        client.close()

    async with raw_server(answer) as server:
        with pytest.raises(ConnectionClosed):
            await ask(http, server)
    assert len(server.requests) == 1


async def test_what_came_before_the_cut_is_handed_over_first(http: RawHTTP) -> None:
    async def answer(client: Client) -> None:
        await client.send(CHUNKED + b"2\r\n{}\r\n")
        client.close()

    async with (
        raw_server(answer) as server,
        http.send("GET", server.url, any_address=True) as response,
    ):
        await server.until(lambda: server.closed == [1])
        assert await anext(response.chunks) == b"{}"
        for _ in range(2):
            with pytest.raises(ConnectionFault):
                await anext(response.chunks)


# connections: kept, left, stale


async def test_leaving_early_closes_the_connection_at_once(http: RawHTTP) -> None:
    async def answer(client: Client) -> None:
        await client.send(CHUNKED + b"2\r\n{}\r\n")
        await client.left()

    async with raw_server(answer) as server:
        for number in (1, 2):
            async with http.send("GET", server.url, any_address=True) as response:
                assert await anext(response.chunks) == b"{}"
            await server.until(lambda number=number: server.closed[-1:] == [number])  # type: ignore[misc]
            with pytest.raises(ConnectionClosed):
                await anext(response.chunks)


async def test_a_body_that_has_come_whole_needs_no_reader(http: RawHTTP) -> None:
    async with raw_server(ok()) as server:
        for _ in range(2):
            async with http.send("GET", server.url, any_address=True) as response:
                pass
        assert server.connections == 1
        with pytest.raises(ConnectionClosed):
            await anext(response.chunks)


async def test_a_late_reader_gets_nothing_of_the_next_answer(http: RawHTTP) -> None:
    async with raw_server(ok(b"first"), ok(b"second")) as server:
        async with http.send("GET", server.url, any_address=True) as first:
            pass
        async with http.send("GET", server.url, any_address=True) as second:
            with pytest.raises(ConnectionClosed):
                await anext(first.chunks)
            assert await anext(second.chunks) == b"second"


async def test_a_kept_connection_that_receives_something_is_closed(http: RawHTTP) -> None:
    async def answer(client: Client) -> None:
        await client.send(ok(b"1"))
        await said.wait()
        await client.send(SMUGGLED)
        await client.left()

    said = asyncio.Event()
    async with raw_server(answer, ok(b"2")) as server:
        assert (await ask(http, server))[1] == b"1"
        said.set()
        await server.until(lambda: server.closed == [1])
        assert (await ask(http, server))[1] == b"2"
    assert [connection for connection, _ in server.requests] == [1, 2]


async def test_a_connection_that_was_idle_for_long_is_not_used(
    http: RawHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_server(ok()) as server:
        await ask(http, server)
        monkeypatch.setattr(raw_http, "KEPT", -1)
        await ask(http, server)
        assert server.connections == 2


async def test_idle_connections_are_closed_in_time_though_nobody_asks(
    http: RawHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_http, "KEPT", 0.02)
    monkeypatch.setattr(raw_http, "_SWEEP", 0.02)
    async with raw_server(ok()) as server:
        await ask(http, server)
        await server.until(lambda: server.closed == [1])
    assert http._pools == {}
    assert http._sweep is None


async def test_so_many_connections_are_kept_and_no_more(
    http: RawHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_http, "KEPT_CONNECTIONS", 2)
    async with raw_server(ok()) as server:
        async with AsyncExitStack() as stack:
            for _ in range(5):
                asking = http.send("GET", server.url, any_address=True)
                await stack.enter_async_context(asking)
        await server.until(lambda: len(server.closed) == 3)
        (pool,) = http._pools.values()
        assert len(pool.idle) == 2
        assert pool.users == 0


async def test_connections_to_origins_that_were_not_asked_for_long_are_closed(
    http: RawHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_http, "IDLE_ORIGINS", 2)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(raw_server(ok())) for _ in range(4)]
        for server in servers:
            await ask(http, server)
        assert len(http._pools) == 2
        await ask(http, servers[3])
        await ask(http, servers[0])
        assert [server.connections for server in servers] == [2, 1, 1, 1]


async def test_closing_closes_what_is_idle_and_then_what_is_left() -> None:
    async with raw_server(ok()) as server, opened() as http:
        async with http.send("GET", server.url, any_address=True):
            await ask(http, server)
            await http.aclose()
            await server.until(lambda: server.closed == [2])
        await server.until(lambda: server.closed == [2, 1])


async def close(client: Client) -> None:
    """As a server does that closes an idle connection just when a request comes."""
    client.close()


async def reset(client: Client) -> None:
    client.writer.transport.abort()


@pytest.mark.parametrize("ending", [close, reset])
async def test_a_request_that_crossed_with_the_end_of_its_connection_is_sent_again(
    http: RawHTTP, ending: Any
) -> None:
    sending = Sending()
    async with raw_server(ok(b"1"), ending, ok(b"2")) as server:
        await ask(http, server)
        _, body = await ask(http, server, "POST", body=b"hi", sending=sending)
        assert body == b"2"
    assert [connection for connection, _ in server.requests] == [1, 1, 2]
    assert sending.is_whole


async def test_it_is_sent_again_once_and_not_twice(http: RawHTTP) -> None:
    async with raw_server(ok(b"1"), ok(b"1"), close) as server:
        async with http.send("GET", server.url, any_address=True):
            await ask(http, server)  # so two connections are kept
        with pytest.raises((ConnectionClosed, ConnectionBroken)):
            await ask(http, server)
    # the second time on a new one: another kept one could be stale as well
    assert [connection for connection, _ in server.requests] == [1, 2, 1, 3]


async def test_a_request_on_a_new_connection_is_sent_once(http: RawHTTP) -> None:
    sending = Sending()
    async with raw_server(close) as server:
        with pytest.raises((ConnectionClosed, ConnectionBroken)):
            await ask(http, server, sending=sending)
    assert len(server.requests) == 1
    assert sending.is_whole


@pytest.mark.parametrize("said", [b"H", HEAD, b"HTTP/1.1 100 Continue\r\n\r\n"])
async def test_a_request_that_got_a_byte_of_an_answer_is_not_sent_again(
    http: RawHTTP, said: bytes
) -> None:
    async def answer(client: Client) -> None:
        await client.send(said)
        client.close()

    async with raw_server(ok(), answer) as server:
        await ask(http, server)
        with pytest.raises(ConnectionClosed):
            await ask(http, server)
    assert len(server.requests) == 2


async def test_a_request_that_a_server_may_have_worked_on_is_not_sent_again(
    http: RawHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answer(client: Client) -> None:
        await asyncio.sleep(2 * SHORT)
        client.close()

    monkeypatch.setattr(raw_http, "STALE", SHORT)
    sending = Sending()
    async with raw_server(ok(), answer) as server:
        await ask(http, server)
        with pytest.raises(ConnectionClosed):
            await ask(http, server, sending=sending)
    assert len(server.requests) == 2
    assert sending.is_whole


async def test_a_request_that_is_sent_again_is_not_whole_until_it_is_so(http: RawHTTP) -> None:
    sending = Sending()
    async with raw_server(ok(), close) as server:
        await ask(http, server)
    # nobody listens any more, and the connection is not known to be closed before it is used
    (pool,) = http._pools.values()
    assert len(pool.idle) == 1
    with pytest.raises(ConnectionFault):
        await ask(http, server, "POST", body=b"hi", sending=sending)
    assert not sending.is_whole


async def test_a_cancelled_request_ends_at_its_server(http: RawHTTP) -> None:
    async def answer(client: Client) -> None:
        await client.left()

    async with raw_server(answer) as server:
        asking = asyncio.create_task(ask(http, server))
        await server.until(lambda: len(server.requests) == 1)
        asking.cancel()
        await server.until(lambda: server.closed == [1])
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert http._pools == {}


async def test_many_requests_at_once_get_each_their_own_answer(http: RawHTTP) -> None:
    async def echo(client: Client) -> None:
        (_, request) = next(r for r in reversed(server.requests) if r[0] == client.number)
        await asyncio.sleep(0)
        await client.send(ok(request.split(b" ")[1]))

    async def some(task: int) -> None:
        for number in range(20):
            path = f"/{task}-{number}"
            assert (await ask(http, server, path=path))[1] == path.encode()

    async with raw_server(echo) as server:
        await asyncio.gather(*[some(task) for task in range(30)])
        assert server.connections <= 30


async def test_a_server_that_speaks_first_is_an_error(http: RawHTTP) -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SMUGGLED)
        await reader.read()
        writer.close()

    async with listening(greet) as port:
        url = f"http://127.0.0.1:{port}/"
        try:
            async with http.send("GET", url, any_address=True) as response:
                assert response.status == 200  # it came after the request, which is no fault
        except ConnectionFault:
            pass
        assert sum(len(pool.idle) for pool in http._pools.values()) <= 1


async def test_a_server_that_ends_its_side_early_is_given_up_at_once(http: RawHTTP) -> None:
    """While it reads nothing, and so the request cannot be written to its end."""

    async def answer(client: Client) -> None:
        client.stop_reading()
        client.writer.write_eof()
        await asyncio.Event().wait()

    async with raw_server(answer) as server:
        with pytest.raises(ConnectionClosed):
            await ask(http, server, "POST", body=bytes(30_000_000))


async def test_origins_that_failed_are_forgotten(http: RawHTTP) -> None:
    async with raw_server(close) as server:
        for given in ({"path": "/x#y"}, {"path": "/"}, {"headers": [(b"X Y", b"")]}):
            with pytest.raises(ConnectionFault):
                await ask(http, server, **given)  # type: ignore[arg-type]
    with pytest.raises(NotConnected):
        await ask(http, server)
    assert http._pools == {}


# times


async def test_a_name_that_leads_nowhere_is_told(
    http: RawHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(NotConnected) as caught:
        async with http.send("GET", "http://gpu.invalid:1/", any_address=True):
            raise AssertionError
    assert isinstance(caught.value.__cause__, socket.gaierror)


@asynccontextmanager
async def full_server() -> AsyncIterator[str]:
    """Listens, and has no place left for another connection."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        address = listening.getsockname()
        waiting = [socket.socket() for _ in range(8)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        try:
            yield f"http://127.0.0.1:{address[1]}/"
        finally:
            for one in waiting:
                one.close()


async def test_a_connection_that_takes_too_long_is_given_up() -> None:
    sending = Sending()
    times = Times(connect=SHORT)
    async with full_server() as url, opened(times=times) as http:
        with pytest.raises(ConnectLate):
            async with http.send("GET", url, any_address=True, sending=sending):
                raise AssertionError
    assert not sending.is_whole


@pytest.mark.parametrize("begin", [b"", HEAD, CHUNKED, CHUNKED + b"2\r\n{}\r\n"])
async def test_a_silence_that_takes_too_long_is_given_up(http: RawHTTP, begin: bytes) -> None:
    async def answer(client: Client) -> None:
        await client.send(begin)
        await client.left()

    async with raw_server(answer) as server:
        with pytest.raises(AnswerLate):
            await ask(http, server, silence=SHORT)
        await server.until(lambda: server.closed == [1])


async def test_a_request_that_nobody_reads_is_given_up(http: RawHTTP) -> None:
    async def answer(client: Client) -> None:
        client.stop_reading()
        await asyncio.Event().wait()

    sending = Sending()
    async with raw_server(answer) as server:
        with pytest.raises(WriteLate):
            await ask(http, server, "POST", body=bytes(50_000_000), silence=SHORT, sending=sending)
    assert not sending.is_whole


async def test_a_wait_is_shorter_than_that_of_the_request_before(http: RawHTTP) -> None:
    async def answer(client: Client) -> None:
        await client.left()

    async with raw_server(ok(), answer) as server:
        await ask(http, server, silence=30)
        with pytest.raises(AnswerLate):
            await ask(http, server, silence=SHORT)
    assert [connection for connection, _ in server.requests] == [1, 1]


async def test_the_end_of_an_earlier_wait_ends_no_later_one(http: RawHTTP) -> None:
    async def answer(client: Client) -> None:
        await asyncio.sleep(3 * SHORT)
        await client.send(ok(b"late"))

    async with raw_server(ok(), answer) as server:
        await ask(http, server)
        (pool,) = http._pools.values()
        end_wait_in(SHORT, pool.idle[0])
        assert (await ask(http, server))[1] == b"late"
    assert server.connections == 1


async def test_nothing_is_late_while_nobody_waits(http: RawHTTP) -> None:
    async with (
        raw_server(CHUNKED + b"2\r\n{}\r\n0\r\n\r\n") as server,
        http.send("GET", server.url, any_address=True) as response,
    ):
        body: Any = response.chunks
        end_wait_in(SHORT, body._connection)
        await asyncio.sleep(3 * SHORT)
        assert [piece async for piece in response.chunks] == [b"{}"]


def end_wait_in(seconds: float, connection: Connection) -> None:
    """As a wait leaves its timer behind that did not take so long."""
    connection._deadline = asyncio.get_running_loop().time() + seconds
    connection._set_timer()


# flow


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_slow_reader_holds_back_the_server_and_not_memory(
    http: RawHTTP, framing: str
) -> None:
    piece, count = b"x" * 65536, 400  # 26 MB, more than the system holds on both sides
    written = 0

    async def answer(client: Client) -> None:
        nonlocal written
        head, before, after, end = CHUNKED, b"10000\r\n", b"\r\n", b"0\r\n\r\n"
        if framing == "length":
            head = HEAD + b"Content-Length: %d\r\n\r\n" % (len(piece) * count)
            before = after = end = b""
        client.writer.transport.set_write_buffer_limits(high=0)
        await client.send(head)
        for _ in range(count):
            await client.send(before + piece + after)
            written += 1
        await client.send(end)

    async with raw_server(answer) as server:
        async with http.send("GET", server.url, any_address=True) as response:
            body: Any = response.chunks
            while not body._connection._is_paused:
                await asyncio.sleep(0.001)
            before = -1
            while before != written:  # until the system holds all that it can
                before = written
                await asyncio.sleep(0.05)
            assert written < count
            assert BUFFERED < body.size <= 2 * BUFFERED
            received = 0
            async for received_piece in response.chunks:
                received += len(received_piece)
                assert body.size <= 2 * BUFFERED
        assert received == len(piece) * count
        (pool,) = http._pools.values()
        (connection,) = pool.idle
        assert not connection._is_paused


async def test_a_socket_sends_without_delay(http: RawHTTP) -> None:
    async with (
        raw_server(ok()) as server,
        http.send("GET", server.url, any_address=True) as response,
    ):
        body: Any = response.chunks
        sock = body._connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


# addresses


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "224.0.0.1", "100.100.100.200"])
async def test_a_written_address_that_is_refused_is_not_connected_to(
    http: RawHTTP, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("it connects")

    monkeypatch.setattr(raw_dialing, "_connect", never)
    for _ in range(2):
        with pytest.raises(AddressRefused):
            async with http.send("GET", f"http://{host}:1/x", any_address=False):
                raise AssertionError


def refuse_localhost(monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = (*addresses._METADATA, ipaddress.ip_network("127.0.0.1"))
    monkeypatch.setattr(addresses, "_METADATA", metadata)


async def test_a_name_that_leads_to_such_an_address_is_sent_nothing(
    http: RawHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    sending = Sending()
    refuse_localhost(monkeypatch)
    async with raw_server(ok()) as server:
        with pytest.raises(AddressRefused):
            async with http.send(
                "GET", f"http://localhost:{server.port}/", any_address=False, sending=sending
            ):
                raise AssertionError
        await server.until(lambda: len(server.closed) == 1)
    assert server.requests == []
    assert not sending.is_whole


async def test_tls_says_nothing_to_such_an_address_either(
    http: RawHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first message of TLS names the host: it comes after the look at the address."""
    received = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.set_result(await reader.read(1))
        writer.close()

    refuse_localhost(monkeypatch)
    async with listening(listen) as port:
        url = f"https://localhost:{port}/"
        with pytest.raises(AddressRefused):
            async with http.send("GET", url, any_address=False):
                raise AssertionError
        assert await received == b""


async def test_a_connection_made_with_any_address_is_not_used_without(
    http: RawHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with raw_server(ok()) as server:
        await ask(http, server, any_address=True)
        refuse_localhost(monkeypatch)
        with pytest.raises(AddressRefused):
            await ask(http, server, any_address=False)
        await ask(http, server, any_address=True)
    assert server.connections == 1


async def test_the_next_address_of_a_name_is_tried(
    http: RawHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the first refuses, and where it swallows what is sent."""
    async with raw_server(ok()) as server, full_server() as full:
        port = int(full.rpartition(":")[2].strip("/"))
        tcp = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        for first in (("127.0.0.1", 9), ("127.0.0.1", port)):
            places = [(*tcp, first), (*tcp, ("127.0.0.1", server.port)), (*tcp, ("127.0.0.1", 9))]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, places=places, **__: places)
            async with http.send("GET", f"http://gpu.test:{port}/", any_address=True) as response:
                assert response.status == 200
            http._pools.clear()
    assert server.connections == 2


async def test_the_error_of_a_name_is_that_of_an_address(
    http: RawHTTP, monkeypatch: pytest.MonkeyPatch
) -> None:
    tcp = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
    places = [(*tcp, ("127.0.0.1", 9)), (*tcp, ("127.0.0.2", 9))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: places)
    with pytest.raises(NotConnected) as caught:
        async with http.send("GET", "http://gpu.test/", any_address=True):
            raise AssertionError
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
