"""`/api/usage`: what keys used."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.reach import (
    NEEDS_DATABASE,
    ClientDep,
    KeyDep,
    errors,
    moment,
    needs,
    rendered,
)
from ollama_admin.api.receipts import KeyRef
from ollama_admin.documents import document
from ollama_admin.domain.keys import Right

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["receipts"])


class Since(schemas.Strict):
    model_config = ConfigDict(strict=False)

    since: schemas.QueryTime = Field(None, description="of 30 days, if it is not given")


class UsageFilter(Since):
    key: schemas.QueryWord = Field(None, description="only of this one, by id or name")


class Usage(BaseModel):
    """`estimated_tokens` are those of `output_tokens` that no answer told. `key` is null for
    commands.
    """

    day: str
    key: KeyRef | None
    requests: int
    failures: int
    prompt_tokens: int
    output_tokens: int
    estimated_tokens: int


_LISTED: dict[int | str, dict[str, Any]] = {200: {"model": list[Usage]}}


@router.get("/api/usage", dependencies=needs(Right.READ), responses=_LISTED | errors(404))
async def usage(client: ClientDep, query: Annotated[UsageFilter, Query()]) -> Response:
    """What each key used on each day of UTC, the newest first."""
    rows = await client.receipts.usage(key=query.key, since=moment(query.since))
    return await rendered(lambda: document(rows))


@router.get("/api/usage/me", dependencies=needs(Right.ASK), responses=_LISTED | errors())
async def own_usage(client: ClientDep, key: KeyDep, query: Annotated[Since, Query()]) -> Response:
    """What the key of this request used on each day of UTC, the newest first."""
    rows = await client.receipts.usage(of=key.ref, since=moment(query.since))
    return await rendered(lambda: document(rows))
