"""A page that is sent while the work goes on: it reads without JavaScript, and who leaves ends the
work.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext, suppress
from typing import Any

from markupsafe import Markup
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ollama_admin.gateway.exchange import LAST_WORDS, Leaving

HERE = Markup("<!--the work-->")  # in a template: where the pieces stand
_HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the pieces back
]
_STOPPED = '<p class="problem" role="alert">the server is stopping; ask again</p>'


class Streamed(Response):
    """A page with `HERE` in it, and the pieces of HTML that stand there. `held` is closed at the
    end, however that comes.
    """

    def __init__(
        self,
        page: str,
        pieces: AsyncGenerator[str, None],
        held: AbstractAsyncContextManager[Any] | None = None,
    ) -> None:
        super().__init__()
        self._held = held or nullcontext()
        self._before, _, self._after = page.partition(str(HERE))
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        async with self._held:
            await self._answer(receive, send)

    async def _answer(self, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        leaving = Leaving(receive)
        leaving.start()
        try:
            await self._pass_on(send)
        except asyncio.CancelledError:
            if leaving.has_left:
                return
            with suppress(TimeoutError):  # a client that does not read is not waited for
                async with asyncio.timeout(LAST_WORDS):
                    await _send(send, _STOPPED + self._after, more=False)
        finally:
            leaving.end()

    async def _pass_on(self, send: Send) -> None:
        await _send(send, self._before)
        async with aclosing(self._pieces) as pieces:
            async for piece in pieces:
                await _send(send, piece)
        await _send(send, self._after, more=False)


async def _send(send: Send, html: str, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": html.encode(), "more_body": more})
