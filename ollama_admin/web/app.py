"""The pages as one ASGI application: who may see what, what is told where something fails, and the
headers that every answer has.
"""

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ollama_admin.client import Client
from ollama_admin.domain.callers import Caller, Rights, Way
from ollama_admin.domain.keys import Key
from ollama_admin.domain.sessions import Session
from ollama_admin.errors import AdminError
from ollama_admin.gateway.access import Access, require
from ollama_admin.gateway.exchange import REQUEST_ID
from ollama_admin.gateway.headers import client_of
from ollama_admin.gateway.limits import Limits
from ollama_admin.gateway.refusals import Refused
from ollama_admin.rules.access import rights_of
from ollama_admin.web import files, paths
from ollama_admin.web.contents import PAGES
from ollama_admin.web.events import Events, event
from ollama_admin.web.live import Live
from ollama_admin.web.page import Page, View
from ollama_admin.web.rendering import Templates
from ollama_admin.web.signing import Signing
from ollama_admin.web.visit import Visit

# With `no-referrer` browsers would not say where a form comes from.
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'self'",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
}
_AGAIN = 5  # seconds after which a page is loaded again that could not be read
_TITLES = {404: "there is no such page", 405: "the page does not take this method"}


class Pages:
    """Answers what is below `/ui/`, and `rest` everything else; `Guard` stands before it. `rights`
    are those that every key has at most; `closing` is set when the process stops.
    """

    def __init__(
        self,
        client: Client,
        rest: ASGIApp,
        *,
        access: Access,
        rights: Rights,
        limits: Limits,
        closing: asyncio.Event,
        pages: Sequence[Page] = PAGES,
    ) -> None:
        self._client = client
        self._rest = rest
        self._rights = rights
        self._limits = limits
        self._pages = pages
        self._files = files.Files()
        self._templates = Templates({"static": self._files.url})
        sessions = client.keyring.sessions(access.token_hash)
        self._signing = Signing(access, sessions, self._templates, limits)
        self._live = Live(closing)
        self._app = self._routed()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if paths.is_page(scope["path"]):
            await self._app(scope, receive, partial(_send_with_headers, send))
        else:
            await self._rest(scope, receive, send)

    def _routed(self) -> ASGIApp:
        routes = [
            Route("/ui", self._home),
            Route(paths.ROOT, self._home),
            Route(paths.SIGN_IN, self._signing.ask),
            Route(paths.SIGN_IN, self._signing.sign_in, methods=["POST"]),
            Route(paths.SIGN_OUT, self._sign_out, methods=["POST"]),
            Route(paths.EVENTS, self._events),
            Route(paths.STATIC + "{name}", self._files.answer),
        ]
        for page in self._pages:
            for view in page.views:
                endpoint = partial(self._answer, view)
                routes.append(Route(view.path, endpoint, methods=[view.method]))
        handlers = {AdminError: self._failed, Refused: self._failed, HTTPException: self._unknown}
        return Starlette(routes=routes, exception_handlers=handlers)

    async def _home(self, request: Request) -> Response:
        """The first page that the key may see."""
        session = await self._signing.session(request)
        if session is None:
            return RedirectResponse(paths.SIGN_IN, 303)
        menu = self._menu(session.key)
        if not menu:
            raise Refused(403, f"key {session.key.name} has no right to any page")
        return RedirectResponse(menu[0].path, 303)

    async def _answer(self, view: View, request: Request) -> Response:
        session = await self._signing.session(request)
        if session is None:
            return _to_sign_in(request)
        visit = self._visit(request, session)
        await self._require(visit, view)
        return await view.answer(visit)

    async def _sign_out(self, request: Request) -> Response:
        session = await self._signing.session(request)
        if session is not None:
            await self._visit(request, session).form()
        return await self._signing.sign_out(request)

    async def _events(self, request: Request) -> Response:
        """What changes of the page that `page` names; the rest of the query is that page's own."""
        session = await self._signing.session(request)
        if session is None:
            return Response(event("over", ""), media_type="text/event-stream")
        name = request.query_params.get("page", "")
        page = next((one for one in self._pages if one.name == name), None)
        if page is None or page.live is None:
            raise Refused(404, "there is no such page")
        visit = self._visit(request, session)
        await self._require(visit, page.views[0])

        async def is_over() -> bool:
            return not await self._is_still(request, session)

        who = session.key.ref if page.of_key else None
        seen_alike = (name, who, tuple(session.key.can), visit.rights, request.url.query)
        texts = self._live.listen(seen_alike, partial(self._part, page, visit))
        return Events(texts, is_over)

    async def _is_still(self, request: Request, before: Session) -> bool:
        """Whether somebody is signed in as before; a database that is away tells nothing else."""
        try:
            session = await self._signing.session(request)
        except AdminError:
            return True
        if session is None:
            return False
        is_alike = session.key.can == before.key.can
        return is_alike and self._rights_of(session.key) == self._rights_of(before.key)

    async def _part(self, page: Page, visit: Visit) -> str:
        """The part that changes, or what is wrong; it is there again when that is over."""
        assert page.live is not None  # noqa: S101
        try:
            return await page.live(visit)
        except AdminError as exc:
            return await self._templates.html("problem.html", {"problem": exc})

    def _menu(self, key: Key) -> list[Page]:
        return [page for page in self._pages if page.is_for(key)]

    def _rights_of(self, key: Key) -> Rights:
        return rights_of(key, self._rights)

    def _visit(self, request: Request, session: Session) -> Visit:
        notes: list[str] = []
        rights = self._rights_of(session.key)
        caller = Caller(
            way=Way.API,
            rights=rights,
            note=notes.append,
            key=session.key,
            request_id=request.scope.get(REQUEST_ID),
            client=client_of(request.headers.get("user-agent", "").encode("latin-1")),
        )
        return Visit(
            request=request,
            session=session,
            client=self._client.for_caller(caller),
            rights=rights,
            limits=self._limits,
            templates=self._templates,
            menu=self._menu,
            notes=notes,
        )

    async def _require(self, visit: Visit, view: View) -> None:
        """Refused without the right; of a change that is in the audit."""
        if view.is_for(visit.key):
            return
        try:
            require(visit.key, view.right)
        except Refused:
            if visit.request.method == "POST":
                what = f"POST {visit.request.url.path}"
                await visit.client.audit.record("request", what, "forbidden")
            raise

    async def _failed(self, request: Request, exc: Exception) -> Response:
        """A page that says what failed, and of what is only away comes back by itself."""
        assert isinstance(exc, AdminError | Refused)  # noqa: S101 (Starlette knows no types)
        status, headers = 500, {}
        if isinstance(exc, AdminError):
            status = exc.http_status
        else:
            status, headers = exc.status, exc.headers
        again = status == 503 and request.method == "GET"
        return await self._problem(exc, status, headers, again=again)

    async def _unknown(self, _: Request, exc: Exception) -> Response:
        assert isinstance(exc, HTTPException)  # noqa: S101
        refused = Refused(exc.status_code, _TITLES.get(exc.status_code, "refused"))
        return await self._problem(refused, exc.status_code, exc.headers or {}, again=False)

    async def _problem(
        self, problem: AdminError | Refused, status: int, headers: Mapping[str, str], *, again: bool
    ) -> Response:
        values = {"problem": problem, "again": _AGAIN * again}
        html = await self._templates.html("failed.html", values)
        return HTMLResponse(html, status, headers)


def _to_sign_in(request: Request) -> Response:
    """The form for the key, which leads back to the page; what was sent by a form is not kept."""
    wanted = paths.ROOT
    if request.method == "GET":
        wanted = paths.own_path(request.url.path)
        if request.url.query:
            wanted = paths.own_path(f"{wanted}?{request.url.query}")
    return RedirectResponse(f"{paths.SIGN_IN}?{urlencode({'next': wanted})}", 303)


async def _send_with_headers(send: Send, message: Message) -> None:
    if message["type"] == "http.response.start":
        headers = MutableHeaders(scope=message)
        for name, value in _HEADERS.items():
            headers[name] = value
    await send(message)
