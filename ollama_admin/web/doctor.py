"""Doctor: settings, database, key and servers, with what is wrong."""

from starlette.responses import Response

from ollama_admin.domain.keys import Right
from ollama_admin.web.page import Page, View
from ollama_admin.web.visit import Visit


async def show(visit: Visit) -> Response:
    """The report of this process. Every server is checked for it, as `server check` does."""
    report = await visit.client.doctor()
    return await visit.page("doctor.html", report=report)


PAGE = Page(
    name="doctor",
    title="Doctor",
    views=[View(path="/ui/doctor", answer=show, right=Right.ADMIN)],
)
