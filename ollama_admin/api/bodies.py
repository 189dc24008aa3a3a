"""Bodies of requests: of a bounded size, in bounded time, and JSON that has one meaning."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ollama_admin.domain import strict_json
from ollama_admin.gateway.limits import HELD, Limits, size_of_values, too_large
from ollama_admin.gateway.refusals import Refused

T = TypeVar("T")

DEPTH = 100  # levels of nesting
FIELDS = 5000  # of one object: each unknown one would be an error to put together
LONG = 2**16  # bytes; what is longer is not read on the loop


class StrictRequest(Request):
    """A request whose body is read under the limits, once."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            with _as_the_framework_says_it():
                self._body = await self._read(self.app.state.limits)
        return self._body

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            body = await self.body()
            with _as_the_framework_says_it():
                size = await _beside_the_loop(size_of_values, body)
                self.scope[HELD].take(size)
                self._json = await _beside_the_loop(_document, body)
        return self._json

    async def _read(self, limits: Limits) -> bytes:
        body, most = bytearray(), limits.of(self.url.path)
        chunks = self.stream()
        try:
            async with asyncio.timeout(limits.body_time):
                while True:
                    async with asyncio.timeout(limits.body_idle):
                        chunk = await anext(chunks, None)
                    if chunk is None:
                        return bytes(body)
                    self.scope[HELD].take(len(chunk))
                    body += chunk
                    if len(body) > most:
                        raise too_large(most)
        except TimeoutError as exc:
            raise Refused(
                408, "timed out waiting for the body", headers={"Connection": "close"}
            ) from exc
        except ClientDisconnect as exc:
            raise Refused(400, "the body ended too early") from exc


class StrictRoute(APIRoute):
    """Hands StrictRequests to its handler."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strict(request: Request) -> Response:
            return await handle(StrictRequest(request.scope, request.receive))

        return strict


@contextmanager
def _as_the_framework_says_it() -> Iterator[None]:
    """Of what goes wrong with a body the framework lets nothing pass but its own exception."""
    try:
        yield
    except Refused as refused:
        raise HTTPException(refused.status, refused.message) from refused


async def _beside_the_loop(read: Callable[[bytes], T], body: bytes) -> T:
    if len(body) > LONG:
        return await asyncio.to_thread(read, body)
    return read(body)


def _document(body: bytes) -> Any:
    try:
        document = strict_json.loads(body)
    except RecursionError as exc:
        raise Refused(400, f"the body is nested deeper than {DEPTH} levels") from exc
    except ValueError as exc:
        hint = "send UTF-8, without repeated keys, NaN, infinity or lone surrogates"
        raise Refused(400, "the body cannot be read as JSON", hint) from exc
    _refuse_deep_or_wide(document)
    return document


def _refuse_deep_or_wide(document: Any) -> None:
    level = [document]
    for _ in range(DEPTH):
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                _refuse_wide(item)
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        if not inner:
            return
        level = inner
    raise Refused(400, f"the body is nested deeper than {DEPTH} levels")


def _refuse_wide(item: dict[str, Any]) -> None:
    if len(item) > FIELDS:
        raise Refused(413, f"an object of the body has more than {FIELDS} fields")
