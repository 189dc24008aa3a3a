"""What supervisors ask, and the documentation: open to everybody, so they tell nothing of what is
stored.
"""

import asyncio
from importlib.resources import files
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from ollama_admin.api import schemas
from ollama_admin.api.problems import JSONDocument, problem
from ollama_admin.api.reach import ClientDep, needs, rendered
from ollama_admin.errors import AdminError
from ollama_admin.gateway.refusals import Refused

router = APIRouter(tags=["health"])

_ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}
_START = """window.onload = () => {
  SwaggerUIBundle({
    url: "/openapi.json", dom_id: "#docs", deepLinking: true, persistAuthorization: false
  });
};
"""
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>ollama-admin: REST API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" href="/docs/favicon.png">
</head>
<body>
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
}

_HEALTHZ: dict[int | str, dict[str, Any]] = {
    200: {"model": schemas.State},
    403: {"model": schemas.Problem, "description": "the Host is foreign"},
}
_READYZ: dict[int | str, dict[str, Any]] = _HEALTHZ | {503: {"model": schemas.Problem}}


@router.get("/healthz", dependencies=needs(None), responses=_HEALTHZ)
async def healthz() -> Response:
    """Whether this process answers."""
    return JSONDocument({"status": "ok"})


@router.get("/readyz", dependencies=needs(None), responses=_READYZ)
async def readyz(request: Request, client: ClientDep) -> Response:
    """Whether requests can be served: the database is there and can be written to, and its schema
    is this version's. Where requests are served from memory, it may be away for a minute; then
    `registry_age` says how many seconds ago it was read.
    """
    try:
        age = await client.ready_to_serve()
    except AdminError as exc:  # its message may name a file, and anybody may ask here
        error = {
            "code": exc.code,
            "message": "the database cannot be used now",
            "hint": "see the log, or: migrate",
        }
        return problem(request.url.path, 503, error)
    if age is None:
        return JSONDocument({"status": "ready"})
    return JSONDocument({"status": "ready", "registry_age": round(age, 1)})


@router.get("/docs", dependencies=needs(None), include_in_schema=False)
async def docs() -> Response:
    """The OpenAPI document, to read and to try out."""
    return Response(_PAGE, media_type="text/html", headers=_POLICY)


@router.get("/docs/{name}", dependencies=needs(None), include_in_schema=False)
async def asset(name: str) -> Response:
    """The files of that page, from a package: a machine without internet has them too."""
    if name == "start.js":
        return Response(_START, media_type="text/javascript", headers=_POLICY)
    if name not in _ASSETS:
        raise Refused(404, "there is no such file")
    file = files("fastapi_offline").joinpath("static", name)
    data = await asyncio.to_thread(file.read_bytes)
    return Response(data, media_type=_ASSETS[name], headers=_POLICY)


@router.get("/openapi.json", dependencies=needs(None), include_in_schema=False)
async def openapi(request: Request) -> Response:
    """What there is to ask, and how."""
    return await rendered(request.app.openapi)
