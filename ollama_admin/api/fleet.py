"""`/api/fleet`: what servers pull, hold and run, at several of them at once."""

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.events import EventStream
from ollama_admin.api.reach import NEEDS_DATABASE, ClientDep, errors, needs
from ollama_admin.domain.keys import Right
from ollama_admin.services.targets import Targets

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["fleet"])

EVERY = 1.0  # seconds between two events of one pull

ServerWord = Annotated[
    Annotated[int, Field(ge=1, le=schemas.ID_LIMIT)] | schemas.Word,
    Field(description="an id or a name"),
]


class ServersMeant(schemas.Strict):
    """Which servers: those named, or all active ones that fit; with `all` inactive ones, too."""

    servers: Annotated[list[ServerWord], Field(fail_fast=True)] | None = Field(
        None, max_length=1000
    )
    all: bool = False
    capability: schemas.Word | None = None
    labels: schemas.Words | None = Field(None, max_length=100)

    @property
    def targets(self) -> Targets:
        return Targets(
            names=self.servers or (),
            all=self.all,
            capability=self.capability,
            labels=self.labels or (),
        )


class PullBody(ServersMeant):
    model: schemas.ModelName
    digest: schemas.Word | None = Field(
        None, description="the build that has to come; null: the pinned one, if there is a pin"
    )
    parallel: int | None = Field(None, ge=1, le=1000, description="servers that pull at once")


_PULLED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "one event a line: `progress` and `result` of a server, with bytes that are "
        "there (`completed`), that it has named (`total`) and that came in this pull (`received`); "
        "the last line is `end`, with all results, how many failed, and the builds that servers "
        "have now",
        "content": {
            EventStream.media_type: {
                "schema": {
                    "type": "object",
                    "properties": {"event": {"enum": ["progress", "result", "end"]}},
                }
            }
        },
    }
}


@router.post(
    "/api/fleet/pull",
    dependencies=needs(Right.MANAGE),
    response_class=Response,
    responses=_PULLED | errors(404, body=True),
)
async def pull(client: ClientDep, body: PullBody) -> Response:
    """Have servers pull a model, and discover them. A client that leaves stops it; the same again
    goes on where it stopped.
    """
    pulls = await client.fleet.pulls_of(body.model, body.targets, body.digest)
    return EventStream(client.fleet.pulls.stream(pulls, parallel=body.parallel, every=EVERY))
