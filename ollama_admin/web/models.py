"""Models: which name is which build at which server."""

from starlette.responses import Response

from ollama_admin.domain.keys import Right
from ollama_admin.services.matrix import MatrixPage
from ollama_admin.web import holdings, model
from ollama_admin.web.page import Page, View
from ollama_admin.web.paging import place
from ollama_admin.web.visit import Visit

NAMES = 40
SERVERS = 8


async def show(visit: Visit) -> Response:
    """A page of the matrix."""
    at, server_at = visit.number("at", 1), visit.number("server_at", 1)
    wanted = MatrixPage(
        model=visit.asked("q"),
        server=visit.asked("server"),
        first_name=(at - 1) * NAMES,
        names=NAMES,
        first_server=(server_at - 1) * SERVERS,
        servers=SERVERS,
    )
    matrix = await visit.client.models.matrix(wanted, visit.rights)
    return await visit.page(
        "models.html",
        matrix=matrix,
        q=wanted.model,
        server=wanted.server,
        names=place(matrix.names, at, NAMES),
        servers=place(matrix.servers_in_all, server_at, SERVERS),
        manages=visit.may(Right.MANAGE),
    )


PAGE = Page(
    name="models",
    title="Models",
    views=[View(path="/ui/models", answer=show, right=Right.READ)] + model.VIEWS + holdings.VIEWS,
)
