"""Questions for vectors of texts, in the server's dialect, and what is read of the answers."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ollama_admin.domain.answers import VectorRecord
from ollama_admin.domain.requests import EmbedRequest
from ollama_admin.domain.servers import ApiVersion
from ollama_admin.ollama.calls import Call, json_body
from ollama_admin.ollama.endpoint import JSON_HEADERS, Endpoint
from ollama_admin.ollama.response import BadAnswer, read_json, read_whole

NATIVE, V1 = "/api/embed", "/v1/embeddings"


async def vectors_of(
    endpoint: Endpoint, asked: EmbedRequest, texts: Sequence[str], model: str
) -> VectorRecord:
    """The vectors of some of the texts that are asked about, by `model`, spelt as the server lists
    it. Raises what `Endpoint.stream` does.
    """
    is_v1 = endpoint.target.api_version is ApiVersion.V1
    call = _v1(asked, texts, model) if is_v1 else _native(asked, texts, model)
    asking = endpoint.stream("POST", call.path, headers=JSON_HEADERS, body=call.body, model=model)
    async with asking as response:
        answer = await read_whole(response, call.path)
        document = read_json(answer.body)
        if not isinstance(document, dict):
            raise BadAnswer("the answer is no object")
        if is_v1:
            return _v1_record(document)
        return _native_record(document)


def _native(asked: EmbedRequest, texts: Sequence[str], model: str) -> Call:
    body: dict[str, Any] = {"model": model, "input": list(texts)}
    if not asked.allow_truncate:
        body["truncate"] = False
    if asked.dimensions is not None:
        body["dimensions"] = asked.dimensions
    if asked.options:
        body["options"] = dict(asked.options)
    if asked.keep_alive is not None:
        body["keep_alive"] = asked.keep_alive
    return Call(path=NATIVE, body=json_body(body))


def _v1(asked: EmbedRequest, texts: Sequence[str], model: str) -> Call:
    body: dict[str, Any] = {"model": model, "input": list(texts), "encoding_format": "float"}
    if asked.dimensions is not None:
        body["dimensions"] = asked.dimensions
    return Call(path=V1, body=json_body(body))


def _native_record(document: Mapping[str, Any]) -> VectorRecord:
    return VectorRecord(
        model=_text(document.get("model")),
        embeddings=_vectors(document.get("embeddings")),
        is_remote=bool(document.get("remote_host") or document.get("remote_model")),
        total_duration=_count(document.get("total_duration")),
        load_duration=_count(document.get("load_duration")),
        prompt_tokens=_count(document.get("prompt_eval_count")),
    )


def _v1_record(document: Mapping[str, Any]) -> VectorRecord:
    """What `/v1/embeddings` says: each vector with the number of its text."""
    data, usage = document.get("data"), document.get("usage")
    if not isinstance(data, list) or not all(isinstance(part, dict) for part in data):
        raise BadAnswer("the answer has no list of vectors")
    parts = {part.get("index"): part.get("embedding") for part in data}
    if set(parts) != set(range(len(data))):
        raise BadAnswer("the vectors of the answer are not numbered one after the other")
    tokens = None
    if isinstance(usage, dict):
        tokens = _count(usage.get("prompt_tokens"))
    return VectorRecord(
        model=_text(document.get("model")),
        embeddings=_vectors([parts[number] for number in range(len(data))]),
        prompt_tokens=tokens,
    )


def _vectors(value: object) -> tuple[tuple[float, ...], ...]:
    if not isinstance(value, list):
        raise BadAnswer("the answer has no list of vectors")
    return tuple(_vector(each) for each in value)


def _vector(value: object) -> tuple[float, ...]:
    if not isinstance(value, list) or not value or not all(map(_is_number, value)):
        raise BadAnswer("a vector of the answer is no list of numbers")
    return tuple(value)


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: object) -> int | None:
    return value if type(value) is int and value >= 0 else None
