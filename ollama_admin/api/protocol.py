"""Connections whose clients have a deadline for what they want to say."""

import asyncio
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ollama_admin.api.bodies import Limits
from ollama_admin.api.problems import JSONDocument

_UNREADABLE = JSONDocument(
    {"error": {"code": "bad_request", "message": "this is not proper HTTP", "hint": None}}
)


class DeadlineProtocol(H11Protocol):
    """uvicorn's protocol, with a deadline for the head and for the body of each request: it would
    wait for ever.
    """

    def __init__(self, *args: Any, limits: Limits, **more: Any) -> None:
        super().__init__(*args, **more)
        self._limits = limits
        self._awaited: Any = None  # the state of the client's side that the timer was set in
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

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
