"""Requests of the APIs below /v1, which never cut a prompt."""

from collections.abc import Mapping
from email import message_from_bytes
from typing import Any

from ollama_admin.simulator.ask import (
    Ask,
    Message,
    RefusedError,
    list_of_objects,
    make_message,
    read_name,
    text_of,
)

_NO_NAME = RefusedError(400, "model is required")
_RESULTS = ("function_call_output", "tool_result")
_IMAGES = ("image_url", "input_image", "image")


def read_v1_chat(body: Mapping[str, object]) -> Ask:
    listed = list_of_objects(body.get("messages"))
    if not listed:
        raise RefusedError(400, "[] is too short - 'messages'")
    options = body.get("stream_options")
    return _read(
        body,
        listed,
        think=body.get("reasoning_effort") not in (None, "none"),
        logprobs=body.get("logprobs") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def read_v1_completion(body: Mapping[str, object]) -> Ask:
    listed: list[dict[str, object]] = [{"role": "user", "content": body.get("prompt")}]
    options = body.get("stream_options")
    return _read(
        body,
        listed,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def read_response(body: Mapping[str, object]) -> Ask:
    """`input` is a text, or a list of messages, calls of tools and their results."""
    given = body.get("input")
    listed = list_of_objects(given)
    if isinstance(given, str):
        listed = [{"role": "user", "content": given}]
    reasoning = body.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, dict) else None
    return _read(body, _with_system(body.get("instructions"), listed), think=bool(effort))


def read_messages(body: Mapping[str, object]) -> Ask:
    if not isinstance(body.get("max_tokens"), int):
        raise RefusedError(400, "max_tokens is required and must be positive")
    listed = list_of_objects(body.get("messages"))
    if not listed:
        raise RefusedError(400, "messages is required")
    thinking = body.get("thinking")
    think = isinstance(thinking, dict) and thinking.get("type") in ("enabled", "adaptive")
    return _read(body, _with_system(body.get("system"), listed), think=think)


def read_form(content_type: str, raw: bytes) -> dict[str, bytes]:
    """The fields of a multipart body by name; a file counts with its bytes."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    fields: dict[str, bytes] = {}
    for part in message_from_bytes(head + raw).walk():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(content, bytes):
            fields[name] = content
    return fields


def _read(body: Mapping[str, object], listed: list[dict[str, object]], **more: Any) -> Ask:
    parts = [part for item in listed for part in list_of_objects(item.get("content"))]
    limits = (body.get(name) for name in ("max_tokens", "max_output_tokens"))
    return Ask(
        kind="chat",
        name=read_name(body, empty=_NO_NAME),
        messages=tuple(map(_read_message, listed)),
        stream=body.get("stream") is True,
        has_images=any(part.get("type") in _IMAGES for part in parts),
        has_tools=bool(body.get("tools")),
        truncate=False,
        num_predict=next((limit for limit in limits if isinstance(limit, int)), None),
        **more,
    )


def _read_message(item: Mapping[str, object]) -> Message:
    parts = [item, *list_of_objects(item.get("content"))]
    if any(part.get("type") in _RESULTS for part in parts):
        return make_message("tool", str(item.get("output", "")) or text_of(item))
    return make_message(str(item.get("role", "")), text_of(item))


def _with_system(text: object, listed: list[dict[str, object]]) -> list[dict[str, object]]:
    if not text:
        return listed
    system: dict[str, object] = {"role": "system", "content": text}
    return [system, *listed]
