"""Servers that send what they should not: each has one right answer, in the dialect of the path."""

import asyncio
import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from ollama_admin.simulator.http import encode_chunk, encode_head
from tests.api.conftest import Serve, register
from tests.api.service import Heard, Service
from tests.fake_ollama import Answer, Ending, Fault, Raw
from tests.fake_ollama_thread import FakeOllamaThread
from tests.gateway.answers import JSON, MODEL, NDJSON, SAMPLES, STREAMS, Sample, compact
from tests.gateway.upstream import RELAYED, chunked, head, pieces, script, whole

CHAT = SAMPLES["lines"]
DOCUMENT = compact({"model": MODEL, "message": {"content": "hi"}, "done": True})
OK = whole(DOCUMENT, JSON)


@pytest.fixture
def fake(sqlite_api: Service, fakes: Serve) -> Iterator[FakeOllamaThread]:
    opened = fakes(MODEL)
    register(sqlite_api, opened)
    yield opened
    assert sqlite_api.opened is not None  # the look at the build comes behind the answer
    sqlite_api.run(sqlite_api.opened._resources.lists.settle())


def ask(service: Service, path: str, **more: Any) -> Heard:
    return service.heard(path, {"model": MODEL, **RELAYED[path], **more})


def heard_of(
    service: Service, fake: FakeOllamaThread, path: str, *faults: Fault, **more: Any
) -> Heard:
    script(fake, path, *faults)
    return ask(service, path, **more)


def message_of(path: str, document: Any) -> str:
    """The text of an error in the shape of the path; fails for any other shape."""
    if path.startswith("/api/"):
        assert document.keys() <= {"error", "code"}
        return document["error"]
    if path.startswith("/v1/messages"):
        assert document.keys() == {"type", "error", "request_id"}
        assert document["type"] == "error"
        assert document["error"].keys() == {"type", "message"}
        return document["error"]["message"]
    assert document.keys() == {"error"}
    assert document["error"].keys() == {"message", "type", "param", "code"}
    return document["error"]["message"]


def last_record(sample: Sample, body: bytes) -> Any:
    """The last record of a stream, which stands in a line and in an event of its own."""
    assert body.endswith(b"\n")
    if sample.shape.value == "lines":
        return json.loads(body.splitlines()[-1])
    assert body.endswith(b"\n\n")
    event = body.replace(b"\r\n", b"\n").strip(b"\n").split(b"\n\n")[-1].strip(b"\n").split(b"\n")
    if sample.path == "/v1/messages":
        assert event.pop(0) == b"event: error"
    [data] = event
    return json.loads(data.removeprefix(b"data: "))


# answers that have not begun


@pytest.mark.parametrize("path", RELAYED)
@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}", 502),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 502),
        (b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\n{}", 502),
        (b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}", 502),
        (b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 502),
        (b"hello\r\n\r\n", 502),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 2000 + OK, 502),
        (whole(gzip.compress(DOCUMENT), JSON, Content_Encoding="gzip"), 502),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n", 502),
        (encode_head(302, {"Location": "http://169.254.169.254/", "Content-Length": "0"}), 502),
        (b"HTTP/1.1 999 OK\r\nContent-Length: 2\r\n\r\n{}", 502),
        (b"HTTP/1.1 500 No\r\nContent-Length: 90000\r\n\r\n" + b'{"error":"' + b"x" * 89_990, 500),
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n", 502),
        (b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nslow", 429),
        (b"HTTP/1.1 503 Away\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>", 503),
    ],
    ids=[
        "two lengths",
        "length and chunks",
        "folded header",
        "bare line feeds",
        "another protocol",
        "no HTTP",
        "flood of 100",
        "gzip unasked",
        "long head",
        "redirect",
        "no status",
        "a document that is cut",
        "401",
        "429",
        "page of 503",
    ],
)
def test_an_answer_that_is_none_is_an_error_in_the_dialect(
    sqlite_api: Service, fake: FakeOllamaThread, path: str, answer: bytes, status: int
) -> None:
    heard = heard_of(sqlite_api, fake, path, *[Raw((answer,))] * 2)
    assert heard.status == status, heard.body
    assert heard.headers["content-type"].startswith(JSON)
    assert message_of(path, json.loads(heard.body))
    assert heard.is_whole
    fake.call(fake.fakes[0].clear_script)
    assert ask(sqlite_api, "/api/chat").status == 200  # nothing of it is left on a connection


@pytest.mark.parametrize("path", RELAYED)
def test_a_few_informational_heads_are_passed_over(
    sqlite_api: Service, fake: FakeOllamaThread, path: str
) -> None:
    body = compact({"model": MODEL, "embeddings": [], "done": True})
    informed = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" * 3 + whole(body, JSON)
    heard = heard_of(sqlite_api, fake, path, pieces(informed, 10, 50, 90))
    assert (heard.status, heard.body) == (200, body)


@pytest.mark.parametrize("path", [path for path in RELAYED if "embed" not in path])
def test_another_model_in_a_document_is_409(
    sqlite_api: Service, fake: FakeOllamaThread, path: str
) -> None:
    body = compact({"model": "beta", "done": True, "response": "secret"})
    heard = heard_of(sqlite_api, fake, path, Answer(200, body, content_type=JSON))
    assert heard.status == 409
    assert b"secret" not in heard.body
    assert "'beta'" in message_of(path, json.loads(heard.body))


@pytest.mark.parametrize("key", ["remote_host", "remote_model"])
@pytest.mark.parametrize("path", ["/api/generate", "/api/chat"])
def test_a_document_of_a_remote_host_is_409_where_none_is_allowed(
    sqlite_api: Service, fake: FakeOllamaThread, path: str, key: str
) -> None:
    body = compact({"model": MODEL, key: "far", "done": True, "response": "secret"})
    heard = heard_of(sqlite_api, fake, path, Answer(200, body, content_type=JSON))
    assert heard.status == 409
    assert b"secret" not in heard.body
    assert "to a remote host" in message_of(path, json.loads(heard.body))


@pytest.mark.parametrize("name", STREAMS)
def test_200_then_nothing_is_an_error(
    sqlite_api: Service, fake: FakeOllamaThread, name: str
) -> None:
    sample = SAMPLES[name]
    nothing = chunked(b"", sample.content_type)
    heard = heard_of(sqlite_api, fake, sample.path, Raw((nothing,), Ending.KEEP))
    assert heard.status == 502
    message_of(sample.path, json.loads(heard.body))


# answers that have begun


def heard_to_its_end(
    service: Service,
    fake: FakeOllamaThread,
    sample: Sample,
    *more: bytes | asyncio.Event,
    ending: Ending = Ending.FIN,
) -> Heard:
    """The answer up to its end mark, and more once the client has heard of it."""
    before, is_heard = sample.body.removesuffix(sample.mark), asyncio.Event()
    answer = (head(sample.content_type) + encode_chunk(before), is_heard, *more)
    script(fake, sample.path, Raw(answer, ending))
    body = {"model": MODEL, **RELAYED[sample.path]}
    return service.heard(sample.path, body, at_first=lambda: fake.call(is_heard.set))


def require_failed(sample: Sample, heard: Heard) -> str:
    """An answer that begins as the server's, and ends with an error, without its end."""
    before = sample.body.removesuffix(sample.mark)
    assert (heard.status, heard.is_whole) == (200, False)
    assert heard.body.startswith(before)
    assert sample.mark.strip() not in heard.body
    return message_of(sample.path, last_record(sample, heard.body))


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize(
    "rest",
    [
        (encode_chunk(b""),),
        (),
        (b"5\r\nda",),
        (b"zz\r\n",),
        (b"-1\r\n",),
        (encode_chunk(b"\n"), encode_chunk(b"")),
    ],
    ids=["ends", "closed", "cut chunk", "no size", "negative size", "blank line"],
)
def test_an_answer_without_its_end_mark_ends_with_an_error(
    sqlite_api: Service, fake: FakeOllamaThread, name: str, rest: tuple[bytes, ...]
) -> None:
    sample = SAMPLES[name]
    require_failed(sample, heard_to_its_end(sqlite_api, fake, sample, *rest))


@pytest.mark.parametrize("name", STREAMS)
def test_half_a_record_does_not_pass(
    sqlite_api: Service, fake: FakeOllamaThread, name: str
) -> None:
    sample = SAMPLES[name]
    half = sample.mark[: len(sample.mark) // 2]
    for rest in ((encode_chunk(half),), (encode_chunk(half), encode_chunk(b""))):
        heard = heard_to_its_end(sqlite_api, fake, sample, *rest)
        require_failed(sample, heard)


@pytest.mark.parametrize("name", STREAMS)
def test_another_model_in_mid_stream_ends_the_answer(
    sqlite_api: Service, fake: FakeOllamaThread, name: str
) -> None:
    sample = SAMPLES[name]
    other = sample.body.replace(b'"model":"alpha"', b'"model":"beta"')
    heard = heard_to_its_end(sqlite_api, fake, sample, encode_chunk(other), encode_chunk(b""))
    assert "'beta'" in require_failed(sample, heard)


@pytest.mark.parametrize("name", STREAMS)
def test_an_error_record_in_mid_stream_is_the_end(
    sqlite_api: Service, fake: FakeOllamaThread, name: str
) -> None:
    sample = SAMPLES[name]
    error: Any = {"type": "error", "error": {"type": "api_error", "message": "it broke"}}
    record = b"event: error\ndata: " + compact(error) + b"\n"
    if sample.shape.value == "lines":
        record = b'{"error":"it broke"}\n'
    rest = (encode_chunk(record), encode_chunk(sample.mark), encode_chunk(b""))
    heard = heard_to_its_end(sqlite_api, fake, sample, *rest)
    assert (heard.status, heard.is_whole) == (200, False)
    before = sample.body.removesuffix(sample.mark)
    assert heard.body.startswith(before + record)
    assert heard.body.removeprefix(before + record) in (b"", b"\n")


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("in_one", [True, False])
def test_what_follows_the_end_does_not_pass(
    sqlite_api: Service, fake: FakeOllamaThread, name: str, in_one: bool
) -> None:
    sample = SAMPLES[name]
    again = (encode_chunk(sample.mark), encode_chunk(sample.body), encode_chunk(b""))
    if in_one:
        again = (encode_chunk(sample.mark + sample.body), encode_chunk(b""))
    heard = heard_to_its_end(sqlite_api, fake, sample, *again)
    assert (heard.status, heard.is_whole, heard.body) == (200, True, sample.body)


@pytest.mark.parametrize("name", STREAMS)
def test_a_server_that_does_not_end_after_the_end_mark_keeps_nobody_waiting(
    sqlite_api: Service, fake: FakeOllamaThread, name: str
) -> None:
    sample, never = SAMPLES[name], asyncio.Event()
    heard = heard_to_its_end(sqlite_api, fake, sample, encode_chunk(sample.mark), never)
    assert (heard.status, heard.is_whole, heard.body) == (200, True, sample.body)
    fake.call(never.set)


@pytest.mark.parametrize("name", STREAMS)
def test_trailers_do_not_pass(sqlite_api: Service, fake: FakeOllamaThread, name: str) -> None:
    sample = SAMPLES[name]
    rest = (encode_chunk(sample.mark), b"0\r\nX-Ollama-Admin-Server: other\r\n\r\n")
    heard = heard_to_its_end(sqlite_api, fake, sample, *rest, ending=Ending.KEEP)
    assert (heard.status, heard.body) == (200, sample.body)
    assert heard.headers.get_list("x-ollama-admin-server") == ["one"]


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_tells_its_length_is_judged_by_its_end_mark(
    sqlite_api: Service, fake: FakeOllamaThread, name: str
) -> None:
    """What is left out of it, or has to follow, does not fit into that length."""
    sample = SAMPLES[name]
    behind = whole(sample.body + sample.mark + b"  ", sample.content_type)
    heard = heard_of(sqlite_api, fake, sample.path, Raw((behind,), Ending.KEEP))
    assert (heard.status, heard.is_whole, heard.body) == (200, True, sample.body)
    cut = whole(sample.body.removesuffix(sample.mark), sample.content_type)
    require_failed(sample, heard_of(sqlite_api, fake, sample.path, Raw((cut,), Ending.KEEP)))
    assert "Traceback" not in "".join(sqlite_api.logged)


def test_the_last_line_needs_no_line_end(sqlite_api: Service, fake: FakeOllamaThread) -> None:
    body = CHAT.body.rstrip(b"\n")
    heard = heard_of(sqlite_api, fake, CHAT.path, Raw((chunked(body, NDJSON, 7),)))
    assert (heard.status, heard.is_whole, heard.body) == (200, True, body)


@pytest.mark.parametrize("path", ["/api/embed", "/v1/embeddings"])
def test_vectors_that_are_cut_off_are_no_answer(
    sqlite_api: Service, fake: FakeOllamaThread, path: str
) -> None:
    body = compact({"model": MODEL, "embeddings": [[0.5] * 5000]})
    answer = whole(body, JSON)
    for cut in (len(answer) - 1, len(answer) - 5000):
        heard = heard_of(sqlite_api, fake, path, Raw((answer[:cut],)))
        assert not (heard.status == 200 and heard.is_whole)
    until_closed = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + body[:-4000]
    heard = heard_of(sqlite_api, fake, path, Raw((until_closed,)))
    assert not (heard.status == 200 and heard.is_whole)


def test_headers_of_a_server_that_are_ours_do_not_pass(
    sqlite_api: Service, fake: FakeOllamaThread
) -> None:
    more = {
        "Set_Cookie": "a=b",
        "X_Escape": "\x1b[31m",
        "X_Delete": "\x7f",
        "X_Ollama_Admin_Server": "other",
        "X_Request_Id": "theirs",
        "Access_Control_Allow_Origin": "*",
        "Connection": "X-Gone",
        "X_Gone": "yes",
        "X_RateLimit_Limit": "7",
    }
    heard = heard_of(sqlite_api, fake, "/api/chat", Raw((whole(DOCUMENT, JSON, **more),)))
    assert heard.body == DOCUMENT
    assert heard.headers["x-ratelimit-limit"] == "7"
    assert heard.headers.get_list("x-ollama-admin-server") == ["one"]
    assert heard.headers["x-request-id"] != "theirs"
    gone = {"set-cookie", "access-control-allow-origin", "x-gone", "x-escape", "x-delete"}
    assert not gone & set(heard.headers)
