"""Splits a stream into lines in bytes, so that U+2028 inside a JSON string is no line end."""

from collections.abc import AsyncGenerator, AsyncIterator

from ollama_admin.ollama.wire import BadAnswer

LINE_LIMIT = 4 * 1024 * 1024  # bytes; Ollama's own client reads lines of at most 8 MB


async def lines(
    chunks: AsyncIterator[bytes], limit: int = LINE_LIMIT
) -> AsyncGenerator[bytes, None]:
    """The lines that are not blank, without their ends; a last one without an end counts.

    Raises BadAnswer for a line of more than `limit` bytes.
    """
    rest = bytearray()
    async for chunk in chunks:
        searched = len(rest)
        rest += chunk
        start = 0
        while (end := rest.find(b"\n", max(start, searched))) >= 0:
            _refuse_long_line(end - start, limit)
            if line := bytes(rest[start:end]).strip():
                yield line
            start = end + 1
        del rest[:start]
        _refuse_long_line(len(rest), limit)
    if line := bytes(rest).strip():
        yield line


def _refuse_long_line(length: int, limit: int) -> None:
    if length > limit:
        raise BadAnswer(f"a line of the answer is longer than {limit // 2**20} MiB")
