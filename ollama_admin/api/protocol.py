"""Connections whose clients have a deadline for what they want to say, and for reading."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ollama_admin.api.connections import Connection, Connections
from ollama_admin.api.guard import ADMITTED
from ollama_admin.api.problems import JSONDocument
from ollama_admin.gateway.limits import Limits

_UNREADABLE = JSONDocument(
    {"error": {"code": "bad_request", "message": "this is not proper HTTP", "hint": None}}
)


class DeadlineProtocol(H11Protocol, Connection):
    """uvicorn's protocol, with a deadline for the head and for the body of each request, and for
    the client to read what is sent: it would wait for ever.
    """

    def __init__(
        self, *args: Any, limits: Limits, open_connections: Connections, **more: Any
    ) -> None:
        super().__init__(*args, **more)
        self._limits = limits
        self._open = open_connections
        self._is_made = False
        self._awaited: Any = None  # the state of the client's side that the timer was set in
        self._timer: asyncio.TimerHandle | None = None
        self._unsent = 0  # bytes, when the other timer was set
        self._write_timer: asyncio.TimerHandle | None = None

    @property
    def is_busy(self) -> bool:
        if not self._is_made:
            return True
        is_answering = self.cycle is not None and not self.cycle.response_complete
        return is_answering and ADMITTED in self.cycle.scope

    def abort(self) -> None:
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._is_made = True
        transport.set_write_buffer_limits(high=0)  # so it is heard of whatever is not sent at once
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._open.discard(self)
        self._stop()
        self._stop_writing_timer()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        if ADMITTED in self.cycle.scope:
            self._open.served(self)
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._set_writing_timer()

    def resume_writing(self) -> None:
        self._stop_writing_timer()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 (it says the same each time)
        headers = list(_UNREADABLE.raw_headers)
        headers.append((b"connection", b"close"))
        events = (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=bytes(_UNREADABLE.body)),
            h11.EndOfMessage(),
        )
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch(self) -> None:
        """Set the time for the part that is awaited now; more bytes of the same part give no more
        time.
        """
        state = self.conn.their_state
        times = {h11.IDLE: self._limits.head_time, h11.SEND_BODY: self._limits.body_time}
        if state not in times:
            self._stop()
        elif state is not self._awaited:
            self._stop()
            self._awaited = state
            self._timer = self.loop.call_later(times[state], self._give_up)

    def _stop(self) -> None:
        self._awaited = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()

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
