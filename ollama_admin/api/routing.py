"""`/api/route`: which server would answer a request, and why no other."""

import asyncio
from dataclasses import replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.reach import (
    NEEDS_DATABASE,
    ClientDep,
    affinity_of,
    errors,
    needs,
    rendered,
    terms_of,
)
from ollama_admin.documents import document
from ollama_admin.domain.keys import Right
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.rules.request_checks import decoded_image

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["answers"])

_FIELDS = frozenset(GenerateRequest.__dataclass_fields__)
_EXPLAINED: dict[int | str, dict[str, Any]] = {200: {"model": schemas.Explanation}}


@router.post(
    "/api/route",
    dependencies=needs(Right.READ),
    responses=_EXPLAINED | errors(404, 409, 502, body=True),
)
async def route(request: Request, client: ClientDep, body: schemas.RouteBody) -> Response:
    """Which server would answer that request now, and why no other.

    The body, and the headers that name a session, are those of `/api/generate`, or with `messages`
    those of `/api/chat`. No prompt is sent.
    """
    path = "/api/generate"
    if body.messages is not None:
        path = "/api/chat"
    given = body.model_dump(exclude_unset=True, exclude_none=True)
    asked = await asyncio.to_thread(_asked, given)
    affinity = affinity_of(request, path, asked)
    asked = replace(asked, **terms_of(request))
    explanation = await client.route(asked, affinity)
    return await rendered(lambda: document(explanation))


def _asked(given: dict[str, Any]) -> GenerateRequest:
    fields = {name: value for name, value in given.items() if name in _FIELDS}
    for name in ("messages", "tools"):
        if name in given:
            fields[name] = tuple(given[name])
    images = given.get("images", ())
    if "labels" in given:
        fields["labels"] = tuple(given["labels"])
    fields["images"] = [decoded_image(f"images[{n}]", image) for n, image in enumerate(images)]
    return GenerateRequest(**fields)
