"""Connect: the exact lines for a client, with the address of this fleet."""

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from starlette.responses import Response

from ollama_admin.domain.keys import Right
from ollama_admin.services.matrix import MatrixPage
from ollama_admin.web.page import Page, View
from ollama_admin.web.visit import Visit

FILE = Path(__file__).parent / "clients.toml"
NAMES = 500  # models to choose from

Client = Mapping[str, str]


async def show(visit: Visit) -> Response:
    """One client's lines; the key itself is never on the page."""
    clients = known_clients()
    name = visit.asked("client", clients[0]["name"])
    chosen = next((one for one in clients if one["name"] == name), clients[0])
    matrix = await visit.client.models.matrix(MatrixPage(names=NAMES, servers=1), visit.rights)
    model = visit.asked("model")
    if not model and matrix.lines:
        model = matrix.lines[0].name
    return await visit.page(
        "connect.html",
        clients=clients,
        chosen=chosen,
        lines=filled(chosen["lines"], visit.origin, model or "MODEL"),
        models=[line.name for line in matrix.lines],
        model=model,
        url=visit.origin,
    )


@cache
def known_clients() -> Sequence[Client]:
    """Every client, as docs/clients.md has them."""
    clients: Sequence[Client] = tomllib.loads(FILE.read_text(encoding="utf-8"))["clients"]
    return clients


def filled(lines: str, url: str, model: str) -> str:
    """The lines for a gateway at this URL; KEY stays where the key goes."""
    host = url.partition("://")[2]
    return lines.replace("{url}", url).replace("{host}", host).replace("MODEL", model)


PAGE = Page(
    name="connect",
    title="Connect",
    views=[View(path="/ui/connect", answer=show, right=Right.ASK)],
)
