"""An answer on its way to a client: its status once it is known, its records as they come, and its
end with theirs.
"""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, assert_never

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ollama_admin.api.problems import JSONDocument, described, problem, shown
from ollama_admin.domain.answers import Piece, Reply
from ollama_admin.errors import AdminError, StreamInterrupted
from ollama_admin.services.generate import Stream

NDJSON = b"application/x-ndjson"
NANOSECONDS_PER_MS = 1_000_000
LOGPROBS_LIMIT = 8 * 2**20  # bytes, of an answer that is not streamed
LAST_WORDS = 2.0  # seconds, to say that the server is stopping
STOPPING = {
    "code": "server_stopping",
    "message": "the server is stopping; ask again",
    "hint": None,
}


class Dialect(StrEnum):
    """Whose records a client reads: those of `/api/generate` or of `/api/chat`."""

    GENERATE = "generate"
    CHAT = "chat"


class AnswerResponse(Response):
    """Nothing is sent before the first record or the failure is there, so that the status tells
    which it is.

    A client that leaves ends the work at once, whatever that waits for: a slot, the first token or
    the next one.
    """

    def __init__(
        self,
        stream: Stream,
        dialect: Dialect,
        *,
        model: str,
        path: str,
        live: bool,
        logprobs: bool,
    ) -> None:
        super().__init__()
        self._stream = stream
        self._dialect = dialect
        self._model = model
        self._path = path
        self._live = live
        self._wants_logprobs = logprobs
        self._begun = False
        self._ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await until_left(self._answer(scope, receive, send), receive)
        except asyncio.CancelledError:  # the time for running answers is over
            if not self._ended:
                with suppress(TimeoutError):  # a client that does not read is not waited for
                    async with asyncio.timeout(LAST_WORDS):
                        await self._fail(STOPPING, 503, scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._stream as stream:
                if self._live:
                    await self._pass_on(stream, send)
                else:
                    await self._gather(stream, scope, receive, send)
        except AdminError as exc:
            await self._fail(described(exc), exc.http_status, scope, receive, send)

    async def _pass_on(self, stream: Stream, send: Send) -> None:
        async for piece in stream:
            await self._send_line(_record(piece, self._dialect, self._model), send)
        await self._send_line(_last(stream.reply, self._dialect), send)
        await self._end(send)

    async def _gather(self, stream: Stream, scope: Scope, receive: Receive, send: Send) -> None:
        logprobs = bytearray()
        async for piece in stream:
            if self._wants_logprobs:
                _add_logprobs(logprobs, piece.record or {})
        whole = _whole(stream.reply, self._dialect)
        if self._wants_logprobs:
            _add_logprobs(logprobs, whole)
        self._begun = self._ended = True
        await _document(whole, logprobs)(scope, receive, send)

    async def _fail(
        self, error: dict[str, Any], status: int, scope: Scope, receive: Receive, send: Send
    ) -> None:
        if not self._begun:
            self._begun = self._ended = True
            await problem(self._path, status, error)(scope, receive, send)
            return
        await self._send_line(shown(self._path, error), send)
        await self._end(send)

    async def _send_line(self, record: dict[str, Any], send: Send) -> None:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        line = text.encode() + b"\n"
        if not self._begun:
            self._begun = True
            headers = [(b"content-type", NDJSON)]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": line, "more_body": True})

    async def _end(self, send: Send) -> None:
        self._ended = True
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def until_left(work: Coroutine[Any, Any, None], receive: Receive) -> None:
    """Do the work until the client leaves; it has ended, with all its cleaning up, when this
    returns.
    """
    working, leaving = asyncio.create_task(work), asyncio.create_task(_left(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait((working, leaving))
    if not working.cancelled():
        working.result()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _record(piece: Piece, dialect: Dialect, model: str) -> dict[str, Any]:
    """A record in mid-answer: as the server sent it, or made for a server that speaks v1."""
    if piece.record is not None:
        return dict(piece.record)
    record = {"model": model, "created_at": _now()}
    return record | _content(piece.response, piece.thinking, dialect) | {"done": False}


def _last(reply: Reply, dialect: Dialect) -> dict[str, Any]:
    """The record that ends an answer: the server's own, or made for one that speaks v1."""
    return _made_last(reply, dialect) if reply.record is None else dict(reply.record)


def _whole(reply: Reply, dialect: Dialect) -> dict[str, Any]:
    """The last record with all that was said before; its log probabilities are still its own."""
    last = _last(reply, dialect)
    content = _content(reply.response, reply.thinking, dialect)
    message = content
    if dialect is Dialect.CHAT:
        kept = last.get("message")
        message = content["message"]
        if isinstance(kept, dict):
            message = kept | message
        content["message"] = message
    if reply.tool_calls:
        message["tool_calls"] = [dict(call) for call in reply.tool_calls]
    return last | content


def _add_logprobs(kept: bytearray, record: Mapping[str, Any]) -> None:
    """Append those of a record, as JSON: as objects they take ten times as much."""
    logprobs = record.get("logprobs")
    if not isinstance(logprobs, list) or not logprobs:
        return
    kept += b"," if kept else b""
    kept += json.dumps(logprobs)[1:-1].encode()
    if len(kept) > LOGPROBS_LIMIT:
        raise StreamInterrupted(
            f"the log probabilities of the answer are longer than {LOGPROBS_LIMIT // 2**20} MiB",
            "ask for fewer top_logprobs, or for a stream",
        )


def _document(whole: dict[str, Any], logprobs: bytearray) -> Response:
    if not logprobs:
        return JSONDocument(whole)
    whole.pop("logprobs", None)
    body = bytearray(json.dumps(whole, allow_nan=False).encode())
    body[-1:] = b',"logprobs":['
    body += logprobs + b"]}"
    return Response(bytes(body), media_type=JSONDocument.media_type)


def _made_last(reply: Reply, dialect: Dialect) -> dict[str, Any]:
    stats = reply.stats
    numbers = {
        "total_duration": stats.total_ms * NANOSECONDS_PER_MS,
        "prompt_eval_count": stats.prompt_tokens,
        "eval_count": stats.output_tokens,
    }
    record: dict[str, Any] = {"model": reply.model, "created_at": _now()}
    record |= _content("", "", dialect)
    record |= {"done": True, "done_reason": reply.done_reason}
    return record | {name: number for name, number in numbers.items() if number is not None}


def _content(response: str, thinking: str, dialect: Dialect) -> dict[str, Any]:
    """Text and thinking, where clients of the dialect look for them."""
    thoughts = {"thinking": thinking} if thinking else {}
    match dialect:
        case Dialect.GENERATE:
            return {"response": response} | thoughts
        case Dialect.CHAT:
            return {"message": {"role": "assistant", "content": response} | thoughts}
        case _:
            assert_never(dialect)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
