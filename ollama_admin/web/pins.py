"""Pins: the builds that names mean for the whole fleet."""

from typing import Any

from starlette.responses import Response

from ollama_admin.domain.digests import short
from ollama_admin.domain.keys import Right
from ollama_admin.errors import Conflict, InvalidInput, NotFound
from ollama_admin.web.page import Page, View
from ollama_admin.web.paging import Paged
from ollama_admin.web.visit import Visit

LIST = "/ui/pins"
PER_PAGE = 50


async def show(visit: Visit) -> Response:
    """All pins, beside what active servers list."""
    return await _page(visit)


async def pin(visit: Visit) -> Response:
    """Pin a name to a build; where somebody else was quicker nothing is changed, and told so."""
    form = await visit.form()
    before = None
    if form.text("before", "no") != "no":
        before = form.text("before")
    given = form.given({"name": str, "digest": str, "server": str})
    try:
        name = given.pop("name", "")
        written = await visit.client.pins.set(name, if_before=before, **given)
    except (InvalidInput, Conflict, NotFound) as exc:
        return await _page(visit, exc, name=form.text("name"), digest=form.text("digest"))
    return visit.go(LIST, f"{written.name} is pinned to build {short(written.digest)}")


async def unpin(visit: Visit) -> Response:
    """Let a name mean again what each server says."""
    form = await visit.form()
    try:
        removed = await visit.client.pins.remove(form.text("name"), if_before=form.text("before"))
    except (InvalidInput, Conflict, NotFound) as exc:
        return await _page(visit, exc)
    return visit.go(LIST, f"{removed.name} is pinned no more")


async def _page(
    visit: Visit, problem: InvalidInput | Conflict | NotFound | None = None, **typed: Any
) -> Response:
    status = 200 if problem is None else problem.http_status
    wanted = visit.asked("q").casefold()
    pins = [one for one in await visit.client.pins.list() if wanted in one.name.casefold()]
    return await visit.page(
        "pins.html",
        status,
        paged=Paged.of(pins, visit.number("at", 1), PER_PAGE),
        problem=problem,
        typed={"name": visit.asked("model"), "digest": "", "server": ""} | typed,
        q=visit.asked("q"),
        manages=visit.may(Right.MANAGE),
    )


PAGE = Page(
    name="pins",
    title="Pins",
    views=[
        View(path=LIST, answer=show, right=Right.READ),
        View(path=f"{LIST}/set", answer=pin, right=Right.MANAGE, method="POST"),
        View(path=f"{LIST}/remove", answer=unpin, right=Right.MANAGE, method="POST"),
    ],
)
