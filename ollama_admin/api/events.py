"""Events of a work that takes long, on their way to a client as lines of JSON."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ollama_admin.api.problems import described
from ollama_admin.api.streams import LAST_WORDS, NDJSON, STOPPING, until_left
from ollama_admin.documents import document
from ollama_admin.errors import AdminError


class EventStream(Response):
    """Status 200, and a line for each event. A client that leaves ends the work at once; an error
    in the middle of it is the last line, under `error`.
    """

    media_type = NDJSON.decode()

    def __init__(self, events: AsyncGenerator[Any, None]) -> None:
        super().__init__()
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        headers = [(b"content-type", NDJSON)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            await until_left(self._pass_on(send), receive)
        except asyncio.CancelledError:  # the time for running answers is over
            with suppress(TimeoutError):  # a client that does not read is not waited for
                async with asyncio.timeout(LAST_WORDS):
                    await _send_line({"error": STOPPING}, send)
                    await _end(send)

    async def _pass_on(self, send: Send) -> None:
        try:
            async with aclosing(self._events) as events:
                async for event in events:
                    await _send_line(document(event), send)
        except AdminError as exc:
            await _send_line({"error": described(exc)}, send)
        await _end(send)


async def _send_line(record: Any, send: Send) -> None:
    line = json.dumps(record, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    await send({"type": "http.response.body", "body": line, "more_body": True})


async def _end(send: Send) -> None:
    await send({"type": "http.response.body", "body": b"", "more_body": False})
