"""An answer that is passed on byte for byte: where it ends, whose it is, and what it counts."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from ollama_admin.ollama.passing import OtherModel, Passing, Shape, passing, shape_of
from ollama_admin.ollama.response import BadAnswer

NDJSON, SSE, JSON = b"application/x-ndjson", b"text/event-stream", b"application/json"
ACCEPTED = frozenset(("alpha", "alpha:latest"))
MB = 2**20


def line(**record: Any) -> bytes:
    return json.dumps(record, separators=(",", ":")).encode() + b"\n"


def event(record: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return head.encode() + b"data: " + json.dumps(record, separators=(",", ":")).encode() + b"\n\n"


def typed(kind: str, **record: Any) -> bytes:
    return event({"type": kind, **record}, kind)


# Whole answers: what comes before the end, and the end.
ANSWERS: dict[Shape, tuple[bytes, bytes]] = {
    Shape.LINES: (
        line(model="alpha:latest", response="one", done=False)
        + line(model="alpha:latest", response='"done":true', done=False),
        line(
            model="alpha:latest",
            response="",
            done=True,
            done_reason="stop",
            prompt_eval_count=7,
            eval_count=2,
        ),
    ),
    Shape.COMPLETIONS: (
        event({"model": "alpha", "choices": [{"delta": {"content": "[DONE]"}}]})
        + event(
            {
                "model": "alpha",
                "choices": [],
                "usage": {"prompt_tokens": 7, "completion_tokens": 2},
            }
        ),
        b"data: [DONE]\n\n",
    ),
    Shape.RESPONSES: (
        typed("response.created", response={"model": "alpha", "status": "in_progress"})
        + typed("response.output_text.delta", delta="response.completed"),
        typed(
            "response.completed",
            response={"model": "alpha", "usage": {"input_tokens": 7, "output_tokens": 2}},
        ),
    ),
    Shape.MESSAGES: (
        typed(
            "message_start",
            message={"model": "alpha", "usage": {"input_tokens": 7, "output_tokens": 0}},
        )
        + typed("content_block_delta", delta={"text": "message_stop"})
        + typed("message_delta", delta={}, usage={"output_tokens": 2}),
        typed("message_stop"),
    ),
}
SHAPES = sorted(ANSWERS, key=lambda shape: shape.value)


def taken(looking: Passing, chunks: Iterable[bytes]) -> bytes:
    return b"".join([looking.take(chunk) for chunk in chunks])


def of(shape: Shape, *chunks: bytes, holds: bool = False) -> tuple[Passing, bytes, bool]:
    """What became of an answer in these chunks: what was passed on, and whether it is whole."""
    looking = passing(shape, ACCEPTED, holds=holds)
    passed = taken(looking, chunks)
    return looking, passed, looking.end()


# which shape


@pytest.mark.parametrize(
    ("path", "content_type", "shape"),
    [
        ("/api/chat", NDJSON, Shape.LINES),
        ("/api/generate", b"Application/X-NDJSON; charset=utf-8", Shape.LINES),
        ("/api/chat", JSON, Shape.DOCUMENT),
        ("/api/chat", b"", Shape.DOCUMENT),
        ("/v1/chat/completions", SSE, Shape.COMPLETIONS),
        ("/v1/completions", b" text/event-stream ;charset=utf-8", Shape.COMPLETIONS),
        ("/v1/responses", SSE, Shape.RESPONSES),
        ("/v1/responses", JSON, Shape.DOCUMENT),
        ("/v1/messages", SSE, Shape.MESSAGES),
        ("/v1/messages", NDJSON, Shape.LINES),
        ("/api/embed", JSON, Shape.VECTORS),
        ("/api/embeddings", JSON, Shape.VECTORS),
        ("/v1/embeddings", JSON, Shape.VECTORS),
        ("/v1/audio/transcriptions", b"text/plain", Shape.TEXT),
        ("/v1/audio/transcriptions", SSE, Shape.COMPLETIONS),
    ],
)
def test_the_shape_is_that_of_the_path_and_the_content_type(
    path: str, content_type: bytes, shape: Shape
) -> None:
    assert shape_of(path, content_type) is shape


# streams


@pytest.mark.parametrize("holds", [False, True])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
@pytest.mark.parametrize("shape", SHAPES)
def test_wherever_a_stream_is_cut_into_chunks_the_same_comes_of_it(
    shape: Shape, ends: bytes, holds: bool
) -> None:
    before, end = (part.replace(b"\n", ends) for part in ANSWERS[shape])
    whole = before + end
    for cut in range(len(whole) + 1):
        looking, passed, is_whole = of(shape, whole[:cut], whole[cut:], holds=holds)
        assert is_whole, cut
        assert passed + looking.held == whole, cut
        if holds:
            assert passed == before, cut
        assert looking.is_named
        assert not looking.is_remote
        assert looking.error is None
        counted = (looking.numbers.prompt_tokens, looking.numbers.output_tokens)
        assert counted == (7, 2), cut


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stream_that_comes_byte_by_byte_comes_whole(shape: Shape) -> None:
    before, end = ANSWERS[shape]
    for holds in (False, True):
        looking = passing(shape, ACCEPTED, holds=holds)
        passed = taken(looking, (bytes([byte]) for byte in before + end))
        assert looking.end()
        assert (passed + looking.held, looking.is_named) == (before + end, True)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stream_is_whole_only_with_its_end(shape: Shape) -> None:
    before, end = ANSWERS[shape]
    mark = len(end.rstrip(b"\n"))
    for length in range(len(end) + 1):
        looking, passed, is_whole = of(shape, before + end[:length])
        assert is_whole is (length >= mark), length
        assert looking.has_ended is is_whole
        if is_whole:
            assert passed + looking.held == before + end[:length]


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_that_comes_behind_the_end_is_passed_on(shape: Shape) -> None:
    before, end = ANSWERS[shape]
    more = b"data: more\n\n"
    for chunks in ([before + end + more], [before + end, more], [before + end, b"\n", more]):
        for holds in (False, True):
            looking, passed, is_whole = of(shape, *chunks, holds=holds)
            assert is_whole
            behind = b"\n" if b"\n" in chunks else b""
            assert passed + looking.held == before + end + behind


def test_the_name_of_an_event_goes_with_it_though_an_empty_line_comes_first() -> None:
    before, end = ANSWERS[Shape.MESSAGES]
    name, _, data = end.partition(b"data:")
    for chunks in ([before[:-1], b"\n" + name, b"data:" + data], [before[:-1], b"\n" + end]):
        looking, passed, is_whole = of(Shape.MESSAGES, *chunks, holds=True)
        assert (looking.held, passed, is_whole) == (end, before, True)


def test_an_event_without_data_is_passed_on_and_names_nothing_else() -> None:
    before, _ = ANSWERS[Shape.MESSAGES]
    ping, end = b"event: ping\n\n", event({"type": "message_stop"})
    assert passing(Shape.MESSAGES, ACCEPTED, holds=True).take(ping) == ping
    looking, passed, is_whole = of(Shape.MESSAGES, before + ping + end, holds=True)
    assert (looking.held, passed, is_whole) == (end, before + ping, True)


def test_a_last_line_without_its_end_is_looked_at_too() -> None:
    with pytest.raises(OtherModel, match="beta"):
        of(Shape.LINES, line(model="beta", done=True)[:-1])
    assert of(Shape.LINES, line(model="alpha", done=True)[:-1])[0].is_named


def test_whole_lines_are_passed_on_and_a_part_of_one_waits() -> None:
    looking = passing(Shape.LINES, ACCEPTED, holds=False)
    one = line(model="alpha", response="one", done=False)
    assert looking.take(one[:10]) == b""
    assert looking.take(one[10:] + one[:5]) == one
    assert looking.take(one[5:]) == one


def test_a_line_may_have_four_megabytes_and_no_more() -> None:
    looking = passing(Shape.LINES, ACCEPTED, holds=False)
    assert looking.take(b"x" * 4 * MB) == b""
    with pytest.raises(BadAnswer, match="a line is longer than"):
        looking.take(b"x")


@pytest.mark.parametrize("shape", SHAPES)
def test_another_name_is_no_answer(shape: Shape) -> None:
    before, end = ANSWERS[shape]
    other = (before + end).replace(b'"alpha', b'"beta')
    assert b"beta" in other
    with pytest.raises(OtherModel) as caught:
        of(shape, other)
    assert caught.value.name in ("beta", "beta:latest")


@pytest.mark.parametrize(
    "written", ['"model":"alpha"', '"model" : "alpha"', '"model":"\\u0061lpha"']
)
def test_a_name_is_the_name_however_it_is_written(written: str) -> None:
    data = f'{{{written},"response":"x","done":false}}\n'.encode()
    assert of(Shape.LINES, data)[0].is_named
    with pytest.raises(OtherModel):
        of(Shape.LINES, data.replace(b"lpha", b"lphb"))


def test_of_two_names_in_one_chunk_each_must_be_accepted() -> None:
    good, bad = (line(model=name, response="x", done=False) for name in ("alpha", "beta"))
    for lines in (good + bad, bad + good):
        with pytest.raises(OtherModel, match="beta"):
            of(Shape.LINES, lines)


@pytest.mark.parametrize("name", ["", None, 7])
def test_what_is_no_name_names_nobody(name: Any) -> None:
    """Ollama's /v1 writes an empty one where a stream broke."""
    looking, passed, _ = of(Shape.COMPLETIONS, event({"model": name, "choices": []}))
    assert not looking.is_named
    assert passed == event({"model": name, "choices": []})


def test_a_name_inside_of_what_a_model_says_counts_for_nothing() -> None:
    said = line(response='{"model":"beta"}', done=False)
    assert not of(Shape.LINES, said)[0].is_named
    nested = line(model="alpha", tool={"model": "beta"}, done=False)
    assert of(Shape.LINES, nested)[0].is_named


@pytest.mark.parametrize("key", ["remote_host", "remote_model"])
def test_an_answer_of_a_remote_host_is_seen(key: str) -> None:
    remote = line(model="alpha", **{key: "far"}, response="x", done=False)
    assert of(Shape.LINES, remote)[0].is_remote
    assert not of(Shape.LINES, line(model="alpha", response=key, done=False))[0].is_remote
    assert not of(Shape.LINES, line(model="alpha", **{key: ""}, done=False))[0].is_remote
    document = json.dumps({"model": "alpha", key: "far", "done": True}).encode()
    assert of(Shape.DOCUMENT, document)[0].is_remote


ERRORS = [
    (Shape.LINES, line(error="no more memory"), "no more memory"),
    (Shape.LINES, line(model="alpha", error={"message": "no more"}), "no more"),
    (Shape.LINES, line(error=7), "it does not say what"),
    (Shape.COMPLETIONS, event({"error": {"message": "no more", "code": 500}}), "no more"),
    (Shape.COMPLETIONS, b"error: no more\n\n", "no more"),
    (Shape.COMPLETIONS, b"data: {}\n\nerror: no more\n\n", "no more"),
    (Shape.RESPONSES, typed("error", message="no more"), "no more"),
    (Shape.RESPONSES, typed("error"), "error"),
    (Shape.MESSAGES, typed("error", error={"type": "x", "message": "no more"}), "no more"),
    (
        Shape.RESPONSES,
        typed("response.created", response={"error": {"message": "no more"}}),
        None,
    ),
]


@pytest.mark.parametrize(("shape", "record", "error"), ERRORS)
def test_an_answer_that_fails_says_so_and_is_not_whole(
    shape: Shape, record: bytes, error: str | None
) -> None:
    before, end = ANSWERS[shape]
    looking, passed, is_whole = of(shape, before + record + end)
    assert looking.error == error
    assert is_whole is (error is None)
    if error is not None:
        assert end not in passed + looking.held


def test_a_word_like_error_in_what_a_model_says_is_none() -> None:
    said = line(model="alpha", response='"error"', done=False) + line(
        model="alpha", response="", error=None, done=True
    )
    looking, passed, is_whole = of(Shape.LINES, said)
    assert (looking.error, passed, is_whole) == (None, said, True)


@pytest.mark.parametrize("bad", [b"{\n", b"[]]\n", b"\xff\n"])
def test_lines_that_end_nothing_are_the_client_s_to_read(bad: bytes) -> None:
    looking, passed, is_whole = of(Shape.LINES, bad)
    assert (passed, is_whole, looking.is_named) == (bad, False, False)


def test_a_line_that_looks_like_one_that_counts_must_be_json() -> None:
    with pytest.raises(BadAnswer):
        of(Shape.LINES, b'{"model":"beta"\n')


def test_why_an_answer_ended_is_told() -> None:
    for reason, told in [("load", "load"), ("stop", "stop"), (7, None)]:
        last = line(model="alpha", response="", done=True, done_reason=reason)
        assert of(Shape.LINES, last)[0].reason == told
    assert of(Shape.LINES, line(model="alpha", done=True))[0].reason is None


@pytest.mark.parametrize("kind", ["response.completed", "response.incomplete", "response.failed"])
def test_a_response_ends_in_three_ways(kind: str) -> None:
    before = ANSWERS[Shape.RESPONSES][0]
    assert of(Shape.RESPONSES, before + typed(kind, response={"model": "alpha"}))[2]
    other = f"{kind[:-1]}x"
    assert not of(Shape.RESPONSES, before + typed(other, response={"model": "alpha"}))[2]


@pytest.mark.parametrize("shape", SHAPES)
def test_a_line_full_of_marks_of_an_end_is_read_once(shape: Shape) -> None:
    """Read once for each mark, it would take the loop for an hour."""
    marks = {
        Shape.LINES: b'{"model":"alpha","more":['
        + b'{"done":true},' * 20_000
        + b'0],"done":false}\n',
        Shape.COMPLETIONS: event({"model": "alpha", "text": "[DONE]" * 150_000}),
        Shape.RESPONSES: event({"model": "alpha", "text": "response.failed" * 60_000}),
        Shape.MESSAGES: event({"model": "alpha", "text": "message_stop" * 80_000}),
    }
    looking = passing(shape, ACCEPTED, holds=False)
    assert looking.take(marks[shape]) == marks[shape]
    assert not looking.has_ended
    assert looking.take(ANSWERS[shape][1])
    assert looking.end()


def test_an_end_is_found_without_the_name_of_its_event() -> None:
    before, _ = ANSWERS[Shape.MESSAGES]
    end = event({"type": "message_stop"})
    looking, passed, is_whole = of(Shape.MESSAGES, before + end, holds=True)
    assert (looking.held, passed, is_whole) == (end, before, True)


def test_counts_are_the_first_of_the_prompt_and_the_last_of_the_answer() -> None:
    counts = [
        typed("message_start", message={"model": "alpha", "usage": {"input_tokens": 7}}),
        *(typed("message_delta", usage={"output_tokens": count}) for count in range(9)),
        typed("message_stop"),
    ]
    for chunks in ([b"".join(counts)], counts):
        looking, _, is_whole = of(Shape.MESSAGES, *chunks)
        assert is_whole
        assert (looking.numbers.prompt_tokens, looking.numbers.output_tokens) == (7, 8)


def test_the_last_two_counts_are_kept() -> None:
    counts = [
        typed("message_start", message={"model": "alpha", "usage": {"input_tokens": 7}}),
        typed("message_delta", usage={"output_tokens": 1}),
        typed("message_delta", usage={"output_tokens": 2}),
        typed("message_delta", usage={"of": "nothing"}),
        typed("message_stop"),
    ]
    numbers = of(Shape.MESSAGES, b"".join(counts))[0].numbers
    assert (numbers.prompt_tokens, numbers.output_tokens) == (7, 2)


def test_what_stands_behind_the_end_counts_for_nothing() -> None:
    before, end = ANSWERS[Shape.RESPONSES]
    behind = typed("response.more", response={"usage": {"output_tokens": 99}}) * 3
    numbers = of(Shape.RESPONSES, before + end + behind)[0].numbers
    assert (numbers.prompt_tokens, numbers.output_tokens) == (7, 2)


@pytest.mark.parametrize("count", [-1, 2**63, True, 1.5, "7", None])
def test_what_is_no_count_is_not_counted(count: Any) -> None:
    usage = {"prompt_tokens": count, "completion_tokens": 0}
    data = event({"model": "alpha", "usage": usage}) + b"data: [DONE]\n\n"
    numbers = of(Shape.COMPLETIONS, data)[0].numbers
    assert (numbers.prompt_tokens, numbers.output_tokens) == (None, 0)


def test_the_largest_count_that_a_database_holds_is_counted() -> None:
    data = event({"usage": {"prompt_tokens": 2**63 - 1}}) + b"data: [DONE]\n\n"
    assert of(Shape.COMPLETIONS, data)[0].numbers.prompt_tokens == 2**63 - 1


# documents


def test_a_document_is_passed_on_when_all_of_it_is_there() -> None:
    body = json.dumps(
        {"model": "alpha", "response": "hi", "done": True, "done_reason": "stop", "eval_count": 2}
    ).encode()
    for cut in range(len(body) + 1):
        looking, passed, is_whole = of(Shape.DOCUMENT, body[:cut], body[cut:])
        assert (passed, looking.held, is_whole) == (b"", body, True)
        assert (looking.is_named, looking.reason) == (True, "stop")
        assert looking.numbers.output_tokens == 2
    assert not of(Shape.DOCUMENT, body[:-1])[2]


@pytest.mark.parametrize(
    ("body", "is_whole"),
    [
        (b'{"model":"alpha","done":false}', False),
        (b'{"model":"alpha","done":1}', False),
        (b'{"model":"alpha"}', True),
        (b"[]", True),
        (b'{"error":"no more"}', False),
        (b'{"model":"alpha","error":"no more","done":true}', False),
        (b"<html>", False),
        (b"", False),
    ],
)
def test_a_document_says_itself_whether_it_is_an_answer(body: bytes, is_whole: bool) -> None:
    assert of(Shape.DOCUMENT, body)[2] is is_whole


def test_usage_of_a_document_is_counted_in_each_dialect() -> None:
    usages: list[dict[str, Any]] = [
        {"usage": {"prompt_tokens": 7, "completion_tokens": 2}},
        {"usage": {"input_tokens": 7, "output_tokens": 2}},
        {"response": {"usage": {"input_tokens": 7, "output_tokens": 2}}},
    ]
    for usage in usages:
        numbers = of(Shape.DOCUMENT, json.dumps(usage).encode())[0].numbers
        assert (numbers.prompt_tokens, numbers.output_tokens) == (7, 2)
    numbers = of(Shape.DOCUMENT, b'{"prompt_eval_count":7}')[0].numbers
    assert (numbers.prompt_tokens, numbers.output_tokens) == (7, None)


def test_a_document_of_another_model_is_none() -> None:
    with pytest.raises(OtherModel, match="beta"):
        of(Shape.DOCUMENT, b'{"model":"beta","done":true}')


def test_a_document_may_have_eight_megabytes_and_no_more() -> None:
    looking = passing(Shape.DOCUMENT, ACCEPTED, holds=True)
    looking.take(b'"' + b"x" * (8 * MB - 2))
    looking.take(b'"')
    assert looking.end()
    with pytest.raises(BadAnswer, match="longer than 8 MiB"):
        looking.take(b" ")


def test_a_text_is_no_json_unless_it_begins_so() -> None:
    for text, is_whole in [(b"What was said.", True), (b" {", False), (b'{"te', False)]:
        assert of(Shape.TEXT, text)[2] is is_whole
    assert of(Shape.TEXT, b'{"text":"What was said."}')[2]
    assert not of(Shape.TEXT, b'{"error":"no more"}')[2]


# vectors


@pytest.mark.parametrize("holds", [False, True])
@pytest.mark.parametrize("key", ['"model":', '"model" : '])
def test_vectors_pass_one_chunk_behind_and_their_name_is_looked_at(key: str, holds: bool) -> None:
    numbers = ",".join(["0.5"] * 400)
    body = f'{{{key}"alpha","embeddings":[[{numbers}]]}}'.encode()
    for cut in range(60):
        looking, passed, is_whole = of(Shape.VECTORS, body[:cut], body[cut:], holds=holds)
        assert (passed + looking.held, is_whole, looking.is_named) == (body, True, True)
        assert passed == body[:cut]
        with pytest.raises(OtherModel, match="gamma"):
            of(Shape.VECTORS, *_split(body.replace(b"alpha", b"gamma"), cut), holds=holds)


@pytest.mark.parametrize("tail", ["}", ',"usage":{}}', " }\n"])
def test_the_name_of_vectors_may_be_at_their_end_and_cut(tail: str) -> None:
    body = b'{"data":[' + b"0.5," * 400 + b'0.5],"model":"alpha"' + tail.encode()
    for cut in range(len(body) - 40, len(body) + 1):
        looking, passed, is_whole = of(Shape.VECTORS, *_split(body, cut))
        assert (passed + looking.held, is_whole, looking.is_named) == (body, True, True)
        with pytest.raises(OtherModel, match="gamma"):
            of(Shape.VECTORS, *_split(body.replace(b"alpha", b"gamma"), cut))


def test_each_name_of_vectors_counts_also_before_one_that_is_cut() -> None:
    first = b'{"model":"gamma","data":[' + b"0.5," * 400 + b'0.5],"model":"al'
    with pytest.raises(OtherModel, match="gamma"):
        passing(Shape.VECTORS, ACCEPTED, holds=False).take(first)


def test_a_long_name_of_vectors_is_read_across_chunks() -> None:
    name = "n" * 490
    body = f'{{"embeddings":[],"model":"{name}"}}'.encode()
    for cut in range(0, len(body), 7):
        looking = passing(Shape.VECTORS, frozenset((name,)), holds=False)
        taken(looking, _split(body, cut))
        assert looking.end()
        assert looking.is_named
        with pytest.raises(OtherModel, match="nnn"):
            of(Shape.VECTORS, *_split(body, cut))


def test_vectors_without_a_name_are_nobodys() -> None:
    for body in (b'{"embeddings":[[0.5]]}', b'{"model":null,"embeddings":[]}'):
        looking, _, is_whole = of(Shape.VECTORS, body)
        assert (looking.is_named, is_whole) == (False, True)


def _split(body: bytes, cut: int) -> tuple[bytes, bytes]:
    return body[:cut], body[cut:]
