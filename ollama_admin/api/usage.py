"""`/api/usage`: what keys used."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

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
from ollama_admin.domain import receipts
from ollama_admin.domain.keys import Right
from ollama_admin.rules.usage_csv import usage_csv

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["receipts"])


class Since(schemas.Strict):
    model_config = ConfigDict(strict=False)

    since: schemas.QueryTime = Field(None, description="from that day on; of 30 days without it")
    by: Literal["day", "key", "model", "server"] | None = None
    model: schemas.QueryWord = None
    format: Literal["json", "csv"] = "json"


class UsageFilter(Since):
    key: schemas.QueryWord = Field(None, description="only of this one, by id or name")
    server: schemas.QueryWord = Field(None, description="only at this one, by id or name")


class Usage(BaseModel):
    """`estimated_tokens` are those of `output_tokens` that no answer told. `key` is null for
    commands. With `by` that alone is there, of `day`, `key`, `model` and `server`.
    """

    day: str | None = None
    key: KeyRef | None = None
    model: str | None = None
    server: schemas.ServerRef | None = None
    requests: int
    failures: int
    prompt_tokens: int
    output_tokens: int
    estimated_tokens: int
    tokens_per_second: float | None
    time_to_first_token_p50_ms: int | None = Field(description="half of the requests took no more")
    time_to_first_token_p95_ms: int | None = Field(description="95 % of them took no more")


_LISTED: dict[int | str, dict[str, Any]] = {
    200: {"model": list[Usage], "content": {"text/csv": {}}},
}


@router.get("/api/usage", dependencies=needs(Right.READ), responses=_LISTED | errors(404))
async def usage(client: ClientDep, query: Annotated[UsageFilter, Query()]) -> Response:
    """What each key used on each day of UTC, the newest first, or what each of `by` used."""
    rows = await client.receipts.usage(
        key=query.key,
        model=query.model,
        server=query.server,
        since=moment(query.since),
        by=query.by,
    )
    return await _shown(rows, query)


@router.get("/api/usage/me", dependencies=needs(Right.ASK), responses=_LISTED | errors())
async def own_usage(client: ClientDep, key: KeyDep, query: Annotated[Since, Query()]) -> Response:
    """What the key of this request used on each day of UTC, the newest first, or each of `by`."""
    rows = await client.receipts.usage(
        of=key.ref, model=query.model, since=moment(query.since), by=query.by
    )
    return await _shown(rows, query)


async def _shown(rows: Sequence[receipts.Usage], query: Since) -> Response:
    if query.format == "json":
        return await rendered(lambda: document(rows))
    lines = [f"{line}\r\n" for line in usage_csv(rows, query.by)]
    return Response("".join(lines), media_type="text/csv")
