"""Texts of legacy variables read as typed values; errors name the place and never the secret."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from ollama_admin.domain import names, urls
from ollama_admin.domain.values import Json
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import forms
from ollama_admin.legacy.envfile import Binding

NUMBER_LIMIT = 2**31 - 1  # what the columns hold
LABEL_LIMIT = 100  # characters of a capability

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_IN_LIST = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def problem(binding: Binding, text: str, hint: str | None = None) -> InvalidInput:
    """The error for a value that cannot be used; it does not repeat the value."""
    return InvalidInput(f"{binding.place} {text}", hint)


def checked(binding: Binding, text: str, many: bool = False) -> str:
    """The text, or InvalidInput for a control character; a list may hold tabs and line ends."""
    if (_CONTROL_IN_LIST if many else _CONTROL).search(text):
        hint = "remove it: the value is taken as it is"
        raise problem(binding, "holds a control character", hint)
    return text


def complete(binding: Binding, text: str, port: int | None, https: bool | None) -> str:
    """The URL with a scheme and a port that were written apart, where it has none of its own."""
    if forms.is_ipv6(text):
        text = f"[{text}]"
    scheme, mark, authority = text.rstrip("/").rpartition("://")
    secure = scheme.lower() == "https"
    if mark and https is not None and secure is not https:
        what = f"says {scheme}, and another variable the opposite"
        raise problem(binding, what, "make them agree")
    has_port = "/" in authority or re.search(r":[0-9]*$", authority.rpartition("@")[2])
    if not has_port and port is not None:
        if mark and not secure and port == urls.DEFAULT_PORTS["https"]:
            raise problem(binding, f"says {scheme} for port {port}", "write https://, or no scheme")
        text = f"{scheme}{mark}{authority}:{port}"
    if not mark and (https or (https is False and port is not None)):
        text = f"{'https' if https else 'http'}://{text}"
    return text


def server_url(binding: Binding, text: str) -> tuple[urls.ServerURL, urls.Userinfo | None]:
    """A URL as `urls.server_url` reads it, and the user and password that stood in it."""
    bare, userinfo = urls.split_userinfo(text)
    if forms.is_ipv6(bare):
        bare = f"[{bare}]"
    try:
        return urls.server_url(bare), userinfo
    except InvalidInput as exc:
        if "@" in (binding.value or ""):  # a part of a password could be in the message
            hint = "write special characters of a password %-encoded: %2C for a comma, %40 for an @"
            raise problem(binding, "holds no server URL that can be read", hint) from None
        raise InvalidInput(f"{binding.place}: {exc.message}", exc.hint) from exc


def server_name(binding: Binding, text: str) -> str:
    with at(binding):
        return names.server_name(text.strip())


def model_name(binding: Binding, text: str) -> str:
    """The name as Ollama has it, without the `ollama/` of other programs."""
    with at(binding):
        return names.model_name(forms.MODEL_OF_OLLAMA.sub("", text.strip(), count=1))


@contextmanager
def at(binding: Binding) -> Iterator[None]:
    """Say of an error where the value stands."""
    try:
        yield
    except InvalidInput as exc:
        raise InvalidInput(f"{binding.place}: {exc.message}", exc.hint) from exc


def capabilities(binding: Binding, text: str) -> tuple[str, ...]:
    """The words of a list with commas, semicolons or JSON, each once."""
    parts = re.split(r"[,;\r\n]", text)
    if text.lstrip().startswith("["):
        parts = json_texts(binding, text)
    words = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not words or any(len(word) > LABEL_LIMIT or not word.isprintable() for word in words):
        what = "holds no list of capabilities"
        raise problem(binding, what, "write them as in general,reasoning")
    return words


def whole_number(binding: Binding, text: str, least: int, most: int = NUMBER_LIMIT) -> int:
    if re.fullmatch(r"\s*[+-]?[0-9]{1,10}\s*", text) and least <= int(text) <= most:
        return int(text)
    raise problem(binding, f"is not a whole number from {least} to {most}")


def switch(binding: Binding, text: str) -> bool:
    word = text.strip().lower()
    if word in forms.SWITCH_WORDS:
        return word in forms.TRUE
    raise problem(binding, "is neither true nor false")


def https(binding: Binding, text: str) -> bool:
    """What a scheme or a switch that was written apart says."""
    word = text.strip().lower().removesuffix("://")
    if word in ("http", "https"):
        return word == "https"
    return switch(binding, word)


def parsed_json(binding: Binding, text: str) -> Json:
    try:
        document: Json = json.loads(text)
    except (ValueError, RecursionError) as exc:
        line = getattr(exc, "lineno", None)
        where = f" (line {line} of the value)" if line else ""
        raise problem(binding, f"is not valid JSON{where}") from None
    return document


def json_texts(binding: Binding, text: str) -> list[str]:
    document = parsed_json(binding, text)
    if isinstance(document, list) and all(isinstance(entry, str) for entry in document):
        return [str(entry) for entry in document]
    raise problem(binding, "is JSON, but no list of texts")
