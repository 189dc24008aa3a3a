"""`/api/fleet/activity`: what the fleet is doing now."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from fastapi.responses import Response
from pydantic import BaseModel

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.fleet import RunningModel
from ollama_admin.api.reach import NEEDS_DATABASE, ClientDep, KeyDep, errors, needs, rendered
from ollama_admin.api.receipts import KeyRef
from ollama_admin.documents import document
from ollama_admin.domain.keys import Right

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["fleet"])


class ServerActivity(BaseModel):
    """`in_flight` and `waiting` are those of all processes; `tokens_per_second` of the answers that
    ended in the last minute.
    """

    server: schemas.ServerRef
    is_active: bool
    is_draining: bool
    status: str
    status_since: datetime | None
    in_flight: int
    max_concurrent: int
    waiting: int
    tokens_per_second: float
    models: list[RunningModel] | None
    error: schemas.ErrorDetail | None


class RequestActivity(BaseModel):
    """`id` is the `X-Request-Id` of its answer. `server` is null while it waits for its turn."""

    id: str | None
    started_at: datetime
    model: str | None
    server: schemas.ServerRef | None
    key: KeyRef | None
    client: str | None
    ms: int
    output_tokens: int | None


class FleetActivity(BaseModel):
    """`requests` are those of all workers of the service that answers."""

    at: datetime
    servers: list[ServerActivity]
    requests: list[RequestActivity] | None


_ACTIVITY: dict[int | str, dict[str, Any]] = {200: {"model": FleetActivity}}


@router.get("/api/fleet/activity", dependencies=needs(Right.READ), responses=_ACTIVITY | errors())
async def activity(client: ClientDep) -> Response:
    """What servers are doing now, and which requests of this service are on their way."""
    seen = await client.fleet.activity()
    return await rendered(lambda: document(seen))


RequestId = Annotated[str, Path(pattern="^[0-9a-f]{16}$")]
_CANCELLED: dict[int | str, dict[str, Any]] = {200: {"model": RequestActivity}}


@router.post(
    "/api/requests/{request_id}/cancel",
    dependencies=needs(Right.ASK, Right.MANAGE),
    responses=_CANCELLED | errors(404),
)
async def cancel(client: ClientDep, key: KeyDep, request_id: RequestId) -> Response:
    """End a request that is on its way in the service that answers; its client gets an error. Who
    may only ask ends those of the own key.
    """
    owner = None if key.may(Right.MANAGE) else key.ref
    ended = await client.fleet.cancel(request_id, of=owner)
    return await rendered(lambda: document(ended))
