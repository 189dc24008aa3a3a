"""What stands before the routes: ids and log lines for all requests, and refusal of those that may
not come in.
"""

import secrets
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ollama_admin.api.problems import refusal
from ollama_admin.domain.keys import Key, masked
from ollama_admin.errors import AdminError
from ollama_admin.gateway.access import KEY, Access, foreign_host, refuse_query
from ollama_admin.gateway.exchange import REQUEST_ID
from ollama_admin.gateway.headers import NOTES_LIMIT, of_notes
from ollama_admin.gateway.limits import ADMITTED, HELD, Held, Limits, Room, too_large
from ollama_admin.gateway.refusals import Refused
from ollama_admin.web.paths import is_page

OPEN = frozenset(("/healthz", "/readyz", "/docs", "/openapi.json"))
OPEN_FOLDER = "/docs/"
SAFE = ("GET", "HEAD", "OPTIONS", "TRACE")
LEFT = 499  # in the log: the client left before it was answered
NOTE_TO = "ollama_admin.note"  # in the scope: a function that takes a note for who asks
_FIXED_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}


@dataclass(slots=True)
class _Visit:
    """One request, as its line in the log tells it."""

    send_on: Send
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    status: int = LEFT
    began: float = field(default_factory=time.monotonic)
    notes: list[str] = field(default_factory=list)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self.id
            message["headers"].extend(of_notes(self.notes))
            for name, value in _FIXED_HEADERS.items():
                headers.setdefault(name, value)
        await self.send_on(message)


class Guard:
    """`log` takes a line for each request. Who is let in may not have the right to a route: that is
    for the route to say, see `reach.needs`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: Access,
        limits: Limits,
        room: Room,
        log: Callable[[str], None],
        log_failure: Callable[[str], None],
    ) -> None:
        self._app = app
        self._access = access
        self._limits = limits
        self._log = log
        self._log_failure = log_failure
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served")
        visit = _Visit(send)

        def note(text: str) -> None:
            if len(visit.notes) < NOTES_LIMIT:
                visit.notes.append(text)
            self._log(f"{visit.id} note: {text}")

        held = Held(self._room)
        scope[NOTE_TO], scope[HELD], scope[REQUEST_ID] = note, held, visit.id
        try:
            await self._admit(scope, receive, visit.send)
        except Exception:  # noqa: BLE001 (a bug: it was answered with 500, or uvicorn does so now)
            self._log_failure(f"{visit.id} {traceback.format_exc()}")
        finally:
            held.give_back()
            ms = round((time.monotonic() - visit.began) * 1000)
            method, path = quote(scope["method"]), masked(quote(scope["path"]))[:200]
            self._log(f"{visit.id} {method} {path} {visit.status} {ms} ms")

    async def admitted(
        self, scope: Scope, receive: Receive, send: Send, note: Callable[[str], None]
    ) -> None:
        """Answer a request that was let in already, and whose line in the log somebody else
        writes.
        """
        held = Held(self._room)
        scope[NOTE_TO], scope[HELD] = note, held
        try:
            await self._app(scope, receive, send)
        finally:
            held.give_back()

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        try:
            self._refuse_foreign_host(headers)
            if not _is_open(scope):
                scope[KEY] = await self._key_of(scope, headers)
                scope[ADMITTED] = True
            if not is_page(scope["path"]):
                _refuse_other_content(scope["method"], headers)
            self._refuse_large(scope["path"], headers)
        except (Refused, AdminError) as refused:
            response = refusal(scope["path"], refused)
            if _has_body(headers):  # it is not read: whatever follows is no request
                response.headers["Connection"] = "close"
            await response(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # as GET; the protocol leaves the body of the answer out
            scope = dict(scope, method="GET")
        await self._app(scope, receive, send)

    def _refuse_foreign_host(self, headers: Headers) -> None:
        """A name that only somebody else's name service leads here: a page in a browser asks so."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._access.is_own_host(hosts[0]):
            raise foreign_host()
        for origin in headers.getlist("origin"):
            if _authority_of(origin) != hosts[0].lower():
                raise Refused(403, "requests from other origins are refused")

    async def _key_of(self, scope: Scope, headers: Headers) -> Key:
        for name in ("authorization", "x-api-key"):
            if len(headers.getlist(name)) > 1:
                raise Refused(400, f"the header {name} is given twice")
        refuse_query(scope["query_string"], may_name_one=scope["path"] == "/api/usage")
        return await self._access.key_of(scope)

    def _refuse_large(self, path: str, headers: Headers) -> None:
        length, most = headers.get("content-length", "0"), self._limits.of(path)
        if len(length) > 18 or (length.isdecimal() and int(length) > most):
            raise too_large(most)


def _is_open(scope: Mapping[str, Any]) -> bool:
    path = scope["path"]
    return path in OPEN or path.startswith(OPEN_FOLDER) or is_page(path)


def _authority_of(origin: str) -> str:
    """Host and port of an Origin header; Refused for what is no URL."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError as exc:
        raise Refused(400, "the header Origin cannot be read") from exc


def _refuse_other_content(method: str, headers: Headers) -> None:
    if method in SAFE or not _has_body(headers):
        return
    if not _is_json_in_utf8(headers.get("content-type", "")):
        raise Refused(
            415,
            "the body must be sent as application/json in UTF-8",
            "Content-Type: application/json",
        )
    if headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "the body is compressed")


def _has_body(headers: Headers) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _is_json_in_utf8(content_type: str) -> bool:
    parts = [part.strip().lower() for part in content_type.split(";")]
    if parts[0] != "application/json":
        return False
    return all(part in ("charset=utf-8", 'charset="utf-8"') for part in parts[1:])
