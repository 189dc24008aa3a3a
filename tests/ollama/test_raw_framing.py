"""However the bytes of an answer are cut on their way, its body comes back byte for byte."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.ollama.raw_connection import Connection, RawResponse
from ollama_admin.ollama.raw_framing import HEAD_LIMIT, Chunks, read_head, request_head
from ollama_admin.ollama.response import BadAnswer, BadRequest, ImproperAnswer, Sending

bodies = st.lists(st.binary(min_size=1, max_size=300), max_size=12)
cuts = st.lists(st.integers(min_value=0, max_value=5000), max_size=40)
extensions = st.sampled_from([b"", b";a=b", b';a="b;c";d'])
trailers = st.sampled_from([b"", b"X: y\r\n", b"X: y\r\nx-a:\r\n"])


def pieces_of(data: bytes, at: Sequence[int]) -> list[bytes]:
    """The bytes, cut at these places."""
    ends = sorted({place % (len(data) + 1) for place in at} | {len(data)})
    starts = [0, *ends[:-1]]
    return [data[start:end] for start, end in zip(starts, ends, strict=True) if start < end]


@asynccontextmanager
async def connection() -> AsyncIterator[Connection]:
    """One on a real socket, whose other end is silent."""
    ours, theirs = socket.socketpair()
    loop = asyncio.get_running_loop()
    with theirs:
        _, made = await loop.create_connection(Connection, sock=ours)
        yield made
        made.close()


async def received(pieces: list[bytes]) -> tuple[RawResponse, bytes, bool]:
    """The answer that arrives in these pieces; and whether its connection may be used again."""
    async with connection() as made:
        asking = asyncio.create_task(
            made.ask("GET", b"GET / HTTP/1.1\r\n\r\n", b"", 9, 9, Sending())
        )
        await asyncio.sleep(0)
        for piece in pieces:
            made.data_received(piece)
        response = await asking
        body = b"".join([chunk async for chunk in response.chunks])
        return response, body, made.leave()


@given(bodies, cuts)
def test_a_body_with_a_length_comes_back(parts: list[bytes], at: list[int]) -> None:
    body = b"".join(parts)
    answer = b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    response, came, is_kept = asyncio.run(received(pieces_of(answer, at)))
    assert (came, response.framing, is_kept) == (body, "length", True)


@given(bodies, st.lists(extensions, min_size=13, max_size=13), trailers, cuts)
def test_a_body_in_chunks_comes_back(
    parts: list[bytes], added: list[bytes], trailer: bytes, at: list[int]
) -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for part, extension in zip([*parts, b""], added, strict=False):
        answer += b"%x%b\r\n%b" % (len(part), extension, part)
        if part:
            answer += b"\r\n"
    response, came, is_kept = asyncio.run(received(pieces_of(answer + trailer + b"\r\n", at)))
    assert (came, response.framing, is_kept) == (b"".join(parts), "chunked", True)


@given(bodies, cuts, st.binary(min_size=1, max_size=20))
def test_what_follows_the_end_is_no_part_of_the_body(
    parts: list[bytes], at: list[int], excess: bytes
) -> None:
    body = b"".join(parts)
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer += b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    _, came, is_kept = asyncio.run(received([*pieces_of(answer, at), excess]))
    assert (came, is_kept) == (body, False)


@given(st.binary(max_size=200), cuts)
def test_bytes_of_any_kind_are_chunks_or_are_refused(data: bytes, at: list[int]) -> None:
    """And it does not matter how they are cut."""
    results = []
    for pieces in ([data], pieces_of(data, at)):
        chunks, body = Chunks(), b""
        try:
            for piece in pieces:
                body += chunks.read(piece)
        except ImproperAnswer:
            results.append(None)
        else:
            results.append((body, chunks.is_over))
    # what is cut may be refused only when the next byte comes, and never the other way round
    assert results[0] == results[1] or None in results


@given(st.binary(max_size=300))
def test_a_head_of_any_bytes_is_read_or_refused(fields: bytes) -> None:
    try:
        head = read_head(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n\r\n", "GET")
    except BadAnswer:
        return
    assert all(b"\n" not in name + value for name, value in head.headers)


@given(
    st.lists(st.tuples(st.binary(max_size=20), st.binary(max_size=20)), max_size=5),
    st.text(max_size=10),
)
def test_a_request_has_the_lines_that_it_was_given_or_is_refused(
    headers: list[tuple[bytes, bytes]], method: str
) -> None:
    try:
        head = request_head(method, "/", b"", b"Host: x", headers, 0)
    except BadRequest:
        return
    assert head.count(b"\n") == head.count(b"\r\n") == len(head.split(b"\r\n")) - 1
    assert head.endswith(b"\r\n\r\n")
    assert head.index(b"\r\n\r\n") == len(head) - 4


@pytest.mark.parametrize("length", [HEAD_LIMIT, HEAD_LIMIT + 1])
def test_the_longest_head_is_read_and_no_longer_one(length: int) -> None:
    begin, end = b"HTTP/1.1 200 OK\r\nX: ", b"\r\n\r\n"
    data = begin + b"x" * (length - len(begin) - len(end)) + end
    if length <= HEAD_LIMIT:
        assert len(read_head(data, "GET").headers) == 1
        return
    with pytest.raises(ImproperAnswer):
        read_head(data, "GET")


@pytest.mark.parametrize("count", [200, 201])
def test_as_many_headers_are_read_as_by_httpx(count: int) -> None:
    data = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * count + b"\r\n"
    if count <= 200:
        assert len(read_head(data, "GET").headers) == count
        return
    with pytest.raises(BadAnswer, match="the answer has 201 headers"):
        read_head(data, "GET")


def test_long_names_of_headers_are_not_remembered() -> None:
    long = b"x" * 65
    head = request_head("GET", "/", b"", b"Host: x", [(long, b"1")], 0)
    assert long + b": 1\r\n" in head
    with pytest.raises(BadRequest):
        request_head("GET", "/", b"", b"Host: x", [(long + b" ", b"1")], 0)
