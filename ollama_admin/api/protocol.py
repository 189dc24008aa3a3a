"""Connections whose clients have a deadline for what they want to say, and for reading."""

import asyncio
from enum import Enum, auto
from typing import Any
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ollama_admin.api import heads
from ollama_admin.api.connections import Connection, Connections
from ollama_admin.api.problems import JSONDocument
from ollama_admin.gateway.limits import ADMITTED, Limits

_LINGER = 2.0  # seconds that a client has to notice the end, and a refused one to read why
_UNREADABLE = (b"400 Bad Request", "this is not valid HTTP")
_TOO_LONG = (
    b"431 Request Header Fields Too Large",
    f"the head of the request is longer than {heads.LIMIT} bytes",
)


class Part(Enum):
    """A part of a request that a client sends."""

    HEAD = auto()
    BODY = auto()


class _Joined:
    """A transport whose first writes are put together: the head of an answer and what follows go
    out by one call of the system, which costs as much as everything else that we do for it.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = b""

    def write(self, data: bytes) -> None:
        if self._head is None:
            self._transport.write(data)
        elif self._head:
            self._transport.write(self._head + data)
            self._head = None
        else:
            self._head = data

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def flush(self) -> None:
        if self._head:
            self._transport.write(self._head)
        self._head = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Cycle(RequestResponseCycle):
    """One request and its answer. Clients of HTTP 1.0 know no chunks: what has no length ends with
    the connection.
    """

    _is_until_close = False

    async def send(self, message: Any) -> None:
        if self.scope["http_version"] == "1.0":
            self._without_chunks(message)
        is_head = message["type"] == "http.response.start"
        if is_head:
            self.transport = _Joined(self.transport)  # type: ignore[assignment]
        await super().send(message)
        if not is_head and isinstance(self.transport, _Joined):
            self.transport.flush()
            self.transport = self.transport._transport

    def _without_chunks(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            names = [name.lower() for name, _ in message.get("headers", ())]
            if b"content-length" not in names:
                self._is_until_close = True
                self.chunked_encoding = False
        elif self._is_until_close:
            self.expected_content_length = len(message.get("body", b""))


class DeadlineProtocol(HttpToolsProtocol, Connection):
    """uvicorn's protocol, with strict heads, and with deadlines for the head and for the body of
    each request, and for the client to read what is sent: it would wait for ever.

    It parses a request when the one before it has been answered; what comes earlier waits.
    """

    def __init__(
        self, *args: Any, limits: Limits, open_connections: Connections, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self._limits = limits
        self._open = open_connections
        self._is_made = False
        self._unparsed = b""
        self._seen = 0  # bytes of `_unparsed` that are no whole head
        self._part = Part.HEAD
        self._is_in_head = False  # the parser is given a head just now
        self._upgrades: list[bytes] = []  # the protocols that it asks for
        self._is_taken = False  # there is an answer to the request whose body is read
        self._body_left = 0  # bytes, or heads.CHUNKED
        self._beside_body = 0  # bytes of chunks that are no body, since the last ones that are
        self._is_deaf = False  # nothing more is read: the connection ends with what is sent
        self._awaited: Part | None = None  # what the timer was set for
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0  # bytes, when the other timer was set
        self._write_timer: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        if not self._is_made:
            return self.handshake is None
        return self._is_answering and ADMITTED in self.cycle.scope

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    @property
    def awaits_body(self) -> bool:
        """Whether a part of a body is still to come."""
        return self._part is Part.BODY

    @property
    def may_be_unread(self) -> bool:
        """Whether the client has perhaps not taken all that was sent: TLS does not tell."""
        return self.scheme == "https" or self.transport.get_write_buffer_size() > 0

    def abort(self) -> None:
        if self._is_made:
            self.transport.abort()
        elif self.handshake is not None:
            self.handshake.cancel()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._is_made = True
        # It is heard of whatever is not sent at once. TLS counts from the limit on, not above it.
        transport.set_write_buffer_limits(high=1 if self.scheme == "https" else 0)
        self._watch()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._unset_keepalive_if_required()
        self._unparsed += data
        self._parse()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        self._is_deaf = True
        self._stop()
        self._stop_writing_timer()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        if ADMITTED in self.cycle.scope:
            self._open.served(self)
        super().on_response_complete()
        if self._unparsed and not self.transport.is_closing():
            self.data_received(b"")

    def pause_writing(self) -> None:
        super().pause_writing()
        self._set_writing_timer()

    def resume_writing(self) -> None:
        self._stop_writing_timer()
        super().resume_writing()

    # what the client sends

    def _parse(self) -> None:
        while self._unparsed and not self._is_deaf:
            if self._part is Part.BODY:
                self._parse_body()
            elif self._is_answering:
                self.flow.pause_reading()
                return
            elif not self._parse_head():
                return

    def _parse_head(self) -> bool:
        """Parse the next head; whether it was there."""
        end = self._unparsed.find(heads.END, max(0, self._seen - len(heads.END)), heads.LIMIT)
        if end == -1:
            self._look_at_half_a_head()
            return False
        end += len(heads.END)
        head, self._unparsed = self._unparsed[:end], self._unparsed[end:]
        self._seen = 0
        if not heads.is_proper(head):
            self._refuse(*_UNREADABLE)
            return False
        self._part, self._is_in_head = Part.BODY, True
        head, self._upgrades = heads.without_upgrade(head)
        self._feed(head)
        return True

    def _look_at_half_a_head(self) -> None:
        if not heads.may_become_proper(self._unparsed, self._seen):
            self._refuse(*_UNREADABLE)
        elif len(self._unparsed) >= heads.LIMIT:
            self._refuse(*_TOO_LONG)
        self._seen = len(self._unparsed)

    def _parse_body(self) -> None:
        part = self._unparsed
        if self._body_left == heads.CHUNKED:
            self._beside_body += len(part)
        else:
            part = part[: self._body_left]
            self._body_left -= len(part)
        self._unparsed = self._unparsed[len(part) :]
        self._feed(part)
        if self._beside_body > heads.LIMIT:
            self._refuse(*_UNREADABLE)

    def _feed(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self._part is Part.BODY:
                self._refuse(*_UNREADABLE)
            else:
                self._end_after_answer()

    def on_message_begin(self) -> None:
        if not self._is_in_head:
            raise ValueError("where chunks end is not known here: what is behind them is not read")
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is_in_head:  # else it is behind the chunks of a body
            super().on_header(name, value.rstrip(b" \t"))

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self.headers += [(b"upgrade", value) for value in self._upgrades]
        version = self.parser.get_http_version()
        self._body_left = heads.body_length(self.headers, version)
        self._beside_body = 0
        path, _, query = self.url.partition(b"?")
        self.scope["method"] = self.parser.get_method().decode("ascii")
        self.scope["http_version"] = version
        self.scope["path"] = unquote(path.decode("ascii"))
        self.scope["raw_path"] = path
        self.scope["query_string"] = query
        self.cycle = Cycle(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue and version == "1.1",
            keep_alive=version == "1.1" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        self._is_taken = True
        self._start_asgi_task(self.cycle, self.app)

    def on_body(self, body: bytes) -> None:
        self._beside_body = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._part, self._is_taken = Part.HEAD, False
        super().on_message_complete()

    # its ends

    def _refuse(self, status: bytes, message: str) -> None:
        """Say why, unless an answer has begun, and read no more."""
        if self._is_taken:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self._end()
                return
        document = {"code": "bad_request", "message": message, "hint": None}
        answer = JSONDocument({"error": document})
        lines = [b"HTTP/1.1 " + status, b"connection: close"]
        lines += [name + b": " + value for name, value in answer.raw_headers]
        self.transport.write(b"\r\n".join(lines) + heads.END + bytes(answer.body))
        self._end()

    def _end(self) -> None:
        """Close; what is on its way is read a while longer: else it would take the answer back."""
        self._is_deaf = True
        self._unparsed = b""
        if not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(_LINGER, self.transport.close)

    def _end_after_answer(self) -> None:
        self._is_deaf = True
        self._unparsed = b""
        self.cycle.keep_alive = False
        if not self._is_answering:
            self.transport.close()

    def _watch(self) -> None:
        """Set the time for the part that is awaited now; more bytes of the same part give no more
        time.
        """
        awaited = self._awaited_part()
        if awaited is None:
            self._stop()
        elif awaited is not self._awaited:
            self._stop()
            self._awaited = awaited
            times = {Part.HEAD: self._limits.head_time, Part.BODY: self._limits.body_time}
            self._timer = self.loop.call_later(times[awaited], self._give_up)

    def _awaited_part(self) -> Part | None:
        if self._is_deaf or (self._part is Part.HEAD and self._is_answering):
            return None
        return self._part

    def _stop(self) -> None:
        self._awaited = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self.transport.close()
        self._abort_soon()

    def timeout_keep_alive_handler(self) -> None:
        self._give_up()

    def shutdown(self) -> None:
        super().shutdown()
        if not self._is_answering:
            self._abort_soon()

    def _abort_soon(self) -> None:
        """TLS ends when both have said so, and a client that keeps an idle connection looks at it
        when it needs it again.
        """
        if self.scheme == "https":
            self.loop.call_later(_LINGER, self.transport.abort)

    def _set_writing_timer(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(self._limits.write_idle, self._cut)

    def _stop_writing_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _cut(self) -> None:
        """Give up a client that has read nothing; to close would wait until it reads."""
        if self.transport.get_write_buffer_size() < self._unsent:
            self._set_writing_timer()
        else:
            self.transport.abort()
