"""Values that hold several servers: lists, rows of a table, JSON, connection strings."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from ollama_admin.domain.values import Json
from ollama_admin.legacy import values
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.layouts import JSON_KEYS, JSON_LISTS, Role

Texts: TypeAlias = dict[Role, str]

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
    return values.is_json(text) or has_name or bool(re.search(r"[;,\r\n]", text))


def items(binding: Binding, text: str) -> list[Item]:
    """The servers of a list, however it is written; empty parts keep their index."""
    if values.is_json(text):
        entries = _json_entries(binding, values.parsed_json(binding, text))
        return [_item(binding, index, entry) for index, entry in enumerate(entries)]
    parts = _rows(text) or _connection(binding, text) or parallel_texts(text)
    texts = [part for part in parts if isinstance(part, str)]
    if len(texts) > 1 and any("@" in part and "://" not in part for part in texts):
        what = "is a list in which a user and a password cannot be told apart"
        hint = "write each URL with its scheme, and %2C for a comma inside a password"
        raise values.problem(binding, what, hint)
    return [_item(binding, index, part) for index, part in enumerate(parts) if part]


def parallel_texts(text: str) -> list[str]:
    """The parts of a list, stripped; empty ones at the end are no parts."""
    separator = next((mark for mark in (";", ",") if mark in text), "\n")
    parts = [part.strip() for part in re.sub(r"\r\n?", "\n", text).split(separator)]
    if len(parts) == 1 and all("://" in part for part in text.split()):
        parts = text.split()
    while parts and not parts[-1]:
        parts.pop()
    return parts


def objects(binding: Binding, text: str) -> Iterator[tuple[str, dict[str, Json]]]:
    """The keys and values of a JSON object of objects."""
    document = values.parsed_json(binding, text)
    if not isinstance(document, dict):
        raise values.problem(binding, "is JSON, but not an object")
    for key, entry in document.items():
        if not isinstance(entry, dict):
            raise values.problem(binding, f"is JSON whose key {key[:100]!a} holds no object")
        yield key, entry


def json_fields(binding: Binding, entry: Mapping[str, Json]) -> tuple[Texts, tuple[str, ...]]:
    """What a JSON object says of a server as texts, and the keys that say nothing we keep."""
    fields: Texts = {}
    unused = []
    for key, value in entry.items():
        role = JSON_KEYS.get(re.sub(r"[^a-z0-9]", "", key.lower()))
        if role is None:
            unused.append(key)
        elif value not in (None, "", [], {}) and role not in fields:
            fields[role] = _json_text(binding, key, value)
    return fields, tuple(unused)


def _rows(text: str) -> list[Json]:
    """Servers written as rows of a table, as in `gpu,http://gpu:11434,0,1`."""
    rows: list[Json] = []
    for row in filter(None, map(str.strip, text.splitlines())):
        cells = [cell.strip() for cell in row.split(",")]
        addresses = [cell for cell in cells if "://" in cell]
        if len(addresses) != 1 or not any(cell.isdecimal() for cell in cells):
            return []
        names = [cell for cell in cells if cell and cell not in addresses and not cell.isdecimal()]
        name = next(iter(names), None)
        rows.append({"name": name, "url": addresses[0], "other columns": None})
    return rows


def _connection(binding: Binding, text: str) -> list[Json]:
    """The server of a connection string, as in `Endpoint=http://gpu:11434;Model=m`."""
    pairs = [part.partition("=") for part in parallel_texts(text) if part]
    fields: dict[str, Json] = {key: value.strip() for key, _, value in pairs}
    are_pairs = ";" in text and all(mark for _, mark, _ in pairs)
    if are_pairs and Role.URL in json_fields(binding, fields)[0]:
        return [fields]
    return []


def _json_entries(binding: Binding, document: Json) -> list[Json]:
    if isinstance(document, list):
        return document
    if not isinstance(document, dict):
        raise values.problem(binding, "is JSON, but not a list of servers")
    inner = next((value for key, value in document.items() if key.lower() in JSON_LISTS), None)
    if isinstance(inner, (list, dict)):
        return _json_entries(binding, inner)
    if Role.URL in json_fields(binding, document)[0]:
        return [document]
    entries: list[Json] = []
    for name, entry in document.items():
        fields: dict[str, Json] = {"name": name}
        fields |= entry if isinstance(entry, dict) else {"url": entry}
        entries.append(fields)
    return entries


def _item(binding: Binding, index: int, entry: Json) -> Item:
    if isinstance(entry, str):
        named = _NAMED.fullmatch(entry.strip())
        if named is None or values.IPV6.match(entry.strip()):
            return Item(index=index, url=entry.strip())
        url, name = named["url"] or named["whole"] or "", named["name"].strip()
        return Item(index=index, url=url.strip(), values={Role.NAME: name})
    if not isinstance(entry, dict):
        raise values.problem(binding, f"is JSON whose entry {index + 1} is not a server")
    fields, unused = json_fields(binding, entry)
    whole = fields.pop(Role.URL, None)
    if whole is None:
        raise values.problem(binding, f"is a list whose entry {index + 1} has no URL")
    return Item(index=index, url=whole, values=fields, unused=unused)


def _json_text(binding: Binding, key: str, value: Json) -> str:
    if isinstance(value, str):
        return values.checked(binding, value)
    with suppress(RecursionError):
        if isinstance(value, (bool, int, list, dict)):
            return json.dumps(value)
    what = f"is JSON whose key {key[: values.LABEL_LIMIT]!a} holds no text, whole number or list"
    raise values.problem(binding, what)
