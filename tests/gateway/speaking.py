"""Answers in every dialect that tell which build spoke, whole and broken in all ways; and how a
client reads them.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ollama_admin.simulator.http import encode_chunk, encode_head
from tests.api.service import Heard
from tests.fake_ollama import Ending, Raw
from tests.gateway.answers import JSON, NDJSON, SSE, compact, events, ndjson
from tests.gateway.upstream import whole
from tests.services.rules import REMOTE_BUILD, Behaviour

OTHER = "other:latest"
VECTORS = ("/api/embed", "/v1/embeddings")
DURATION = timedelta(seconds=1)  # of each answer, as it tells
FAILED = {"error": "an error was encountered while running the model"}
FAILED_V1 = {"error": {"message": FAILED["error"], "type": "server_error"}}
FAILED_MESSAGES = {"type": "error", "error": {"type": "api_error", "message": "no"}}

Record = dict[str, Any]


@dataclass(frozen=True)
class Spoken:
    """The records of a stream: those before the last ones, which tell that the answer is whole."""

    said: tuple[Record, ...]
    last: tuple[Record | bytes, ...]
    failed: Record
    write: Callable[..., bytes]


def played(
    path: str,
    *,
    streams: bool,
    text: str,
    name: str,
    began: datetime,
    fate: Behaviour,
    end: Ending,
) -> Raw:
    """What a server answers that says this text under this name, and fares so. By its own words, on
    the paths where it tells, it has worked on the answer since `began`.
    """
    shown: str | None = name
    is_document = not streams or path in VECTORS
    if fate is Behaviour.OTHER_NAME or (is_document and fate is Behaviour.OTHER_NAME_LATE):
        shown = OTHER
    if fate is Behaviour.NAMELESS:
        shown = None
    described = _described(path, text, shown, began)
    if is_document:
        return _document(path, text, described, fate, end)
    return _stream(_spoken(path, text, described), fate, end)


def heard_text(path: str, heard: Heard) -> str | None:
    """What a client takes for a whole answer; None for anything else."""
    if heard.status != 200 or not heard.is_whole:
        return None
    kind = heard.headers.get("content-type", "").partition(";")[0]
    if kind == NDJSON:
        return _text_of_lines([json.loads(line) for line in heard.body.splitlines() if line])
    if kind == SSE:
        return _text_of_events(path, heard.body.decode())
    try:
        record = json.loads(heard.body)
    except ValueError:
        return None
    return None if record.get("error") else _text_of(record)


def _spoken(path: str, text: str, named: Record) -> Spoken:
    first, rest = text[:1], text[1:]
    if path.startswith("/api/"):
        said = [{**named, **_words(path, piece), "done": False} for piece in (first, rest)]
        last = {**named, **_words(path, ""), "done": True, "done_reason": "stop"}
        return Spoken(tuple(said), (last,), FAILED, ndjson)
    if path == "/v1/responses":
        deltas = [{"type": "response.output_text.delta", "delta": piece} for piece in (first, rest)]
        created = {"type": "response.created", "response": {**named, "object": "response"}}
        done = {"type": "response.completed", "response": {**named, "object": "response"}}
        return Spoken((created, *deltas), (done,), {"type": "error", "message": "no"}, _named)
    if path == "/v1/messages":
        start = {"type": "message_start", "message": {**named, "type": "message", "content": []}}
        deltas = [
            {"type": "content_block_delta", "index": 0, "delta": {"text": piece}}
            for piece in (first, rest)
        ]
        stop = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}
        return Spoken((start, *deltas), (stop, {"type": "message_stop"}), FAILED_MESSAGES, _named)
    chunks = [{**named, "choices": [_choice(path, piece, None)]} for piece in (first, rest)]
    last = {**named, "choices": [_choice(path, "", "stop")]}
    return Spoken(tuple(chunks), (last, b"[DONE]"), FAILED_V1, events)


def _described(path: str, text: str, name: str | None, began: datetime) -> Record:
    """What each record carries beside its words: a name, and on two of Ollama's own paths its times
    and whether a remote host speaks.
    """
    described: Record = {} if name is None else {"model": name}
    if path in ("/api/generate", "/api/chat"):
        described["created_at"] = (began + DURATION).isoformat()
        described["total_duration"] = int(DURATION.total_seconds() * 1e9)
        if text.endswith(REMOTE_BUILD):
            described |= {"remote_host": "https://elsewhere.test", "remote_model": "big"}
    return described


def _named(*records: Any) -> bytes:
    return events(*records, named=True)


def _words(path: str, text: str) -> Record:
    if path == "/api/chat":
        return {"message": {"role": "assistant", "content": text}}
    return {"response": text}


def _choice(path: str, text: str, reason: str | None) -> Record:
    said = {"text": text} if path == "/v1/completions" else {"delta": {"content": text}}
    return {"index": 0, **said, "finish_reason": reason}


def _stream(spoken: Spoken, fate: Behaviour, end: Ending) -> Raw:
    kind = NDJSON if spoken.write is ndjson else SSE
    parts = [encode_head(200, {"Content-Type": kind, "Transfer-Encoding": "chunked"})]
    parts += [encode_chunk(spoken.write(record)) for record in _told(spoken, fate)]
    if fate is Behaviour.BREAKS:
        return Raw(tuple(parts), end)
    return Raw((b"".join(parts) + encode_chunk(b""),), Ending.KEEP)


def _told(spoken: Spoken, fate: Behaviour) -> list[Record | bytes]:
    said, last = list(spoken.said), list(spoken.last)
    if fate is Behaviour.ERROR:
        return [spoken.failed]
    if fate is Behaviour.BREAKS:
        return [*said[:-1]]
    if fate is Behaviour.KILLED:
        return [*said[:-1], spoken.failed]
    if fate is Behaviour.ENDS:
        return [*said]
    if fate is Behaviour.OTHER_NAME_LATE:
        renamed = [{**record, "model": OTHER} for record in last if isinstance(record, dict)]
        return [*said, *renamed, *(record for record in last if isinstance(record, bytes))]
    return [*said, *last]


def _document(path: str, text: str, named: Record, fate: Behaviour, end: Ending) -> Raw:
    body = compact({**named, **_content(path, text)})
    if fate in (Behaviour.ERROR, Behaviour.KILLED):
        body = compact(FAILED)
    if fate is Behaviour.ENDS:
        body = body[: len(body) // 2]
    answer = whole(body, JSON)
    if fate is Behaviour.BREAKS:
        return Raw((answer[: -len(body) // 2],), end)
    return Raw((answer,), Ending.KEEP)


def _content(path: str, text: str) -> Mapping[str, Any]:
    vector = [int(text[-1], 16)]
    message = [{"type": "text", "text": text}]
    contents: dict[str, Record] = {
        "/api/generate": {"response": text, "done": True},
        "/api/chat": {"message": {"role": "assistant", "content": text}, "done": True},
        "/api/embed": {"embeddings": [vector]},
        "/v1/embeddings": {"object": "list", "data": [{"embedding": vector, "index": 0}]},
        "/v1/chat/completions": {
            "choices": [{"index": 0, "message": {"content": text}, "finish_reason": "stop"}]
        },
        "/v1/completions": {"choices": [{"index": 0, "text": text, "finish_reason": "stop"}]},
        "/v1/responses": {"object": "response", "output": [{"content": message}]},
        "/v1/messages": {"type": "message", "content": message, "stop_reason": "end_turn"},
    }
    return contents[path]


def _text_of(record: Mapping[str, Any]) -> str:
    if "embeddings" in record:
        return f"I am {record['embeddings'][0][0]:x}"
    if "data" in record:
        return f"I am {record['data'][0]['embedding'][0]:x}"
    if "output" in record:
        return str(record["output"][0]["content"][0]["text"])
    if "content" in record:
        return str(record["content"][0]["text"])
    if "choices" in record:
        choice = record["choices"][0]
        return str(choice.get("text") or choice["message"]["content"])
    return str(record.get("response") or record["message"]["content"])


def _text_of_lines(records: list[Mapping[str, Any]]) -> str | None:
    if any(record.get("error") for record in records) or not records[-1].get("done"):
        return None
    return _joined(
        record.get("response") or record.get("message", {}).get("content") for record in records
    )


def _text_of_events(path: str, body: str) -> str | None:
    data = [line[5:].strip() for line in body.splitlines() if line.startswith("data:")]
    records = [json.loads(text) for text in data if text != "[DONE]"]
    if any(record.get("error") or record.get("type") == "error" for record in records):
        return None
    if path.startswith("/v1/c") and data[-1] != "[DONE]":
        return None
    if path == "/v1/messages" and records[-1]["type"] != "message_stop":
        return None
    if path == "/v1/responses" and records[-1]["type"] != "response.completed":
        return None
    return _joined(_delta(record) for record in records)


def _delta(record: Mapping[str, Any]) -> str | None:
    if "choices" in record:
        choice = record["choices"][0]
        return choice.get("text") or choice.get("delta", {}).get("content")
    delta = record.get("delta")
    return delta.get("text") if isinstance(delta, dict) else delta


def _joined(texts: Iterable[str | None]) -> str:
    return "".join(text for text in texts if text)
