"""The application: routes, their errors, and the document that describes them."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

import ollama_admin
from ollama_admin.api import (
    activity,
    answers,
    audit,
    builds,
    fleet,
    fleet_file,
    health,
    keys,
    metrics,
    models,
    problems,
    receipts,
    routing,
    servers,
    sync,
    usage,
)
from ollama_admin.api.guard import OPEN
from ollama_admin.client import Client
from ollama_admin.domain.callers import Rights
from ollama_admin.gateway.limits import Limits

_DESCRIPTION = """Servers and models of a fleet of Ollama servers, and answers from exactly the one
that was named.

Beside the paths below, the APIs of Ollama, OpenAI and Anthropic are served here as those describe
them, for their clients, with a key: `/api/version`, `/api/tags`, `/api/ps`,
`/api/show`, `/api/generate`, `/api/chat`, `/api/embed`, `/api/embeddings`, and of `/v1`: `/models`,
`/chat/completions`, `/completions`, `/embeddings`, `/responses`, `/messages` and
`/audio/transcriptions`.
"""


def create_app(
    client: Client,
    limits: Limits,
    rights: Rights,
    *,
    allow_truncate: bool = False,
    traces: bool = False,
) -> FastAPI:
    """The routes over an open client, for callers with these rights. `Guard` stands before it: it
    checks no token, and the guard says where notes go. `allow_truncate` lets servers cut prompts of
    which the client does not say otherwise. `traces` is that of `Gateway`.
    """
    app = FastAPI(
        title="ollama-admin",
        version=ollama_admin.__version__,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.client = client
    app.state.limits = limits
    app.state.rights = rights
    app.state.allow_truncate = allow_truncate
    app.state.traces = traces
    nouns = [servers, models, builds, fleet, activity, sync, keys, answers, receipts, usage, audit]
    for noun in nouns + [fleet_file, routing, metrics, health]:
        # `include_router` would make each route again, which the first request would wait for
        app.router.routes.extend(noun.router.routes)
    problems.install(app)
    app.openapi = lambda: _document(app)  # type: ignore[method-assign]
    return app


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is not None:
        return app.openapi_schema
    document = get_openapi(
        title=app.title, version=app.version, description=app.description, routes=app.routes
    )
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["security"] = [{"token": []}]
            if path in OPEN:
                operation["security"] = []
    app.openapi_schema = document
    return document
