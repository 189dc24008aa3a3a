"""`/api/servers`: the rows, and what their servers are asked for."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import Field

from ollama_admin.api import schemas
from ollama_admin.api.bodies import StrictRoute
from ollama_admin.api.preconditions import ETAG, IF_MATCH, IfMatch, etag
from ollama_admin.api.problems import JSONDocument
from ollama_admin.api.reach import (
    NEEDS_DATABASE,
    ClientDep,
    ServerId,
    errors,
    needs,
    page,
    rendered,
)
from ollama_admin.documents import document, results
from ollama_admin.domain.keys import Right
from ollama_admin.domain.models import DiscoverResult
from ollama_admin.domain.servers import CheckResult
from ollama_admin.errors import ServerExists
from ollama_admin.services.server_columns import require_plain_secret

LONGEST_DRAIN = 600  # seconds


class DrainBody(schemas.Strict):
    timeout: float | None = Field(
        None, ge=0, le=LONGEST_DRAIN, description="seconds; without it nothing is waited for"
    )


router = APIRouter(route_class=StrictRoute, dependencies=NEEDS_DATABASE, tags=["servers"])

Responses = dict[int | str, dict[str, Any]]

# of what null in a change empties
_EMPTIED = (
    "default_model",
    "headers",
    "labels",
    "ca_file",
    "client_cert_file",
    "client_key_file",
    "proxy",
)
_CONFLICT: Responses = {
    409: {"model": schemas.ExistingProblem, "description": "another server has this name or URL"}
}


def _answers(status: int, shape: Any, failures: Responses) -> Responses:
    """The documentation of a route that answers with this status and shape, or fails."""
    answer: dict[str, Any] = {"model": shape}
    if shape is schemas.Server:
        answer["headers"] = ETAG
    documented: Responses = {status: answer}
    return documented | failures


@router.get(
    "/api/servers",
    dependencies=needs(Right.READ),
    responses=_answers(200, list[schemas.Server], errors()),
)
async def list_servers(
    request: Request, client: ClientDep, query: Annotated[schemas.ServerFilter, Query()]
) -> Response:
    """All servers, inactive ones too, by id."""
    servers = await client.servers.page(
        after=query.cursor,
        limit=query.limit,
        capability=query.capability,
        labels=query.label,
    )
    return await page(request, servers, query.limit)


@router.post(
    "/api/servers",
    dependencies=needs(Right.MANAGE),
    status_code=201,
    responses=_answers(201, schemas.Server, errors(body=True) | _CONFLICT),
)
async def add_server(client: ClientDep, new: schemas.NewServer) -> Response:
    """Add a server without contacting it: see check and discover."""
    columns = _columns(new)
    try:
        added = await client.servers.add(**columns)
    except ServerExists as exc:
        if exc.existing_id is not None:
            raise
        # by now the row that is in the way can be named
        added = await client.servers.add(**columns)
    headers = etag(added) | {"Location": f"/api/servers/{added.id}"}
    return JSONDocument(document(added), 201, headers)


@router.get(
    "/api/servers/{server_id}",
    dependencies=needs(Right.READ),
    responses=_answers(200, schemas.Server, errors(404)),
)
async def show_server(client: ClientDep, server_id: ServerId) -> Response:
    """One server."""
    server = await client.servers.show(server_id)
    return JSONDocument(document(server), headers=etag(server))


@router.patch(
    "/api/servers/{server_id}",
    dependencies=needs(Right.MANAGE),
    responses=_answers(200, schemas.Server, errors(404, 412, body=True) | _CONFLICT),
    openapi_extra=IF_MATCH,
)
async def change_server(
    client: ClientDep, server_id: ServerId, change: schemas.ServerChange, if_match: IfMatch
) -> Response:
    """Change what is given and nothing else; with `If-Match` only what was read.

    Another scheme, host or port drops the credentials that are not given again in the same request.
    """
    columns = _columns(change)
    emptied = {name for name in change.model_fields_set if getattr(change, name) is None}
    clear = [name for name in _EMPTIED if name in emptied]
    if "auth_type" in emptied:
        columns["auth_type"] = "none"
    changed = await client.servers.update(server_id, clear=clear, if_state=if_match, **columns)
    return JSONDocument(document(changed), headers=etag(changed))


@router.delete(
    "/api/servers/{server_id}",
    dependencies=needs(Right.MANAGE),
    status_code=204,
    responses=errors(404, 409, 412),
    openapi_extra=IF_MATCH,
)
async def remove_server(
    client: ClientDep,
    server_id: ServerId,
    options: Annotated[schemas.RemoveOptions, Query()],
    if_match: IfMatch,
) -> Response:
    """Remove a server and its models; with `If-Match` only what was read."""
    await client.servers.remove(server_id, force=options.force, if_state=if_match)
    return Response(status_code=204)


@router.post(
    "/api/servers/{server_id}/drain",
    dependencies=needs(Right.MANAGE),
    responses=_answers(200, schemas.Server, errors(404, 409, body=True)),
)
async def drain_server(
    client: ClientDep, server_id: ServerId, body: DrainBody | None = None
) -> Response:
    """Let a server get no new requests. Those that run come to their ends: `slots_in_use` of the
    server says how many there are. With `timeout` the answer waits for that, so many seconds at
    most; where requests still run then, it is 409, and the server goes on draining.
    """
    if body is None or body.timeout is None:
        server = await client.servers.begin_to_drain(server_id)
    else:
        server = await client.servers.drain(server_id, timeout=body.timeout)
    return JSONDocument(document(server), headers=etag(server))


@router.post(
    "/api/servers/{server_id}/resume",
    dependencies=needs(Right.MANAGE),
    responses=_answers(200, schemas.Server, errors(404)),
)
async def resume_server(client: ClientDep, server_id: ServerId) -> Response:
    """Let a server that was drained get requests again."""
    server = await client.servers.resume(server_id)
    return JSONDocument(document(server), headers=etag(server))


@router.post(
    "/api/servers/{server_id}/check",
    dependencies=needs(Right.MANAGE),
    responses=_answers(200, schemas.Checks, errors(404)),
)
async def check_server(
    client: ClientDep, server_id: ServerId, options: Annotated[schemas.CheckOptions, Query()]
) -> Response:
    """Ask a server whether it answers, and note what it said."""
    return await _results(await client.servers.check([server_id], deep=options.deep))


@router.post(
    "/api/servers/{server_id}/discover",
    dependencies=needs(Right.MANAGE),
    responses=_answers(200, schemas.Discoveries, errors(404)),
)
async def discover_server(
    client: ClientDep, server_id: ServerId, options: Annotated[schemas.DiscoverOptions, Query()]
) -> Response:
    """Read what a server holds into the database."""
    return await _results(await client.discover([server_id], prune=options.prune))


@router.post(
    "/api/discover",
    dependencies=needs(Right.MANAGE),
    responses=_answers(200, schemas.Discoveries, errors(404)),
)
async def discover(
    client: ClientDep, options: Annotated[schemas.DiscoverAllOptions, Query()]
) -> Response:
    """Read what all active servers hold into the database. One that fails costs the others
    nothing.
    """
    results = await client.discover(
        all=options.all,
        capability=options.capability,
        labels=options.label,
        prune=options.prune,
    )
    return await _results(results)


async def _results(outcomes: Sequence[CheckResult] | Sequence[DiscoverResult]) -> Response:
    """One result for each server, and how many failed."""
    failed = sum(outcome.error is not None for outcome in outcomes)
    return await rendered(lambda: results(outcomes, failed))


def _columns(given: schemas.Strict) -> dict[str, Any]:
    """The columns that are given, nulls left out.

    Raises InvalidInput for a credential that is a reference or a mask.
    """
    columns = given.model_dump(exclude_unset=True)
    columns = {name: value for name, value in columns.items() if value is not None}
    for name in ("auth_config", "headers"):
        for key, value in columns.get(name, {}).items():
            require_plain_secret(f"{name}.{key}", value)
    return columns
