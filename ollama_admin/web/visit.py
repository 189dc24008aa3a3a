"""One request for a page: who asks, what the form says, and how it is answered."""

import asyncio
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from ollama_admin.client import Client
from ollama_admin.domain.callers import Rights
from ollama_admin.domain.keys import Key, Right
from ollama_admin.domain.sessions import Session
from ollama_admin.gateway.limits import HELD, Limits, too_large
from ollama_admin.gateway.refusals import Refused
from ollama_admin.web.paths import ROOT, own_path
from ollama_admin.web.rendering import Templates

FORM = "application/x-www-form-urlencoded"
FIELDS = 1000  # of one form
SAID = "ollama_admin_said"  # the cookie with what the next page tells, read once
SAID_LIMIT = 2000  # characters
CSRF = "csrf"
CSRF_HEADER = "x-csrf-token"


@dataclass(slots=True, kw_only=True)
class Visit:
    """`client` is the services as whoever asks may use them; what they note is among `notes` and
    told on the page. `menu` are the pages that the key may see.
    """

    request: Request
    session: Session
    client: Client
    rights: Rights
    limits: Limits
    templates: Templates
    menu: Callable[[Key], Any]
    notes: list[str] = field(default_factory=list)

    @property
    def key(self) -> Key:
        return self.session.key

    def may(self, right: Right) -> bool:
        return self.key.may(right)

    def asked(self, name: str, default: str = "") -> str:
        """A value of the query."""
        return self.request.query_params.get(name, default)

    def number(self, name: str, default: int, most: int = 2**31) -> int:
        """A number of the query from 1 on; the default for what is none."""
        text = self.asked(name)
        if not text.isascii() or not text.isdecimal() or len(text) > 10:
            return default
        return min(max(int(text), 1), most)

    def part(self, name: str) -> str:
        """What stands in the path for `{name}`."""
        return str(self.request.path_params[name])

    @property
    def origin(self) -> str:
        """The URL under which the browser knows us; a proxy before us may speak TLS for us."""
        host = self.request.headers["host"]
        told = [self.request.headers.get(name, "") for name in ("origin", "referer")]
        is_secure = any(text.startswith(f"https://{host}") for text in told)
        if is_secure or self.request.url.scheme == "https":
            return f"https://{host}"
        return f"http://{host}"

    def came_from(self, default: str) -> str:
        """The page with the button that was pressed, as the browser tells it."""
        try:
            url = urlsplit(self.request.headers.get("referer", ""))
        except ValueError:
            return default
        path = own_path(url.path + f"?{url.query}" * bool(url.query))
        return default if path == ROOT else path

    async def form(self) -> "Form":
        """The form that was sent. Refused with 403 where it is not one of this session's pages."""
        form = await read_form(self.request, self.limits)
        given = self.request.headers.get(CSRF_HEADER, form.text(CSRF))
        if not hmac.compare_digest(given.encode(), self.session.csrf_token.encode()):
            raise Refused(
                403, "the form does not belong to this session", "load the page again", code="csrf"
            )
        return form

    async def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A whole page. Its template extends `layout.html`."""
        response = HTMLResponse(await self.html(template, **values), status)
        response.delete_cookie(SAID, path="/ui")
        return response

    async def html(self, template: str, **values: Any) -> str:
        """The HTML of a whole page."""
        all_values = values | {
            "visit": self,
            "csrf": self.session.csrf_token,
            "menu": self.menu(self.key),
            "said": said_before(self.request) + self.notes,
        }
        return await self.templates.html(template, all_values)

    async def fragment(self, template: str, **values: Any) -> str:
        """A part of a page, without anything of this session."""
        return await self.templates.html(template, values | {"visit": self})

    def go(self, path: str, said: str = "") -> Response:
        """Lead on to a page of ours after a change; the page tells `said` and the notes."""
        response = RedirectResponse(path, 303)
        texts = [text[: SAID_LIMIT // 4] for text in [said] + self.notes if text]
        if texts:
            value = quote(json.dumps(texts[:8]), safe="")[: 2 * SAID_LIMIT]
            response.set_cookie(SAID, value, path="/ui", httponly=True, samesite="strict")
        return response


class Form:
    """The fields of a form; of one that is given several times, `texts` has all."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._pairs = pairs

    def text(self, name: str, default: str = "") -> str:
        return next((value for given, value in self._pairs if given == name), default)

    def texts(self, name: str) -> list[str]:
        return [value for given, value in self._pairs if given == name]

    def given(self, names: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
        """The fields that are there and not empty, as what they are read as."""
        values = {name: self.text(name).strip() for name in names}
        return {name: names[name](value) for name, value in values.items() if value}


async def read_form(request: Request, limits: Limits) -> Form:
    """The fields of the body; Refused where it is no form, too long, or too slow."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in (FORM, ""):  # an empty one has none
        raise Refused(415, f"a form is sent as {FORM}")
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_time):
            async for chunk in request.stream():
                request.scope[HELD].take(len(chunk))
                body += chunk
                if len(body) > limits.body:
                    raise too_large(limits.body)
        text = body.decode()
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS)
    except TimeoutError as exc:
        closing = {"Connection": "close"}
        raise Refused(408, "timed out waiting for the form", headers=closing) from exc
    except (ValueError, ClientDisconnect) as exc:
        raise Refused(400, "the form cannot be read") from exc
    return Form([(name, value.replace("\r\n", "\n")) for name, value in pairs])


def said_before(request: Request) -> list[str]:
    """What the change before told, which led here."""
    try:
        texts = json.loads(unquote(request.cookies.get(SAID, "[]")))
    except ValueError:
        return []
    if not isinstance(texts, list):
        return []
    return [text for text in texts if isinstance(text, str)]
