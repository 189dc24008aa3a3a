"""`/api/audit`: who changed what."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.reach import NEEDS_DATABASE, ClientDep, errors, moment, needs, page
from ollama_admin.domain.keys import Right

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["audit"])


class AuditFilter(schemas.Strict):
    """`cursor` is the id before which a page begins; `Link: rel="next"` has the next one."""

    model_config = ConfigDict(strict=False)

    limit: int = Field(100, ge=1, le=1000)
    cursor: int | None = Field(None, ge=1, le=schemas.ID_LIMIT)
    since: schemas.QueryTime = None
    who: schemas.QueryWord = None
    action: schemas.QueryWord = Field(None, description="one, as key.rotate, or a noun, as key")
    refused: bool = Field(False, description="only what was refused")


class AuditEntry(BaseModel):
    """`outcome` is `ok`, or the code of the error that refused it."""

    id: int
    created_at: datetime
    way: Literal["cli", "api", "python"]
    who: str = Field(description="the key, or the user and the host")
    key_id: int | None
    action: str
    subject: str | None
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    outcome: str
    request_id: str | None


_LISTED: dict[int | str, dict[str, Any]] = {200: {"model": list[AuditEntry]}}


@router.get("/api/audit", dependencies=needs(Right.ADMIN), responses=_LISTED | errors())
async def list_changes(
    request: Request, client: ClientDep, query: Annotated[AuditFilter, Query()]
) -> Response:
    """Changes, the newest first, by whatever way they came."""
    entries = await client.audit.list(
        since=moment(query.since),
        who=query.who,
        action=query.action,
        refused=query.refused,
        limit=query.limit,
        below=query.cursor,
    )
    return await page(request, entries, query.limit)
