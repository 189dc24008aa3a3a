"""Errors in the dialect of the path, before an answer has begun and in the middle of one."""

import json
import math
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from ollama_admin.domain.relayed import Dialect
from ollama_admin.errors import (
    AdminError,
    InvalidInput,
    LimitReached,
    RemoteNotAllowed,
    ServerBusy,
    ServerInactive,
)
from ollama_admin.gateway.refusals import Refused

RETRY_AFTER = "5"  # seconds
_TYPES = {  # how OpenAI's and Anthropic's clients call what a status means
    400: ("invalid_request_error", "invalid_request_error"),
    401: ("authentication_error", "authentication_error"),
    403: ("permission_error", "permission_error"),
    404: ("not_found_error", "not_found_error"),
    405: ("invalid_request_error", "invalid_request_error"),
    408: ("timeout_error", "timeout_error"),
    409: ("conflict_error", "invalid_request_error"),
    413: ("invalid_request_error", "request_too_large"),
    415: ("invalid_request_error", "invalid_request_error"),
    422: ("invalid_request_error", "invalid_request_error"),
    426: ("invalid_request_error", "invalid_request_error"),
    429: ("rate_limit_error", "rate_limit_error"),
    503: ("server_error", "overloaded_error"),
}
_SERVER = ("server_error", "api_error")
_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    413: "body_too_large",
    415: "unsupported_media_type",
    426: "upgrade_required",
    503: "overloaded",
}


class StreamType(Enum):
    """How records follow each other in a stream, by its `Content-Type`."""

    LINES = b"application/x-ndjson"
    EVENTS = b"text/event-stream"


_STREAM_TYPES = {kind.value: kind for kind in StreamType}


def stream_of(headers: Iterable[tuple[bytes, bytes]]) -> StreamType | None:
    """How the answer with these headers is streamed; None for one that is not."""
    for name, value in headers:
        if name == b"content-type":
            return _STREAM_TYPES.get(value.partition(b";")[0].strip().lower())
    return None


class Failure:
    """What went wrong, ready to be said to a client."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})

    @classmethod
    def of(cls, error: AdminError | Refused) -> "Failure":
        message = error.message
        if error.hint:
            message = f"{message} ({error.hint})"
        if isinstance(error, Refused):
            code = error.code or _CODES.get(error.status, "bad_request")
            failure = cls(error.status, code, message, error.headers)
        else:
            failure = cls(_status(error), error.code, message)
        if isinstance(error, LimitReached):
            failure.headers["Retry-After"] = str(math.ceil(error.seconds))
            if error.is_spent:
                failure.headers["x-should-retry"] = "false"
        if failure.status in (429, 503):
            failure.headers.setdefault("Retry-After", RETRY_AFTER)
        return failure

    def document(self, dialect: Dialect, request_id: str) -> bytes:
        """The body of an error, in ASCII: names may hold characters that a terminal obeys."""
        return json.dumps(self._shown(dialect, request_id)).encode()

    def record(self, dialect: Dialect, request_id: str, stream: StreamType) -> bytes:
        """The error as a part of a stream that has begun."""
        body = self.document(dialect, request_id)
        if stream is StreamType.LINES:
            return body + b"\n"
        if dialect is Dialect.ANTHROPIC:
            return b"event: error\ndata: " + body + b"\n\n"
        return b"data: " + body + b"\n\n"

    def _shown(self, dialect: Dialect, request_id: str) -> dict[str, Any]:
        openai, anthropic = _TYPES.get(self.status, _SERVER)
        if dialect is Dialect.OPENAI:
            error = {"message": self.message, "type": openai, "param": None, "code": self.code}
            return {"error": error}
        if dialect is Dialect.ANTHROPIC:
            kind = {"type": anthropic, "message": self.message}
            return {"type": "error", "error": kind, "request_id": request_id}
        return {"error": self.message, "code": self.code}


_STATUSES: dict[type[AdminError], int] = {
    InvalidInput: 400,
    RemoteNotAllowed: 403,
    ServerBusy: 429,  # by our own limits: what a server says itself is passed on
    ServerInactive: 503,
}


def _status(error: AdminError) -> int:
    for kind, status in _STATUSES.items():
        if isinstance(error, kind):
            return status
    return error.http_status
