"""HTTP as bytes: heads that two programs could read in two ways are refused, and what is proper is
served, in order. On both loops that `serve` may have.
"""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from ollama_admin.gateway.limits import Limits
from tests.api.conftest import Serve, register
from tests.api.service import SECONDS, TOKEN, Service, answer_of, read_all, request
from tests.api.watchdog import WatchedLoop

HOST = b"Host: localhost\r\n"
GET = b"GET /healthz HTTP/1.1\r\n"
POST = b"POST /api/servers HTTP/1.1\r\n" + HOST + f"Authorization: Bearer {TOKEN}\r\n".encode()
POST += b"Content-Type: application/json\r\n"
NEXT = GET + HOST + b"Connection: close\r\n\r\n"
LONG = 100_000


@pytest.fixture(scope="module", params=[WatchedLoop, uvloop.new_event_loop], ids=["asyncio", "uv"])
def service(
    request: pytest.FixtureRequest,
    migrated_sqlite_file: Path,
) -> Iterator[Service]:
    url = f"sqlite:///{migrated_sqlite_file}"
    with Service(url, loop_factory=request.param, limits=Limits(head_time=SECONDS)) as service:
        yield service


REFUSED = {
    "a length and a coding": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
    "a coding and a length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
    "one length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length below zero": POST + b"Content-Length: -2\r\n\r\n{}",
    "a length in hex": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "a length of 30 digits": POST + b"Content-Length: " + b"0" * 29 + b"2\r\n\r\n{}",
    "no length": POST + b"Content-Length: \r\n\r\n{}",
    "an unknown coding": POST + b"Transfer-Encoding: gzip\r\n\r\n{}",
    "a coding before chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n{}",
    "chunked with a tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked in 1.0": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a folded line": GET + HOST + b"X-A: b\r\n c\r\n\r\n",
    "a folded line of nothing": GET + HOST + b"X-A: b\r\n \r\n\r\n",
    "a folded first header": GET + b" X: y\r\n" + HOST + b"\r\n",
    "bare line ends": b"GET /healthz HTTP/1.1\nHost: localhost\n\n",
    "one bare line end": GET + b"Host: localhost\nX-A: b\r\n\r\n",
    "a bare line end at the end": GET + b"Host: localhost\r\n\n",
    "a bare carriage return": GET + HOST + b"X-A: b\rX-B: c\r\n\r\n",
    "a NUL in a value": GET + HOST + b"X-A: b\x00c\r\n\r\n",
    "a NUL in a name": GET + HOST + b"X\x00A: b\r\n\r\n",
    "a control character": GET + HOST + b"X-A: \x01\r\n\r\n",
    "a DEL": GET + HOST + b"X-A: \x7f\r\n\r\n",
    "a space before the colon": GET + HOST + b"X-A : b\r\n\r\n",
    "a tab before the colon": GET + HOST + b"X-A\t: b\r\n\r\n",
    "no colon": GET + HOST + b"X-A\r\n\r\n",
    "no name": GET + HOST + b": b\r\n\r\n",
    "a name outside ASCII": GET + HOST + "Ä: b\r\n\r\n".encode(),
    "no host": GET + b"\r\n",
    "two hosts": GET + HOST + HOST + b"\r\n",
    "version 0.9": b"GET /healthz\r\n\r\n",
    "version 0.9 alone": b"GET /healthz\r\n",
    "version 1.2": GET.replace(b"1.1", b"1.2") + HOST + b"\r\n",
    "version 2.0": GET.replace(b"1.1", b"2.0") + HOST + b"\r\n",
    "version 1.10": GET.replace(b"1.1", b"1.10") + HOST + b"\r\n",
    "version 01.1": GET.replace(b"1.1", b"01.1") + HOST + b"\r\n",
    "a version in small letters": GET.replace(b"HTTP", b"http") + HOST + b"\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a greeting of TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "two spaces": b"GET  /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tab in the first line": b"GET\t/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space at the end of the first line": b"GET /healthz HTTP/1.1 \r\n" + HOST + b"\r\n",
    "a space in the path": b"GET /heal thz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a path outside ASCII": "GET /ä HTTP/1.1\r\n".encode() + HOST + b"\r\n",
    "a fragment": b"GET /healthz#x HTTP/1.1\r\n" + HOST + b"\r\n",
    "a whole URL": b"GET http://evil.example/healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel": b"CONNECT evil.example:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel to a path": b"CONNECT /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel with a body": b"CONNECT /healthz HTTP/1.1\r\n" + HOST + b"Content-Length: 90\r\n\r\n",
    "no method": b" /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method that nobody knows": b"FOO /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
    "two empty lines first": b"\r\n\r\n" + GET + HOST + b"\r\n",
    "a long line of which no end is seen": b"GET /" + b"x" * LONG,
    "a long first line": b"GET /" + b"x" * LONG + b" HTTP/1.1\r\n" + HOST + b"\r\n",
    "a long header": GET + HOST + b"X: " + b"x" * LONG + b"\r\n\r\n",
    "many headers": GET + HOST + b"X: y\r\n" * (LONG // 6) + b"\r\n",
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_head_of_two_meanings_gets_one_answer_and_the_connection_ends(
    service: Service, name: str
) -> None:
    data = REFUSED[name]
    answer = service.raw(data + NEXT if data.endswith(b"\n") else data)
    status, headers, document = answer_of(answer)
    assert status == (431 if name.startswith(("a long", "many")) else 400), answer
    assert headers["connection"] == "close"
    assert document["error"]["code"] == "bad_request"
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_when_it_comes_byte_by_byte_too(service: Service, name: str) -> None:
    data = REFUSED[name][:300]
    with service.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for number in range(len(data)):
                connection.sendall(data[number : number + 1])
            if len(REFUSED[name]) > len(data):
                connection.sendall(REFUSED[name][len(data) :])
        except ConnectionError:
            pass  # refused in the middle, and it has been told so
        assert answer_of(read_all(connection))[0] in (400, 431)


PROPER = {
    "plain": GET + HOST,
    "an empty line first": b"\r\n" + GET + HOST,
    "no space behind the colon": GET + b"Host:localhost\r\n",
    "white space around a value": GET + b"Host: \t localhost \t\r\n",
    "bytes outside ASCII in a value": GET + HOST + b"X-A: \xe4\xff\r\n",
    "an empty value": GET + HOST + b"X-A:\r\n",
    "a query": GET.replace(b"healthz", b"healthz?a=b&c=%20?/") + HOST,
    "as long as a head may be": GET + HOST + b"X: " + b"x" * 65_000 + b"\r\n",
    "an upgrade": GET + HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n",
    "an upgrade to HTTP/2": GET + HOST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
}


@pytest.mark.parametrize("name", PROPER)
def test_a_proper_head_is_served_and_another_request_behind_it(service: Service, name: str) -> None:
    answer = service.raw(PROPER[name] + b"\r\n" + NEXT)
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert answer.count(b'{"status": "ok"}') == 2


def test_an_upgrade_is_no_line_of_a_log(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    service.raw(PROPER["an upgrade"] + b"\r\n" + NEXT)
    service.raw(b"nonsense\r\n\r\n")
    assert caplog.records == []


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUPGRADE: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("name", ["a request", "a body"])
def test_what_follows_an_upgrade_is_its_body_and_no_request(
    service: Service, name: str, is_chunked: bool
) -> None:
    """Java's client asks for HTTP/2 with each first request; others smuggle in that way."""
    body = NEXT if name == "a request" else b"{}"
    framing = b"Content-Length: %d\r\n\r\n" % len(body) + body
    if is_chunked:
        framing = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"
    answer = service.raw(POST + UPGRADE + b"Connection: close\r\n" + framing)
    assert answer_of(answer)[0] == (422 if name == "a body" else 400)
    assert answer.count(b"HTTP/1.1 ") == 1


def test_requests_sent_at_once_are_answered_in_their_order(service: Service) -> None:
    paths = ["/healthz", "/nowhere", "/readyz", "/docs", "/healthz"] * 40
    answer = service.raw(
        b"".join(f"HEAD {path} HTTP/1.1\r\n".encode() + HOST + b"\r\n" for path in paths) + NEXT
    )
    statuses = [line.split()[1] for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    assert statuses == [b"401" if path == "/nowhere" else b"200" for path in [*paths, "/healthz"]]


def test_bodies_and_heads_behind_them_may_come_in_any_pieces(service: Service) -> None:
    one = POST + b"Content-Length: 2\r\n\r\n{}"
    data = one + one + POST + b"Connection: close\r\nContent-Length: 2\r\n\r\n{}"
    for size in (1, 7, 64, len(one) - 1, len(one) + 1):
        with service.connect() as connection:
            for start in range(0, len(data), size):
                connection.sendall(data[start : start + size])
            assert read_all(connection).count(b"HTTP/1.1 422 ") == 3


CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


def test_a_body_in_chunks_is_read_and_what_stands_behind_it_is_no_header(service: Service) -> None:
    trailer = b"Host: evil.example\r\nAuthorization: Bearer x\r\n"
    with service.connect() as connection:
        for _ in range(2):
            connection.sendall(CHUNKED + b"1;a=b\r\n{\r\n1\r\n}\r\n0\r\n" + trailer + b"\r\n")
            assert one_answer(connection)[0] == 422


def one_answer(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """The next answer of a connection that stays open."""
    raw = b""
    while not raw.endswith(b"}"):
        raw += connection.recv(65536)
    return answer_of(raw)


def test_what_comes_with_the_end_of_chunks_is_not_read(service: Service) -> None:
    """Clients may send it again: the answer says that the connection ends."""
    answer = service.raw(CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + NEXT)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer_of(answer)[1]["connection"] == "close"


@pytest.mark.parametrize(
    "chunks",
    [
        b"x\r\n{}\r\n",
        b"2\n{}\r\n",
        b"2\r\n{}0\r\n\r\n",
        b"-2\r\n{}\r\n",
        b"0x2\r\n{}\r\n",
        b"2 \r\n{}\r\n",
        b"f" * 17 + b"\r\n{}\r\n",
        b"2\r\n{}\r\n0\r\nX : y\r\n\r\n",
        b"2\r\n{}\r\n0\r\nX: y\n\r\n",
        b"1;" + b"x" * 600_000,
        b"2\r\n{}\r\n0\r\nX: " + b"x" * 600_000,
    ],
)
def test_chunks_that_are_none_are_refused(service: Service, chunks: bytes) -> None:
    answer = service.raw(CHUNKED + chunks)
    assert answer_of(answer)[0] == 400
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_client_is_told_to_go_on_when_its_body_is_wanted(service: Service) -> None:
    with service.connect() as connection:
        connection.sendall(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert one_answer(connection)[0] == 422


def test_a_client_is_not_told_to_go_on_when_its_body_is_refused(service: Service) -> None:
    head = POST.replace(TOKEN.encode(), b"x") + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    assert service.raw(head).startswith(b"HTTP/1.1 401 ")


def test_http_1_0_is_sent_a_stream_without_chunks(sqlite_api: Service, fakes: Serve) -> None:
    register(sqlite_api, fakes("alpha"))
    asked = request("POST", "/api/generate", b'{"model": "alpha", "prompt": "hi"}')
    head, _, body = sqlite_api.raw(asked.replace(b"HTTP/1.1", b"HTTP/1.0")).partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"transfer-encoding" not in head
    assert [json.loads(line)["done"] for line in body.splitlines()][-1] is True


def test_http_1_0_is_served_without_chunks(service: Service) -> None:
    answer = service.raw(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
    assert answer_of(answer)[2] == {"status": "ok"}
    assert answer_of(answer)[1]["connection"] == "close"
