"""Bodies of requests: of a bounded size, in bounded time, and JSON that has one meaning."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from ollama_admin.api.problems import Refused
from ollama_admin.domain import strict_json

T = TypeVar("T")

DEPTH = 100  # levels of nesting
FIELDS = 5000  # of one object: each unknown one would be an error to put together
LONG = 2**16  # bytes; what is longer is not read on the loop
# counted by what opens or parts them, commas of texts too
VALUES_LIMIT = 1_000_000
VALUE_SIZE = 70  # bytes of memory that `{},` takes
HELD = "ollama_admin.held"  # in the scope: the Held of the request


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bytes and seconds. `body_large` is for prompts, which come with images; `bodies` is for those
    of all requests together, with the values that are read from them.
    """

    connections: int = 4096
    body: int = 2**20
    body_large: int = 64 * 2**20
    bodies: int = 256 * 2**20
    head_time: float = 10.0
    body_time: float = 120.0
    body_idle: float = 10.0
    write_idle: float = 120.0  # a client that reads nothing for so long has left

    def of(self, path: str) -> int:
        if path in ("/api/generate", "/api/chat"):
            return self.body_large
        return self.body


class Room:
    """Bytes that the bodies of all requests may take together."""

    def __init__(self, size: int) -> None:
        self.free = size


class Held:
    """What one request takes of the room until its answer has ended."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._taken = 0

    def take(self, size: int) -> None:
        """Refused where so many bytes are not free now."""
        if size > self._room.free:
            raise Refused(
                503, "the bodies of other requests take all the room there is", "ask again later"
            )
        self._room.free -= size
        self._taken += size

    def give_back(self) -> None:
        self._room.free += self._taken
        self._taken = 0


class StrictRequest(Request):
    """A request whose body is read under the limits, once."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = await self._read(self.app.state.limits)
        return self._body

    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            body = await self.body()
            values = await _beside_the_loop(_count_of_values, body)
            self.scope[HELD].take(values * VALUE_SIZE)
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
                408, "the body did not arrive in time", headers={"Connection": "close"}
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


def too_large(most: int) -> Refused:
    return Refused(413, f"the body is longer than {most} bytes", headers={"Connection": "close"})


async def _beside_the_loop(read: Callable[[bytes], T], body: bytes) -> T:
    if len(body) > LONG:
        return await asyncio.to_thread(read, body)
    return read(body)


def _count_of_values(body: bytes) -> int:
    """At least as many as there are; Refused for too many."""
    count = sum(map(body.count, (b",", b"[", b"{")))
    if count > VALUES_LIMIT:
        raise Refused(413, f"the body holds more than {VALUES_LIMIT} values")
    return count


def _document(body: bytes) -> Any:
    try:
        document = strict_json.loads(body)
    except RecursionError as exc:
        raise Refused(400, f"the body is nested deeper than {DEPTH} levels") from exc
    except ValueError as exc:
        hint = "UTF-8; no key twice in an object; no NaN, infinity or half characters"
        raise Refused(400, "the body is not JSON that can be read", hint) from exc
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
