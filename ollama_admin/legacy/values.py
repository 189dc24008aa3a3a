"""Texts of legacy variables read as typed values; InvalidInput names the place and never repeats a
secret.
"""

import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ollama_admin.domain import names, urls
from ollama_admin.domain.values import Json
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.layouts import JSON_KEYS, JSON_LISTS, Role

NUMBER_LIMIT = 2**31 - 1  # what the columns hold
LABEL_LIMIT = 100  # characters of a capability

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROL_IN_LIST = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_PLACEHOLDER = re.compile(r"<.*>|\{\{.*\}\}|(?:https?://)?your[-_ ].*", re.IGNORECASE | re.DOTALL)
_PLACEHOLDER_KEY = re.compile(
    r"empty|none|null|ollama|dummy|fake|n/?a|x+|\*+|\.+|sk-?|(?:sk-)?(?:x+|\.+|\*+|your.*)|"
    r"(?:(?:dummy|fake)[-_ ]?)?(?:api[-_ ]?)?(?:key|token|password)(?:[-_ ]here)?|"
    r"change[-_ ]?me|placeholder|to-?do|no[-_ ]?key|(?:not|un)[-_ "
    r"]?(?:needed|required|used|necessary)",
    re.IGNORECASE,
)
_BEARER = re.compile(r"bearer(?: +|$)", re.IGNORECASE)
_LISTEN = re.compile(r"(?:https?://)?(?:0\.0\.0\.0|\[::\]|::|\*)?(?::[0-9]+)?/?")
_NAMED = re.compile(r"(?P<name>[^=:/@?]+)=(?P<url>.*)", re.DOTALL)
_NAMED_BY_COLON = re.compile(r"(?P<name>[^=:/@?]+):(?P<url>https?://.*)", re.DOTALL)
_IPV6 = re.compile(r"\[[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*\]")
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One server of a list: its URL as written, and what else the list says of it."""

    index: int
    url: str = field(repr=False)
    values: Mapping[Role, str] = field(default_factory=dict, repr=False)
    unused: tuple[str, ...] = ()


def problem(binding: Binding, text: str, hint: str | None = None) -> InvalidInput:
    """The error for a value that cannot be used; the value itself is not in it unless `text`
    repeats it.
    """
    return InvalidInput(f"{binding.place} {text}", hint)


def checked(binding: Binding, text: str, *, many: bool = False) -> str:
    """The text, or InvalidInput for a control character; a list may hold tabs and line ends."""
    control = _CONTROL
    if many:
        control = _CONTROL_IN_LIST
    if control.search(text):
        raise problem(
            binding, "holds a control character", "remove it: the value is taken as it is"
        )
    return text


def is_placeholder(text: str, *, key: bool = False) -> bool:
    """Whether a value only stands for one that somebody should have filled in."""
    if key:
        text = _BEARER.sub("", text)
        if not text or _PLACEHOLDER_KEY.fullmatch(text):
            return True
    return bool(_PLACEHOLDER.fullmatch(text))


def is_listen_address(text: str) -> bool:
    """Whether it tells a server where to listen (`0.0.0.0`, `:11434`): no address to connect to."""
    return bool(text and _LISTEN.fullmatch(text))


def unquoted(text: str) -> str:
    """Without the spaces and quotes that Ollama itself strips from `OLLAMA_HOST`."""
    return text.strip().strip("\"'").strip()


def with_port(text: str, port: int) -> str:
    """The URL with a port, where it has none and ends with its host."""
    scheme, mark, authority = text.rstrip("/").rpartition("://")
    host = authority.rpartition("@")[2]
    if "/" in authority or re.search(r":[0-9]*$", host):
        return text
    return f"{scheme}{mark}{authority}:{port}"


def server_url(binding: Binding, text: str) -> tuple[urls.ServerURL, urls.Userinfo | None]:
    """A URL as `urls.server_url` reads it, and the user and password that stood in it."""
    bare, userinfo = urls.split_userinfo(text)
    if _is_ipv6(bare):
        bare = f"[{bare}]"
    try:
        return urls.server_url(bare), userinfo
    except InvalidInput as exc:
        if "@" in (binding.value or ""):  # a part of a password could be in the message
            hint = "write special characters of a password %-encoded: %2C for a comma, %40 for an @"
            raise problem(binding, "holds no server URL that can be read", hint) from None
        raise InvalidInput(f"{binding.place}: {exc.message}", exc.hint) from exc


def server_name(binding: Binding, text: str) -> str:
    try:
        return names.server_name(text.strip())
    except InvalidInput as exc:
        raise InvalidInput(f"{binding.place}: {exc.message}", exc.hint) from exc


def model_name(binding: Binding, text: str) -> str:
    try:
        return names.model_name(text.strip())
    except InvalidInput as exc:
        raise InvalidInput(f"{binding.place}: {exc.message}", exc.hint) from exc


def is_model_name(text: str) -> bool:
    try:
        return bool(names.model_name(text)) and not is_model_list(text)
    except InvalidInput:
        return False


def is_model_list(text: str) -> bool:
    return bool(re.search(r"[,;\s]", text.strip()))


def capabilities(binding: Binding, text: str) -> tuple[str, ...]:
    """The words of a list with commas, semicolons or JSON, each once."""
    if text.lstrip().startswith("["):
        parts = json_texts(binding, text)
    else:
        parts = re.split(r"[,;\r\n]", text)
    words = tuple(dict.fromkeys(part.strip() for part in parts if part.strip()))
    if not words or any(len(word) > LABEL_LIMIT or not word.isprintable() for word in words):
        raise problem(
            binding, "holds no list of capabilities", "write them as in general,reasoning"
        )
    return words


def whole_number(binding: Binding, text: str, least: int, most: int = NUMBER_LIMIT) -> int:
    text = text.strip()
    if re.fullmatch(r"[+-]?[0-9]{1,10}", text) and least <= int(text) <= most:
        return int(text)
    raise problem(binding, f"is not a whole number from {least} to {most}")


def switch(binding: Binding, text: str) -> bool:
    word = text.strip().lower()
    if word in _TRUE | _FALSE:
        return word in _TRUE
    raise problem(binding, "is neither true nor false")


def is_list(text: str) -> bool:
    """Whether a value that usually is one URL holds several, or their names."""
    return _is_json(text) or bool(re.search(r"[;,\r\n]", text) or _NAMED.fullmatch(text))


def items(binding: Binding, text: str) -> list[Item]:
    """The servers of a list, however it is written; empty parts keep their index."""
    if _is_json(text):
        return _json_items(binding, parsed_json(binding, text))
    parts = parallel_texts(text)
    if len(parts) > 1 and any("@" in part and "://" not in part for part in parts):
        hint = "write each URL with its scheme, and %2C for a comma inside a password"
        raise problem(
            binding, "is a list in which a user and a password cannot be told apart", hint
        )
    return [_text_item(index, part) for index, part in enumerate(parts) if part]


def parallel_texts(text: str) -> list[str]:
    """The parts of a list, stripped; empty ones at the end are no parts."""
    separator = next((mark for mark in (";", ",") if mark in text), "\n")
    parts = [part.strip() for part in re.sub(r"\r\n?", "\n", text).split(separator)]
    if len(parts) == 1 and all("://" in part for part in text.split()):
        parts = text.split()
    while parts and not parts[-1]:
        parts.pop()
    return parts


def parsed_json(binding: Binding, text: str) -> Json:
    try:
        document: Json = json.loads(text)
    except json.JSONDecodeError as exc:
        raise problem(binding, f"is not valid JSON (line {exc.lineno} of the value)") from None
    except (ValueError, RecursionError):
        raise problem(binding, "is not valid JSON") from None
    return document


def json_texts(binding: Binding, text: str) -> list[str]:
    document = parsed_json(binding, text)
    if isinstance(document, list) and all(isinstance(entry, str) for entry in document):
        return [str(entry) for entry in document]
    raise problem(binding, "is JSON, but no list of texts")


def json_fields(
    binding: Binding, entry: Mapping[str, Json]
) -> tuple[dict[Role, str], tuple[str, ...]]:
    """What a JSON object says of a server as texts, and the keys that say nothing we keep."""
    values: dict[Role, str] = {}
    unused = []
    for key, value in entry.items():
        role = JSON_KEYS.get(re.sub(r"[^a-z0-9]", "", key.lower()))
        if role is None:
            unused.append(key)
        elif value not in (None, "", [], {}) and role not in values:
            values[role] = _json_text(binding, key, value)
    return values, tuple(unused)


def _json_items(binding: Binding, document: Json) -> list[Item]:
    if isinstance(document, dict):
        inner = next((value for key, value in document.items() if key.lower() in JSON_LISTS), None)
        if isinstance(inner, (list, dict)):
            return _json_items(binding, inner)
        if Role.URL in json_fields(binding, document)[0]:
            return [_object_item(binding, 0, document)]
        named = enumerate(document.items())
        return [_named_item(binding, index, name, entry) for index, (name, entry) in named]
    if isinstance(document, list):
        return [_list_item(binding, index, entry) for index, entry in enumerate(document)]
    raise problem(binding, "is JSON, but no list of servers")


def _list_item(binding: Binding, index: int, entry: Json) -> Item:
    if isinstance(entry, str) and entry.strip():
        return _text_item(index, checked(binding, entry.strip()))
    if isinstance(entry, dict):
        return _object_item(binding, index, entry)
    raise problem(binding, f"is a list whose entry {index + 1} is no server")


def _named_item(binding: Binding, index: int, name: str, entry: Json) -> Item:
    if isinstance(entry, str) and entry.strip():
        return Item(index=index, url=checked(binding, entry.strip()), values={Role.NAME: name})
    if isinstance(entry, dict):
        named: dict[str, Json] = {"name": name}
        return _object_item(binding, index, named | entry)
    raise problem(binding, f"is JSON whose entry {index + 1} is no server")


def _object_item(binding: Binding, index: int, entry: Mapping[str, Json]) -> Item:
    values, unused = json_fields(binding, entry)
    url = values.pop(Role.URL, None)
    if url is None:
        raise problem(binding, f"is a list whose entry {index + 1} has no URL")
    return Item(index=index, url=url, values=values, unused=unused)


def _text_item(index: int, text: str) -> Item:
    named = _NAMED.fullmatch(text) or _NAMED_BY_COLON.fullmatch(text)
    if named is None or _IPV6.match(text):
        return Item(index=index, url=text)
    name = named["name"].strip()
    return Item(index=index, url=named["url"].strip(), values={Role.NAME: name})


def _json_text(binding: Binding, key: str, value: Json) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return checked(binding, str(value))
    try:
        if isinstance(value, (list, dict)):
            return json.dumps(value)
    except RecursionError:
        pass
    raise problem(
        binding, f"is JSON whose key {key[:LABEL_LIMIT]!a} holds no text, whole number or list"
    )


def _is_json(text: str) -> bool:
    text = text.lstrip()
    return text.startswith(("[", "{")) and not _IPV6.match(text)


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False
