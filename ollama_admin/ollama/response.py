"""A server's response in terms of HTTP, whatever has carried it, and how its body is read: in
pieces that come in time, in lines of a bounded length, and as JSON that has one meaning.
"""

import asyncio
import html
import re
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ollama_admin.domain import strict_json
from ollama_admin.errors import UpstreamError

T = TypeVar("T")

LINE_LIMIT = 4 * 1024 * 1024  # bytes; Ollama's own client reads lines of at most 8 MB
# of one document, counted by what opens or parts them: `{},` takes 3 bytes to send, 70 to hold
VALUES_LIMIT = 300_000


# bytes of an answer that is read as a whole: 800 for each model that may be listed
BODY_LIMIT = 8 * 1024 * 1024
BODY_LIMITS = {"/api/ps": 2**20}  # few models are in memory at once
READING_LIMIT = 32 * 2**20  # bytes of memory that it takes to read one
ERROR_BODY_LIMIT = 64 * 1024
END_LENGTH = 1000  # bytes that may follow there
END_PATIENCE = 0.1  # seconds that a response may take to end after its last record
TITLE_LIMIT = 80  # characters of a web page's title
_TITLE = re.compile(rb"<(title|h1)[^>]*>\s*([^<]{1,500})", re.IGNORECASE)


class BadAnswer(Exception):
    """What was sent is not what an Ollama server sends.

    Not one of `errors.py`: here nobody knows which server it was. `faults.translated` makes it an
    UpstreamError that names the server.
    """


class ConnectionFault(Exception):
    """A request got no answer, or none that is whole. The cause is the system's error, if it has
    one.

    Not one of `errors.py` either: `faults.translated` makes each of them a ServerUnreachable.
    """


class BadRequest(ConnectionFault):
    """The request could be read as another one, or as several; nothing was sent."""


class NotConnected(ConnectionFault):
    """The name is not known, nobody listens, or the TLS handshake failed."""


class OwnFileFault(ConnectionFault):
    """A file of certificates that the server's row names cannot be used; the text says which."""


class ConnectLate(ConnectionFault):
    """There was no connection in time."""


class PoolFull(ConnectionFault):
    """No connection became free in time."""


class ProxyFault(ConnectionFault):
    """The proxy does not connect to the server."""


class WriteLate(ConnectionFault):
    """The server did not take the request in time."""


class AnswerLate(ConnectionFault):
    """The server sent nothing in time."""


class HandshakeLate(ConnectLate):
    """What listens did not end the TLS handshake in time."""


class ImproperAnswer(BadAnswer, ConnectionFault):
    """The answer is not HTTP/1.1, or could be read in two ways."""


class ConnectionClosed(ConnectionFault):
    """The server closed the connection before the answer was whole."""


class ConnectionBroken(ConnectionFault):
    """The connection was reset."""


class WebPage(BadAnswer):
    """HTML was sent where JSON was asked for."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds that one request waits for a part of its answer; None sets no limit of its own.

    `first_byte` is the time for the head, and once more for the first piece: some servers send the
    head at once and then load the model. `idle` is the longest pause between two pieces.
    """

    first_byte: float | None
    idle: float | None


@dataclass(slots=True)
class Sending:
    """How far a request is on its way. `is_whole`: every byte was handed to the system, so that the
    server may be at work on it.
    """

    is_whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A response that was read as a whole; `location` is where a redirect leads, `challenge` what
    `WWW-Authenticate` asks for, None without one.
    """

    status: int
    location: str | None
    body: bytes
    challenge: str | None = None


class PieceTimer:
    """Bounds the wait for each piece of a stream, by one timer for all of them.

    `asyncio.timeout` makes a timer for each wait: for each token of an answer, that takes longer
    than to read the token. One task at a time waits; `close` when no more pieces are wanted.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._until: float | None = None  # by the loop's clock; None while nothing is waited for
        self._waiting: asyncio.Task[object] | None = None
        self._is_over = False

    async def next_of(self, pieces: AsyncIterator[T], seconds: float | None) -> T:
        """The next piece; TimeoutError when it takes longer than that, StopAsyncIteration when
        there is none. None waits as long as it takes.
        """
        if seconds is None:
            return await anext(pieces)
        self._waiting = asyncio.current_task()
        self._until = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._until:
            self._set_timer(self._until)
        try:
            return await anext(pieces)
        except asyncio.CancelledError:
            if self._is_over and self._waiting is not None and not self._waiting.uncancel():
                raise TimeoutError from None
            raise
        finally:
            self._until = self._waiting = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, time: float) -> None:
        self.close()
        self._timer = self._loop.call_at(time, self._end_late_wait)

    def _end_late_wait(self) -> None:
        self._timer = None
        if self._until is None or self._waiting is None:
            return
        if self._loop.time() < self._until:  # of a later wait than the one it was set for
            self._set_timer(self._until)
        else:
            self._is_over = True
            self._waiting.cancel()


def is_document(response: Response, *, is_v1: bool) -> bool:
    """Whether it is one document where records are expected: from a server that ignores `stream`,
    or a web page.
    """
    kind = (response.header("content-type") or "").partition(";")[0].strip().lower()
    return kind == "text/html" or (is_v1 and kind == "application/json")


async def read_whole(response: Response, path: str = "") -> Answer:
    """The whole answer to a call of this path, or the beginning of one that is no 200."""
    refuse_encoding(response)
    body, limit = bytearray(), BODY_LIMITS.get(path, BODY_LIMIT)
    async for chunk in response.chunks:
        body += chunk
        if response.status != 200 and len(body) > ERROR_BODY_LIMIT:
            break
        if len(body) > limit:
            raise BadAnswer(f"the answer is longer than {limit // 2**20} MiB")
    return answer_of(response, bytes(body))


def answer_of(response: Response, body: bytes) -> Answer:
    """The answer of a response whose body was read, as far as it came."""
    if response.status == 200:
        return Answer(status=200, location=None, body=body)
    return Answer(
        status=response.status,
        location=response.header("location"),
        body=body,
        challenge=response.header("www-authenticate"),
    )


async def lines(
    chunks: AsyncIterator[bytes], limit: int = LINE_LIMIT
) -> AsyncGenerator[bytes, None]:
    """The lines that are not blank, without their ends; a last one without an end counts. Bytes are
    split, so that U+2028 inside a JSON string is no line end.

    Raises BadAnswer for a line of more than `limit` bytes.
    """
    rest = bytearray()
    async for chunk in chunks:
        searched = len(rest)
        rest += chunk
        start = 0
        while (end := rest.find(b"\n", max(start, searched))) >= 0:
            if end - start > limit:
                raise _long_line(limit)
            if line := bytes(rest[start:end]).strip():
                yield line
            start = end + 1
        del rest[:start]
        if len(rest) > limit:
            raise _long_line(limit)
    if line := bytes(rest).strip():
        yield line


async def read_to_the_end(records: AsyncIterator[bytes]) -> None:
    """Take what still belongs to the response, which is nothing that counts: its connection can
    then be used again.
    """
    with suppress(TimeoutError, BadAnswer, UpstreamError):
        async with asyncio.timeout(END_PATIENCE):
            async for _ in records:
                pass


async def end_of(chunks: AsyncIterator[bytes]) -> bytes:
    """What follows the last record until the response ends, which a server may forget to do."""
    rest = b""
    with suppress(TimeoutError, BadAnswer, ConnectionFault, UpstreamError):
        async with asyncio.timeout(END_PATIENCE):
            async for chunk in chunks:
                rest += chunk
                if len(rest) > END_LENGTH:
                    break
    return rest


def refuse_encoding(response: Response) -> None:
    """We ask for no compression: a compressed body could be a bomb."""
    encoding = response.header("content-encoding")
    if encoding is not None and encoding.lower() != "identity":
        raise BadAnswer("the answer is compressed, which was not asked for")


def read_json(data: bytes) -> Any:
    """JSON in UTF-8, read strictly; BadAnswer for anything else."""
    if len(data) > VALUES_LIMIT and sum(map(data.count, (b",", b"[", b"{"))) > VALUES_LIMIT:
        raise BadAnswer(f"the answer holds more than {VALUES_LIMIT} values")
    try:
        return strict_json.loads(data)
    except RecursionError as exc:
        raise BadAnswer("the answer cannot be read as JSON: nested too deep") from exc
    except ValueError as exc:
        if data.lstrip().startswith(b"<"):
            raise WebPage(f"the answer cannot be read as JSON: a web page{_titled(data)}") from exc
        raise BadAnswer("the answer cannot be read as JSON") from exc


def refuse_wide(data: bytes) -> None:
    """BadAnswer for a document that is too large to be read: its text is there twice meanwhile, in
    letters of one width, and once more where some are escaped.
    """
    if len(data) * 13 <= READING_LIMIT:  # as wide as it may be
        return
    times = 3 if b"\\u" in data else 2
    if len(data) * (1 + times * strict_json.width(data)) > READING_LIMIT:
        raise BadAnswer("the answer is a text of wide letters that is too long to be read")


def page_title(body: bytes) -> str:
    """The first words of a web page's title, or of its first heading; empty where there is none."""
    found = _TITLE.search(body)
    if found is None:
        return ""
    return html.unescape(" ".join(_text(found[2]).split()))[:TITLE_LIMIT]


def _titled(body: bytes) -> str:
    title = page_title(body)
    return f", {title!a}" if title else ""


def _long_line(limit: int) -> BadAnswer:
    return BadAnswer(f"a line of the answer is longer than {limit // 2**20} MiB")


def _text(value: bytes) -> str:
    """UTF-8 where it is that: HTTP says latin-1, and many servers write UTF-8."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
