"""The bodies of requests for an answer: exactly what was asked for, in the server's dialect."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ollama_admin.domain.servers import ApiVersion

if TYPE_CHECKING:
    from ollama_admin.domain.requests import GenerateRequest

V1_OPTIONS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "seed": "seed",
    "stop": "stop",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "num_predict": "max_tokens",
}

_IMAGE_TYPES = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)
_WEBP = "image/webp"  # the one other type that requests may have


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A path and the JSON that is posted to it."""

    path: str
    body: dict[str, Any]


def call(request: "GenerateRequest", model: str, api_version: ApiVersion) -> Call:
    """The call that asks `model` (spelt as the server lists it) for what `request` says, always
    streaming.
    """
    if api_version is ApiVersion.V1:
        return _v1(request, model)
    return _native(request, model)


def _native(request: "GenerateRequest", model: str) -> Call:
    body: dict[str, Any] = {"model": model, "stream": True}
    body |= request.native
    if not (request.allow_truncate or request.verbatim):
        # without them a prompt that does not fit is cut and nothing said
        body |= {"truncate": False, "shift": False}
    optional = {
        "options": dict(request.options) or None,
        "format": _format(request),
        "keep_alive": request.keep_alive,
        "think": request.think,
    }
    body |= {key: value for key, value in optional.items() if value is not None}
    if request.messages is not None:
        body["messages"] = list(request.messages)
        if request.tools:
            body["tools"] = list(request.tools)
        return Call(path="/api/chat", body=body)
    images = [_base64(image) for image in request.images]
    if request.think is None or request.verbatim:
        prompt = {"prompt": request.prompt, "system": request.system, "images": images}
        body |= {key: value for key, value in prompt.items() if value}
        return Call(path="/api/generate", body=body)
    # only /api/chat tells the thinking of every model apart: on /api/generate it may come inside
    # the answer
    message: dict[str, Any] = {"role": "user", "content": request.prompt}
    if images:
        message["images"] = images
    body["messages"] = _after_system(request, message)
    return Call(path="/api/chat", body=body)


def _v1(request: "GenerateRequest", model: str) -> Call:
    if request.messages is None:
        message = _v1_message("user", request.prompt, request.images)
        messages = _after_system(request, message)
    else:
        messages = [_v1_message_of(message) for message in request.messages]
    body: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    body |= {V1_OPTIONS[key]: value for key, value in request.options.items()}
    if request.format == "json":
        body["response_format"] = {"type": "json_object"}
    elif request.format is not None:
        schema = {"name": "answer", "schema": dict(request.format)}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    return Call(path="/v1/chat/completions", body=body)


def _format(request: "GenerateRequest") -> str | dict[str, Any] | None:
    if isinstance(request.format, Mapping):
        return dict(request.format)
    return request.format


def _after_system(request: "GenerateRequest", message: dict[str, Any]) -> list[dict[str, Any]]:
    """The message of the user, behind the system prompt where there is one."""
    if not request.system:
        return [message]
    return [{"role": "system", "content": request.system}, message]


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
    media_type = next((kind for magic, kind in _IMAGE_TYPES if image.startswith(magic)), _WEBP)
    url = f"data:{media_type};base64,{_base64(image)}"
    return {"type": "image_url", "image_url": {"url": url}}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
