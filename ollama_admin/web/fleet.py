"""Fleet: what each server is doing now."""

from starlette.responses import Response

from ollama_admin.domain.keys import Right
from ollama_admin.web.page import Page, View
from ollama_admin.web.paging import Paged
from ollama_admin.web.visit import Visit

PER_PAGE = 50


async def show(visit: Visit) -> Response:
    """All servers."""
    return await visit.page("fleet.html", part=await part(visit), q=visit.asked("q"))


async def part(visit: Visit) -> str:
    """The table. Nobody waits for a server here that does not answer."""
    activity = await visit.client.fleet.activity(wait=False)
    wanted = visit.asked("q").casefold()
    servers = [
        one
        for one in activity.servers
        if wanted in f"{one.server.name} {one.server.url} {one.status}".casefold()
    ]
    paged = Paged.of(servers, visit.number("at", 1), PER_PAGE)
    return await visit.fragment(
        "fleet_part.html", paged=paged, total=len(activity.servers), q=visit.asked("q")
    )


PAGE = Page(
    name="fleet",
    title="Fleet",
    views=[View(path="/ui/fleet", answer=show, right=Right.READ)],
    live=part,
)
