"""One model: its builds at each server, where it is in memory, and what can be done with it."""

from collections.abc import Mapping

from starlette.responses import Response

from ollama_admin.domain.activity import FleetActivity
from ollama_admin.domain.builds import RegistryResult
from ollama_admin.domain.digests import short
from ollama_admin.domain.keys import Right
from ollama_admin.domain.names import model_key
from ollama_admin.services.matrix import MatrixPage
from ollama_admin.web.page import View
from ollama_admin.web.visit import Visit

LIMIT = 1000  # servers


async def show(visit: Visit) -> Response:
    """One model; a name that nobody holds can be pulled."""
    name = visit.asked("model")
    wanted = MatrixPage(name=name, servers=LIMIT)
    matrix = await visit.client.models.matrix(wanted, visit.rights)
    key = model_key(name)
    line = next(iter(matrix.lines), None)
    loaded = _loaded(await visit.client.fleet.activity(wait=False), key)
    return await visit.page(
        "model.html",
        name=name if line is None else line.name,
        line=line,
        servers=matrix.servers,
        loaded=loaded,
        manages=visit.may(Right.MANAGE),
    )


async def compare(visit: Visit) -> Response:
    """Ask the registry of a model whether servers have the build that it has now."""
    await visit.form()
    name = visit.asked("model")
    results = await visit.client.fleet.outdated([name])
    told = "; ".join(map(_told, results)) or f"no server holds {name}"
    return visit.go(visit.came_from("/ui/models"), told)


def _loaded(activity: FleetActivity, key: str) -> Mapping[int | None, bool]:
    """Whether the model is in memory, by the id of the server; a server that does not tell is not
    in it.
    """
    told = (one for one in activity.servers if one.models is not None)
    return {
        one.server.id: any(model_key(model.name) == key for model in one.models or ())
        for one in told
    }


def _told(result: RegistryResult) -> str:
    if result.error is not None:
        return f"{result.name}: {result.error.message}"
    text = f"{result.name}: {result.state}; its registry has {short(result.digest)}"
    others = [held.server for held in result.servers if held.is_current is False]
    if others:
        text += f", another build is at {', '.join(others)}"
    return text


VIEWS = [
    View(path="/ui/models/show", answer=show, right=Right.READ),
    View(path="/ui/models/compare", answer=compare, right=Right.MANAGE, method="POST"),
]
