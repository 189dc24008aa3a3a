"""The bodies of requests for an answer: exactly what was asked for, in the server's dialect."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_admin.domain.images import WEBP, media_type
from ollama_admin.domain.requests import Question
from ollama_admin.domain.servers import ApiVersion
from ollama_admin.rules import v1

GENERATE, CHAT = "/api/generate", "/api/chat"
# What a prompt is made of; every other field of a question goes into a body under its own name.
_PROMPT = frozenset(("prompt", "messages", "system", "images"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A path and the JSON that is posted to it."""

    path: str
    body: bytes


def json_body(document: Any) -> bytes:
    """The document as compact JSON in UTF-8, its keys in their order; ValueError for what JSON
    cannot say.
    """
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode()


def call(question: Question, model: str, api_version: ApiVersion, path: str | None = None) -> Call:
    """The call that asks `model` (spelt as the server lists it) for what `question` says, always
    streaming.

    `path` is for who speaks Ollama's API: None takes the one that tells thinking and answer apart.
    """
    if api_version is ApiVersion.V1:
        return _v1(question, model)
    return _native(question, model, path or _native_path(question))


def _native_path(question: Question) -> str:
    """Only `/api/chat` tells the thinking of every model apart: on `/api/generate` it may come
    inside the answer.
    """
    if question.messages is not None or question.think is not None:
        return CHAT
    return GENERATE


def _native(question: Question, model: str, path: str) -> Call:
    body: dict[str, Any] = {"model": model, "stream": True}
    for name, value in question.said().items():
        if name not in _PROMPT:
            body[name] = _json(value)
    images = [_base64(image) for image in question.images]
    if question.messages is not None:
        body["messages"] = list(question.messages)
    elif path == GENERATE:
        prompt = {"prompt": question.prompt, "system": question.system, "images": images}
        body |= {key: value for key, value in prompt.items() if value}
    else:
        message: dict[str, Any] = {"role": "user", "content": question.prompt}
        if images:
            message["images"] = images
        body["messages"] = _after_system(question, message)
    return Call(path=path, body=json_body(body))


def _json(value: Any) -> Any:
    """A value as `json` encodes it."""
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _v1(question: Question, model: str) -> Call:
    if question.messages is None:
        message = _v1_message("user", question.prompt, question.images)
        messages = _after_system(question, message)
    else:
        messages = [_v1_message_of(message) for message in question.messages]
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body |= {v1.OPTIONS[key]: value for key, value in question.options.items()}
    if question.format == "json":
        body["response_format"] = {"type": "json_object"}
    elif isinstance(question.format, Mapping):
        schema = {"name": "answer", "schema": dict(question.format)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return Call(path="/v1/chat/completions", body=json_body(body))


def _after_system(question: Question, message: dict[str, Any]) -> list[dict[str, Any]]:
    """The message of the user, behind the system prompt where there is one."""
    if not question.system:
        return [message]
    return [{"role": "system", "content": question.system}, message]


def _v1_message_of(message: Mapping[str, Any]) -> dict[str, Any]:
    images = [base64.b64decode(image) for image in message.get("images") or ()]
    return _v1_message(message["role"], message.get("content") or "", images)


def _v1_message(role: str, text: str, images: Sequence[bytes]) -> dict[str, Any]:
    if not images:
        return {"role": role, "content": text}
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    parts.extend(_image_part(image) for image in images)
    return {"role": role, "content": parts}


def _image_part(image: bytes) -> dict[str, Any]:
    kind = media_type(image) or WEBP  # the one other type that requests may have
    url = f"data:{kind};base64,{_base64(image)}"
    return {"type": "image_url", "image_url": {"url": url}}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
