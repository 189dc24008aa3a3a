"""One server: its state, the form that changes it, and what can be asked of it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.responses import Response

from ollama_admin.domain.activity import FleetActivity
from ollama_admin.domain.keys import Right
from ollama_admin.domain.servers import Server
from ollama_admin.errors import Conflict, InvalidInput, StateChanged
from ollama_admin.web.outcomes import checks_told, discoveries_told
from ollama_admin.web.page import View
from ollama_admin.web.server_forms import changes, filled, new_columns
from ollama_admin.web.visit import Form, Visit

LIST = "/ui/fleet"
_NEW: dict[str, Any] = {
    "name": "",
    "url": "",
    "max_concurrent": 1,
    "priority": 0,
    "default_model": "",
    "labels": "",
    "capabilities": "",
    "is_default": False,
    "is_active": True,
    "auth_type": "none",
    "subject": "",
    "state": "",
}


async def show(visit: Visit) -> Response:
    """One server."""
    server = await visit.client.servers.show(_id(visit))
    return await _page(visit, server, filled(server))


async def state(visit: Visit, server_id: int, activity: FleetActivity) -> str:
    """What a server is doing now."""
    server = await visit.client.servers.show(server_id)
    found = (one for one in activity.servers if one.server.id == server.id)
    doing = next(found, None)
    manages = visit.may(Right.MANAGE)
    return await visit.fragment("server_part.html", server=server, one=doing, manages=manages)


async def new(visit: Visit) -> Response:
    """The form of a new server."""
    return await visit.page("server_add.html", given=_NEW, problem=None)


async def add(visit: Visit) -> Response:
    """Write a row; nothing is asked of the server."""
    form = await visit.form()
    try:
        server = await visit.client.servers.add(**new_columns(form))
    except (InvalidInput, Conflict) as exc:
        given = _NEW | _given(form)
        return await visit.page("server_add.html", exc.http_status, given=given, problem=exc)
    return visit.go(_path(server.id), f"server {server.name} was added; discover what it holds")


async def change(visit: Visit) -> Response:
    """Change what the form changes of the row that it was made of; where somebody else was quicker
    nothing is changed, and told so.
    """
    form = await visit.form()
    before = await visit.client.servers.show(_id(visit))
    try:
        columns = changes(form, before)
        before.require_state([form.text("state")])
        after = await visit.client.servers.update(
            before.id, if_state=[form.text("state")], **columns
        )
    except StateChanged as exc:
        now = await visit.client.servers.show(before.id)
        return await _page(visit, now, filled(now), exc)
    except (InvalidInput, Conflict) as exc:
        return await _page(visit, before, dict(filled(before)) | _given(form), exc)
    return visit.go(_path(after.id), f"server {after.name} was changed")


async def remove(visit: Visit) -> Response:
    """Remove a server and its models from the database, once that was said twice."""
    form = await visit.form()
    if form.text("sure") != "yes":
        raise InvalidInput("nothing was removed", "tick that you are sure")
    ref = await visit.client.servers.remove(_id(visit), if_state=[form.text("state")])
    return visit.go(LIST, f"server {ref} was removed")


async def check(visit: Visit) -> Response:
    """Ask a server whether it answers."""
    return await _done(visit, _check)


async def discover(visit: Visit) -> Response:
    """Read what a server holds into the database."""
    return await _done(visit, _discover)


async def drain(visit: Visit) -> Response:
    """Let a server get no new requests."""
    return await _done(visit, _drain)


async def resume(visit: Visit) -> Response:
    """Let a server that was drained get requests again."""
    return await _done(visit, _resume)


async def _done(visit: Visit, work: Callable[[Visit], Awaitable[str]]) -> Response:
    """Do it, and lead back to where the button was."""
    await visit.form()
    return visit.go(visit.came_from(LIST), await work(visit))


async def _check(visit: Visit) -> str:
    return checks_told(await visit.client.servers.check([_id(visit)]))


async def _discover(visit: Visit) -> str:
    return discoveries_told(await visit.client.discover([_id(visit)]))


async def _drain(visit: Visit) -> str:
    server = await visit.client.servers.begin_to_drain(_id(visit))
    return f"server {server.name} gets no new requests; {server.slots_in_use} still run there"


async def _resume(visit: Visit) -> str:
    server = await visit.client.servers.resume(_id(visit))
    return f"server {server.name} gets requests again"


async def _page(
    visit: Visit,
    server: Server,
    given: Mapping[str, Any],
    problem: InvalidInput | Conflict | None = None,
) -> Response:
    status = 200
    if problem is not None:
        status = problem.http_status
    part = await state(visit, server.id, await visit.client.fleet.activity(wait=False))
    return await visit.page(
        "server.html",
        status,
        server=server,
        part=part,
        given=given,
        problem=problem,
        manages=visit.may(Right.MANAGE),
    )


def _given(form: Form) -> dict[str, Any]:
    """What somebody typed, but for the secret."""
    values: dict[str, Any] = {name: form.text(name) for name in _NEW}
    for name in ("is_default", "is_active"):
        values[name] = bool(form.text(name))
    return values


def _id(visit: Visit) -> int:
    return int(visit.part("server"))


def _path(server_id: int) -> str:
    return f"{LIST}/{server_id}"


def _change(path: str, answer: Callable[[Visit], Awaitable[Response]]) -> View:
    return View(path=LIST + path, answer=answer, right=Right.MANAGE, method="POST")


VIEWS = [
    View(path=LIST + "/add", answer=new, right=Right.MANAGE),
    View(path=LIST + "/{server:int}", answer=show, right=Right.READ),
    _change("/add", add),
    _change("/{server:int}/change", change),
    _change("/{server:int}/remove", remove),
    _change("/{server:int}/check", check),
    _change("/{server:int}/discover", discover),
    _change("/{server:int}/drain", drain),
    _change("/{server:int}/resume", resume),
]
