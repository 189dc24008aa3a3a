"""An answer is accepted when it is whole and from the model that was asked, whatever happens on its
way.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.answers import Proof
from ollama_admin.errors import (
    AdminError,
    ModelMismatch,
    ModelNotFound,
    PromptTooLong,
    RemoteNotAllowed,
    RequestRefused,
    ServerBusy,
    ServerUnreachable,
    StreamInterrupted,
    UpstreamError,
)
from ollama_admin.ollama.connecting import Times
from ollama_admin.simulator.http import NDJSON, SSE, encode_chunk, encode_head
from ollama_admin.simulator.server import HoldAt
from tests.fake_ollama import (
    Answer,
    Ending,
    FakeOllama,
    Fault,
    Held,
    Huge,
    Raw,
    Recording,
    Silence,
    SimulatedModel,
)
from tests.llama_server import LlamaServer
from tests.services.asking import Outcome, ask

OK = b"HTTP/1.1 200 OK\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
NATIVE, CHAT, V1, TAGS = "/api/generate", "/api/chat", "/v1/chat/completions", "/api/tags"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A client on a database of its own; `notes` is what it said."""

    client: Client
    notes: list[str]

    async def ask(self, **asked: Any) -> Outcome:
        return await ask(self.client, **asked)


@asynccontextmanager
async def opened(tmp_path: Path, times: Times | None = None) -> AsyncIterator[Asking]:
    notes: list[str] = []
    url = f"sqlite:///{tmp_path}/x.db"
    async with Client(database_url=url, environ={}, times=times, on_note=notes.append) as client:
        yield Asking(client=client, notes=notes)


@pytest.fixture
async def asking(tmp_path: Path) -> AsyncIterator[Asking]:
    async with opened(tmp_path) as asking:
        yield asking


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        yield fake


def lists(fake: FakeOllama, *names: str) -> None:
    """From now on the server lists these names, spelt so."""
    fake.script_always("/api/tags", Answer(200, {"models": [{"name": name} for name in names]}))
    fake.script_always("/v1/models", Answer(200, {"data": [{"id": name} for name in names]}))


async def replay(asking: Asking, fake: FakeOllama, name: str, **asked: Any) -> Outcome:
    """Ask for what a recorded request asked, and be answered as it was."""
    recording = Recording.load(name)
    model = recording.request["body"]["model"]
    lists(fake, model)
    fake.script(recording.request["path"], recording)
    tail = "/v1" if recording.request["path"] == V1 else ""
    outcome = await asking.ask(model=model, server_url=fake.url + tail, **asked)
    assert len(fake.requests_to(recording.request["path"])) == 1
    return outcome


async def answered(
    asking: Asking, fake: FakeOllama, *records: Any, path: str = NATIVE, **asked: Any
) -> Outcome:
    """Be answered by these records: bytes as they are, anything else as JSON in the dialect of the
    path.
    """
    prefix, suffix = (b"data: ", b"\n\n") if path == V1 else (b"", b"\n")
    lines = (
        record
        if isinstance(record, bytes)
        else prefix + json.dumps(record, ensure_ascii=False).encode() + suffix
        for record in records
    )
    fake.script(path, Raw((OK + b"".join(lines),)))
    lists(fake, "alpha")
    return await asking.ask(server_url=f"{fake.url}/v1" if path == V1 else fake.url, **asked)


def said(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "alpha", "response": text, "done": False, **more}


def ended(reason: str | None = "stop", **more: Any) -> dict[str, Any]:
    return {"model": "alpha", "response": "", "done": True, "done_reason": reason, **more}


def v1_said(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {
        "model": "alpha",
        "choices": [{"delta": {"content": text}, "finish_reason": finish}],
        **more,
    }


V1_DONE = b"data: [DONE]\n\n"


# Recorded answers


@pytest.mark.parametrize(
    ("name", "asked", "response", "thinking", "reason", "tokens"),
    [
        ("generate-stream", {}, " I am alpha", "", "stop", (25, 4)),
        (
            "generate-thinking",
            {},
            " <think> hm, let me see </think> It is done",
            "",
            "stop",
            (32, 10),
        ),
        ("chat-thinking", {"think": True}, " It is done", " hm, let me see ", "stop", (32, 10)),
        ("chat-stream", {"think": False}, " I am alpha", "", "stop", (25, 4)),
        (
            "generate-length",
            {"options": {"num_predict": 3}},
            " tick tock tick",
            "",
            "length",
            (25, 3),
        ),
        ("generate-no-stream", {}, " I am alpha", "", "stop", (25, 4)),
        ("generate-namespace", {}, " I have a namespace", "", "stop", (25, 5)),
        ("v1-stream", {}, " I am alpha", "", "stop", (None, None)),
        ("v1-stream-usage", {}, " I am alpha", "", "stop", (25, 4)),
    ],
)
async def test_a_recorded_answer_is_given_whole(
    asking: Asking,
    fake: FakeOllama,
    name: str,
    asked: Mapping[str, Any],
    response: str,
    thinking: str,
    reason: str,
    tokens: tuple[int | None, int | None],
) -> None:
    outcome = await replay(asking, fake, name, **asked)
    assert outcome.error is None
    assert outcome.reply is not None
    reply = outcome.reply
    assert (reply.response, reply.thinking, reply.done_reason) == (response, thinking, reason)
    assert outcome.text == response
    assert (reply.stats.prompt_tokens, reply.stats.output_tokens) == tokens
    assert reply.model == Recording.load(name).request["body"]["model"]
    assert (reply.server.id, reply.server.name, reply.server.url) == (None, None, fake.url)


async def test_the_times_of_a_recorded_answer_are_the_servers_and_ours(
    asking: Asking, fake: FakeOllama
) -> None:
    started = time.monotonic()
    outcome = await replay(asking, fake, "generate-stream")
    elapsed = (time.monotonic() - started) * 1000 + 1
    assert outcome.reply is not None
    stats = outcome.reply.stats
    assert stats.load_ms == 255
    assert stats.tokens_per_second == 2297.5
    assert stats.time_to_first_token_ms is not None
    assert 0 <= stats.time_to_first_token_ms <= stats.total_ms <= elapsed


async def test_an_answer_of_an_old_server_is_given_whole(asking: Asking) -> None:
    async with FakeOllama(version="0.9.6") as fake:
        outcome = await replay(asking, fake, "old-generate-stream")
    assert outcome.reply is not None
    assert (outcome.reply.response, outcome.reply.stats.prompt_tokens) == (" I am alpha", 6)


@pytest.mark.parametrize(
    ("name", "asked", "kind", "text"),
    [
        ("generate-silent-end", {}, StreamInterrupted, " yes" * 12),
        ("generate-silent-end-no-stream", {}, StreamInterrupted, " yes" * 31),
        ("old-chat-silent-end", {"think": False}, StreamInterrupted, " yes" * 12),
        ("generate-runner-killed", {}, StreamInterrupted, None),
        ("chat-runner-killed", {"think": False}, StreamInterrupted, None),
        ("v1-runner-killed", {}, StreamInterrupted, " tick tock tick tick tock"),
        ("v1-missing-model", {}, ModelNotFound, ""),
        ("error-missing-model", {}, ModelNotFound, ""),
        ("error-too-long", {}, PromptTooLong, ""),
        ("cut-generate-refused", {}, PromptTooLong, ""),
        ("cut-chat-refused", {"think": False}, PromptTooLong, ""),
        ("error-busy", {}, ServerBusy, ""),
        ("error-bad-format", {}, UpstreamError, ""),
        ("error-bad-option", {}, UpstreamError, ""),
        ("error-embedding-model", {}, RequestRefused, ""),
        ("error-image-to-text-model", {}, RequestRefused, ""),
        ("error-no-thinking", {}, RequestRefused, ""),
        ("error-tools", {"think": False}, RequestRefused, ""),
        ("old-error-no-thinking", {}, RequestRefused, ""),
    ],
)
async def test_a_recorded_failure_is_never_a_reply(
    asking: Asking,
    fake: FakeOllama,
    name: str,
    asked: Mapping[str, Any],
    kind: type[AdminError],
    text: str | None,
) -> None:
    outcome = await replay(asking, fake, name, **asked)
    assert outcome.reply is None
    assert type(outcome.error) is kind
    assert outcome.text.strip() if text is None else outcome.text == text


async def test_a_silent_end_tells_how_much_came(asking: Asking, fake: FakeOllama) -> None:
    outcome = await replay(asking, fake, "generate-silent-end")
    assert outcome.error is not None
    assert "ended without its end mark, after 48 characters" in outcome.error.message


# Cut anywhere


@dataclass(frozen=True, slots=True)
class Response:
    """A response, and the offsets at which its records have come whole."""

    raw: bytes
    ends: tuple[int, ...]


def as_chunks(recording: Recording) -> Response:
    raw, ends = recording.head, []
    for piece in recording.pieces:
        size_line = encode_chunk(piece).index(b"\r\n") + 2
        ends.append(len(raw) + size_line + piece.index(b"\n") + 1)
        raw += encode_chunk(piece)
    return Response(raw + encode_chunk(b""), tuple(ends))


def until_the_connection_ends(recording: Recording) -> Response:
    """A body without length or chunks: its end says nothing, and a last line needs no line feed."""
    raw, ends = (
        encode_head(200, {"Content-Type": SSE if recording.request["path"] == V1 else NDJSON}),
        [],
    )
    for piece in recording.pieces:
        ends.append(len(raw) + piece.index(b"\n"))
        raw += piece
    return Response(raw, tuple(ends))


SHAPES = {
    "chunks, FIN": (as_chunks, Ending.FIN),
    "chunks, RST": (as_chunks, Ending.RESET),
    "no length, FIN": (until_the_connection_ends, Ending.FIN),
}


@pytest.mark.parametrize(
    "every", [7, pytest.param(1, marks=[pytest.mark.chaos, pytest.mark.timeout(300)])]
)
@pytest.mark.parametrize(("shape", "ending"), SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", ["generate-stream", "v1-stream"])
async def test_an_answer_cut_at_any_byte_is_no_reply_unless_its_end_was_read(
    asking: Asking, fake: FakeOllama, name: str, shape: Any, ending: Ending, every: int
) -> None:
    """At each byte around the end of a record, and at every seventh of the others; `make chaos`
    takes them all.
    """
    recording = Recording.load(name)
    path = recording.request["path"]
    lists(fake, "alpha")
    tail = "/v1" if path == V1 else ""
    await asking.client.servers.add(name="gpu", url=fake.url + tail)
    await asking.client.discover()
    whole = await replay(asking, fake, name)
    texts = [" I", " am", " alpha"]
    assert whole.pieces == texts
    response = shape(recording)

    offsets = {end + near for end in response.ends for near in (-2, -1, 0, 1)} | {
        *range(0, len(response.raw), every)
    }
    for offset in sorted(offset for offset in offsets if offset <= len(response.raw)):
        fake.script(path, Raw((response.raw[:offset],), ending))
        outcome = await asking.ask(server="gpu", no_verify=True)
        records = sum(end <= offset for end in response.ends)
        seen = (offset, outcome.pieces, outcome.error)
        if ending is Ending.RESET:  # a reset may overtake what was sent before it
            assert outcome.pieces == texts[: len(outcome.pieces)], seen
            assert len(outcome.pieces) <= records, seen
        else:
            assert outcome.pieces == texts[:records], seen
            assert (outcome.reply is not None) == (records == len(response.ends)), seen
        if outcome.reply is not None:
            assert records == len(response.ends), seen
            assert (outcome.reply.response, outcome.reply.done_reason) == (" I am alpha", "stop"), (
                seen
            )
        else:
            expected = StreamInterrupted if outcome.pieces else UpstreamError
            assert isinstance(outcome.error, expected), seen
    assert not fake.abandoned


@pytest.mark.parametrize("sizes", [(1,), (2, 3), (7, 1, 64), (65_536,)], ids=str)
@pytest.mark.parametrize("name", ["generate-stream", "v1-stream-usage"])
async def test_an_answer_is_the_same_in_chunks_of_any_size(
    asking: Asking, fake: FakeOllama, name: str, sizes: tuple[int, ...]
) -> None:
    recording = Recording.load(name)
    lists(fake, "alpha")
    fake.script(recording.request["path"], recording.rechunked(*sizes))
    outcome = await asking.ask(
        server_url=fake.url + ("/v1" if recording.request["path"] == V1 else "")
    )
    assert outcome.pieces == [" I", " am", " alpha"]
    assert outcome.reply is not None


# Errors in the stream


@pytest.mark.parametrize(
    "record",
    [
        {"error": "out of memory"},
        b'{"error":"out of memory"}',
        {"error": json.dumps({"error": {"message": "out of memory", "code": 500}})},
        {"StatusCode": 429, "Status": "429 Too Many Requests", "error": "out of memory"},
        {"error": {"message": "out of memory"}},
    ],
    ids=["a record", "without a line end", "nested", "of a remote host", "an object"],
)
async def test_an_error_in_the_stream_is_shown_wherever_it_comes(
    asking: Asking, fake: FakeOllama, record: object
) -> None:
    first = await answered(asking, fake, record)
    assert type(first.error) is UpstreamError
    assert first.error.message == f"server {fake.url} failed: out of memory"
    last = await answered(asking, fake, said("one"), said(" two"), record)
    assert last.pieces == ["one", " two"]
    assert type(last.error) is StreamInterrupted
    assert (
        last.error.message == f"server {fake.url} failed in the middle of the answer: out of memory"
    )


async def test_an_error_between_two_records_ends_the_answer(
    asking: Asking, fake: FakeOllama
) -> None:
    outcome = await answered(asking, fake, said("one"), {"error": "gone"}, said(" two"), ended())
    assert outcome.pieces == ["one"]
    assert type(outcome.error) is StreamInterrupted


@pytest.mark.parametrize(
    "record",
    [
        {"error": {"message": "gone", "code": 500}},
        {"error": "gone"},
        b'error: {"code":500,"message":"gone"}\n\n',
    ],
    ids=["an object", "a text", "a field of its own"],
)
async def test_an_error_in_a_v1_stream_is_shown(
    asking: Asking, fake: FakeOllama, record: object
) -> None:
    first = await answered(asking, fake, record, path=V1)
    assert type(first.error) is UpstreamError
    last = await answered(asking, fake, v1_said("one"), record, V1_DONE, path=V1)
    assert last.pieces == ["one"]
    assert type(last.error) is StreamInterrupted
    assert last.error.message.endswith("in the middle of the answer: gone")


@pytest.mark.parametrize(
    ("records", "text"),
    [
        ((), ""),
        ((b"\n\r\n\n",), ""),
        ((said("one"),), "one"),
        ((said("one"), said("", done=None)), "one"),
        ((said("one"), ended(done="true")), "one"),
        ((said("one"), ended(done=1)), "one"),
    ],
    ids=[
        "nothing",
        "blank lines",
        "no end",
        "null for an end",
        "a text for an end",
        "a number for an end",
    ],
)
async def test_an_answer_without_its_end_mark_is_interrupted(
    asking: Asking, fake: FakeOllama, records: tuple[Any, ...], text: str
) -> None:
    outcome = await answered(asking, fake, *records)
    assert outcome.text == text
    assert type(outcome.error) is StreamInterrupted
    assert f"after {len(text)} characters" in outcome.error.message


@pytest.mark.parametrize(
    "records",
    [
        (),
        (V1_DONE,),
        (v1_said("one"), V1_DONE),
        (v1_said("one", "stop"),),
        (v1_said("one"), v1_said("", model=""), V1_DONE),
        (v1_said("one", "stop"), b"data: [DON"),
        (v1_said("one", "stop"), b"event: done\n\n"),
    ],
    ids=[
        "nothing",
        "only the end",
        "no reason",
        "no end",
        "a broken chunk",
        "half an end",
        "another end",
    ],
)
async def test_a_v1_answer_needs_a_reason_and_its_end(
    asking: Asking, fake: FakeOllama, records: tuple[Any, ...]
) -> None:
    outcome = await answered(asking, fake, *records, path=V1)
    assert outcome.reply is None
    assert type(outcome.error) is StreamInterrupted


# Bytes


@pytest.mark.parametrize(
    "separator", ["\u2028", "\u2029", "\x85", "\v", "\f", "\x1c", "\x1e", "\r", "\n", "\0", "🚀"]
)
async def test_any_character_of_the_text_arrives(
    asking: Asking, fake: FakeOllama, separator: str
) -> None:
    text = f"a{separator}b"
    native = await answered(asking, fake, said(text), said(separator), ended())
    assert native.pieces == [text, separator]
    v1 = await answered(asking, fake, v1_said(text), v1_said(separator, "stop"), V1_DONE, path=V1)
    assert v1.pieces == [text, separator]
    assert native.reply is not None
    assert v1.reply is not None


async def test_line_ends_of_any_kind_and_blank_lines_change_nothing(
    asking: Asking, fake: FakeOllama
) -> None:
    lines = [json.dumps(record).encode() for record in (said("one"), said(" two"), ended())]
    for end in (b"\n", b"\r\n", b"\n\n\n", b"\r\n\r\n", b" \n"):
        outcome = await answered(asking, fake, end + end.join(lines))
        assert outcome.pieces == ["one", " two"]
        assert outcome.reply is not None


@pytest.mark.parametrize(
    "junk",
    [
        b'{"response":"\xff"}\n',
        b'{"response":"\\ud800"}\n',
        b"[1]\n",
        b"{}x\n",
        b'{"done":true,"done":true}\n',
    ],
)
async def test_a_record_that_cannot_be_read_ends_the_answer(
    asking: Asking, fake: FakeOllama, junk: bytes
) -> None:
    outcome = await answered(asking, fake, said("one"), junk, ended())
    assert outcome.pieces == ["one"]
    assert type(outcome.error) is StreamInterrupted
    first = await answered(asking, fake, junk, ended())
    assert type(first.error) is UpstreamError


async def test_a_line_that_never_ends_is_an_error_and_the_server_is_left(
    asking: Asking, fake: FakeOllama
) -> None:
    lists(fake, "alpha")
    head = json.dumps(said("one")).encode() + b'\n{"response":"'
    fake.script(NATIVE, Huge(head=head, unit=b"x" * 65_536, times=2_000, content_type=NDJSON))
    outcome = await asking.ask(server_url=fake.url)
    assert outcome.pieces == ["one"]
    assert type(outcome.error) is StreamInterrupted
    assert "a line of the answer is longer than 4 MiB" in outcome.error.message
    await asyncio.wait_for(fake.client_left.wait(), 1)


async def test_an_answer_of_many_records_arrives_whole(asking: Asking, fake: FakeOllama) -> None:
    lists(fake, "alpha")
    records = 20_000
    unit = json.dumps(said("x")).encode() + b"\n"
    fake.script(
        NATIVE,
        Huge(unit=unit, times=records, tail=json.dumps(ended()).encode(), content_type=NDJSON),
    )
    outcome = await asking.ask(server_url=fake.url)
    assert outcome.error is None
    assert len(outcome.pieces) == records
    assert outcome.reply is not None
    assert outcome.reply.response == "x" * records


async def test_a_slow_reader_holds_the_server_back(asking: Asking, fake: FakeOllama) -> None:
    lists(fake, "alpha")
    unit = json.dumps(said("x" * 1000)).encode() + b"\n"
    fake.script(NATIVE, Huge(unit=unit, times=100_000, content_type=NDJSON))
    async with asking.client.stream(prompt="hi", model="alpha", server_url=fake.url) as stream:
        await anext(aiter(stream))
        await asyncio.wait(
            {asyncio.ensure_future(fake.until(lambda: fake.in_flight == 0))}, timeout=0.3
        )
        assert fake.in_flight == 1
    await fake.until(lambda: fake.in_flight == 0)


@pytest.mark.parametrize(
    "after",
    [said(" more"), ended("length"), {"error": "late"}, b"<html>", said(" more", model="beta")],
    ids=["text", "another end", "an error", "junk", "another model"],
)
async def test_what_follows_the_end_mark_is_not_read(
    asking: Asking, fake: FakeOllama, after: object
) -> None:
    outcome = await answered(asking, fake, said("one"), ended(), after)
    assert outcome.pieces == ["one"]
    assert outcome.reply is not None
    assert outcome.reply.done_reason == "stop"
    v1 = await answered(asking, fake, v1_said("one", "stop"), V1_DONE, after, path=V1)
    assert v1.pieces == ["one"]
    assert v1.reply is not None


async def test_text_in_the_last_record_is_part_of_the_answer(
    asking: Asking, fake: FakeOllama
) -> None:
    outcome = await answered(asking, fake, said("one"), ended(response=" two"))
    assert outcome.pieces == ["one", " two"]


async def test_a_server_may_say_nothing_and_be_done(asking: Asking, fake: FakeOllama) -> None:
    outcome = await answered(asking, fake, ended())
    assert outcome.pieces == []
    assert outcome.reply is not None
    assert (outcome.reply.response, outcome.reply.stats.time_to_first_token_ms) == ("", None)


# Another model


@pytest.mark.parametrize("model", ["beta", "alpha:latest", "Alpha", "alpha ", "library/alpha"])
async def test_another_name_is_refused_before_any_text_is_shown(
    asking: Asking, fake: FakeOllama, model: str
) -> None:
    for outcome in (
        await answered(asking, fake, said("one", model=model), ended(model=model)),
        await answered(asking, fake, ended(model=model)),
        await answered(asking, fake, v1_said("one", "stop", model=model), V1_DONE, path=V1),
    ):
        assert outcome.pieces == []
        assert outcome.reply is None
        assert type(outcome.error) is ModelMismatch
        assert f"answered as {model!r}, not as 'alpha'" in outcome.error.message


async def test_another_name_in_mid_answer_ends_it(asking: Asking, fake: FakeOllama) -> None:
    outcome = await answered(asking, fake, said("one"), said(" two", model="beta"), ended())
    assert outcome.pieces == ["one"]
    assert type(outcome.error) is ModelMismatch


@pytest.mark.parametrize("model", ["", None])
async def test_an_answer_without_a_name_is_refused(
    asking: Asking, fake: FakeOllama, model: str | None
) -> None:
    for outcome in (
        await answered(asking, fake, said("one", model=model), ended(model=model)),
        await answered(asking, fake, ended(model=model)),
        await answered(asking, fake, v1_said("one", "stop", model=model), V1_DONE, path=V1),
        await answered(asking, fake, v1_said("", "stop", model=model), V1_DONE, path=V1),
    ):
        assert outcome.pieces == []
        assert type(outcome.error) is ModelMismatch
        assert "does not say which model" in outcome.error.message


@pytest.mark.parametrize(
    "mark", [{"remote_host": "https://ollama.com"}, {"remote_model": "big"}], ids=str
)
async def test_an_answer_of_a_remote_host_is_refused_unless_allowed(
    asking: Asking, fake: FakeOllama, mark: Mapping[str, str]
) -> None:
    refused = await answered(asking, fake, said("one", **mark), ended(**mark))
    assert refused.pieces == []
    assert type(refused.error) is ModelMismatch
    assert "to a remote host, which was not allowed" in refused.error.message
    late = await answered(asking, fake, said("one"), ended(**mark))
    assert late.pieces == ["one"]
    assert type(late.error) is ModelMismatch
    allowed = await answered(asking, fake, said("one", **mark), ended(**mark), allow_remote=True)
    assert allowed.reply is not None
    assert allowed.reply.proof is Proof.REMOTE


async def test_a_model_that_is_listed_as_remote_is_not_asked_unless_allowed(asking: Asking) -> None:
    model = SimulatedModel("far", remote_host="https://ollama.com", remote_model="far:big")
    async with FakeOllama(model) as fake:
        refused = await asking.ask(model="far", server_url=fake.url)
        assert type(refused.error) is RemoteNotAllowed
        assert not fake.requests_to(NATIVE)
        allowed = await asking.ask(model="far", server_url=fake.url, allow_remote=True)
    assert allowed.reply is not None
    assert allowed.reply.proof is Proof.REMOTE
    assert asking.notes == [
        "model far:latest answers from a remote host: the prompt leaves the fleet, as allowed"
    ]


async def test_a_cloud_model_may_answer_without_its_suffix_when_allowed(asking: Asking) -> None:
    async with FakeOllama(SimulatedModel("big:120b-cloud")) as fake:
        refused = await asking.ask(model="big:120b-cloud", server_url=fake.url)
        assert type(refused.error) is RemoteNotAllowed
        assert not fake.requests_to(NATIVE)
        allowed = await asking.ask(model="big:120b-cloud", server_url=fake.url, allow_remote=True)
    assert allowed.reply is not None
    assert (allowed.reply.model, allowed.reply.proof) == ("big:120b-cloud", Proof.REMOTE)


async def test_permission_to_leave_the_fleet_is_no_permission_for_another_name(
    asking: Asking, fake: FakeOllama
) -> None:
    lists(fake, "big:120b")
    fake.script(NATIVE, Answer(200, said("x", model="big") | {"done": True}))
    outcome = await asking.ask(model="big:120b", server_url=fake.url, allow_remote=True)
    assert type(outcome.error) is ModelMismatch


async def test_the_spelling_that_the_server_lists_is_what_is_sent(asking: Asking) -> None:
    async with FakeOllama(SimulatedModel("Alpha:8B")) as fake:
        outcome = await asking.ask(model="library/ALPHA:8b", server_url=fake.url)
        (sent,) = fake.requests_to(NATIVE)
    assert isinstance(sent.body, dict)
    assert sent.body["model"] == "Alpha:8B"
    assert outcome.reply is not None
    assert outcome.reply.model == "Alpha:8B"


async def test_an_unknown_model_is_asked_of_no_other_server(
    asking: Asking, fake: FakeOllama
) -> None:
    async with FakeOllama(SimulatedModel("nope")) as other:
        await asking.client.servers.add(name="gpu", url=fake.url)
        await asking.client.servers.add(name="other", url=other.url)
        await asking.client.discover()
        other.requests.clear()
        outcome = await asking.ask(model="nope", server="gpu")
        assert other.requests == []
    assert type(outcome.error) is ModelNotFound
    assert outcome.error.message == "server gpu has no model 'nope'"
    assert len(fake.requests_to(NATIVE)) == 1


# Time


async def test_a_stall_before_the_first_byte_is_an_unreachable_server(
    fake: FakeOllama, tmp_path: Path
) -> None:
    fake.script(NATIVE, Silence())
    async with opened(tmp_path, Times(first_byte=1)) as asking:
        outcome = await asking.ask(server_url=fake.url)
    assert type(outcome.error) is ServerUnreachable
    assert "timed out after 1 s without an answer" in outcome.error.message
    await asyncio.wait_for(fake.client_left.wait(), 1)


@pytest.mark.parametrize("path", [NATIVE, V1])
async def test_a_stall_in_mid_answer_is_an_interruption(
    fake: FakeOllama, tmp_path: Path, path: str
) -> None:
    lists(fake, "alpha")
    first = json.dumps(said("one")) if path == NATIVE else f"data: {json.dumps(v1_said('one'))}\n"
    fake.script(path, Raw((CHUNKED + encode_chunk(f"{first}\n".encode()),), Ending.KEEP))
    async with opened(tmp_path, Times(idle=0.2)) as asking:
        outcome = await asking.ask(server_url=fake.url + ("/v1" if path == V1 else ""))
    assert outcome.pieces == ["one"]
    assert type(outcome.error) is StreamInterrupted
    assert outcome.error.message.endswith("after 3 characters: timed out after 0.2 s without data")
    await fake.until(lambda: fake.in_flight == 0)


@pytest.mark.parametrize("path", ["/api/version", "/api/tags", NATIVE])
async def test_the_timeout_bounds_the_whole_before_the_first_token(
    asking: Asking, fake: FakeOllama, path: str
) -> None:
    await asking.client.servers.list()  # the database is made now, and costs the question no time
    fake.script(path, Silence())
    outcome = await asking.ask(server_url=fake.url, timeout=1)
    assert type(outcome.error) is ServerUnreachable
    assert outcome.error.message == "timed out after 1 s"
    await asyncio.wait_for(fake.client_left.wait(), 1)


async def test_the_timeout_bounds_the_whole_although_pieces_keep_coming(asking: Asking) -> None:
    await asking.client.servers.list()  # the database is made now, and costs the question no time
    async with FakeOllama(
        SimulatedModel("alpha", says="tick tock", endless=True), token_delay=0.01
    ) as fake:
        outcome = await asking.ask(server_url=fake.url, timeout=1)
        assert len(outcome.pieces) > 3
        assert type(outcome.error) is StreamInterrupted
        assert outcome.error.message == "timed out after 1 s in the middle of the answer"
        await asyncio.wait_for(fake.client_left.wait(), 1)


async def test_an_answer_within_the_timeout_is_given(asking: Asking, fake: FakeOllama) -> None:
    outcome = await asking.ask(server_url=fake.url, timeout=30)
    assert outcome.reply is not None


# Leaving


@pytest.mark.parametrize("tail", ["", "/v1"])
async def test_leaving_the_stream_cancels_the_answer_at_the_server(
    asking: Asking, tail: str
) -> None:
    async with FakeOllama(SimulatedModel("alpha", endless=True), before_token=HoldAt(3)) as fake:
        async with asking.client.stream(
            prompt="hi", model="alpha", server_url=fake.url + tail
        ) as stream:
            async for piece in stream:
                assert piece.response == "I"
                break
        await asyncio.wait_for(fake.client_left.wait(), 1)
        assert [request.path for request in fake.abandoned] == [V1 if tail else NATIVE]


async def test_an_error_of_the_consumer_cancels_the_answer_at_the_server(asking: Asking) -> None:
    async with FakeOllama(SimulatedModel("alpha"), before_token=HoldAt(1)) as fake:
        stream = asking.client.stream(prompt="hi", model="alpha", server_url=fake.url)
        with contextlib.suppress(ZeroDivisionError):
            async with stream:
                await anext(aiter(stream))
                raise ZeroDivisionError
        await asyncio.wait_for(fake.client_left.wait(), 1)


@pytest.mark.parametrize("token", [0, 2])
async def test_a_cancelled_question_is_cancelled_at_the_server(asking: Asking, token: int) -> None:
    hold = HoldAt(token)
    async with FakeOllama(SimulatedModel("alpha"), before_token=hold) as fake:
        question = asyncio.create_task(
            asking.client.generate(prompt="hi", model="alpha", server_url=fake.url)
        )
        await hold.reached.wait()
        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question
        await asyncio.wait_for(fake.client_left.wait(), 1)
        assert [request.path for request in fake.abandoned] == [NATIVE]


async def test_a_question_cancelled_while_its_server_is_looked_up_is_never_sent(
    asking: Asking, fake: FakeOllama
) -> None:
    held = Held()
    fake.script("/api/tags", held)
    question = asyncio.create_task(
        asking.client.generate(prompt="hi", model="alpha", server_url=fake.url)
    )
    await held.arrived.wait()
    question.cancel()
    with pytest.raises(asyncio.CancelledError):
        await question
    await asyncio.wait_for(fake.client_left.wait(), 1)
    assert not fake.requests_to(NATIVE)


async def test_a_stream_that_is_never_begun_sends_nothing(asking: Asking, fake: FakeOllama) -> None:
    async with asking.client.stream(prompt="hi", model="alpha", server_url=fake.url) as stream:
        with pytest.raises(RuntimeError):
            _ = stream.reply
    assert fake.requests == []


async def test_many_answers_side_by_side_do_not_mix(asking: Asking) -> None:
    names = [f"m{number}" for number in range(20)]
    async with FakeOllama(*(SimulatedModel(name, says=f"I am {name}") for name in names)) as fake:
        outcomes = await asyncio.gather(
            *(asking.ask(model=name, server_url=fake.url) for name in names)
        )
    assert [outcome.text for outcome in outcomes] == [f"I am {name}" for name in names]


# A URL of its own


async def test_a_server_is_asked_by_its_url_alone(asking: Asking, fake: FakeOllama) -> None:
    reply = await asking.client.generate(prompt="hi", model="alpha", server_url=fake.url)
    assert (reply.response, reply.server.name, reply.server.url) == ("I am alpha", None, fake.url)
    assert [request.path for request in fake.requests] == ["/api/version", TAGS, NATIVE, TAGS]
    assert await asking.client.servers.list() == []


async def test_a_url_that_ends_in_v1_is_spoken_to_as_v1(asking: Asking, fake: FakeOllama) -> None:
    reply = await asking.client.generate(prompt="hi", model="alpha", server_url=f"{fake.url}/v1/")
    assert (reply.response, reply.server.url) == ("I am alpha", fake.url)
    assert (len(fake.requests_to(V1)), fake.requests_to(NATIVE)) == (1, [])
    assert await asking.client.servers.list() == []


async def test_a_v1_request_speaks_v1_to_a_registered_native_server(
    asking: Asking, fake: FakeOllama
) -> None:
    server = await asking.client.servers.add(name="gpu", url=fake.url)
    reply = await asking.client.generate(prompt="hi", model="alpha", server_url=f"{fake.url}/v1")
    assert (reply.server.id, reply.server.name) == (server.id, "gpu")
    assert (len(fake.requests_to(V1)), fake.requests_to(NATIVE)) == (1, [])
    assert (await asking.client.servers.show("gpu")).api_version == "native"


# Servers that are not Ollama


async def test_a_server_that_is_not_ollama_must_list_the_model_first(asking: Asking) -> None:
    async with FakeOllama(
        SimulatedModel("north.gguf"), version=None, answers_any_model=True
    ) as fake:
        for name in ("south.gguf", "North.gguf", "north", "north.gguf:latest"):
            outcome = await asking.ask(model=name, server_url=f"{fake.url}/v1")
            assert type(outcome.error) is ModelNotFound
            assert outcome.error.message == f"server {fake.url} does not list model {name!r}"
            assert outcome.error.hint == "it lists: north.gguf"
        assert not fake.requests_to(V1)
        found = await asking.ask(model="north.gguf", server_url=f"{fake.url}/v1")
        assert len(fake.requests_to("/v1/models")) == 5
    assert found.reply is not None
    assert (found.text, found.reply.model, found.reply.proof) == (
        "I am alpha",
        "north.gguf",
        Proof.NAME,
    )
    assert found.reply.truncated is None


async def test_a_registered_server_that_is_not_ollama_is_asked_for_its_list_each_time(
    asking: Asking,
) -> None:
    async with FakeOllama(
        SimulatedModel("north.gguf"), version=None, answers_any_model=True
    ) as fake:
        await asking.client.servers.add(name="llama", url=f"{fake.url}/v1")
        await asking.client.discover()
        assert (await asking.ask(model="north.gguf", server="llama")).reply is not None
        del fake.models["north.gguf"]
        fake.models["south.gguf"] = SimulatedModel("south.gguf")
        outcome = await asking.ask(model="north.gguf", server="llama")
        assert type(outcome.error) is ModelNotFound
        assert len(fake.requests_to(V1)) == 1


async def test_a_server_that_answers_as_another_model_than_it_listed_is_refused(
    asking: Asking,
) -> None:
    async with FakeOllama(
        SimulatedModel("north.gguf"), version=None, answers_any_model=True
    ) as fake:
        lists(fake, "north.gguf", "south.gguf")
        outcome = await asking.ask(model="south.gguf", server_url=f"{fake.url}/v1")
    assert outcome.pieces == []
    assert type(outcome.error) is ModelMismatch


async def test_a_server_that_is_not_ollama_cannot_be_spoken_to_as_native(asking: Asking) -> None:
    async with FakeOllama(SimulatedModel("alpha"), version=None) as fake:
        outcome = await asking.ask(server_url=fake.url)
        assert [request.path for request in fake.requests] == ["/api/version"]
    assert type(outcome.error) is UpstreamError
    assert outcome.error.hint == "if it speaks the OpenAI-compatible API, end its URL in /v1"


class Relay:
    """Passes bytes on to a server, and keeps the request lines."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._place = (host, int(port))
        self.lines: list[str] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1")
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._place)
        await asyncio.gather(
            self._pass(reader, upstream_writer, keep=True),
            self._pass(upstream_reader, writer, keep=False),
        )

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, keep: bool
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if keep and b" HTTP/1.1\r\n" in data:
                    self.lines.append(data.partition(b" HTTP/1.1\r\n")[0].decode())
                writer.write(data)
                await writer.drain()
        writer.close()


async def test_real_inference_servers_answer_each_with_its_own_sentence(
    asking: Asking, llama_servers: tuple[LlamaServer, LlamaServer]
) -> None:
    for server in llama_servers:
        reply = await asking.client.generate(
            prompt="who are you", model=server.model_id, server_url=f"{server.url}/v1"
        )
        assert reply.response.strip() == server.sentence
        assert (reply.model, reply.server.url, reply.done_reason) == (
            server.model_id,
            server.url,
            "stop",
        )
        assert (reply.proof, reply.verified, reply.truncated) == (Proof.NAME, False, None)
        assert reply.stats.output_tokens is not None


async def test_a_real_inference_server_that_is_registered_answers_by_its_name(
    asking: Asking, llama_servers: tuple[LlamaServer, LlamaServer]
) -> None:
    for name, server in zip(("north", "south"), llama_servers, strict=True):
        await asking.client.servers.add(name=name, url=f"{server.url}/v1")
    await asking.client.discover()
    for name, server in zip(("north", "south"), llama_servers, strict=True):
        assert (
            await asking.ask(model=server.model_id, server=name)
        ).text.strip() == server.sentence
        assert (await asking.ask(model=server.model_id)).text.strip() == server.sentence


async def test_a_real_inference_server_is_not_asked_for_a_model_that_it_does_not_list(
    asking: Asking, llama_servers: tuple[LlamaServer, LlamaServer]
) -> None:
    north, south = llama_servers
    relay = Relay(north.url)
    async with relay.listening() as url:
        wrong = await asking.ask(model=south.model_id, server_url=f"{url}/v1")
        assert relay.lines == ["GET /api/version", "GET /v1/models"]
        right = await asking.ask(model=north.model_id, server_url=f"{url}/v1")
        assert relay.lines[-1] == f"POST {V1}"
    assert type(wrong.error) is ModelNotFound
    assert wrong.error.hint == f"it lists: {north.model_id}"
    assert right.text.strip() == north.sentence


# The whole prompt


@pytest.mark.parametrize(("asked", "path"), [({}, NATIVE), ({"think": False}, CHAT)], ids=str)
async def test_a_native_request_asks_for_the_whole_prompt(
    asking: Asking, fake: FakeOllama, asked: Mapping[str, Any], path: str
) -> None:
    whole = await asking.ask(server_url=fake.url, **asked)
    cut = await asking.ask(server_url=fake.url, allow_truncate=True, **asked)
    first, second = (request.body for request in fake.requests_to(path))
    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert (first["truncate"], first["shift"]) == (False, False)
    assert not {"truncate", "shift"} & set(second)
    assert whole.reply is not None
    assert cut.reply is not None
    assert (whole.reply.truncated, cut.reply.truncated) == (False, None)


async def test_a_prompt_that_does_not_fit_is_an_error_with_both_numbers(
    asking: Asking, fake: FakeOllama
) -> None:
    for tail in ("", "/v1"):
        outcome = await asking.ask(prompt="word " * 3000, server_url=fake.url + tail)
        assert type(outcome.error) is PromptTooLong
        assert "3000 tokens, the context has 2048" in outcome.error.message
        assert outcome.pieces == []
    allowed = await asking.ask(prompt="word " * 3000, server_url=fake.url, allow_truncate=True)
    assert allowed.reply is not None
    assert allowed.reply.truncated is None


async def test_a_larger_context_makes_room_for_the_prompt(asking: Asking) -> None:
    async with FakeOllama(SimulatedModel("alpha", context_length=8192)) as fake:
        small = await asking.ask(prompt="word " * 5000, server_url=fake.url)
        large = await asking.ask(
            prompt="word " * 5000, server_url=fake.url, options={"num_ctx": 8192}
        )
    assert type(small.error) is PromptTooLong
    assert large.reply is not None
    assert large.reply.truncated is False


@pytest.mark.parametrize("tail", ["", "/v1"])
async def test_an_old_server_that_cuts_in_silence_is_noticed(asking: Asking, tail: str) -> None:
    async with FakeOllama(SimulatedModel("alpha"), version="0.9.6") as fake:
        await asking.client.servers.add(name="old", url=fake.url + tail)
        await asking.client.discover()
        short = await asking.ask(server="old")
        long = await asking.ask(server="old", prompt="word " * 3000)
    assert short.reply is not None
    assert short.reply.truncated is None
    assert long.reply is not None
    assert (long.reply.truncated, long.reply.stats.prompt_tokens) == (True, 2048)
    (note,) = asking.notes
    assert note == (
        "server old (0.9.6) read 2048 tokens, all that its context holds: the prompt was probably "
        "cut; "
        "allow a larger one with --option num_ctx=N"
    )


async def test_a_cut_prompt_is_noticed_however_the_old_server_was_found(
    asking: Asking, tmp_path: Path
) -> None:
    """By a row of the catalogue, by one of a model that was pulled since, and without a row."""
    models = [SimulatedModel(name) for name in ("alpha", "pulled")]
    async with FakeOllama(models[0], version="0.9.6") as fake:
        await asking.client.servers.add(name="old", url=fake.url)
        await asking.client.discover()
        fake.models = {f"{model.name}:latest": model for model in models}
        for asked in (
            {},
            {"server": "old"},
            {"server": "old", "model": "pulled"},
            {"server_url": fake.url, "model": "pulled"},
        ):
            outcome = await asking.ask(prompt="word " * 3000, options={"num_ctx": 1024}, **asked)
            assert outcome.accepted.truncated is True, asked
        (tmp_path / "other").mkdir()
        async with opened(tmp_path / "other") as other:  # which knows no server
            outcome = await other.ask(
                prompt="word " * 3000, options={"num_ctx": 1024}, server_url=fake.url
            )
        assert outcome.accepted.truncated is True


@pytest.mark.parametrize(
    ("version", "options", "truncated"),
    [
        ("0.12.6", {}, False),
        ("0.33.0-rc2", {}, False),
        ("1.0.0", {}, False),
        ("0.12.5", {}, True),  # /api/ps tells the context in force
        ("0.9.6", {"num_ctx": 1024}, True),
        ("0.9.6", {}, True),  # /api/show tells that the model reads 2,048
        ("dev", {}, True),
    ],
)
async def test_whether_a_prompt_was_cut_is_known_by_version_and_numbers(
    asking: Asking, version: str, options: Mapping[str, int], truncated: bool | None
) -> None:
    words = 10 if truncated is False else 3000
    async with FakeOllama(SimulatedModel("alpha"), version=version) as fake:
        outcome = await asking.ask(
            server_url=fake.url,
            prompt="word " * words,
            options=options,
            allow_truncate=version == "dev",
        )
    assert outcome.reply is not None
    assert outcome.reply.truncated is truncated
    assert bool(asking.notes) is (truncated is True)


@pytest.mark.parametrize(
    ("before", "after", "options", "truncated"),
    [
        ("0.33.0", "0.9.6", {"num_ctx": 1024}, True),
        ("0.33.0", "0.9.6", {"num_ctx": 1000}, True),
        ("0.33.0", "0.9.6", {}, True),
        ("0.33.0", "0.12.5", {}, True),
        ("0.33.0", "0.6.6", {}, True),
        ("dev", "0.9.6", {}, True),
        ("0.33.0", "0.33.0", {"num_ctx": 4096}, False),
    ],
)
async def test_the_numbers_of_an_answer_win_over_the_version_of_the_last_check(
    asking: Asking,
    before: str,
    after: str,
    options: Mapping[str, int],
    truncated: bool,
) -> None:
    model = SimulatedModel("alpha", context_length=8192)
    context = 2048 if after == "0.6.6" else 4096
    async with FakeOllama(model, version=before, context=context) as fake:
        await asking.client.servers.add(name="gpu", url=fake.url)
        await asking.client.discover()
        fake.version = after
        words = 20_000 if truncated else 2048
        outcome = await asking.ask(server="gpu", prompt="word " * words, options=options)
    assert outcome.accepted.truncated is truncated
    assert bool(asking.notes) is truncated


@pytest.mark.parametrize(
    ("model", "context", "words", "truncated"),
    [
        ({"context_length": 2048}, 4096, 6000, True),
        ({"context_length": 8192, "num_ctx": 3000}, 4096, 6000, True),
        ({"context_length": 8192, "num_ctx": 8192}, 4096, 6000, None),
        ({"context_length": 16384}, 8192, 6000, None),  # by OLLAMA_CONTEXT_LENGTH
        ({"context_length": 16384}, 4096, 6000, True),
    ],
)
@pytest.mark.parametrize("before", ["0.9.6", "0.33.0"])
async def test_an_old_server_cut_a_prompt_where_its_numbers_prove_it(
    asking: Asking,
    before: str,
    model: dict[str, int],
    context: int,
    words: int,
    truncated: bool | None,
) -> None:
    """Also where it became old since it was last checked."""
    simulated = SimulatedModel("alpha", **model)  # type: ignore[arg-type]
    async with FakeOllama(simulated, version=before, context=context) as fake:
        await asking.client.servers.add(name="gpu", url=fake.url)
        await asking.client.servers.check(["gpu"])
        fake.version = "0.9.6"
        outcome = await asking.ask(server="gpu", prompt="word " * words)
    assert outcome.accepted.truncated is truncated
    assert bool(asking.notes) is bool(truncated)


async def test_a_whole_prompt_of_a_usual_length_is_looked_at_once_more(
    asking: Asking, fake: FakeOllama
) -> None:
    fake.models["alpha:latest"] = SimulatedModel("alpha", context_length=8192)
    whole = await asking.ask(server_url=fake.url, prompt="word " * 2048)
    shorter = await asking.ask(server_url=fake.url, prompt="word " * 2047)
    await asking.client.servers.add(name="gpu", url=fake.url)
    await asking.client.servers.check(["gpu"])
    fake.script_always("/api/version", Answer(500, "<html>"))
    unknown = await asking.ask(server="gpu", prompt="word " * 2048)
    found = [outcome.accepted.truncated for outcome in (whole, shorter, unknown)]
    assert found == [False, False, None]
    assert len(fake.requests_to("/api/ps")) == 1


async def test_what_a_question_says_itself_of_a_cut_is_what_is_sent(
    asking: Asking, fake: FakeOllama
) -> None:
    outcome = await asking.ask(server_url=fake.url, prompt="word " * 3000, truncate=True)
    [sent] = fake.requests_to(NATIVE)
    assert isinstance(sent.body, dict)
    assert (sent.body["truncate"], sent.body["shift"]) == (True, False)
    assert outcome.accepted.truncated is None


async def test_a_context_that_cannot_be_read_afterwards_costs_no_answer(asking: Asking) -> None:
    async with FakeOllama(SimulatedModel("alpha", context_length=8192), version="0.12.5") as fake:
        fake.script("/api/ps", Answer(500, "<html>"))
        outcome = await asking.ask(server_url=fake.url, prompt="word " * 5000)
    assert outcome.reply is not None
    assert (outcome.reply.truncated, outcome.reply.stats.prompt_tokens) == (True, 4096)


async def test_the_look_for_a_cut_prompt_ends_with_the_time_given_and_costs_no_answer(
    asking: Asking,
) -> None:
    silence = Silence()
    async with FakeOllama(SimulatedModel("alpha", context_length=8192), version="0.12.5") as fake:
        fake.script_always("/api/ps", silence)
        outcome = await asking.ask(server_url=fake.url, prompt="word " * 5000, timeout=2.5)
    assert silence.arrived.is_set()
    assert (outcome.accepted.truncated, outcome.accepted.proof) == (None, Proof.DIGEST)


async def test_a_fault_in_one_answer_leaves_the_next_one_alone(
    asking: Asking, fake: FakeOllama
) -> None:
    faults: list[Fault] = [
        Raw((), Ending.RESET),
        Raw((b"SSH-2.0\r\n",)),
        Answer(500, "<html>"),
        Recording.load("error-busy"),
    ]
    for fault in faults:
        fake.script(NATIVE, fault)
        assert (await asking.ask(server_url=fake.url)).error is not None
        assert (await asking.ask(server_url=fake.url)).reply is not None
