"""`/api/fleet/sync`: servers brought to what another one holds."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import Field

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.events import EventStream
from ollama_admin.api.fleet import EVERY, ServersMeant, ServerWord
from ollama_admin.api.reach import NEEDS_DATABASE, ClientDep, errors, needs, rendered
from ollama_admin.documents import document
from ollama_admin.domain.keys import Right

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["fleet"])


class SyncBody(ServersMeant):
    source: ServerWord
    model: schemas.ModelName | None = Field(None, description="a name, or a glob such as qwen*")
    dry_run: bool = Field(False, description="change nothing; the answer is the last line alone")
    prune: bool = Field(False, description="also delete what only the other servers have")
    parallel: int | None = Field(None, ge=1, le=1000, description="pulls at once")


_SYNCED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "one event a line: `progress` and `result` of each pull, as of "
        "`/api/fleet/pull`; the last line is `end`, with what became of each model at each server",
        "content": {EventStream.media_type: {"schema": {"type": "object"}}},
    }
}


@router.post(
    "/api/fleet/sync",
    dependencies=needs(Right.MANAGE),
    response_class=Response,
    responses=_SYNCED | errors(404, 409, 502, body=True),
)
async def sync(client: ClientDep, body: SyncBody) -> Response:
    """Have servers pull what another one, the source, holds. A client that leaves stops it."""
    plan = await client.fleet.sync_plan(body.source, model=body.model, **body.where())
    if body.dry_run:
        report = plan.report(prune=body.prune)
        return await rendered(lambda: document(report))
    if body.prune:
        plan.require_prunable()
    return EventStream(
        client.fleet.syncing(plan, prune=body.prune, parallel=body.parallel, every=EVERY)
    )
