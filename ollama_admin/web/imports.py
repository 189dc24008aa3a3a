"""Import: a `.env` file is pasted, its plan is seen, and then it is done."""

from starlette.responses import Response

from ollama_admin.domain.files import Pasted
from ollama_admin.domain.keys import Right
from ollama_admin.errors import AdminError
from ollama_admin.services.import_env import ImportResult
from ollama_admin.web.page import Page, View
from ollama_admin.web.visit import Visit

NAME = "pasted.env"  # what messages call it


async def show(visit: Visit) -> Response:
    """The form for the text."""
    return await _page(visit, "")


async def plan(visit: Visit) -> Response:
    """What would become of each line, or with `apply` what became of it."""
    form = await visit.form()
    text, update = form.text("text"), bool(form.text("update"))
    applies = form.text("do") == "apply"
    try:
        result = await visit.client.import_env(
            [Pasted(name=NAME, text=text)], environ=None, dry_run=not applies, update=update
        )
    except AdminError as exc:
        return await _page(visit, text, update=update, problem=exc)
    if applies:
        return visit.go("/ui/fleet", _told(result))
    return await _page(visit, text, update=update, result=result)


async def _page(
    visit: Visit,
    text: str,
    *,
    update: bool = False,
    result: ImportResult | None = None,
    problem: AdminError | None = None,
) -> Response:
    status = 200
    if problem is not None:
        status = problem.http_status
    return await visit.page(
        "import.html", status, text=text, update=update, result=result, problem=problem
    )


def _told(result: ImportResult) -> str:
    told = f"{len(result.server_ids)} servers were made or changed, {result.applied} values applied"
    if result.failed:
        told += f"; {result.failed} were not"
    return told


PAGE = Page(
    name="import",
    title="Import",
    views=[
        View(path="/ui/import", answer=show, right=Right.MANAGE),
        View(path="/ui/import/plan", answer=plan, right=Right.MANAGE, method="POST"),
    ],
)
