"""What asks for what the gateway is measured with: as little as can be between a clock and a
socket, so that it holds back nobody whom it measures.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import uvloop

from tests.benchmarks.measuring import BenchmarkError
from tests.benchmarks.upstream import SHORT, body_for

PATIENCE = 60.0  # seconds for a stream, and for the last answer
_OK = b"HTTP/1.1 200"
_END = b"0\r\n\r\n"
_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Who is asked; without a token, no credential is sent."""

    url: str
    token: str = ""

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname
        assert parts.port
        return parts.hostname, parts.port

    def request(self, path: str, body: bytes) -> bytes:
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: bench",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        if self.token:
            lines.append(f"Authorization: Bearer {self.token}")
        return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """`times` are seconds of each answer, which came in `seconds` as a whole."""

    times: Sequence[float]
    seconds: float

    @property
    def each(self) -> float:
        """Seconds of the clock for each answer, of all connections together."""
        return self.seconds / len(self.times)


@dataclass(slots=True)
class Stream:
    """Seconds until the first piece of the body, and until the end, and bytes of the body."""

    first: float = 0.0
    whole: float = 0.0
    size: int = 0


def requests(
    target: Target, connections: int, *, seconds: float, pause: float = 0.0, most: int = 0
) -> Load:
    """Short answers at so many connections at once, each of which asks again when it is answered,
    or `pause` seconds after it asked; for so many seconds, or until `most` answers are there.
    """
    return uvloop.run(_requests(target, connections, seconds, pause, most))


def streams(target: Target, model: str, count: int) -> list[Stream]:
    """So many streams at once, each to its end."""
    return uvloop.run(_streams(target, model, count))


@dataclass(slots=True)
class _Asked:
    """What all connections of one load have in common."""

    request: bytes
    pause: float
    until: float
    most: int
    done: asyncio.Future[None]
    running: int
    times: list[float] = field(default_factory=list)

    def fail(self, message: str) -> None:
        if not self.done.done():
            self.done.set_exception(BenchmarkError(message))

    def leave(self) -> None:
        self.running -= 1
        if not self.running and not self.done.done():
            self.done.set_result(None)


async def _requests(
    target: Target, connections: int, seconds: float, pause: float, most: int
) -> Load:
    loop = asyncio.get_running_loop()
    request = target.request("/v1/chat/completions", body_for(SHORT))
    began = time.perf_counter()
    asked = _Asked(request, pause, began + seconds, most, loop.create_future(), connections)
    for _ in range(connections):
        await loop.create_connection(lambda: _Asking(asked), *target.address)
    async with asyncio.timeout(seconds + PATIENCE):
        await asked.done
    return Load(times=asked.times, seconds=time.perf_counter() - began)


class _Asking(asyncio.Protocol):
    def __init__(self, asked: _Asked) -> None:
        self._asked = asked
        self._received = b""
        self._sent = 0.0
        self._has_ended = False
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._received, 0, end)
        if length is None or not self._received.startswith(_OK):
            self._asked.fail(f"answered: {self._received[:500]!r}")
            return
        if len(self._received) >= end + 4 + int(length[1]):
            self._received = b""
            self._answered()

    def _answered(self) -> None:
        now, asked = time.perf_counter(), self._asked
        asked.times.append(now - self._sent)
        if now >= asked.until or (asked.most and len(asked.times) >= asked.most):
            self._has_ended = True
            self._transport.close()
            asked.leave()
        elif asked.pause:
            rest = max(0.0, self._sent + asked.pause - now)
            asyncio.get_running_loop().call_later(rest, self._send)
        else:
            self._send()

    def _send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._asked.request)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._has_ended:
            self._asked.fail("a connection was closed before its answer")


async def _streams(target: Target, model: str, count: int) -> list[Stream]:
    loop = asyncio.get_running_loop()
    request = target.request("/api/chat", body_for(model))
    reading = [_Reading(request, loop.create_future()) for _ in range(count)]
    await asyncio.gather(
        *(loop.create_connection(lambda one=one: one, *target.address) for one in reading)
    )
    for one in reading:
        one.send()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(one.done for one in reading))
    return [one.stream for one in reading]


class _Reading(asyncio.Protocol):
    def __init__(self, request: bytes, done: asyncio.Future[None]) -> None:
        self.done = done
        self.stream = Stream()
        self._request = request
        self._head = b""
        self._tail = b""
        self._is_in_body = False
        self._sent = 0.0
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def send(self) -> None:
        self._sent = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self._is_in_body:
            head, blank, data = (self._head + data).partition(b"\r\n\r\n")
            if not blank:
                self._head = head
                return
            if not head.startswith(_OK):
                self._fail(f"answered: {head[:500]!r}")
            self._is_in_body = True
        if not data:
            return
        if not self.stream.size:
            self.stream.first = time.perf_counter() - self._sent
        self.stream.size += len(data)
        self._tail = (self._tail + data[-200:])[-200:]
        if self._tail.endswith(_END):
            self._end()

    def _end(self) -> None:
        self.stream.whole = time.perf_counter() - self._sent
        if b'"done":true' not in self._tail:
            self._fail("a stream ended before its last record")
        elif not self.done.done():
            self.done.set_result(None)
        self._transport.close()

    def _fail(self, message: str) -> None:
        if not self.done.done():
            self.done.set_exception(BenchmarkError(message))

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail("a stream was closed before its end")
