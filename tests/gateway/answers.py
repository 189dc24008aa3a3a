"""Whole answers in every shape that is relayed, as servers write them."""

import json
from dataclasses import dataclass
from typing import Any

from ollama_admin.ollama.passing import Shape

MODEL = "alpha"
NDJSON, SSE, JSON = "application/x-ndjson", "text/event-stream", "application/json"


def compact(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def ndjson(*records: Any) -> bytes:
    return b"".join(compact(record) + b"\n" for record in records)


def events(*records: Any, end: bytes = b"\n", named: bool = False) -> bytes:
    """Server-sent events, each with the name of its type where they are `named`."""
    written = b""
    for record in records:
        if named:
            written += b"event: " + record["type"].encode() + end
        written += b"data: " + (record if isinstance(record, bytes) else compact(record))
        written += end + end
    return written


@dataclass(frozen=True)
class Sample:
    """`mark` is what tells that the answer is whole, with what belongs to it."""

    path: str
    shape: Shape
    content_type: str
    body: bytes
    mark: bytes
    counts: tuple[int | None, int | None]


_DONE = {"model": MODEL, "created_at": "2026-11-01T00:00:00Z", "response": "", "done": True}
_COUNTS = {"done_reason": "stop", "prompt_eval_count": 7, "eval_count": 5, "total_duration": 9}
_SAID = {
    "model": MODEL,
    "created_at": "2026-11-01T00:00:00Z",
    "response": 'é "done":true',
    "done": False,
}
_CHUNK = {"id": "c", "object": "chat.completion.chunk", "model": MODEL}
_CHOICE = {**_CHUNK, "choices": [{"index": 0, "delta": {"content": "[DONE] é"}}]}
_USAGE = {**_CHUNK, "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}
_RESPONSE = {"id": "r", "object": "response", "model": MODEL}
_MESSAGE = {"id": "m", "type": "message", "role": "assistant", "model": MODEL, "content": []}
_MESSAGES = (
    {"type": "message_start", "message": {**_MESSAGE, "usage": {"input_tokens": 7}}},
    {"type": "content_block_delta", "index": 0, "delta": {"text": "message_stop é"}},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    {"type": "message_stop"},
)
_RESPONSES = (
    {"type": "response.created", "response": {**_RESPONSE, "usage": None}},
    {"type": "response.output_text.delta", "delta": "response.completed é"},
    {
        "type": "response.completed",
        "response": {**_RESPONSE, "usage": {"input_tokens": 7, "output_tokens": 5}},
    },
)
LINES = ndjson(_SAID, _SAID, _DONE | _COUNTS)
COMPLETIONS = events(_CHOICE, _CHOICE, _USAGE, b"[DONE]")
MESSAGES = events(*_MESSAGES, named=True)
RESPONSES = events(*_RESPONSES, named=True)
DOCUMENT = compact(_DONE | _COUNTS | {"response": "hi"})
CHAT_DOCUMENT = compact(_USAGE)
VECTORS = compact({"model": MODEL, "embeddings": [[0.5, -1e-7]] * 20, "prompt_eval_count": 7})

SAMPLES = {
    "lines": Sample("/api/chat", Shape.LINES, NDJSON, LINES, ndjson(_DONE | _COUNTS), (7, 5)),
    "completions": Sample(
        "/v1/chat/completions",
        Shape.COMPLETIONS,
        SSE,
        COMPLETIONS,
        events(b"[DONE]"),
        (7, 5),
    ),
    "completions with CRLF": Sample(
        "/v1/completions",
        Shape.COMPLETIONS,
        f"{SSE}; charset=utf-8",
        events(_CHOICE, _USAGE, b"[DONE]", end=b"\r\n"),
        events(b"[DONE]", end=b"\r\n"),
        (7, 5),
    ),
    "messages": Sample(
        "/v1/messages", Shape.MESSAGES, SSE, MESSAGES, events(_MESSAGES[-1], named=True), (7, 5)
    ),
    "messages with CRLF": Sample(
        "/v1/messages",
        Shape.MESSAGES,
        SSE,
        events(*_MESSAGES, named=True, end=b"\r\n"),
        events(_MESSAGES[-1], named=True, end=b"\r\n"),
        (7, 5),
    ),
    "responses": Sample(
        "/v1/responses", Shape.RESPONSES, SSE, RESPONSES, events(_RESPONSES[-1], named=True), (7, 5)
    ),
    "document": Sample("/api/generate", Shape.DOCUMENT, JSON, DOCUMENT, DOCUMENT, (7, 5)),
    "document of v1": Sample(
        "/v1/chat/completions", Shape.DOCUMENT, JSON, CHAT_DOCUMENT, CHAT_DOCUMENT, (7, 5)
    ),
}
STREAMS = [name for name, sample in SAMPLES.items() if sample.shape is not Shape.DOCUMENT]
