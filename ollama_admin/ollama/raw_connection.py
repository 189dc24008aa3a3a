"""One connection to a server, as an asyncio protocol: one request after the other, the bytes of an
answer handed over as they arrive. It does not know how it was made, nor who uses it next.
"""

import asyncio
import errno
import ssl
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from ollama_admin.ollama import raw_framing
from ollama_admin.ollama.raw_framing import Chunks, Framing, Head
from ollama_admin.ollama.response import (
    AnswerLate,
    BadAnswer,
    ConnectionBroken,
    ConnectionClosed,
    ConnectionFault,
    ImproperAnswer,
    Response,
    Sending,
    WriteLate,
)

BUFFERED = 256 * 1024  # bytes of a body that wait for a slow reader before its server has to
INTERIM_LIMIT = 10  # answers of 1xx before the real one
_SLICE = 256 * 1024  # bytes of a request that are handed to the system at once
_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawResponse(Response):
    """A response, and what ends its body."""

    framing: Framing


class Body:
    """The body of one answer as it arrives; an iterator that raises ConnectionFault or BadAnswer
    where it does not come whole. One task at a time reads it.
    """

    __slots__ = ("_connection", "_pieces", "fault", "is_over", "size")

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._pieces: deque[bytes] = deque()
        self.size = 0  # bytes that wait to be read
        self.is_over = False
        self.fault: Exception | None = None

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self.fault is not None:
                raise self.fault
            if self.is_over:
                raise StopAsyncIteration
            await self._connection.wait(AnswerLate)
        piece = self._pieces.popleft()
        self.size -= len(piece)
        self._connection.has_begun()
        self._connection.resume_below(self.size)
        return piece

    def add(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self.size += len(piece)

    def drop(self) -> None:
        """Nobody reads on: what is there is forgotten, and a late reader gets an error. It is not a
        fault that was raised, which holds on to all that its frames hold, the answer too.
        """
        self._pieces.clear()
        self.size = 0
        self.fault = ConnectionClosed("the response is closed")


class Connection(asyncio.Protocol):
    """`ask`, read the body, `leave`; then the next request, if `is_open` still."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.is_open = False
        self.idle_since = 0.0  # by time.monotonic
        self.has_answered = False  # a byte of an answer to the request at hand has come
        self._method = ""
        self._interim = 0
        self._received = bytearray()  # of a head that is not complete
        self._head: Head | None = None
        self._body: Body | None = None
        self._chunks: Chunks | None = None
        self._left = 0  # bytes of a body with a length
        self._fault: Exception | None = None
        self._may_write = True
        self._is_paused = False
        self._is_whole = False  # the request
        self._silence = 0.0
        self._idle = 0.0
        self._waiter: asyncio.Future[None] | None = None
        self._late: type[ConnectionFault] = AnswerLate
        self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None

    # for who asks

    async def ask(
        self,
        method: str,
        head: bytes,
        body: bytes,
        silence: float,
        idle: float,
        sending: Sending,
    ) -> RawResponse:
        """Send a request, and wait for the head of its answer; 1xx are passed over.

        Each wait takes `silence` seconds at most, and `idle` once a piece was read. An answer that
        comes while the request is still being written ends the writing. Raises ConnectionFault and
        BadAnswer.
        """
        if not self.is_open:  # a server may speak, or leave, before it is asked
            raise self._fault or ConnectionClosed("the connection is closed")
        body_of_answer = self._begin(method, silence)
        self._idle = idle
        await self._write(head, body, sending)
        while self._head is None:
            if self._fault is not None:
                raise self._fault
            await self.wait(AnswerLate)
        return RawResponse(
            status=self._head.status,
            headers=self._head.headers,
            chunks=body_of_answer,
            framing=self._head.framing,
        )

    def has_begun(self) -> None:
        """A piece of the body was read: the model is loaded, and at work."""
        self._silence = self._idle

    def leave(self) -> bool:
        """End the request at hand; whether another one may follow. What was not received by now is
        cancelled at the server.
        """
        body, head = self._body, self._head
        self._body = self._head = None
        is_reusable = (
            self.is_open
            and self._is_whole
            and body is not None
            and body.is_over
            and head is not None
            and not head.is_last
        )
        if body is not None:
            body.drop()
        if is_reusable:
            self.resume_below(0)
        else:
            self.close()
            self._fault = None
        return is_reusable

    def close(self) -> None:
        """At once, without waiting for what is unsent."""
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()

    async def wait(self, late: type[ConnectionFault]) -> None:
        """Until something happens here; `late` is the fault when nothing does for too long."""
        self._late = late
        self._deadline = self._loop.time() + self._silence
        if self._timer is None or self._timer.when() > self._deadline:
            self._set_timer()
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def resume_below(self, size: int) -> None:
        if self._is_paused and size <= BUFFERED // 2:
            self._is_paused = False
            if self.is_open:
                self._transport.resume_reading()

    async def start_tls(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from now on, to who can prove to be `host`; OSError when that fails."""
        transport = await self._loop.start_tls(self._transport, self, context, server_hostname=host)
        if transport is None:  # closed by then
            raise ConnectionResetError(errno.ECONNRESET, "closed after the handshake")
        self._transport = transport

    # for asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.is_open = True

    def data_received(self, data: bytes) -> None:
        body = self._body
        if body is None:  # nobody has asked
            self.close()
            return
        self.has_answered = True
        try:
            if self._head is None:
                self._read_head(data, body)
            else:
                self._read_body(data, body, self._head)
        except BadAnswer as exc:
            self._fail(exc)
        self._wake()

    def eof_received(self) -> None:
        """The server says no more: nothing that is still unsent can help."""
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        body, head = self._body, self._head
        if head is not None and head.framing == "close" and exc is None and body is not None:
            body.is_over = True
        if exc is None:
            self._fail(ConnectionClosed("the connection was closed"))
        else:
            broken = ConnectionBroken("the connection broke")
            broken.__cause__ = exc
            self._fail(broken)
        self._wake()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._wake()

    # inside

    def _begin(self, method: str, silence: float) -> Body:
        self._method, self._silence, self._interim = method, silence, 0
        self._head = self._chunks = None
        self._is_whole = self.has_answered = False
        self._body = Body(self)
        return self._body

    async def _write(self, head: bytes, body: bytes, sending: Sending) -> None:
        """All of a request, or what can be written before its answer comes."""
        for piece in _pieces(head, body):
            if self._is_answered or self._transport.is_closing():
                return
            self._transport.write(piece)
            while not self._may_write and not self._is_answered:
                await self.wait(WriteLate)
        if self._fault is None and not self._transport.is_closing():
            sending.is_whole = True
            self._is_whole = self._may_write

    @property
    def _is_answered(self) -> bool:
        return self._head is not None or self._fault is not None

    def _read_head(self, data: bytes, body: Body) -> None:
        if self._received:
            self._received += data
            data = bytes(self._received)
        end = data.find(_HEAD_END)
        if end < 0:
            raw_framing.refuse_beginning(data)
            self._received[:] = data
            return
        self._received.clear()
        end += len(_HEAD_END)
        head = raw_framing.read_head(data[:end], self._method)
        if head.status < 200:
            self._pass_over(head)
            if end < len(data):
                self._read_head(data[end:], body)
            return
        rest = data[end:]
        if rest and head.framing == "none":
            raise ImproperAnswer("the answer has a body where none is allowed")
        self._head = head
        self._left = head.length
        body.is_over = head.framing == "none" or (head.framing == "length" and not head.length)
        if head.framing == "chunked":
            self._chunks = Chunks()
        if rest:
            self._read_body(rest, body, head)

    def _pass_over(self, head: Head) -> None:
        self._interim += 1
        if head.status == 101:
            raise ImproperAnswer("the answer changes the protocol, which was not asked for")
        if self._interim > INTERIM_LIMIT:
            raise ImproperAnswer(f"the answer has more than {INTERIM_LIMIT} interim ones before it")

    def _read_body(self, data: bytes, body: Body, head: Head) -> None:
        if self._chunks is not None:
            data, excess = self._chunks.read(data), self._chunks.has_excess
            body.is_over = self._chunks.is_over
        elif head.framing == "close":
            excess = False
        else:
            excess = len(data) > self._left
            data = data[: self._left]
            self._left -= len(data)
            body.is_over = not self._left
        if excess:  # whose these bytes are nobody knows
            head.is_last = True
        if data:
            body.add(data)
        if body.size > BUFFERED and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()

    def _fail(self, fault: Exception) -> None:
        """The request at hand ends with that fault, unless its answer is whole already."""
        self._fault = self._fault or fault
        if self._body is not None and not self._body.is_over:
            self._body.fault = self._body.fault or fault
        self.close()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._end_late_wait)

    def _end_late_wait(self) -> None:
        """One timer serves all waits: it may be that of an earlier one."""
        self._timer = None
        if self._waiter is None:
            return
        if self._loop.time() < self._deadline:
            self._set_timer()
            return
        self._fail(self._late("timed out waiting for the server"))
        self._wake()


def _pieces(head: bytes, body: bytes) -> Iterator[bytes | memoryview]:
    """A request in writes: one for a small body, slices without a copy for a large one."""
    if len(body) <= _SLICE:
        yield head + body
        return
    yield head
    with memoryview(body) as view:
        for start in range(0, len(body), _SLICE):
            yield view[start : start + _SLICE]
