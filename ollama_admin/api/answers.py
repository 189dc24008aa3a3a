"""`/api/generate` and `/api/chat` of models that no Ollama server holds: their servers speak v1,
and what they say is translated. The gateway lets requests in, and hands them on.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.reach import NEEDS_DATABASE, ClientDep, affinity_of, needs, terms_of
from ollama_admin.api.streams import AnswerResponse, Dialect
from ollama_admin.client import Client
from ollama_admin.domain.keys import Right
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.gateway.bodies import OURS
from ollama_admin.gateway.exchange import REQUEST_ID
from ollama_admin.gateway.relaying import WISH
from ollama_admin.rules.request_checks import decoded_image
from ollama_admin.services.plans import Wish

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, include_in_schema=False)

# What goes into the request under the name that it has in the body.
_FIELDS = set(GenerateRequest.__dataclass_fields__) - {"images", "messages", "tools"}


@router.post("/api/generate", dependencies=needs(Right.ASK))
async def generate(request: Request, client: ClientDep, body: schemas.GenerateBody) -> Response:
    """Answer a prompt, as Ollama does; a failure after the first text is a line `{"error"}`."""
    images = await asyncio.to_thread(_images, body.images or ())
    asked = GenerateRequest(**_fields(request, body), images=images)
    return _answer(request, client, asked, Dialect.GENERATE, body)


@router.post("/api/chat", dependencies=needs(Right.ASK))
async def chat(request: Request, client: ClientDep, body: schemas.ChatBody) -> Response:
    """Answer a conversation, as Ollama does; the rest is as for generate."""
    given = body.model_dump(include={"messages", "tools"}, exclude_unset=True, exclude_none=True)
    asked = GenerateRequest(
        **_fields(request, body),
        messages=tuple(given["messages"]),
        tools=tuple(given.get("tools") or ()),
    )
    return _answer(request, client, asked, Dialect.CHAT, body)


def _images(given: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(decoded_image(f"images[{index}]", image) for index, image in enumerate(given))


def _fields(request: Request, body: schemas.GenerateBody | schemas.ChatBody) -> dict[str, Any]:
    """What the client asks for in the body, in headers and in the path, with all of its prompt,
    unless it says that it may be cut.
    """
    given = body.model_dump(include=_FIELDS, exclude_unset=True, exclude_none=True)
    if given.get("format") == "":  # as old clients say that they want none
        del given["format"]
    wished: Wish = request.scope[WISH]
    for name in OURS:
        value = getattr(wished, name)
        if value:
            given[name] = value
    return given | terms_of(request)


def _answer(
    request: Request,
    client: Client,
    asked: GenerateRequest,
    dialect: Dialect,
    body: schemas.GenerateBody | schemas.ChatBody,
) -> Response:
    path = request.url.path
    affinity = affinity_of(request, path, asked)
    return AnswerResponse(
        client.ask(asked, path=path, affinity=affinity, request_id=request.scope[REQUEST_ID]),
        dialect,
        model=body.model,
        path=path,
        live=body.stream is not False,
        logprobs=body.logprobs is True,
    )
