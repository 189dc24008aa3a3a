"""`/api/fleet`: what servers pull, hold and run, at several of them at once."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.events import EventStream
from ollama_admin.api.problems import JSONDocument
from ollama_admin.api.reach import NEEDS_DATABASE, ClientDep, errors, needs, rendered
from ollama_admin.documents import document, results
from ollama_admin.domain.holdings import ChangeResult
from ollama_admin.domain.keys import Right
from ollama_admin.domain.running import RunningResult

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["fleet"])

EVERY = 1.0  # seconds between two events of one pull

ServerWord = Annotated[
    Annotated[int, Field(ge=1, le=schemas.ID_LIMIT)] | schemas.Word,
    Field(description="an id or a name"),
]
KeepAlive = Annotated[int, Field(ge=-(2**31), le=2**31)] | schemas.Word


class ServersMeant(schemas.Strict):
    """Which servers: those named, or all active ones that fit; with `all` inactive ones, too."""

    servers: Annotated[list[ServerWord], Field(fail_fast=True)] | None = Field(
        None, max_length=1000
    )
    all: bool = False
    capability: schemas.Word | None = None
    labels: schemas.Words | None = Field(None, max_length=100)

    def where(self) -> dict[str, Any]:
        """The arguments that say so."""
        return {
            "servers": self.servers or (),
            "all": self.all,
            "capability": self.capability,
            "labels": self.labels or (),
        }


class ServersQuery(schemas.Filter):
    """Which servers are asked: those named, or all active ones that fit."""

    server: list[schemas.Word] = Field(
        default=[], max_length=100, description="an id or a name; may be repeated"
    )
    all: bool = Field(False, description="inactive servers too")


class ShowQuery(schemas.Strict):
    model_config = ConfigDict(strict=False)

    model: schemas.ModelName
    server: schemas.QueryWord = Field(None, description="the one that tells of it")


class PullBody(ServersMeant):
    model: schemas.ModelName
    digest: schemas.Word | None = Field(
        None, description="the build that has to come; null: the pinned one, if there is a pin"
    )
    parallel: int | None = Field(None, ge=1, le=1000, description="servers that pull at once")


class ModelBody(ServersMeant):
    model: schemas.ModelName


class LoadBody(ModelBody):
    keep_alive: KeepAlive | None = Field(
        None, description="seconds, 5m, -1; null: the server's own"
    )


class CopyBody(ServersMeant):
    source: schemas.ModelName
    destination: schemas.ModelName


class RunningModel(BaseModel):
    """`name` and `digest` are those that loaded it."""

    name: str
    digest: str | None
    size: int | None
    size_vram: int | None
    gpu_share: float | None
    context_length: int | None
    expires_at: str | None


class Running(BaseModel):
    """`models` is null where the server does not tell."""

    server: schemas.ServerRef
    models: list[RunningModel] | None
    in_flight: int = Field(description="slots that our requests hold")
    waiting: int = Field(description="our requests that wait for a slot")
    max_concurrent: int
    error: schemas.ErrorDetail | None


class Runnings(BaseModel):
    results: list[Running]
    failed: int


class Changed(BaseModel):
    server: schemas.ServerRef
    model: str
    change: Literal["removed", "copied", "loaded", "unloaded", "not loaded", "not there", "failed"]
    digest: str | None
    ms: int
    error: schemas.ErrorDetail | None


class Changes(BaseModel):
    results: list[Changed]
    failed: int


class ShownModel(BaseModel):
    name: str
    server: schemas.ServerRef
    digest: str | None
    build: dict[str, Any]
    pinned: str | None
    builds: int
    holders: list[dict[str, Any]]


Documented = dict[int | str, dict[str, Any]]

_RUNNING: Documented = {200: {"model": Runnings}}
_CHANGED: Documented = {200: {"model": Changes}}
_SHOWN: Documented = {200: {"model": ShownModel}}
_PULLED: Documented = {
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


@router.get("/api/fleet/ps", dependencies=needs(Right.READ), responses=_RUNNING | errors(404))
async def ps(client: ClientDep, query: Annotated[ServersQuery, Query()]) -> Response:
    """What servers have in memory, and how busy they are."""
    running = await client.fleet.ps(
        query.server, all=query.all, capability=query.capability, labels=query.label
    )
    return await _results(running)


@router.get(
    "/api/fleet/show", dependencies=needs(Right.READ), responses=_SHOWN | errors(404, 409, 502)
)
async def show(client: ClientDep, query: Annotated[ShowQuery, Query()]) -> Response:
    """What is known of a model, told by a server that has it."""
    return JSONDocument(document(await client.fleet.show(query.model, query.server)))


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
    pulls = await client.fleet.pulls_of(body.model, digest=body.digest, **body.where())
    return EventStream(client.fleet.pulls.stream(pulls, parallel=body.parallel, every=EVERY))


@router.post(
    "/api/fleet/remove",
    dependencies=needs(Right.MANAGE),
    responses=_CHANGED | errors(404, body=True),
)
async def remove(client: ClientDep, body: ModelBody) -> Response:
    """Delete a model on servers, without a question."""
    return await _results(await client.fleet.remove(body.model, **body.where()))


@router.post(
    "/api/fleet/copy",
    dependencies=needs(Right.MANAGE),
    responses=_CHANGED | errors(404, body=True),
)
async def copy(client: ClientDep, body: CopyBody) -> Response:
    """Give a model a second name on servers. A name of another build is a conflict there."""
    return await _results(await client.fleet.copy(body.source, body.destination, **body.where()))


@router.post(
    "/api/fleet/load",
    dependencies=needs(Right.MANAGE),
    responses=_CHANGED | errors(404, body=True),
)
async def load(client: ClientDep, body: LoadBody) -> Response:
    """Have servers load a model into memory. No prompt is sent, and nothing is pulled."""
    return await _results(
        await client.fleet.load(body.model, keep_alive=body.keep_alive, **body.where())
    )


@router.post(
    "/api/fleet/unload",
    dependencies=needs(Right.MANAGE),
    responses=_CHANGED | errors(404, body=True),
)
async def unload(client: ClientDep, body: ModelBody) -> Response:
    """Have servers let go of a model in memory."""
    return await _results(await client.fleet.unload(body.model, **body.where()))


async def _results(outcomes: Sequence[RunningResult] | Sequence[ChangeResult]) -> Response:
    """One result for each server, and how many failed."""
    failed = sum(outcome.error is not None for outcome in outcomes)
    return await rendered(lambda: results(outcomes, failed))
