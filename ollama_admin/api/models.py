"""`/api/models`: the catalogue as discovery left it."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.reach import NEEDS_DATABASE, ClientDep, ServerId, errors, needs, page
from ollama_admin.client import Client
from ollama_admin.domain.keys import Right

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["models"])

_MODELS: dict[int | str, dict[str, Any]] = {200: {"model": list[schemas.Model]}}


@router.get("/api/models", dependencies=needs(Right.READ), responses=_MODELS | errors())
async def list_models(
    request: Request, client: ClientDep, query: Annotated[schemas.ModelFilter, Query()]
) -> Response:
    """Models of all servers, by id."""
    return await _page(request, client, query, None)


@router.get(
    "/api/servers/{server_id}/models",
    dependencies=needs(Right.READ),
    responses=_MODELS | errors(404),
)
async def list_models_of(
    request: Request,
    client: ClientDep,
    server_id: ServerId,
    query: Annotated[schemas.ModelFilter, Query()],
) -> Response:
    """Models of one server, by id."""
    return await _page(request, client, query, server_id)


async def _page(
    request: Request, client: Client, query: schemas.ModelFilter, server: int | None
) -> Response:
    models = await client.models.page(
        server,
        after=query.cursor,
        limit=query.limit,
        name=query.name,
        capability=query.capability,
        all=query.all,
    )
    return await page(request, models, query.limit)
