"""Signing in with a key, and out. The key is in the form alone: the cookie holds a token of its
own, which opens the pages and no API.
"""

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ollama_admin.domain.sessions import Session
from ollama_admin.gateway.access import Access, address_of
from ollama_admin.gateway.limits import Limits
from ollama_admin.services.sessions import LIFETIME, Sessions
from ollama_admin.web.paths import ROOT, SIGN_IN, own_path
from ollama_admin.web.rendering import Templates
from ollama_admin.web.visit import read_form

COOKIE = "ollama_admin_session"
_FOLDER = "/ui"


class Signing:
    def __init__(
        self, access: Access, sessions: Sessions, templates: Templates, limits: Limits
    ) -> None:
        self._access = access
        self._sessions = sessions
        self._templates = templates
        self._limits = limits

    async def session(self, request: Request) -> Session | None:
        """Who is signed in; None for nobody."""
        token = request.cookies.get(COOKIE, "")
        if not token:
            return None
        return await self._sessions.of(token, address_of(request.scope))

    async def ask(self, request: Request) -> Response:
        """The form that asks for a key."""
        return await self._form(request.query_params.get("next", ROOT), "")

    async def sign_in(self, request: Request) -> Response:
        """Take the key, end the session before, and lead on to where one wanted to go."""
        form = await read_form(request, self._limits)
        address = address_of(request.scope)
        token = await self._sessions.open(form.text("key").strip().encode(), address)
        if token is None:
            return await self._form(form.text("next"), "the key is not known", 401)
        await self._end(request)
        response = RedirectResponse(own_path(form.text("next")), 303)
        response.set_cookie(
            COOKIE,
            token,
            max_age=int(LIFETIME.total_seconds()),
            path=_FOLDER,
            secure=_is_secure(request),
            httponly=True,
            samesite="strict",
        )
        return response

    async def sign_out(self, request: Request) -> Response:
        await self._end(request)
        response = RedirectResponse(SIGN_IN, 303)
        response.delete_cookie(COOKIE, path=_FOLDER)
        return response

    async def _end(self, request: Request) -> None:
        token = request.cookies.get(COOKIE, "")
        if token:
            await self._sessions.close(token)

    async def _form(self, path: str, problem: str, status: int = 200) -> Response:
        values = {"next": own_path(path), "problem": problem}
        html = await self._templates.html("sign_in.html", values)
        return HTMLResponse(html, status)


def _is_secure(request: Request) -> bool:
    """Whether the browser speaks TLS, with us or with a proxy before us."""
    origin = request.headers.get("origin", "")
    return request.url.scheme == "https" or origin.startswith("https://")
