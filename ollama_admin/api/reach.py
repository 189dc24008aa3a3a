"""What routes are given, and what their documentation has in common."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Path, Request
from fastapi.responses import Response

from ollama_admin.api import schemas
from ollama_admin.api.guard import NOTE_TO
from ollama_admin.api.problems import JSONDocument
from ollama_admin.client import Client
from ollama_admin.documents import document
from ollama_admin.domain.callers import Caller, Way
from ollama_admin.domain.keys import Key, Right
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.domain.times import point_in_time
from ollama_admin.domain.traces import continued, given_trace
from ollama_admin.gateway.access import KEY, require
from ollama_admin.gateway.exchange import REQUEST_ID
from ollama_admin.gateway.headers import client_of as client_name
from ollama_admin.gateway.refusals import Refused
from ollama_admin.rules.access import rights_of
from ollama_admin.rules.affinity import affinity_key

T = TypeVar("T")

_MEANINGS = {
    400: "the request cannot be read",
    401: "the key is missing or not known",
    403: "the key has no right to it, or the Host or the Origin is not allowed",
    404: "there is no such row or model",
    405: "the path does not take this method",
    408: "timed out waiting for the body",
    409: "it conflicts with what exists",
    412: "the row has changed since the state that If-Match names",
    413: "the body is too large",
    415: "the body is not JSON",
    422: "something in the request is invalid",
    502: "the Ollama server failed",
    503: "the database, or a slot at an Ollama server, is not available",
}
_ANYWHERE = (400, 401, 403, 422, 503)
_WITH_BODY = (408, 413, 415)


def client_of(request: Request) -> Client:
    """The client as whoever asks may use it; notes go to them, too."""
    state = request.app.state
    rights, key = state.rights, request.scope.get(KEY)
    if key is not None:
        rights = rights_of(key, rights)
    request_id, traceparent = request.scope.get(REQUEST_ID), request.headers.get("traceparent", "")
    trace = given_trace(traceparent)
    if state.traces and request_id is not None:
        trace = continued(request_id, traceparent)
    caller = Caller(
        way=Way.API,
        rights=rights,
        note=request.scope[NOTE_TO],
        key=key,
        request_id=request_id,
        trace=trace,
        client=client_name(request.headers.get("user-agent", "").encode("latin-1")),
    )
    client: Client = state.client
    return client.for_caller(caller)


ClientDep = Annotated[Client, Depends(client_of)]
ServerId = Annotated[int, Path(ge=1, le=schemas.ID_LIMIT)]


def key_of(request: Request) -> Key:
    """The key of who asks."""
    key: Key = request.scope[KEY]
    return key


KeyDep = Annotated[Key, Depends(key_of)]


def terms_of(request: Request) -> dict[str, Any]:
    """On which terms a request is answered that does not say so itself."""
    key = key_of(request)
    return {
        "allow_truncate": request.app.state.allow_truncate or key.allow_truncate,
        "allow_remote": key.allow_remote,
    }


def affinity_of(request: Request, path: str, asked: GenerateRequest) -> bytes | None:
    """The key of the conversation that a request belongs to."""
    key_id = str(key_of(request).id)
    return affinity_key(path, request.scope["headers"], vars(asked), key_id=key_id)


@dataclass(frozen=True, slots=True)
class Needs:
    """What a key needs for a route. Every route says it; None is open to all, with a key or
    without. `other` is a right that will do, too.
    """

    right: Right | None
    other: Right | None = None

    async def __call__(self, request: Request) -> None:
        if self.right is None:
            return
        if self.other is not None and key_of(request).may(self.other):
            return
        try:
            require(request.scope[KEY], self.right)
        except Refused:
            if self.right in _CHANGING:
                what = f"{request.method} {request.url.path}"
                await client_of(request).audit.record("request", what, "forbidden")
            raise


_CHANGING = (Right.MANAGE, Right.ADMIN)


def needs(right: Right | None, other: Right | None = None) -> list[Any]:
    """The decision who may come in at a route, for its `dependencies`."""
    return [Depends(Needs(right, other))]


async def need_database(client: ClientDep) -> None:
    """Nothing is served unless the database is there and at head, now."""
    await client.ready()


NEEDS_DATABASE = [Depends(need_database)]


def errors(*statuses: int, body: bool = False) -> dict[int | str, dict[str, Any]]:
    """The documentation of a route's failures, with those that any route has."""
    every = set(_ANYWHERE) | set(statuses)
    if body:
        every |= set(_WITH_BODY)
    return {
        status: {"model": schemas.Problem, "description": _MEANINGS[status]}
        for status in sorted(every)
    }


def moment(text: str | None) -> datetime | None:
    """The time that a query names; InvalidInput for a text that is none."""
    if text is None:
        return None
    return point_in_time(text, datetime.now(UTC))


async def page(request: Request, rows: Sequence[Any], limit: int) -> Response:
    """A bare list of rows in the order of their ids, with the way to the next page where there may
    be one.
    """
    headers = {}
    if len(rows) == limit:
        following = request.url.include_query_params(cursor=rows[-1].id)
        headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    return await rendered(lambda: document(rows), headers)


async def rendered(
    content: Callable[[], Any], headers: Mapping[str, str] | None = None
) -> Response:
    """The JSON of what `content` gives, which may be thousands of rows: made beside the loop."""
    return await asyncio.to_thread(lambda: JSONDocument(content(), headers=headers))
