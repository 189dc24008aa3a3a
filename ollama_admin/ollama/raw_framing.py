"""Where a message of HTTP/1.1 begins and ends: the head of a request is written here, the head and
the chunks of an answer are read, strictly. What two programs could read in two ways is refused.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal
from urllib.parse import quote

import httptools

from ollama_admin.ollama.connecting import HEADERS_LIMIT
from ollama_admin.ollama.response import BadAnswer, BadRequest, ImproperAnswer

Framing = Literal["length", "chunked", "close", "none"]

HEAD_LIMIT = 64 * 1024  # bytes
_OVERHEAD_LIMIT = 8 * 1024  # bytes of chunked coding in a row without one of the body

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELDS = rb"(?:" + _TOKEN + rb":[^\r\n\0]*+\r\n)*+"
_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: [^\r\n\0]*+)?+\r\n(" + _FIELDS + rb")\r\n"
)
# a line feed or carriage return that stands alone; the last byte may be half of a pair
_BROKEN_LINE = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\0")
_NAME = re.compile(_TOKEN)
_LENGTH = re.compile(rb"[0-9]{1,15}")
# with `close`, whatever follows the last chunk is an error; a line that is empty is not
_CHUNKS_FOLLOW = b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
_LAST_LINES = 5  # bytes: the end of a line, and the empty line
_END = re.compile(rb"[^\r\n]\r\n\r\n")
_TARGET = re.compile(r"/[!-\"$-~]*")  # of printable ASCII, without `#`
_CONTROL = re.compile(r"[\x00-\x1f\x7f#]")
_PRINTABLE = "!\"$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

_SHORT_NAME = 64  # bytes
_WITHOUT_BODY = (204, 304)
_WITH_LENGTH = ("POST", "PUT", "PATCH")  # also of an empty body
_SET_HERE = (b"accept-encoding", b"content-length", b"transfer-encoding")
_NO_ENCODING = b"Accept-Encoding: identity"
_DEFAULTS = ((b"user-agent", b"User-Agent: ollama-admin"), (b"accept", b"Accept: */*"))


@dataclass(slots=True)
class Head:
    """The head of an answer, and what it says of the body; `length` is 0 unless that is the
    framing. `is_last`: the connection ends with this answer.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    framing: Framing
    length: int
    is_last: bool


def target_of(path: str) -> str:
    """A path with its query as it stands in a request: unchanged, but for characters that no URL
    may hold, which are escaped. BadRequest for control characters and `#`.
    """
    if _TARGET.fullmatch(path):
        return path
    if _CONTROL.search(path) or not path.startswith("/"):
        raise BadRequest("the path holds what no request can")
    return quote(path, safe=_PRINTABLE, errors="surrogatepass")


def request_head(
    method: str,
    target: str,
    fixed: bytes,
    host: bytes,
    headers: Sequence[tuple[bytes, bytes]],
    length: int,
) -> bytes:
    """The head of a request: `fixed` lines, then the headers that were given, and ours where none
    of that name was. Length and encoding are set here alone. BadRequest for what would be no
    header, or several.
    """
    names = set()
    lines = [b"%b %b HTTP/1.1" % (_method(method), target.encode("ascii"))]
    for name, value in headers:
        key = _header_key(name)
        if key not in _SET_HERE:
            names.add(key)
            lines.append(b"%b: %b" % (name, value))
    if b"host" not in names:
        lines.append(host)
    lines += [line for key, line in _DEFAULTS if key not in names]
    lines.append(_NO_ENCODING)
    if length or method in _WITH_LENGTH:
        lines.append(b"Content-Length: %d" % length)
    head = b"\r\n".join(lines)
    ends = len(lines) - 1
    if head.count(b"\n") != ends or head.count(b"\r") != ends or b"\0" in head:
        raise BadRequest("a header holds the end of a line")
    return b"%b\r\n%b\r\n" % (head, fixed)


@lru_cache(maxsize=64)
def _method(name: str) -> bytes:
    if not name.isascii() or not _NAME.fullmatch(name.encode()):
        raise BadRequest("the method's name is no name")
    return name.encode()


def _header_key(name: bytes) -> bytes:
    """The name in small letters; only short ones are remembered, as callers choose them."""
    if len(name) > _SHORT_NAME:
        return _new_header_key(name)
    return _known_header_key(name)


def _new_header_key(name: bytes) -> bytes:
    if not _NAME.fullmatch(name):
        raise BadRequest("a header's name is no name")
    return name.lower()


_known_header_key = lru_cache(maxsize=1024)(_new_header_key)


def refuse_beginning(data: bytes) -> None:
    """Raise ImproperAnswer for the beginning of a head that cannot become one."""
    if data[:7] != b"HTTP/1."[: len(data)] or _BROKEN_LINE.search(data):
        raise _improper("its head")
    if len(data) > HEAD_LIMIT:
        raise ImproperAnswer(f"the head of the answer is longer than {HEAD_LIMIT // 1024} KiB")


def read_head(data: bytes, method: str) -> Head:
    """A whole head, from `HTTP/` to the empty line, as the answer to a request of that method.

    Raises ImproperAnswer, and BadAnswer for more than `HEADERS_LIMIT` lines.
    """
    if len(data) > HEAD_LIMIT:
        raise ImproperAnswer(f"the head of the answer is longer than {HEAD_LIMIT // 1024} KiB")
    match = _HEAD.fullmatch(data)
    if match is None:
        raise _improper("its head")
    minor, status, fields = match.groups()
    lines = fields.split(b"\r\n")
    lines.pop()
    if len(lines) > HEADERS_LIMIT:
        raise BadAnswer(f"the answer has {len(lines)} headers")
    head = Head(int(status), [], "close", 0, minor == b"0")
    framings = []
    for line in lines:
        name, _, value = line.partition(b":")
        value = value.strip(b" \t")
        head.headers.append((name, value))
        key = name.lower()
        if key == b"connection":
            head.is_last = head.is_last or b"close" in _members(value)
        elif key in (b"content-length", b"transfer-encoding"):
            framings.append((key, value))
    if framings:
        _set_framing(head, framings, is_old=minor == b"0")
    if method == "HEAD" or head.status in _WITHOUT_BODY or head.status < 200:
        head.framing, head.length = "none", 0
    head.is_last = head.is_last or head.framing == "close"
    if method == "CONNECT" and 200 <= head.status < 300:  # a tunnel from here on
        head.framing, head.length, head.is_last = "none", 0, False
    return head


def _set_framing(head: Head, framings: list[tuple[bytes, bytes]], *, is_old: bool) -> None:
    """What the only header that may say so says; a length given twice is refused, even where both
    are equal.
    """
    if len(framings) > 1:
        raise ImproperAnswer("the answer has more than one length")
    ((key, value),) = framings
    if key == b"content-length":
        if not _LENGTH.fullmatch(value):
            raise ImproperAnswer("the length of the answer is not a number")
        head.framing, head.length = "length", int(value)
    elif value.lower() == b"chunked" and not is_old:
        head.framing = "chunked"
    else:
        raise ImproperAnswer("the answer has an unknown transfer coding")


def _members(value: bytes) -> list[bytes]:
    return [member.strip(b" \t") for member in value.lower().split(b",")]


class Chunks:
    """Takes chunks apart, by llhttp. `is_over` after the last one; what follows it is `has_excess`.

    Its parser begins behind a head of ours, and so knows no more of the answer than its chunks.
    """

    __slots__ = ("_idle", "_parser", "_received", "_tail", "has_excess")

    def __init__(self) -> None:
        self._received = _Received()
        self._parser = httptools.HttpResponseParser(self._received)
        self._parser.feed_data(_CHUNKS_FOLLOW)
        self._idle = 0  # bytes since the last ones that had some of the body
        self._tail = b""
        self.has_excess = False

    @property
    def is_over(self) -> bool:
        return self._received.is_over

    def read(self, data: bytes) -> bytes:
        """What is body in the bytes that came next; ImproperAnswer where they are no chunks."""
        if self.is_over:
            self.has_excess = True
            return b""
        received = self._received
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as exc:
            if not received.is_over:
                raise _improper("its chunks") from exc
            self.has_excess = True
        tail = data[-_LAST_LINES:]
        self._tail = (self._tail + tail)[-_LAST_LINES:]
        if received.is_over and not _END.fullmatch(self._tail):
            self.has_excess = True
        body = received.take()
        self._refuse_endless(len(data), has_body=bool(body))
        return body

    def _refuse_endless(self, length: int, *, has_body: bool) -> None:
        """Sizes, extensions and trailers without an end are no answer."""
        self._idle += length
        if has_body:
            self._idle = 0
        if self._idle > _OVERHEAD_LIMIT:
            raise _improper("its chunks have no end")


class _Received:
    """What the parser has found since it was last looked at."""

    __slots__ = ("is_over", "on_body", "pieces")

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.on_body = self.pieces.append
        self.is_over = False

    def on_message_complete(self) -> None:
        self.is_over = True

    def take(self) -> bytes:
        body = b"".join(self.pieces)
        self.pieces.clear()
        return body


def _improper(what: str) -> ImproperAnswer:
    return ImproperAnswer(f"the answer is not valid HTTP: {what}")
