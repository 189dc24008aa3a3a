"""The tests' Ollama: the simulated server, plus faults scripted per path.

    async with FakeOllama(SimulatedModel("alpha")) as fake:
        fake.script("/api/tags", Answer(502, "<html>bad gateway</html>"))

The next request to the path meets the fault; later ones are answered as usual.
"""

import asyncio
import hashlib
import json
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from enum import Enum, auto
from itertools import cycle
from pathlib import Path
from typing import Any, assert_never

from ollama_admin.simulator.http import (
    JSON,
    NDJSON,
    TEXT,
    ChunkedBody,
    Connection,
    RecordedRequest,
    Reply,
    encode_chunk,
    encode_head,
    encode_json,
)
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import SimulatedServer

WIRE = Path(__file__).parent / "wire"

_HTML = "text/html; charset=utf-8"
_BLOCK = 65536


class Ending(Enum):
    KEEP = auto()
    FIN = auto()
    RESET = auto()


class FakeOllama(SimulatedServer):
    """`require_header` is a name and the value that every request must carry, else 401."""

    def __init__(
        self,
        *models: SimulatedModel,
        require_header: tuple[str, str] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*models, **options)
        self.require_header = require_header
        self._once: dict[str, deque[Fault]] = {}
        self._always: dict[str, Fault] = {}

    def script(self, path: str, *faults: "Fault") -> None:
        """The next requests to the path meet these faults, one each, in order."""
        self._once.setdefault(path, deque()).extend(faults)

    def script_always(self, path: str, fault: "Fault") -> None:
        """Every request to the path meets the fault, once those of `script` are used up."""
        self._always[path] = fault

    def clear_script(self) -> None:
        self._once.clear()
        self._always.clear()

    def requests_to(self, path: str) -> list[RecordedRequest]:
        return [request for request in self.requests if self.local_path(request) == path]

    async def answer(self, connection: Connection, request: RecordedRequest) -> None:
        path = self.local_path(request)
        if not self._is_authorized(request):
            await connection.write(self._unauthorized().encode())
            return
        once = self._once.get(path)
        fault = once.popleft() if once else self._always.get(path)
        if fault is None:
            await self.simulate(connection, request)
        else:
            await fault.play(self, connection, request)

    async def simulate(self, connection: Connection, request: RecordedRequest) -> None:
        """Answers as a server without faults."""
        await super().answer(connection, request)

    def _is_authorized(self, request: RecordedRequest) -> bool:
        if self.require_header is None:
            return True
        name, value = self.require_header
        return request.headers.get(name.lower()) == value

    def _unauthorized(self) -> Reply:
        _, value = self.require_header or ("", "")
        scheme = value.split(" ", 1)[0] if " " in value else "Bearer"
        headers = {"WWW-Authenticate": f'{scheme} realm="ollama"'}
        body = b"<html><h1>401 Authorization Required</h1></html>"
        return Reply(status=401, body=body, content_type=_HTML, headers=headers)


class Fault(ABC):
    """What a scripted request meets instead of the simulated answer."""

    @abstractmethod
    async def play(
        self, fake: FakeOllama, client: Connection, request: RecordedRequest
    ) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer(Fault):
    """A whole answer: bytes as they are, text as text or HTML, anything else as JSON."""

    status: int = 200
    body: object = b""
    _: KW_ONLY
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None

    async def play(self, fake: FakeOllama, client: Connection, request: RecordedRequest) -> None:
        body, content_type = _encode_body(self.body)
        reply = Reply(
            status=self.status,
            body=body,
            headers=self.headers,
            content_type=self.content_type or content_type,
        )
        await client.write(reply.encode())


def pull_progress(model: str, layers: int = 2) -> list[bytes]:
    """The lines of a pull that succeeds, as Ollama 0.33 writes them."""
    records: list[dict[str, object]] = [{"status": "pulling manifest"}]
    for number in range(layers):
        digest = hashlib.sha256(f"{model}{number}".encode()).hexdigest()
        layer = {"status": f"pulling {digest[:12]}", "digest": f"sha256:{digest}", "total": 100}
        records += [layer, layer | {"completed": 50}, layer | {"completed": 100}]
    for status in ("verifying sha256 digest", "writing manifest", "success"):
        records.append({"status": status})
    return [encode_json(record) + b"\n" for record in records]


def redirect(location: str, status: int = 307) -> Answer:
    return Answer(status, headers={"Location": location})


@dataclass(frozen=True, slots=True)
class Raw(Fault):
    """Exactly these bytes, then the ending; an event among them is waited for.

    Without pieces the connection ends as soon as the request was read.
    """

    pieces: tuple[bytes | asyncio.Event, ...] = ()
    ending: Ending = Ending.FIN

    async def play(self, fake: FakeOllama, client: Connection, request: RecordedRequest) -> None:
        for piece in self.pieces:
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            else:
                await client.write(piece)
        _end(client, self.ending)


@dataclass(frozen=True, slots=True)
class Silence(Fault):
    """Never answers; `arrived` is set when the request is there."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self, fake: FakeOllama, client: Connection, request: RecordedRequest) -> None:
        self.arrived.set()
        await asyncio.Event().wait()


@dataclass(frozen=True, slots=True)
class Held(Fault):
    """Answers as usual, but not before `release` is set."""

    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self, fake: FakeOllama, client: Connection, request: RecordedRequest) -> None:
        self.arrived.set()
        await self.release.wait()
        await fake.simulate(client, request)


@dataclass(frozen=True, slots=True)
class Drip(Fault):
    """A whole response, one byte every so many seconds; the connection stays open."""

    response: bytes
    every: float

    async def play(self, fake: FakeOllama, client: Connection, request: RecordedRequest) -> None:
        for byte in self.response:
            await client.write(bytes([byte]))
            await asyncio.sleep(self.every)


@dataclass(frozen=True, slots=True)
class CutAfter(Fault):
    """The usual answer, cut after so many bytes of the response, head included."""

    count: int
    ending: Ending = Ending.FIN

    async def play(self, fake: FakeOllama, client: Connection, request: RecordedRequest) -> None:
        cut = _CutConnection(client, self.count)
        try:
            await fake.simulate(cut, request)
        except _CutShortError:
            _end(client, self.ending)
        else:
            raise AssertionError(f"the answer is not longer than {self.count} bytes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Huge(Fault):
    """A chunked body of head, unit repeated, tail, never held in memory as a whole."""

    head: bytes = b""
    unit: bytes
    times: int
    tail: bytes = b""
    content_type: str = JSON

    async def play(self, fake: FakeOllama, client: Connection, request: RecordedRequest) -> None:
        body = ChunkedBody(client, self.content_type)
        per_block = max(1, _BLOCK // len(self.unit))
        blocks, rest = divmod(self.times, per_block)
        block = self.unit * per_block
        if self.head:
            await body.write(self.head)
        for _ in range(blocks):
            await body.write(block)
        if last := self.unit * rest + self.tail:
            await body.write(last)
        await body.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rechunked(Fault):
    """A body in HTTP chunks of the given sizes, taken in turn and around again."""

    body: bytes
    sizes: tuple[int, ...] = (1,)
    content_type: str = NDJSON

    async def play(self, fake: FakeOllama, client: Connection, request: RecordedRequest) -> None:
        chunks = ChunkedBody(client, self.content_type)
        sizes, start = cycle(self.sizes), 0
        while start < len(self.body):
            size = next(sizes)
            await chunks.write(self.body[start : start + size])
            start += size
        await chunks.end()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording(Fault):
    """One file of `wire/`, served as the bytes that the real server sent."""

    status: int
    headers: Mapping[str, str]
    pieces: tuple[bytes, ...]
    request: Mapping[str, Any]

    @classmethod
    def load(cls, name: str) -> "Recording":
        record = json.loads((WIRE / f"{name}.json").read_text())
        response = record["response"]
        return cls(
            status=response["status"],
            headers=response["headers"],
            pieces=_split_body(response["body"]),
            request=record["request"],
        )

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def head(self) -> bytes:
        length = {} if self._is_chunked else {"Content-Length": str(len(self.body))}
        return encode_head(self.status, dict(self.headers) | length)

    @property
    def response(self) -> bytes:
        """Status line, headers and body; chunked, one line or event a chunk, if it was so."""
        if not self._is_chunked:
            return self.head + self.body
        chunks = (encode_chunk(piece) for piece in (*filter(None, self.pieces), b""))
        return self.head + b"".join(chunks)

    def cut_at(self, offset: int, ending: Ending = Ending.FIN) -> Raw:
        """The response ending after so many bytes, head and chunk sizes included."""
        return Raw((self.response[:offset],), ending)

    def rechunked(self, *sizes: int) -> Rechunked:
        content_type = self.headers.get("Content-Type", NDJSON)
        return Rechunked(body=self.body, sizes=sizes, content_type=content_type)

    async def play(self, fake: FakeOllama, client: Connection, request: RecordedRequest) -> None:
        await client.write(self.response)

    @property
    def _is_chunked(self) -> bool:
        return "Transfer-Encoding" in self.headers


class _CutShortError(Exception):
    """The answer has reached the byte where it is cut."""


class _CutConnection(Connection):
    def __init__(self, connection: Connection, count: int) -> None:
        super().__init__(connection.reader, connection.writer)
        self._left = count

    async def write(self, data: bytes) -> None:
        await super().write(data[: self._left])
        self._left = max(0, self._left - len(data))
        if not self._left:
            raise _CutShortError


def _end(connection: Connection, ending: Ending) -> None:
    match ending:
        case Ending.KEEP:
            pass
        case Ending.FIN:
            connection.finish()
        case Ending.RESET:
            connection.reset()
        case _:
            assert_never(ending)


def _encode_body(body: object) -> tuple[bytes, str | None]:
    if isinstance(body, bytes):
        return body, "application/octet-stream" if body else None
    if isinstance(body, str):
        return body.encode(), _HTML if body.lstrip().startswith("<") else TEXT
    return encode_json(body), JSON


def _split_body(body: str | list[str]) -> tuple[bytes, ...]:
    """The pieces the server flushed: lines of NDJSON, events of SSE, or the whole text."""
    if isinstance(body, str):
        return (body.encode(),)
    text = "\n".join(body) + "\n"
    separator = "\n\n" if text.startswith("data:") else "\n"
    return tuple(f"{piece}{separator}".encode() for piece in text.split(separator) if piece)
