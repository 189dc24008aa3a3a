"""One request and its answer, in terms of ASGI: what every call of the gateway needs."""

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import count
from typing import Any
from urllib.parse import quote

from ollama_admin.domain.callers import Rights
from ollama_admin.domain.keys import masked
from ollama_admin.domain.relayed import RelayedHead
from ollama_admin.gateway.errors import Failure, StreamType, stream_of
from ollama_admin.gateway.headers import NOTES_LIMIT, client_of, of_head, of_notes
from ollama_admin.gateway.limits import (
    LONG,
    Held,
    Limits,
    Rooms,
    size_of_values,
    too_large,
)
from ollama_admin.gateway.paths import Place
from ollama_admin.gateway.refusals import Refused
from ollama_admin.rules.access import TOKEN

Scope = dict[str, Any]

REQUEST_ID = "ollama_admin.request_id"  # in the scope of a request: the id that its answer carries
NO_RIGHTS = Rights(dynamic_servers=False, inactive_by_url=False, any_address=False)
LEFT = 499  # in the log: the client left before it was answered
JSON = b"application/json"
QUICK = 0.05  # seconds in which nobody looks whether the client has left
LAST_WORDS = 2.0  # seconds for a client that does not read
SHOWN = 200  # characters of a path in the log

# Of two, readers take the first, the last or both.
_ONCE = (b"content-length", b"content-type", b"host", b"authorization", b"content-encoding")


def new_ids() -> Iterator[str]:
    """Ids of one process's requests: no two of a fleet's processes share the first half."""
    process = secrets.token_hex(4)
    return (f"{process}{number:08x}" for number in count(secrets.randbits(24)))


class Exchange:
    """`headers` are those of the request by their lower-case names, the last of each. `more` are
    headers for the answer. `key` and `rights` are those of who asks, once that is known.
    """

    def __init__(
        self,
        request_id: str,
        scope: Scope,
        receive: Any,
        send: Any,
        place: Place,
        rooms: Rooms,
        limits: Limits,
        log: Callable[[str], None],
    ) -> None:
        self.scope = scope
        self.place = place
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.id = request_id
        self.status = LEFT
        self.began = time.monotonic()
        self.more: list[tuple[bytes, bytes]] = []
        self.key = TOKEN
        self.rights = NO_RIGHTS
        self.is_begun = self.is_ended = False
        self.stream: StreamType | None = None
        self._receive = receive
        self._send = send
        self._held = Held(rooms.bodies)
        self._kept = Held(rooms.answers)
        self._limits = limits
        self._log = log
        self._notes: list[str] = []
        self._sent = b""  # the last bytes of a body: where an event ends
        self._has_read = not self._has_body()

    def require_one_meaning(self) -> None:
        """Refused where a proxy and we could read two requests."""
        if len(self.headers) == len(self.scope["headers"]):  # none is given twice
            return
        names = [name for name, _ in self.scope["headers"]]
        for name in _ONCE:
            if names.count(name) > 1:
                raise Refused(
                    400,
                    f"the header {name.decode()} is given twice",
                    headers={"Connection": "close"},
                )

    def note(self, text: str) -> None:
        """Tell the client, as long as the answer has not begun, and the log in any case."""
        if len(self._notes) < NOTES_LIMIT:
            self._notes.append(text)
        self._log(f"{self.id} note: {text}")

    @property
    def client(self) -> str | None:
        """What the client calls itself, as far as a receipt tells it."""
        return client_of(self.headers.get(b"user-agent"))

    def line(self) -> str:
        """What the log tells of the request; a key in its path is not among it."""
        server = None if self.place.server is None else self.place.server[:SHOWN]
        shown = _shown(self.scope["method"], self.place.path[:SHOWN], server)
        ms = round((time.monotonic() - self.began) * 1000)
        return f"{self.id} {shown} {self.status} {ms} ms"

    def header(self, name: bytes) -> str:
        """The value of a header, empty where there is none."""
        return self.headers.get(name, b"").decode("latin-1")

    def values(self, name: bytes) -> tuple[str, ...]:
        """The values of all headers of this name, in their order."""
        if name not in self.headers:
            return ()
        given = [value for key, value in self.scope["headers"] if key == name]
        return tuple(value.decode(errors="replace") for value in given)

    async def body(self, most: int) -> bytes:
        """The whole body; Refused where it is too long, too slow, or not complete."""
        length = self.headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > 18 or int(length) > most:
            raise too_large(most)
        if self._has_read:
            return b""
        try:
            message = await self._receive()  # as a rule it is all there; a connection has deadlines
            if not message.get("more_body", False) and message["type"] == "http.request":
                return self._whole(message.get("body", b""), most)
            async with asyncio.timeout(self._limits.body_time):
                return await self._read(message, most)
        except TimeoutError as exc:
            raise Refused(
                408, "timed out waiting for the body", headers={"Connection": "close"}
            ) from exc

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.is_begun, self.status = True, status
        self.stream = stream_of(headers)
        all_headers = list(headers) + self._own_headers()
        if not self._has_read:  # whatever follows is no request
            all_headers.append((b"connection", b"close"))
        await self._send({"type": "http.response.start", "status": status, "headers": all_headers})

    async def head(self, head: RelayedHead) -> None:
        """Begin the answer of a server."""
        await self.begin(head.status, of_head(head))

    async def send(self, data: bytes) -> None:
        self._sent = data[-3:]
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        self.is_ended = True
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def document(
        self, status: int, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
    ) -> None:
        """A whole answer; `headers`, by their lower-case names, say what it is, JSON where they do
        not. Its length is that of `body`, whatever they say.
        """
        all_headers = [pair for pair in headers if pair[0] != b"content-length"]
        if not any(name == b"content-type" for name, _ in all_headers):
            all_headers.append((b"content-type", JSON))
        all_headers.append((b"content-length", str(len(body)).encode()))
        await self.begin(status, all_headers)
        await self.end(b"" if self.scope["method"] == "HEAD" else body)

    async def fail(self, failure: Failure) -> None:
        """Say what went wrong: as a document, or as a record of the stream that has begun, whose
        connection is then closed without its end. In the middle of a document nothing can be said.
        """
        if self.is_ended:
            return
        if self.is_begun:
            if self.stream is not None:
                await self.end_event()
                await self.send(failure.record(self.place.dialect, self.id, self.stream))
            return
        headers = [
            (name.lower().encode(), value.encode("latin-1", "replace"))
            for name, value in failure.headers.items()
        ]
        await self.document(failure.status, failure.document(self.place.dialect, self.id), headers)

    async def end_event(self) -> None:
        """Send what ends the event that is on its way, if one is: lines are always whole."""
        if self.stream is StreamType.EVENTS and not self._sent.endswith((b"\n\n", b"\n\r\n")):
            await self.send(b"\n")

    def hand_over(self) -> None:
        """Another application answers: it has the request's room for itself."""
        self.give_back()
        self.is_begun = self.is_ended = True

    def replay(self, body: bytes) -> Any:
        """A `receive` that begins with the body that was read."""
        pending = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> Any:
            return pending.pop() if pending else await self._receive()

        return receive

    async def send_on(self, message: Any) -> None:
        """What another application sends."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message = message | {"headers": list(message["headers"]) + self._own_headers()}
        await self._send(message)

    async def take_for_values(self, body: bytes) -> None:
        """Take the room that the values of its JSON need; Refused for too many."""
        if len(body) < LONG:
            self._held.take(size_of_values(body))
        else:
            self._held.take(await asyncio.to_thread(size_of_values, body))

    def take(self, size: int) -> None:
        """Take room for so many bytes beside the body."""
        self._held.take(size)

    def keep(self, size: int) -> None:
        """Take room for so many bytes of the answer; Refused where there is none."""
        self._kept.take(size)

    def give_back(self) -> None:
        """The room that the body and the answer took."""
        self._held.give_back()
        self._kept.give_back()

    def watch(self) -> "Leaving":
        """What cancels the current task when the client leaves, from its `start` on."""
        return Leaving(self._receive)

    def _own_headers(self) -> list[tuple[bytes, bytes]]:
        own = [(b"x-request-id", self.id.encode())] + self.more
        if self._notes:
            own.extend(of_notes(self._notes))
        return own

    def _whole(self, body: bytes, most: int) -> bytes:
        if len(body) > most:
            raise too_large(most)
        self._held.take(len(body))
        self._has_read = True
        return body

    async def _read(self, message: Any, most: int) -> bytes:
        """A body of several pieces, of which the first one is there."""
        pieces: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise Refused(400, "the body ended too early")
            piece = message.get("body", b"")
            size += len(piece)
            if size > most:
                raise too_large(most)
            self._held.take(len(piece))
            pieces.append(piece)
            if not message.get("more_body", False):
                self._has_read = True
                return b"".join(pieces)
            async with asyncio.timeout(self._limits.body_idle):
                message = await self._receive()

    def _has_body(self) -> bool:
        length = self.headers.get(b"content-length")
        if length is None:
            return b"transfer-encoding" in self.headers
        return length != b"0"


class Leaving:
    """Looks whether the client has left, once an answer takes longer than `QUICK`.

    `has_left` tells a cancelled task why it was.
    """

    def __init__(self, receive: Any) -> None:
        self._receive = receive
        self._task = asyncio.current_task()
        self._watch: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.has_left = False

    def start(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(QUICK, self._begin)

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()

    def _begin(self) -> None:
        self._watch = asyncio.get_running_loop().create_task(self._until_left())

    async def _until_left(self) -> None:
        with suppress(asyncio.CancelledError):
            while (await self._receive())["type"] != "http.disconnect":
                pass
            self.has_left = True
            if self._task is not None:
                self._task.cancel()


@lru_cache(maxsize=1000)
def _shown(method: str, path: str, server: str | None) -> str:
    shown = masked(quote(path))[:SHOWN]
    if server is not None:
        shown = f"/servers/{quote(server)[:100]}{shown}"
    return f"{quote(method)} {shown}"
