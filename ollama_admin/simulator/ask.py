"""What a request asks for, read as Ollama reads it: refusals carry its status and text."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ollama_admin.simulator.model import is_valid

_GO_FIELDS: Mapping[str, tuple[type, str]] = {
    "model": (str, "string"),
    "prompt": (str, "string"),
    "system": (str, "string"),
    "stream": (bool, "bool"),
}
_GO_KINDS: Mapping[type, str] = {
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
}
_INTEGER_OPTIONS = ("num_ctx", "num_predict", "seed", "top_k")
_ZERO_DURATIONS = ("0", "0s", "0m", "0h")


class RefusedError(Exception):
    """A request that is answered with an error status and a text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    role: str
    tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request for text, from any endpoint. Tokens are whitespace words."""

    kind: Literal["generate", "chat"]
    name: str
    messages: tuple[Message, ...]
    stream: bool
    has_images: bool = False
    has_tools: bool = False
    has_suffix: bool = False
    think: bool = False
    truncate: bool = True
    shift: bool = True
    unload: bool = False
    keep_alive: object = None
    logprobs: bool = False
    include_usage: bool = False
    num_ctx: int | None = None
    num_predict: int | None = None

    @property
    def only_loads(self) -> bool:
        return not self.messages


def parse_body(raw: bytes, struct: str, *, when_empty: str) -> dict[str, object]:
    """The JSON object of a request; `struct` is the Go type that error texts name."""
    if not raw:
        raise RefusedError(400, when_empty)
    try:
        body = json.loads(raw)
    except json.JSONDecodeError as exc:
        raise RefusedError(400, _describe_syntax(exc)) from exc
    except UnicodeDecodeError as exc:
        raise RefusedError(400, "invalid character in string literal") from exc
    if body is None:
        return {}
    if not isinstance(body, dict):
        kind = _GO_KINDS[type(body)]
        text = f"json: cannot unmarshal {kind} into Go value of type api.{struct}"
        raise RefusedError(400, text)
    for name, (wanted, go_type) in _GO_FIELDS.items():
        if name == "system" and struct == "MessagesRequest":
            continue  # also a list of blocks there
        value = body.get(name)
        if value is not None and not isinstance(value, wanted):
            kind = _GO_KINDS[type(value)]
            raise RefusedError(
                400,
                f"json: cannot unmarshal {kind} into Go struct field {struct}.{name} of type "
                f"{go_type}",
            )
    return body


def read_generate(body: Mapping[str, object]) -> Ask:
    name = read_name(body, empty=RefusedError(404, "model '' not found"))
    if body.get("raw") and (body.get("system") or body.get("template") or body.get("context")):
        raise RefusedError(400, "raw mode does not support template, system, or context")
    prompt = str(body.get("prompt") or "")
    texts = [("system", str(body.get("system") or "")), ("user", prompt)]
    messages: tuple[Message, ...] = ()
    if prompt:
        messages = tuple(make_message(role, text) for role, text in texts if text)
    return _read_native(
        body,
        kind="generate",
        name=name,
        messages=messages,
        has_images=bool(body.get("images")),
    )


def read_chat(body: Mapping[str, object]) -> Ask:
    name = read_name(body, empty=RefusedError(400, "model is required"))
    listed = list_of_objects(body.get("messages"))
    return _read_native(
        body,
        kind="chat",
        name=name,
        messages=tuple(make_message(str(m.get("role", "")), text_of(m)) for m in listed),
        has_images=any(message.get("images") for message in listed),
    )


def read_name(body: Mapping[str, object], *, empty: RefusedError) -> str:
    """The requested name as sent; /api/show also takes the deprecated `name` field."""
    name = str(body.get("model") or body.get("name") or "")
    if not name:
        raise empty
    if not is_valid(name):
        raise RefusedError(400, "invalid model name")
    return name


def _read_native(
    body: Mapping[str, object],
    *,
    kind: Literal["generate", "chat"],
    name: str,
    messages: tuple[Message, ...],
    has_images: bool,
) -> Ask:
    options = _read_options(body)
    _check_format(body.get("format"))
    return Ask(
        kind=kind,
        name=name,
        messages=messages,
        stream=body.get("stream") is not False,
        has_images=has_images,
        has_tools=bool(body.get("tools")),
        has_suffix=bool(body.get("suffix")),
        think=body.get("think") not in (None, False),
        truncate=body.get("truncate") is not False,
        shift=body.get("shift") is not False,
        unload=_is_zero(body.get("keep_alive")),
        keep_alive=body.get("keep_alive"),
        logprobs=body.get("logprobs") is True,
        num_ctx=options.get("num_ctx"),
        num_predict=options.get("num_predict"),
    )


def _read_options(body: Mapping[str, object]) -> dict[str, int]:
    options = body.get("options")
    if not isinstance(options, dict):
        return {}
    read: dict[str, int] = {}
    for name in _INTEGER_OPTIONS:
        value = options.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise RefusedError(500, f'option "{name}" must be of type integer')
        read[name] = int(value)
    return read


def _check_format(value: object) -> None:
    if value in (None, "", "json") or isinstance(value, dict):
        return
    shown = json.dumps(json.dumps(value))
    expected = 'expected "json" or a valid JSON Schema object'
    raise RefusedError(500, f"invalid format: {shown}; {expected}")


def _is_zero(keep_alive: object) -> bool:
    if isinstance(keep_alive, str):
        return keep_alive in _ZERO_DURATIONS
    return keep_alive == 0 and keep_alive is not False


def make_message(role: str, text: str) -> Message:
    return Message(role=role, tokens=len(text.split()))


def text_of(message: Mapping[str, object]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in list_of_objects(content))


def list_of_objects(value: object) -> list[dict[str, object]]:
    if not isinstance(value, list):
        return []
    return [item for item in value if isinstance(item, dict)]


def _describe_syntax(error: json.JSONDecodeError) -> str:
    if error.pos >= len(error.doc):
        return "unexpected EOF"
    return f"invalid character '{error.doc[error.pos]}' looking for beginning of value"
