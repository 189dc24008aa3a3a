"""Fleet: what each server is doing now, and what is done to all of them."""

import asyncio

from starlette.responses import Response

from ollama_admin.domain.activity import FleetActivity
from ollama_admin.domain.keys import Right
from ollama_admin.web import servers
from ollama_admin.web.outcomes import checks_told, discoveries_told
from ollama_admin.web.page import Page, View
from ollama_admin.web.paging import Paged
from ollama_admin.web.visit import Visit

PER_PAGE = 50
AT_FIRST = 0.15  # seconds that the first look waits for what servers have in memory


async def show(visit: Visit) -> Response:
    """All servers."""
    part = await _table(visit, await _at_first(visit))
    return await visit.page("fleet.html", part=part, q=visit.asked("q"), manages=_manages(visit))


async def live(visit: Visit) -> str:
    """The table, or one server where the query names it. Nobody waits here for a server that does
    not answer.
    """
    activity = await visit.client.fleet.activity(wait=False)
    if visit.asked("server"):
        return await servers.state(visit, visit.number("server", 1), activity)
    return await _table(visit, activity)


async def check(visit: Visit) -> Response:
    """Ask all active servers whether they answer."""
    await visit.form()
    return visit.go(visit.came_from("/ui/fleet"), checks_told(await visit.client.servers.check()))


async def discover(visit: Visit) -> Response:
    """Read what all active servers hold into the database."""
    await visit.form()
    return visit.go(visit.came_from("/ui/fleet"), discoveries_told(await visit.client.discover()))


async def _table(visit: Visit, activity: FleetActivity) -> str:
    wanted = visit.asked("q").casefold()
    rows = [
        one
        for one in activity.servers
        if wanted in f"{one.server.name} {one.server.url} {one.status}".casefold()
    ]
    paged = Paged.of(rows, visit.number("at", 1), PER_PAGE)
    return await visit.fragment(
        "fleet_part.html",
        paged=paged,
        total=len(activity.servers),
        q=visit.asked("q"),
        manages=_manages(visit),
    )


async def _at_first(visit: Visit) -> FleetActivity:
    """What is known now, with what servers have in memory where they tell it at once."""
    try:
        async with asyncio.timeout(AT_FIRST):
            return await visit.client.fleet.activity()
    except TimeoutError:
        return await visit.client.fleet.activity(wait=False)


def _manages(visit: Visit) -> bool:
    return visit.may(Right.MANAGE)


PAGE = Page(
    name="fleet",
    title="Fleet",
    views=[
        View(path="/ui/fleet", answer=show, right=Right.READ),
        View(path="/ui/fleet/check", answer=check, right=Right.MANAGE, method="POST"),
        View(path="/ui/fleet/discover", answer=discover, right=Right.MANAGE, method="POST"),
    ]
    + servers.VIEWS,
    live=live,
)
