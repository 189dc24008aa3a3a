"""`/api/generate`, `/api/chat` and `/api/tags`: Ollama's own routes, over the whole fleet."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.reach import NEEDS_DATABASE, ClientDep, errors, rendered
from ollama_admin.api.streams import AnswerResponse, Dialect
from ollama_admin.client import Client
from ollama_admin.documents import document
from ollama_admin.domain.models import Model
from ollama_admin.domain.names import model_key
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.rules.affinity import affinity_key
from ollama_admin.rules.request_checks import decoded_image

router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["answers"])

NDJSON = "application/x-ndjson"
# What goes into the request under the name that it has in the body.
_FIELDS = set(GenerateRequest.__dataclass_fields__) - {"images", "messages", "tools"}
_ERRORS = errors(404, 409, 502, body=True, shape=schemas.OllamaProblem)


def _answers(shape: type[Any]) -> dict[int | str, dict[str, Any]]:
    stream = {
        "schema": {
            "type": "string",
            "description": "one record a line, as without a stream but in pieces",
        }
    }
    answer = {"model": shape, "description": "the answer", "content": {NDJSON: stream}}
    return {200: answer} | _ERRORS


@router.post("/api/generate", responses=_answers(schemas.GenerateAnswer))
async def generate(request: Request, client: ClientDep, body: schemas.GenerateBody) -> Response:
    """Answer a prompt, as Ollama does.

    The last record also has `server`, `digest` and `proof`. A failure after the first text is a
    line `{"error"}`.
    """
    images = await asyncio.to_thread(_images, body.images or ())
    asked = GenerateRequest(**_fields(request, body), images=images)
    return _answer(request, client, asked, Dialect.GENERATE, body)


@router.post("/api/chat", responses=_answers(schemas.ChatAnswer))
async def chat(request: Request, client: ClientDep, body: schemas.ChatBody) -> Response:
    """Answer a conversation, as Ollama does; the rest is as for generate."""
    given = body.model_dump(include={"messages", "tools"}, exclude_unset=True, exclude_none=True)
    asked = GenerateRequest(
        **_fields(request, body),
        messages=tuple(given["messages"]),
        tools=tuple(given.get("tools") or ()),
    )
    return _answer(request, client, asked, Dialect.CHAT, body)


@router.get(
    "/api/tags",
    responses={200: {"model": schemas.ListedModels}, **errors(shape=schemas.OllamaProblem)},
)
async def tags(client: ClientDep) -> Response:
    """The available models of all active servers, each name once: as the server lists it that is
    preferred.
    """
    by_name: dict[str, Model] = {}
    async with aclosing(client.models.stream()) as batches:
        async for batch in batches:
            for model in batch:
                by_name.setdefault(model_key(model.name) if model.digest else model.name, model)
    return await rendered(lambda: {"models": [_listed(model) for model in by_name.values()]})


def _images(given: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(decoded_image(f"images[{index}]", image) for index, image in enumerate(given))


def _fields(request: Request, body: schemas.GenerateBody | schemas.ChatBody) -> dict[str, Any]:
    """What the client asks for, with all of its prompt, unless it says that it may be cut."""
    given = body.model_dump(include=_FIELDS, exclude_unset=True, exclude_none=True)
    return given | {"allow_truncate": request.app.state.allow_truncate}


def _answer(
    request: Request,
    client: Client,
    asked: GenerateRequest,
    dialect: Dialect,
    body: schemas.GenerateBody | schemas.ChatBody,
) -> Response:
    path = request.url.path
    affinity = affinity_key(path, request.scope["headers"], vars(asked), key_id="")
    return AnswerResponse(
        client.ask(asked, path=path, affinity=affinity),
        dialect,
        model=body.model,
        path=path,
        live=body.stream is not False,
        logprobs=body.logprobs is True,
    )


def _listed(model: Model) -> dict[str, Any]:
    shown = document(model)
    details = ("format", "family", "families", "parameter_size", "quantization_level")
    return {
        "name": model.name,
        "model": model.name,
        **{name: shown[name] for name in ("modified_at", "size", "digest")},
        "details": {name: shown[name] for name in details},
    }
