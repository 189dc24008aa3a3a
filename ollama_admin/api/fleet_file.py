"""`/api/plan` and `/api/apply`: the fleet as a file."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from pydantic import BaseModel, Field

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.events import EventStream
from ollama_admin.api.fleet import EVERY
from ollama_admin.api.reach import NEEDS_DATABASE, ClientDep, errors, needs, rendered
from ollama_admin.client import Client
from ollama_admin.documents import document
from ollama_admin.domain.fleet_file import Applied, Options
from ollama_admin.domain.keys import Right

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["fleet"])


class PlanBody(schemas.Strict):
    file: str = Field(description="the text of a fleet file, in YAML or JSON")
    prune: bool = Field(
        False, description="remove rows that this owner's file made and no longer names"
    )
    adopt: bool = Field(False, description="take over rows of the file that people made")


class ApplyBody(PlanBody):
    plan: str | None = Field(
        None, max_length=100, description="a fingerprint: do exactly that plan, or nothing"
    )
    pull: bool = Field(
        False,
        description="then have servers pull the models that they lack; the answer is events then",
    )
    parallel: int | None = Field(None, ge=1, le=1000, description="pulls at once")


class FieldChange(BaseModel):
    field: str
    before: Any
    after: Any


class Step(BaseModel):
    action: str = Field(description="add, change, adopt, remove, pull, or keep for what stays")
    noun: str = Field(description="server, pin, key, setting or model")
    name: str
    id: int | None
    changes: list[FieldChange]
    server: str | None = Field(description="where a model is pulled")


class Plan(BaseModel):
    owner: str
    steps: list[Step]
    unchanged: int
    fingerprint: str
    pending: int = Field(description="steps that are to be done")


_PLANNED: dict[int | str, dict[str, Any]] = {200: {"model": Plan}}
_APPLIED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "what was done, and the texts of new keys, which are in this answer and "
        "nowhere else. With `pull` it is the first line, one event a line follows for each pull as "
        "of `/api/fleet/pull`, and the last line says what became of it all",
        "content": {
            "application/json": {"schema": {"type": "object"}},
            EventStream.media_type: {"schema": {"type": "object"}},
        },
    }
}


@router.post(
    "/api/plan",
    dependencies=needs(Right.ADMIN),
    responses=_PLANNED | errors(404, 409, body=True),
)
async def plan(client: ClientDep, body: PlanBody) -> Response:
    """What is to be done so that the fleet is as a file says. Nothing is changed."""
    found = await client.fleet.file.plan(body.file, prune=body.prune, adopt=body.adopt)
    return await rendered(lambda: document(found))


@router.post(
    "/api/apply",
    dependencies=needs(Right.ADMIN),
    response_class=Response,
    responses=_APPLIED | errors(404, 409, 412, 502, body=True),
)
async def apply(client: ClientDep, body: ApplyBody) -> Response:
    """Make the fleet as a file says: all rows in one transaction, or none. References of secrets
    cannot be set here.
    """
    options = Options(prune=body.prune, adopt=body.adopt)
    applied = await client.fleet.file.apply_rows(body.file, options, body.plan)
    if body.pull:
        return EventStream(_pulled(client, applied, body.parallel))
    return await rendered(lambda: document(applied))


async def _pulled(
    client: Client, applied: Applied, parallel: int | None
) -> AsyncGenerator[Any, None]:
    yield applied
    events = client.fleet.file.pulling(applied, parallel=parallel, every=EVERY)
    async with aclosing(events):
        async for event in events:
            yield event
