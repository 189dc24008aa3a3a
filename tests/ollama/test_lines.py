"""A stream is split at line feeds and nowhere else, however its bytes arrive."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ollama_admin.ollama.response import LINE_LIMIT, BadAnswer, lines

# Everything that str.splitlines takes for a line end, but the two that cannot stand in a JSON
# string.
SEPARATORS = "\v\f\x1c\x1d\x1e\x85\u2028\u2029"
CUTS = st.lists(st.integers(0, 400))


async def arrive(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def split(chunks: Iterable[bytes], limit: int = LINE_LIMIT) -> list[bytes]:
    async def collect() -> list[bytes]:
        return [line async for line in lines(arrive(chunks), limit)]

    return asyncio.run(collect())


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({min(place, len(data)) for place in cuts} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def single(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


RECORD = st.dictionaries(
    st.text(max_size=3),
    st.text(st.characters(codec="utf-8") | st.sampled_from(SEPARATORS + "🚀é"), max_size=12),
)
END = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b" \n"])


@given(st.lists(st.tuples(RECORD, END), max_size=5), CUTS, st.booleans())
@example([({"a": SEPARATORS}, b"\n"), ({"b": "é🚀"}, b"\r\n")], [9, 10, 11, 12, 13, 14], False)
def test_records_come_out_as_they_went_in_however_they_are_cut(
    records: list[tuple[dict[str, str], bytes]], cuts: list[int], ended: bool
) -> None:
    data = b"".join(
        json.dumps(record, ensure_ascii=False).encode() + end for record, end in records
    )
    if not ended:
        data = data.rstrip()
    expected = [record for record, _ in records]
    for chunks in (cut(data, cuts), [data], single(data)):
        assert [json.loads(line) for line in split(chunks)] == expected


@given(st.binary(max_size=60), CUTS)
@example(b"\n\r\n\n", [1])
@example(b"a\rb\r\n", [2, 4])
def test_any_bytes_are_split_the_same_however_they_arrive(data: bytes, cuts: list[int]) -> None:
    expected = [line.strip() for line in data.split(b"\n") if line.strip()]
    assert split(cut(data, cuts)) == split([data]) == split(single(data)) == expected


@pytest.mark.parametrize("separator", [*SEPARATORS, "\r", "\\n"])
def test_only_a_line_feed_ends_a_line(separator: str) -> None:
    line = f'{{"a":"x{separator}y"}}'.encode()
    assert split([line + b"\n" + line]) == [line, line]


def test_a_last_line_without_an_end_counts() -> None:
    assert split([b"a\nb"]) == [b"a", b"b"]
    assert split([b""]) == split([]) == []


@given(st.lists(st.integers(0, 9), min_size=1, max_size=4), CUTS)
def test_a_line_over_the_limit_is_refused_however_it_arrives(
    lengths: list[int], cuts: list[int]
) -> None:
    data = b"".join(b"x" * length + b"\n" for length in lengths)
    for chunks in (cut(data, cuts), [data], single(data)):
        if max(lengths) > 5:
            with pytest.raises(BadAnswer, match="a line of the answer is longer than"):
                split(chunks, limit=5)
        else:
            assert split(chunks, limit=5) == [b"x" * length for length in lengths if length]


def test_the_lines_before_a_line_over_the_limit_are_given_out() -> None:
    async def collect() -> list[bytes]:
        split_up = lines(arrive([b"one\ntwo\n", b"x" * 9]), limit=5)
        found = [await anext(split_up), await anext(split_up)]
        with pytest.raises(BadAnswer):
            await anext(split_up)
        return found

    assert asyncio.run(collect()) == [b"one", b"two"]


def test_the_usual_limit_is_told_in_mebibytes() -> None:
    fits = b"x" * LINE_LIMIT
    assert split([fits, b"\n", fits]) == [fits, fits]
    with pytest.raises(BadAnswer, match="longer than 4 MiB"):
        split([fits, b"x"])


def test_nothing_more_is_read_once_a_line_is_too_long() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for number in range(1000):
            assert number < 10, "the rest of the stream was read"
            yield b"x"

    async def collect() -> None:
        async for _ in lines(endless(), limit=5):
            pass

    with pytest.raises(BadAnswer):
        asyncio.run(collect())
