"""A server's answer in terms of HTTP, whatever has carried it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A status, headers as they were received and in their order, and a body that is still on its
    way.

    `chunks` are the bytes of the body as they arrive, never decoded. Whoever opened the response
    closes it; what was not read by then is cancelled at the server.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    chunks: AsyncIterator[bytes]

    def header(self, name: str) -> str | None:
        """The value of a header, None where there is none; several become a list with commas."""
        wanted = name.lower().encode()
        values = [value for key, value in self.headers if key.lower() == wanted]
        if not values:
            return None
        return _text(b", ".join(values))


def _text(value: bytes) -> str:
    """UTF-8 where it is that: HTTP says latin-1, and many servers write UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
