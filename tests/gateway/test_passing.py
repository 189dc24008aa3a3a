"""An answer that passes: wherever TCP cuts it, the same comes out and the same is known of it."""

import json

import pytest

from ollama_admin.ollama.passing import OtherModel, Passing, Shape, passing, shape_of
from ollama_admin.ollama.response import LINE_LIMIT, BadAnswer
from tests.gateway.answers import MODEL, SAMPLES, STREAMS, VECTORS, Sample, events, ndjson

ACCEPTED = frozenset((MODEL, "alpha:latest"))


def looking_at(sample: Sample, *, holds: bool = False) -> Passing:
    return passing(sample.shape, ACCEPTED, holds=holds)


def passed(looks: Passing, *chunks: bytes) -> bytes:
    return b"".join(looks.take(chunk) for chunk in chunks)


def passed_to_the_end(looks: Passing, *chunks: bytes) -> bool:
    passed(looks, *chunks)
    return looks.end()


def cuts(body: bytes) -> list[tuple[bytes, ...]]:
    """The body in two at each byte, in three around each one, and byte by byte."""
    two = [(body[:at], body[at:]) for at in range(1, len(body))]
    three = [(body[:at], body[at : at + 1], body[at + 1 :]) for at in range(1, len(body) - 1)]
    return [(body,), *two, *three, tuple(body[at : at + 1] for at in range(len(body)))]


@pytest.mark.parametrize("name", SAMPLES)
def test_shape_shows_in_path_and_content_type(name: str) -> None:
    sample = SAMPLES[name]
    assert shape_of(sample.path, sample.content_type.encode()) is sample.shape


@pytest.mark.parametrize("holds", [False, True])
@pytest.mark.parametrize("name", SAMPLES)
def test_a_whole_answer_passes_byte_for_byte_wherever_it_is_cut(name: str, holds: bool) -> None:
    sample = SAMPLES[name]
    for chunks in cuts(sample.body):
        looks = looking_at(sample, holds=holds)
        before = passed(looks, *chunks)
        assert looks.end(), chunks
        assert before + looks.held == sample.body, chunks
        if holds:
            assert before == sample.body.removesuffix(sample.mark), chunks
            assert looks.held == sample.mark, chunks
        assert looks.is_named
        assert (looks.error, looks.is_remote) == (None, False)
        counted = (looks.numbers.prompt_tokens, looks.numbers.output_tokens)
        assert counted == sample.counts, chunks


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_that_is_cut_off_is_not_whole_and_what_passed_is_whole_lines(name: str) -> None:
    sample = SAMPLES[name]
    first_of_mark = len(sample.body) - len(sample.mark)
    ends = sample.mark.rstrip()
    for length in range(first_of_mark + len(ends)):
        looks = looking_at(sample)
        out = passed(looks, sample.body[:length])
        assert not looks.end(), sample.body[:length]
        assert sample.body.startswith(out)
        assert out == b"" or out.endswith(b"\n")


@pytest.mark.parametrize("name", STREAMS)
@pytest.mark.parametrize("behind", [b"x", b"data: x\n\n", b'{"model":"beta"}\n', b"\n" * 3000])
def test_nothing_passes_behind_the_end(name: str, behind: bytes) -> None:
    sample = SAMPLES[name]
    for chunks in ((sample.body, behind), (sample.body, sample.body)):
        looks = looking_at(sample)
        assert passed(looks, *chunks) == sample.body
        assert looks.end()


@pytest.mark.parametrize("name", SAMPLES)
def test_another_name_is_found_wherever_it_is_cut(name: str) -> None:
    sample = SAMPLES[name]
    place = sample.body.rindex(b'"model":"alpha"')
    for other in (b'"model":"beta"', b'"model": "beta"', b'"model":"alpha2"', b'"model":"\\u0061"'):
        body = sample.body[:place] + other + sample.body[place + len(b'"model":"alpha"') :]
        for chunks in cuts(body):
            looks = looking_at(sample)
            with pytest.raises(OtherModel):
                passed_to_the_end(looks, *chunks)


def test_a_name_that_is_spelt_with_spaces_or_escapes_is_the_name() -> None:
    for spelling in (b'"model" : "alpha"', b'"model":"\\u0061lpha"', b'"model":\t"alpha:latest"'):
        body = b"{" + spelling + b',"response":"","done":true}\n'
        looks = passing(Shape.LINES, ACCEPTED, holds=False)
        assert looks.take(body) == body
        assert looks.end()
        assert looks.is_named


@pytest.mark.parametrize("name", STREAMS)
def test_an_error_in_the_middle_passes_and_no_end_follows(name: str) -> None:
    sample = SAMPLES[name]
    error = {"type": "error", "error": {"type": "api_error", "message": "it broke"}}
    record = ndjson({"error": "it broke"})
    if sample.shape is not Shape.LINES:
        record = events(error, named=sample.shape is not Shape.COMPLETIONS)
    before = sample.body.removesuffix(sample.mark)
    for chunks in ((before, record, sample.mark), (before + record + sample.mark,)):
        looks = looking_at(sample)
        assert passed(looks, *chunks) == before + record
        assert not looks.end()
        assert looks.error == "it broke"


def test_an_error_as_llama_cpp_spells_it_is_one() -> None:
    looks = passing(Shape.COMPLETIONS, ACCEPTED, holds=False)
    body = b'data: {"model":"alpha"}\n\nerror: {"code":500,"message":"broke"}\n\n'
    assert looks.take(body) == body
    assert "broke" in (looks.error or "")
    assert not looks.end()


def test_the_last_line_needs_no_line_end() -> None:
    sample = SAMPLES["lines"]
    body = sample.body.rstrip(b"\n")
    for chunks in cuts(body):
        looks = looking_at(sample)
        out = passed(looks, *chunks)
        assert looks.end()
        assert out + looks.held == body


@pytest.mark.parametrize("key", ["remote_host", "remote_model"])
def test_a_remote_host_is_told_of(key: str) -> None:
    record = {"model": MODEL, key: "https://far.example", "response": "x", "done": False}
    for shape, body in (
        (Shape.LINES, ndjson(record)),
        (Shape.DOCUMENT, json.dumps(record).encode()),
    ):
        looks = passing(shape, ACCEPTED, holds=False)
        looks.take(body)
        looks.end()
        assert looks.is_remote


@pytest.mark.parametrize("reason", ["load", "unload", "stop", None])
def test_why_an_answer_ended_is_told(reason: str | None) -> None:
    record = {"model": MODEL, "response": "", "done": True, "done_reason": reason}
    for shape in (Shape.LINES, Shape.DOCUMENT):
        looks = passing(shape, ACCEPTED, holds=False)
        looks.take(ndjson(record))
        assert looks.end()
        assert looks.reason == reason


def test_a_page_is_no_document_but_may_be_the_text_of_a_recording() -> None:
    for shape, is_whole in ((Shape.DOCUMENT, False), (Shape.TEXT, True)):
        looks = passing(shape, ACCEPTED, holds=False)
        looks.take(b"<html>nginx</html>")
        assert looks.end() is is_whole
    assert shape_of("/v1/audio/transcriptions", b"text/plain") is Shape.TEXT


@pytest.mark.parametrize("body", [b"{", b'{"model":"alpha"', b"", b'{"done":false}'])
def test_half_a_document_is_not_whole(body: bytes) -> None:
    looks = passing(Shape.DOCUMENT, ACCEPTED, holds=False)
    looks.take(body)
    assert not looks.end()


def test_a_line_has_a_limit() -> None:
    looks = passing(Shape.LINES, ACCEPTED, holds=False)
    with pytest.raises(BadAnswer):
        passed(looks, *[b"x" * 2**16] * (LINE_LIMIT // 2**16 + 2))


@pytest.mark.parametrize("holds", [False, True])
def test_vectors_pass_unread_and_their_last_bytes_come_last(holds: bool) -> None:
    for chunks in cuts(VECTORS):
        looks = passing(Shape.VECTORS, ACCEPTED, holds=holds)
        out = passed(looks, *chunks)
        assert looks.end()
        assert out + looks.held == VECTORS
        assert looks.held
        assert looks.is_named


@pytest.mark.parametrize("body", [b'{"error":"no"}', b' {"error" : {"message":"no"}} '])
def test_a_failure_in_the_place_of_vectors_is_one(body: bytes) -> None:
    looks = passing(Shape.VECTORS, frozenset([MODEL]), holds=False)
    assert looks.take(body) == b""
    assert not looks.end()
    assert looks.error == "no"
