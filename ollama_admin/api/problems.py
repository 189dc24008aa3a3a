"""Errors as documents: ours, the framework's and those of the checks before it, all in one shape.

The routes that Ollama has too answer in Ollama's own shape, which its clients read.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from ollama_admin.errors import AdminError, ServerExists
from ollama_admin.gateway.refusals import Refused

AS_OLLAMA = frozenset(("/api/generate", "/api/chat"))
RETRY_AFTER = "5"  # seconds, with every 503
_PLAIN_NAME = re.compile(r"[a-z_]{1,30}")  # as all fields are written
_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "host_not_allowed",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
    503: "overloaded",
}

_MESSAGES = {
    400: "the body cannot be read",
    404: "there is no such path",
    405: "the path does not take this method",
}


# a command line, which stays, or an option, of which HTTP has a field
_COMMAND_OR_OPTION = re.compile(r"ollama-admin [^;]*|--[a-z-]+")
_FIELDS = {
    "--adopt": "adopt",
    "--all": "all",
    "--allow-remote": "allow_remote of the key",
    "--capability": "capability",
    "--digest": "digest",
    "--force": "force",
    "--label": "label",
    "--model": "model",
    "--network": "networks",
    "--on": "servers",
    "--option": "options",
    "--server": "server",
}


class JSONDocument(Response):
    """JSON in ASCII: names and messages may hold characters that a terminal obeys."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json.dumps(content, allow_nan=False).encode()


def problem(
    path: str, status: int, error: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    """The response of a failure; `error` is what stands under that key."""
    all_headers = dict(headers or {})
    if status == 503:
        all_headers["Retry-After"] = RETRY_AFTER
    return JSONDocument(shown(path, error), status, all_headers)


def shown(path: str, error: Mapping[str, Any]) -> dict[str, Any]:
    """The document of an error, in the shape that clients of this path read."""
    if path in AS_OLLAMA:
        return {"error": error["message"], "code": error["code"]}
    return {"error": dict(error)}


def described(error: AdminError) -> dict[str, Any]:
    """What stands under `error`, with the id of the server that is in the way of another. The hint
    names fields in place of options.
    """
    fields: dict[str, Any] = dict(error.document())
    if error.hint is not None:
        fields["hint"] = _COMMAND_OR_OPTION.sub(_field_of, error.hint)
    if isinstance(error, ServerExists):
        fields["existing_id"] = error.existing_id
    return fields


def _field_of(match: re.Match[str]) -> str:
    return _FIELDS.get(match[0], match[0])


def refusal(path: str, refused: Refused | AdminError) -> Response:
    """The response of a request that a check refused, or that could not be checked."""
    if isinstance(refused, AdminError):
        return problem(path, refused.http_status, described(refused))
    error = {
        "code": refused.code or _CODES.get(refused.status, "bad_request"),
        "message": refused.message,
        "hint": refused.hint,
    }
    return problem(path, refused.status, error, refused.headers)


def install(app: FastAPI) -> None:
    """Make every error of the app a document."""
    app.add_exception_handler(AdminError, _known)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _not_taken)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _bug)


async def _known(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, AdminError)  # noqa: S101 (the registry knows no types)
    return problem(request.url.path, exc.http_status, described(exc))


async def _refused(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, Refused)  # noqa: S101
    return refusal(request.url.path, exc)


async def _not_taken(request: Request, exc: Exception) -> Response:
    """The framework's own: no route takes the request, or its body was refused."""
    assert isinstance(exc, HTTPException)  # noqa: S101
    if isinstance(exc.__cause__, Refused):
        return refusal(request.url.path, exc.__cause__)
    message = _MESSAGES.get(exc.status_code, "refused")
    refused = Refused(exc.status_code, message, headers=exc.headers)
    return refusal(request.url.path, refused)


async def _invalid(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)  # noqa: S101
    reasons = [f"{_location(error['loc'])}: {_reason(error)}" for error in exc.errors()[:10]]
    error = {"code": "invalid_input", "message": "; ".join(reasons), "hint": "see /docs"}
    return problem(request.url.path, 422, error)


async def _bug(request: Request, _: Exception) -> Response:
    error = {
        "code": "internal_error",
        "message": "this is a bug; see the server's log",
        "hint": None,
    }
    return problem(request.url.path, 500, error)


def _location(location: tuple[int | str, ...]) -> str:
    """Where in the request something is wrong."""
    return ".".join(_printable(str(part)) for part in location[:6])


def _printable(part: str) -> str:
    """A part of a location; a name that looks like none of ours is the client's own text."""
    if part.isdigit() or _PLAIN_NAME.fullmatch(part):
        return part
    return "(a name)"


def _reason(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "there is no such field"
    text = str(error["msg"])
    return text[:1].lower() + text[1:]
