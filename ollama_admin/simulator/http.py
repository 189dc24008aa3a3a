"""HTTP/1.1 on a socket, as little of it as the simulated server needs."""

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

JSON = "application/json; charset=utf-8"
PLAIN_JSON = "application/json"
NDJSON = "application/x-ndjson"
SSE = "text/event-stream"
TEXT = "text/plain"

_READ_SIZE = 65536
_LARGEST_HEAD = 65536
# Go's encoder escapes these three even where JSON does not ask for it.
_GO_ESCAPES = str.maketrans({"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"})


class MalformedRequestError(Exception):
    """The bytes received are not a request that this server reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRequest:
    """A request as received. Header names are in lower case.

    `body` is the parsed JSON when the body is JSON, else the bytes, which `raw` always holds.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str]
    raw: bytes = b""
    body: object = b""

    @property
    def wants_close(self) -> bool:
        return self.headers.get("connection", "").lower() == "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that is sent whole, with its Content-Length."""

    status: int = 200
    body: bytes = b""
    content_type: str | None = JSON
    headers: Mapping[str, str] = field(default_factory=dict)

    def encode(self, *, head_only: bool = False) -> bytes:
        headers = dict(self.headers) | {"Content-Length": str(len(self.body))}
        if self.content_type:
            headers["Content-Type"] = self.content_type
        head = encode_head(self.status, headers)
        if head_only:
            return head
        return head + self.body


def encode_json(value: object) -> bytes:
    """Compact JSON with the escapes of Go's encoder."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.translate(_GO_ESCAPES).encode()


def encode_head(status: int, headers: Mapping[str, str]) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def encode_chunk(data: bytes) -> bytes:
    """One piece of a chunked body; the empty one ends it."""
    return b"%x\r\n%s\r\n" % (len(data), data)


class Connection:
    """One client's connection. Writing raises ConnectionError once the client has gone."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.was_ended = False  # by this side, on purpose
        self._received = bytearray()
        # Nothing is kept back in the process: what was written is with the kernel.
        writer.transport.set_write_buffer_limits(high=0)

    @property
    def is_closing(self) -> bool:
        return self.writer.is_closing()

    async def read_request(self) -> RecordedRequest | None:
        """The next request, or None when the client has closed the connection."""
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            if len(self._received) > _LARGEST_HEAD:
                raise MalformedRequestError("header too large")
            if not await self._receive():
                return None
        head = bytes(self._received[:end]).decode("latin-1").split("\r\n")
        del self._received[: end + 4]
        headers = _parse_headers(head[1:])
        raw = await self._read_body(headers)
        if raw is None:
            return None
        return _parse_request(head[0], headers, raw)

    async def client_left(self) -> None:
        """Returns when the client has gone; what it sends meanwhile is kept for later."""
        with contextlib.suppress(ConnectionError):
            while await self._receive():
                pass

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def finish(self) -> None:
        """Ends the connection with FIN, after what was written."""
        self.was_ended = True
        self.writer.close()

    def reset(self) -> None:
        """Ends the connection with RST."""
        self.was_ended = True
        opened: socket.socket | None = self.writer.get_extra_info("socket")
        if opened is not None and opened.fileno() >= 0:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        """Closes without waiting for a client that does not read."""
        if self.writer.transport.get_write_buffer_size():
            self.writer.transport.abort()
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def _read_body(self, headers: Mapping[str, str]) -> bytes | None:
        if "transfer-encoding" in headers:
            raise MalformedRequestError("chunked request bodies are not simulated")
        length = headers.get("content-length", "0")
        if not length.isdecimal():
            raise MalformedRequestError("Content-Length is not a number")
        if headers.get("expect", "").lower() == "100-continue":
            await self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while len(self._received) < int(length):
            if not await self._receive():
                return None
        raw = bytes(self._received[: int(length)])
        del self._received[: int(length)]
        return raw

    async def _receive(self) -> bool:
        data = await self.reader.read(_READ_SIZE)
        self._received += data
        return bool(data)


class ChunkedBody:
    """A streamed answer; its head goes out with the first piece, as Ollama's does."""

    def __init__(self, connection: Connection, content_type: str) -> None:
        self._connection = connection
        headers = {"Content-Type": content_type, "Transfer-Encoding": "chunked"}
        self._head = encode_head(200, headers)

    @property
    def has_begun(self) -> bool:
        return not self._head

    async def write(self, piece: bytes) -> None:
        head, self._head = self._head, b""
        await self._connection.write(head + encode_chunk(piece))

    async def end(self) -> None:
        head, self._head = self._head, b""
        await self._connection.write(head + encode_chunk(b""))


def _parse_headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise MalformedRequestError("a header line has no colon")
        headers[name.strip().lower()] = value.strip()
    return headers


def _parse_request(line: str, headers: dict[str, str], raw: bytes) -> RecordedRequest:
    method, _, rest = line.partition(" ")
    target, _, protocol = rest.rpartition(" ")
    if not protocol.startswith("HTTP/1."):
        raise MalformedRequestError("not an HTTP/1 request line")
    path, _, query = target.partition("?")
    try:
        body: object = json.loads(raw)
    except ValueError:
        body = raw
    return RecordedRequest(
        method=method, path=path, query=query, headers=headers, raw=raw, body=body
    )
