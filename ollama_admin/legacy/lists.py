"""Values that hold several servers: lists, rows, JSON, connection strings."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ollama_admin.domain.values import Json
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import forms
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.layouts import JSON_KEYS, JSON_LISTS, Role
from ollama_admin.legacy.values import LABEL_LIMIT, checked, parsed_json, problem

_NAMED = re.compile(r"(?P<name>[^=:/@?]+)=(?P<url>.*)", re.DOTALL)
_NAMED_BY_COLON = re.compile(r"(?P<name>[^=:/@?]+):(?P<url>https?://.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One server of a list: its URL as written, and what else the list says of it."""

    index: int
    url: str = field(repr=False)
    values: Mapping[Role, str] = field(default_factory=dict, repr=False)
    unused: tuple[str, ...] = ()


def says_ollama(binding: Binding, text: str) -> bool:
    """Whether a value is the URL of an Ollama server, or a list with one."""
    try:
        return any(forms.is_ollama(item.url) for item in items(binding, text))
    except InvalidInput:
        return False


def is_list(text: str) -> bool:
    """Whether a value that usually is one URL holds several, or their names."""
    return forms.is_json(text) or bool(re.search(r"[;,\r\n]", text) or _NAMED.fullmatch(text))


def items(binding: Binding, text: str) -> list[Item]:
    """The servers of a list, however it is written; empty parts keep their index."""
    if forms.is_json(text):
        return _json_items(binding, parsed_json(binding, text))
    row_items = _row_items(text) or _connection_items(text)
    if row_items:
        return row_items
    parts = parallel_texts(text)
    if len(parts) > 1 and any("@" in part and "://" not in part for part in parts):
        hint = "write each URL with its scheme, and %2C for a comma inside a password"
        raise problem(
            binding, "is a list in which a user and a password cannot be told apart", hint
        )
    return [_text_item(index, part) for index, part in enumerate(parts) if part]


def _row_items(text: str) -> list[Item]:
    """Servers written as rows of a table, as in `gpu,http://gpu:11434,0,1`."""
    found = []
    for index, row in enumerate(filter(None, map(str.strip, text.splitlines()))):
        cells = [cell.strip() for cell in row.split(",")]
        addresses = [cell for cell in cells if "://" in cell]
        if len(addresses) != 1 or not any(cell.isdecimal() for cell in cells):
            return []
        named = [cell for cell in cells if cell not in addresses and not cell.isdecimal()]
        values = dict(zip([Role.NAME], filter(None, named), strict=False))
        unused = ("other columns",)
        found.append(Item(index=index, url=addresses[0], values=values, unused=unused))
    return found


def _connection_items(text: str) -> list[Item]:
    """The server of a connection string, as in `Endpoint=http://gpu:11434;Model=m`."""
    values: dict[Role, str] = {}
    unused = []
    for part in filter(None, parallel_texts(text)):
        key, mark, value = part.partition("=")
        role = JSON_KEYS.get(re.sub(r"[^a-z0-9]", "", key.lower()))
        if not mark:
            return []
        if role is None:
            unused.append(key)
        else:
            values[role] = value.strip()
    if ";" not in text or Role.URL not in values:
        return []
    return [Item(index=0, url=values.pop(Role.URL), values=values, unused=tuple(unused))]


def parallel_texts(text: str) -> list[str]:
    """The parts of a list, stripped; empty ones at the end are no parts."""
    separator = next((mark for mark in (";", ",") if mark in text), "\n")
    parts = [part.strip() for part in re.sub(r"\r\n?", "\n", text).split(separator)]
    if len(parts) == 1 and all("://" in part for part in text.split()):
        parts = text.split()
    while parts and not parts[-1]:
        parts.pop()
    return parts


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
    if named is None or forms.IPV6.match(text):
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
