"""Keys: who may ask, added, changed, rotated, revoked and removed."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from starlette.responses import Response

from ollama_admin.domain.keys import IssuedKey, Key, Right
from ollama_admin.domain.times import duration, point_ahead
from ollama_admin.errors import Conflict, InvalidInput, StateChanged
from ollama_admin.services.key_columns import CLEARABLE
from ollama_admin.web.page import Page, View
from ollama_admin.web.paging import Paged
from ollama_admin.web.visit import Form, Visit
from ollama_admin.web.words import now

LIST = "/ui/keys"
PER_PAGE = 50
_LISTS = ("models", "servers", "networks")
_FLAGS = ("allow_remote", "allow_truncate", "anonymous")
_NUMBERS = ("max_concurrent", "requests_per_minute", "tokens_per_day", "weight")
_NEW: Mapping[str, Any] = {
    "name": "",
    "can": ["ask"],
    "models": "",
    "servers": "",
    "networks": "",
    "allow_remote": False,
    "allow_truncate": False,
    "anonymous": False,
    "max_concurrent": "",
    "requests_per_minute": "",
    "tokens_per_day": "",
    "weight": "1",
    "expires_at": "",
    "note": "",
    "state": "",
}


async def show(visit: Visit) -> Response:
    """All keys."""
    wanted = visit.asked("q").casefold()
    keys = [key for key in await visit.client.keys.list() if wanted in key.name.casefold()]
    paged = Paged.of(keys, visit.number("at", 1), PER_PAGE)
    return await visit.page("keys.html", paged=paged, q=visit.asked("q"))


async def new(visit: Visit) -> Response:
    """The form of a new key."""
    return await visit.page("key_add.html", given=_NEW, problem=None, rights=list(Right))


async def add(visit: Visit) -> Response:
    """Write a key, and show its text, this once."""
    form = await visit.form()
    try:
        issued = await visit.client.keys.add(**_columns(form))
    except (InvalidInput, Conflict) as exc:
        return await visit.page(
            "key_add.html", exc.http_status, given=_typed(form), problem=exc, rights=list(Right)
        )
    return await _issued(visit, issued, "was added")


async def one(visit: Visit) -> Response:
    """One key, with the form that changes it."""
    key = await visit.client.keys.show(_id(visit))
    return await _page(visit, key, _filled(key))


async def change(visit: Visit) -> Response:
    """Change what the form changes of the row that it was made of; where somebody else was quicker
    nothing is changed, and told so.
    """
    form = await visit.form()
    before = await visit.client.keys.show(_id(visit))
    try:
        columns = _columns(form, before.expires_at)
        clear = [name for name in CLEARABLE if name not in columns]
        after = await visit.client.keys.update(
            before.id, clear=clear, if_state=form.text("state"), **columns
        )
    except StateChanged as exc:
        current = await visit.client.keys.show(before.id)
        return await _page(visit, current, _filled(current), exc)
    except (InvalidInput, Conflict) as exc:
        return await _page(visit, before, _typed(form), exc)
    return visit.go(_path(after), f"key {after.name} was changed")


async def rotate(visit: Visit) -> Response:
    """Give a key another text, and show it, this once."""
    form = await visit.form()
    key = await _unchanged(visit, form)
    issued = await visit.client.keys.rotate(key.id, overlap=duration(form.text("overlap", "0s")))
    return await _issued(visit, issued, "was rotated")


async def revoke(visit: Visit) -> Response:
    """Take a key no more."""
    await visit.form()
    key = await visit.client.keys.revoke(_id(visit))
    return visit.go(_path(key), f"key {key.name} was revoked")


async def remove(visit: Visit) -> Response:
    """Remove a key, once that was said twice."""
    form = await visit.form()
    if form.text("sure") != "yes":
        raise InvalidInput("nothing was removed", "tick that you are sure")
    key = await _unchanged(visit, form)
    removed = await visit.client.keys.remove(key.id)
    return visit.go(LIST, f"key {removed.name} was removed")


async def _unchanged(visit: Visit, form: Form) -> Key:
    """The key as the form shows it; raises StateChanged for another one."""
    key = await visit.client.keys.show(_id(visit))
    key.require_state(form.text("state"))
    return key


async def _issued(visit: Visit, issued: IssuedKey, what: str) -> Response:
    url = str(visit.request.base_url).rstrip("/")
    return await visit.page(
        "key_issued.html", key=issued.key, text=issued.text.reveal(), what=what, url=url
    )


async def _page(
    visit: Visit, key: Key, given: Mapping[str, Any], problem: InvalidInput | Conflict | None = None
) -> Response:
    status = 200 if problem is None else problem.http_status
    return await visit.page(
        "key.html", status, key=key, given=given, problem=problem, rights=list(Right)
    )


def _filled(key: Key) -> dict[str, Any]:
    """What the form shows of a key."""
    values: dict[str, Any] = {name: "\n".join(getattr(key, name)) for name in _LISTS}
    for name in _FLAGS:
        values[name] = getattr(key, name)
    for name in _NUMBERS + ("note",):
        value = getattr(key, name)
        values[name] = "" if value is None else str(value)
    values |= {"name": key.name, "can": list(key.can), "state": key.state}
    values["expires_at"] = _shown(key.expires_at)
    return values


def _typed(form: Form) -> dict[str, Any]:
    """What somebody typed."""
    values: dict[str, Any] = {name: form.text(name) for name in _NEW}
    for name in _FLAGS:
        values[name] = bool(form.text(name))
    return values | {"can": form.texts("can")}


def _columns(form: Form, expires_at: datetime | None = None) -> dict[str, Any]:
    """The columns that a form gives; `expires_at` is the end that the key has. Raises
    InvalidInput.
    """
    values: dict[str, Any] = form.given({"name": str, "note": str})
    values["can"] = form.texts("can")
    for name in _LISTS:
        lines = [line.strip() for line in form.text(name).split("\n")]
        if any(lines):
            values[name] = [line for line in lines if line]
    for name in _FLAGS:
        values[name] = form.text(name) == "yes"
    values |= {name: _whole(name, text) for name, text in form.given(_TEXTS).items()}
    end = form.text("expires_at").strip()
    if end and end == _shown(expires_at):
        values["expires_at"] = expires_at
    elif end:
        values["expires_at"] = point_ahead(end, now())
    return values


_TEXTS = dict.fromkeys(_NUMBERS, str)


def _whole(name: str, text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 20:
        raise InvalidInput(f"{name} must be a whole number, not {text[:100]!a}")
    return int(text)


def _shown(time: datetime | None) -> str:
    return "" if time is None else time.isoformat()


def _path(key: Key) -> str:
    return f"{LIST}/{key.id}"


def _id(visit: Visit) -> int:
    return int(visit.part("key"))


_ONE = f"{LIST}/{{key:int}}"
PAGE = Page(
    name="keys",
    title="Keys",
    views=[
        View(path=LIST, answer=show, right=Right.ADMIN),
        View(path=f"{LIST}/add", answer=new, right=Right.ADMIN),
        View(path=f"{LIST}/add", answer=add, right=Right.ADMIN, method="POST"),
        View(path=_ONE, answer=one, right=Right.ADMIN),
        View(path=f"{_ONE}/change", answer=change, right=Right.ADMIN, method="POST"),
        View(path=f"{_ONE}/rotate", answer=rotate, right=Right.ADMIN, method="POST"),
        View(path=f"{_ONE}/revoke", answer=revoke, right=Right.ADMIN, method="POST"),
        View(path=f"{_ONE}/remove", answer=remove, right=Right.ADMIN, method="POST"),
    ],
)
