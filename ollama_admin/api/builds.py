"""`/api/fleet/diff` and `/api/fleet/outdated`: builds of servers, and of registries."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.reach import NEEDS_DATABASE, ClientDep, errors, needs, rendered
from ollama_admin.documents import document, results
from ollama_admin.domain.keys import Right

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["models"])


class DiffQuery(schemas.Strict):
    model_config = ConfigDict(strict=False)

    left: schemas.Word = Field(description="a server's id or name")
    right: schemas.Word = Field(description="a server's id or name")


class BuildPair(BaseModel):
    name: str
    left: str | None
    right: str | None


class ServerDifference(BaseModel):
    """`unknown` are names for which one of the two tells no digest."""

    left: schemas.ServerRef
    right: schemas.ServerRef
    only_left: list[str]
    only_right: list[str]
    different: list[BuildPair]
    unknown: list[BuildPair]
    same: int


class OutdatedBody(schemas.Strict):
    models: list[schemas.ModelName] | None = Field(
        None, max_length=1000, description="names or globs; none is all"
    )
    registry: schemas.Url | None = Field(
        None, description="asked in place of ollama.com's; names of others are left out"
    )
    all: bool = Field(False, description="also what is current, missing there or not asked")


class InstalledBuild(BaseModel):
    server: str
    digest: str | None
    is_current: bool | None


class RegistryResult(BaseModel):
    name: str
    registry: str | None
    digest: str | None
    state: Literal["current", "outdated", "missing", "skipped", "unknown"]
    pinned: str | None
    servers: list[InstalledBuild]
    error: schemas.ErrorDetail | None


class RegistryResults(BaseModel):
    results: list[RegistryResult]
    failed: int


_DIFFERENCE: dict[int | str, dict[str, Any]] = {200: {"model": ServerDifference}}
_OUTDATED: dict[int | str, dict[str, Any]] = {200: {"model": RegistryResults}}


@router.get("/api/fleet/diff", dependencies=needs(Right.READ), responses=_DIFFERENCE | errors(404))
async def diff(client: ClientDep, query: Annotated[DiffQuery, Query()]) -> Response:
    """Which models only one of two servers has, and whose builds differ."""
    difference = await client.fleet.diff(query.left, query.right)
    return await rendered(lambda: document(difference))


@router.post(
    "/api/fleet/outdated",
    dependencies=needs(Right.MANAGE),
    responses=_OUTDATED | errors(404, 502, body=True),
)
async def outdated(client: ClientDep, body: OutdatedBody) -> Response:
    """Which installed builds are not those that registries have now. Names of models go to the
    registries, and nothing is pulled.
    """
    outcomes = await client.fleet.outdated(body.models or (), registry=body.registry, all=body.all)
    failed = sum(outcome.error is not None for outcome in outcomes)
    return await rendered(lambda: results(outcomes, failed))
