"""Values that hold several servers: lists, rows of a table, JSON, connection strings."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ollama_admin.domain.values import Json
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import forms
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.layouts import JSON_KEYS, JSON_LISTS, Role
from ollama_admin.legacy.values import LABEL_LIMIT, checked, json_texts, parsed_json, problem

Texts: TypeAlias = Mapping[Role, str]

_NAMED = re.compile(r"(?P<name>[^=:/@?]+)(?:=(?P<url>.*)|:(?P<whole>https?://.*))", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One server of a list, or the only one: its URL as written, and what else is said of it."""

    index: int | None = None
    url: str = field(repr=False)
    values: Texts = field(default_factory=dict, repr=False)
    unused: tuple[str, ...] = ()


def is_list(text: str) -> bool:
    """Whether a value that usually is one URL holds several, or their names."""
    named = _NAMED.fullmatch(text)
    has_name = named is not None and named["url"] is not None
    return forms.is_json(text) or has_name or bool(re.search(r"[;,\r\n]", text))


def found_items(binding: Binding, text: str) -> list[Item]:
    """The servers of a value, if it can be read so."""
    try:
        return items(binding, text)
    except InvalidInput:
        return []


def items(binding: Binding, text: str) -> list[Item]:
    """The servers of a list, however it is written; empty parts keep their index."""
    if forms.is_json(text):
        return _json_items(binding, parsed_json(binding, text))
    tabular = _row_items(text) or _connection_items(binding, text)
    if tabular:
        return tabular
    parts = parallel_texts(text)
    if len(parts) > 1 and any("@" in part and "://" not in part for part in parts):
        what = "is a list in which a user and a password cannot be told apart"
        hint = "write each URL with its scheme, and %2C for a comma inside a password"
        raise problem(binding, what, hint)
    return [_text_item(index, part) for index, part in enumerate(parts) if part]


def texts(binding: Binding, text: str) -> list[str]:
    """The parts of a list that stands beside a list of servers."""
    if text.startswith("["):
        return json_texts(binding, text)
    return parallel_texts(text)


def parallel_texts(text: str) -> list[str]:
    """The parts of a list, stripped; empty ones at the end are no parts."""
    separator = next((mark for mark in (";", ",") if mark in text), "\n")
    parts = [part.strip() for part in re.sub(r"\r\n?", "\n", text).split(separator)]
    if len(parts) == 1 and all("://" in part for part in text.split()):
        parts = text.split()
    while parts and not parts[-1]:
        parts.pop()
    return parts


def objects(binding: Binding, text: str) -> dict[str, dict[str, Json]]:
    """A JSON object of objects."""
    document = parsed_json(binding, text)
    if not isinstance(document, dict):
        raise problem(binding, "is JSON, but no object")
    inner = {key: entry for key, entry in document.items() if isinstance(entry, dict)}
    for key in document.keys() - inner.keys():
        raise problem(binding, f"is JSON whose key {key[:100]!a} holds no object")
    return inner


def json_fields(binding: Binding, entry: Mapping[str, Json]) -> tuple[Texts, tuple[str, ...]]:
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


def _row_items(text: str) -> list[Item]:
    """Servers written as rows of a table, as in `gpu,http://gpu:11434,0,1`."""
    rows = []
    for index, row in enumerate(filter(None, map(str.strip, text.splitlines()))):
        cells = [cell.strip() for cell in row.split(",")]
        addresses = [cell for cell in cells if "://" in cell]
        if len(addresses) != 1 or not any(cell.isdecimal() for cell in cells):
            return []
        named = [cell for cell in cells if cell not in addresses and not cell.isdecimal()]
        values = dict(zip([Role.NAME], filter(None, named), strict=False))
        unused = ("other columns",)
        rows.append(Item(index=index, url=addresses[0], values=values, unused=unused))
    return rows


def _connection_items(binding: Binding, text: str) -> list[Item]:
    """The server of a connection string, as in `Endpoint=http://gpu:11434;Model=m`."""
    pairs = [part.partition("=") for part in parallel_texts(text) if part]
    if ";" not in text or not all(mark for _, mark, _ in pairs):
        return []
    fields: dict[str, Json] = {key: value.strip() for key, _, value in pairs}
    if Role.URL not in json_fields(binding, fields)[0]:
        return []
    return [_object_item(binding, 0, fields)]


def _json_items(binding: Binding, document: Json) -> list[Item]:
    entries: list[tuple[str | None, Json]] = []
    if isinstance(document, dict):
        inner = next((value for key, value in document.items() if key.lower() in JSON_LISTS), None)
        if isinstance(inner, (list, dict)):
            return _json_items(binding, inner)
        entries = list(document.items())
        if Role.URL in json_fields(binding, document)[0]:
            entries = [(None, document)]
    elif isinstance(document, list):
        entries = [(None, entry) for entry in document]
    else:
        raise problem(binding, "is JSON, but no list of servers")
    named = enumerate(entries)
    return [_entry(binding, index, name, entry) for index, (name, entry) in named]


def _entry(binding: Binding, index: int, name: str | None, entry: Json) -> Item:
    named: dict[str, Json] = {"name": name}
    if isinstance(entry, dict):
        return _object_item(binding, index, named | entry)
    if not isinstance(entry, str) or not entry.strip():
        raise problem(binding, f"is JSON whose entry {index + 1} is no server")
    url = checked(binding, entry.strip())
    if name is None:
        return _text_item(index, url)
    return Item(index=index, url=url, values={Role.NAME: name})


def _object_item(binding: Binding, index: int, entry: Mapping[str, Json]) -> Item:
    fields, unused = json_fields(binding, entry)
    others = dict(fields)
    url = others.pop(Role.URL, None)
    if url is None:
        raise problem(binding, f"is a list whose entry {index + 1} has no URL")
    return Item(index=index, url=url, values=others, unused=unused)


def _text_item(index: int, text: str) -> Item:
    named = _NAMED.fullmatch(text)
    if named is None or forms.IPV6.match(text):
        return Item(index=index, url=text)
    url = (named["url"] or named["whole"] or "").strip()
    return Item(index=index, url=url, values={Role.NAME: named["name"].strip()})


def _json_text(binding: Binding, key: str, value: Json) -> str:
    if isinstance(value, str):
        return checked(binding, value)
    try:
        if isinstance(value, (bool, int, list, dict)):
            return json.dumps(value)
    except RecursionError:
        pass
    what = f"is JSON whose key {key[:LABEL_LIMIT]!a} holds no text, whole number or list"
    raise problem(binding, what)
