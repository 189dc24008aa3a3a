"""Embeddings: each text has a vector of its own, the same on every server."""

import base64
import hashlib
import math
import struct
from collections.abc import Mapping, Sequence

from ollama_admin.simulator.ask import RefusedError
from ollama_admin.simulator.http import encode_json
from ollama_admin.simulator.wire import JsonObject

_DIMENSIONS = 3
_LARGEST = 256


def embedded(path: str, name: str, body: Mapping[str, object], num_ctx: int) -> bytes:
    """The answer of one of the three endpoints to a body. Refuses what does not fit the context."""
    texts = _texts(body)
    tokens = sum(len(text.split()) for text in texts)
    if body.get("truncate") is False and any(len(text.split()) > num_ctx for text in texts):
        raise RefusedError(400, "the input length exceeds the context length")
    vectors = [vector(text, _dimensions(body)) for text in texts]
    if path == "/api/embeddings":
        return encode_json({"embedding": vectors[0] if vectors else []})
    if path == "/v1/embeddings":
        return encode_json(_v1(name, body, vectors, tokens)) + b"\n"
    counts = {"total_duration": 1000, "load_duration": 1000, "prompt_eval_count": tokens}
    return encode_json({"model": name, "embeddings": vectors} | counts)


def vector(text: str, dimensions: int = _DIMENSIONS) -> list[float]:
    """Of length 1."""
    values = [byte - 127.5 for byte in hashlib.shake_256(text.encode()).digest(dimensions)]
    length = math.sqrt(sum(value * value for value in values))
    return [round(value / length, 6) for value in values]


def _v1(
    name: str, body: Mapping[str, object], vectors: Sequence[list[float]], tokens: int
) -> JsonObject:
    written: list[object] = list(vectors)
    if body.get("encoding_format") == "base64":
        written = [_base64(values) for values in vectors]
    data = [
        {"object": "embedding", "embedding": embedding, "index": index}
        for index, embedding in enumerate(written)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": name, "usage": usage}


def _base64(values: Sequence[float]) -> str:
    packed = b"".join(struct.pack("<f", value) for value in values)
    return base64.b64encode(packed).decode()


def _texts(body: Mapping[str, object]) -> list[str]:
    given = body.get("input") or body.get("prompt") or []
    if isinstance(given, str):
        return [given]
    if not isinstance(given, list) or not all(isinstance(text, str) for text in given):
        raise RefusedError(400, "invalid input type")
    return given


def _dimensions(body: Mapping[str, object]) -> int:
    wanted = body.get("dimensions")
    if isinstance(wanted, int) and 0 < wanted <= _LARGEST:
        return wanted
    return _DIMENSIONS
