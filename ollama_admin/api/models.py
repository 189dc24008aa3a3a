"""`/api/models`: the catalogue as discovery left it."""

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.reach import NEEDS_DATABASE, ClientDep, ServerId, errors, page
from ollama_admin.client import Client

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["models"])


@router.get("/api/models", responses={200: {"model": list[schemas.Model]}, **errors()})
async def list_models(
    request: Request, client: ClientDep, asked: Annotated[schemas.ModelFilter, Query()]
) -> Response:
    """Models of all servers, by id."""
    return await _page(request, client, asked, None)


@router.get(
    "/api/servers/{server_id}/models",
    responses={200: {"model": list[schemas.Model]}, **errors(404)},
)
async def list_models_of(
    request: Request,
    client: ClientDep,
    server_id: ServerId,
    asked: Annotated[schemas.ModelFilter, Query()],
) -> Response:
    """Models of one server, by id."""
    return await _page(request, client, asked, server_id)


async def _page(
    request: Request, client: Client, asked: schemas.ModelFilter, server: int | None
) -> Response:
    found = await client.models.page(
        server,
        after=asked.cursor,
        limit=asked.limit,
        name=asked.name,
        capability=asked.capability,
        all=asked.all,
    )
    return page(request, found, asked.limit)
