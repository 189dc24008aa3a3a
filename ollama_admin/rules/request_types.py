"""The types of what is asked for from Python, where nothing else has checked them."""

from collections.abc import Mapping, Sequence

from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.errors import InvalidInput

_TEXT = ("text", (str,))
_FLAG = ("true or false", (bool,))
_NUMBER = ("a number", (int, float))
_WHOLE = ("a whole number", (int,))
_OBJECT = ("an object", (Mapping,))
_TYPES: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "prompt": _TEXT,
    "system": _TEXT,
    "suffix": _TEXT,
    "template": _TEXT,
    "format": ("json or a JSON schema", (str, Mapping)),
    "options": _OBJECT,
    "think": ("true, false or a level", (bool, str)),
    "keep_alive": ("seconds or a duration", (int, float, str)),
    "raw": _FLAG,
    "logprobs": _FLAG,
    "top_logprobs": _WHOLE,
    "truncate": _FLAG,
    "shift": _FLAG,
    "model": _TEXT,
    "server": ("a name or a number", (str, int)),
    "server_url": _TEXT,
    "capability": _TEXT,
    "digest": _TEXT,
    "verified": _FLAG,
    "no_verify": _FLAG,
    "allow_remote": _FLAG,
    "allow_truncate": _FLAG,
    "wait": _NUMBER,
    "timeout": _NUMBER,
}
_ITEMS: Mapping[str, tuple[str, tuple[type, ...]]] = {
    "messages": _OBJECT,
    "tools": _OBJECT,
    "images": ("bytes", (bytes, bytearray, memoryview)),
    "context": _WHOLE,
}
_NEEDED = ("prompt", "options", "wait")


def check_types(asked: GenerateRequest) -> None:
    """Raise InvalidInput for a value of another type than its field has; values are not shown."""
    for name, (what, types) in _TYPES.items():
        value = getattr(asked, name)
        if value is None and name not in _NEEDED:
            continue
        if not _fits(value, types):
            raise InvalidInput(f"{name} is {_kind(value)}, not {what}")
    for name, (what, types) in _ITEMS.items():
        _check_list(name, getattr(asked, name), what, types)
    for key in asked.options:
        if not isinstance(key, str):
            raise InvalidInput(f"a name among the options is {_kind(key)}, not text")


def _check_list(name: str, values: object, what: str, types: tuple[type, ...]) -> None:
    if values is None and name in ("messages", "context"):
        return
    if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
        raise InvalidInput(f"{name} is {_kind(values)}, not a list")
    for index, value in enumerate(values):
        if not _fits(value, types):
            raise InvalidInput(f"{name}[{index}] is {_kind(value)}, not {what}")


def _fits(value: object, types: tuple[type, ...]) -> bool:
    """Whether it is of one of the types; true and false are no numbers here."""
    if isinstance(value, bool):
        return bool in types
    return isinstance(value, types)


def _kind(value: object) -> str:
    return f"of type {type(value).__name__}"
