"""What is done with a model at servers: pulled, loaded, unloaded and removed."""

import time
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from contextlib import aclosing
from typing import Any
from urllib.parse import urlencode

from starlette.responses import Response

from ollama_admin.domain.holdings import ChangeResult
from ollama_admin.domain.keys import Right
from ollama_admin.domain.pulls import Pull, PullProgress, PullReport, PullResult
from ollama_admin.errors import AdminError
from ollama_admin.web.outcomes import changes_told
from ollama_admin.web.page import View
from ollama_admin.web.streaming import HERE, Streamed
from ollama_admin.web.visit import Form, Visit

EVERY_SERVER = "every"  # the choice of all active servers
EVERY = 1.0  # seconds between two looks at pulls
Rows = dict[tuple[int | None, str], PullProgress | PullResult]


async def pull(visit: Visit) -> Response:
    """Have servers pull a model, and show how far they are. Who leaves the page stops it."""
    form = await visit.form()
    name, digest = form.text("model").strip(), form.text("digest").strip() or None
    servers = _servers(form)
    if EVERY_SERVER in form.texts("servers"):
        rows = await visit.client.servers.list()
        servers = [row.id for row in rows if row.is_active]
    pulls = await visit.client.fleet.pulls_of(name, servers, digest=digest)
    page = await _page(visit, "Pull", name)
    return Streamed(page, _pulled(visit, pulls))


async def load(visit: Visit) -> Response:
    """Have a server load a model, which may take minutes."""
    form = await visit.form()
    name = _model(visit, form)
    work = visit.client.fleet.load(name, _servers(form) or _named(visit))
    return Streamed(await _page(visit, "Load", name), _awaited(visit, work))


async def unload(visit: Visit) -> Response:
    """Have a server let go of a model in memory."""
    form = await visit.form()
    name = _model(visit, form)
    results = await visit.client.fleet.unload(name, _servers(form) or _named(visit))
    return visit.go(_path(name), changes_told(results))


async def remove(visit: Visit) -> Response:
    """Delete a model at servers, once it was told what that breaks."""
    form = await visit.form()
    name, servers = form.text("model").strip(), _servers(form)
    if form.text("sure") != "yes":
        removal = await visit.client.fleet.removal(name, servers)
        return await visit.page("model_remove.html", removal=removal)
    results = await visit.client.fleet.remove(name, servers)
    return visit.go(_path(name), changes_told(results))


async def _page(visit: Visit, title: str, name: str) -> str:
    return await visit.html("model_work.html", what=title, name=name, path=_path(name), here=HERE)


async def _pulled(visit: Visit, pulls: Sequence[Pull]) -> AsyncGenerator[str, None]:
    """The state of all pulls, each time that it is another one, at most once a second."""
    rows: Rows = {}
    shown = 0.0
    events = visit.client.fleet.pulls.stream(pulls, every=EVERY)
    try:
        async with aclosing(events):
            async for event in events:
                if isinstance(event, PullReport):
                    yield await _frame(visit, rows, event)
                    return
                rows[event.key] = event
                if time.monotonic() - shown >= EVERY:
                    yield await _frame(visit, rows, None)
                    shown = time.monotonic()
    except AdminError as exc:
        yield await visit.fragment("problem.html", problem=exc)


async def _frame(visit: Visit, rows: Rows, report: PullReport | None) -> str:
    return await visit.fragment("pull_part.html", rows=_lines(rows), report=report)


def _lines(rows: Rows) -> list[Mapping[str, Any]]:
    return [_line(row) for row in rows.values()]


def _line(row: PullProgress | PullResult) -> Mapping[str, Any]:
    line: dict[str, Any] = {"server": str(row.server), "completed": row.completed}
    line["total"], line["problem"] = row.total, None
    if isinstance(row, PullProgress):
        return line | {"status": f"{row.share}, {row.status}", "kind": "running"}
    if row.error is not None:
        return line | {"status": "failed", "kind": "bad", "problem": row.error}
    return line | {"status": "there", "kind": "ok"}


async def _awaited(visit: Visit, work: Awaitable[list[ChangeResult]]) -> AsyncGenerator[str, None]:
    yield await visit.fragment("work_begun.html")
    try:
        results = await work
    except AdminError as exc:
        yield await visit.fragment("problem.html", problem=exc)
        return
    yield await visit.fragment("work_done.html", told=changes_told(results))


def _model(visit: Visit, form: Form) -> str:
    """The model that the form or the query names: a button in a list has no fields."""
    return form.text("model").strip() or visit.asked("model")


def _named(visit: Visit) -> list[int | str]:
    server = visit.asked("server")
    return [int(server)] if server.isdecimal() else []


def _servers(form: Form) -> list[int | str]:
    """The ids that were chosen."""
    return [int(text) for text in form.texts("servers") if text.isdecimal() and len(text) < 19]


def _path(name: str) -> str:
    return f"/ui/models/show?{urlencode({'model': name})}"


def _change(path: str, answer: Any) -> View:
    return View(path=f"/ui/models/{path}", answer=answer, right=Right.MANAGE, method="POST")


VIEWS = [
    _change("pull", pull),
    _change("load", load),
    _change("unload", unload),
    _change("remove", remove),
]
