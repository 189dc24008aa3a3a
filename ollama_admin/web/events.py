"""`/ui/events`: one stream for each page that is open."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ollama_admin.gateway.exchange import Leaving

LOOK_AGAIN = 5  # seconds after which it is looked whether the session still is
QUIET = 15  # seconds after which a proxy hears that the stream is still there
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the events back
]


class Events(Response):
    """Texts as events `part`; the last event is `over`, after which the page is loaded again.
    `texts` gives one at least each second, None for no news.
    """

    def __init__(
        self, texts: AsyncGenerator[str | None, None], is_over: Callable[[], Awaitable[bool]]
    ) -> None:
        super().__init__()
        self._texts = texts
        self._is_over = is_over

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        leaving = Leaving(receive)
        leaving.start()
        try:
            await self._pass_on(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            if not leaving.has_left:
                raise
        finally:
            leaving.end()

    async def _pass_on(self, send: Send) -> None:
        quiet = 0
        async with aclosing(self._texts) as texts:
            async for text in texts:
                quiet += 1
                if text is not None:
                    quiet = 0
                    await _send(send, event("part", text))
                elif quiet % QUIET == 0:
                    await _send(send, b": still here\n\n")
                if quiet % LOOK_AGAIN == 0 and await self._is_over():
                    await _send(send, event("over", ""))
                    return


def event(name: str, text: str) -> bytes:
    """An event; each of the text's lines is one of its data."""
    lines = [f"data: {line}" for line in text.split("\n")]
    return "\n".join([f"event: {name}"] + lines + ["", ""]).encode()


async def _send(send: Send, data: bytes) -> None:
    await send({"type": "http.response.body", "body": data, "more_body": True})
