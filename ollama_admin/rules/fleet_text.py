"""A fleet file as text: what `export` writes and `diff` compares. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ollama_admin.domain.fleet_file import VERSION, Entry, FleetFile

# what each YAML reader takes for this text and nothing else
_PLAIN = re.compile(r"[A-Za-z_/](?:[A-Za-z0-9_./@:+-]*[A-Za-z0-9_./@+-])?")
_OTHERWISE = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
_INLINE = 6  # entries of a list that stands in one line


def document_of(file: FleetFile, defaults: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The document, without parts that are empty and fields that say what is so anyway. `defaults`
    are those of `servers` and `keys`.
    """
    document: dict[str, Any] = {"version": int(VERSION), "owner": file.owner}
    parts = {
        "servers": [_fields(entry, defaults["servers"]) for entry in file.servers],
        "models": _models(file),
        "pins": [_fields(entry, {}) for entry in file.pins],
        "keys": [_fields(entry, defaults["keys"]) for entry in file.keys],
    }
    document |= {name: entries for name, entries in parts.items() if entries}
    if file.default_server is not None:
        document["settings"] = {"default_server": file.default_server}
    return document


def yaml_of(document: Mapping[str, Any]) -> str:
    """YAML that this program and every other reader understand alike."""
    return "".join(f"{line}\n" for line in _lines(document))


def _fields(entry: Entry, defaults: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": entry.name}
    if "url" in entry.values:
        fields["url"] = entry.values["url"]
    for name, value in entry.values.items():
        if name not in fields and (name not in defaults or value != defaults[name]):
            fields[name] = value
    return fields


def _models(file: FleetFile) -> list[dict[str, Any]]:
    """The wanted models, those of one build together."""
    places: dict[tuple[str, str | None], list[str]] = {}
    for wanted in file.models:
        places.setdefault((wanted.model, wanted.digest), []).append(wanted.server)
    models = []
    for (model, digest), servers in sorted(places.items(), key=lambda each: str(each[0])):
        entry: dict[str, Any] = {"name": model}
        if digest is not None:
            entry["digest"] = digest
        models.append(entry | {"servers": sorted(servers)})
    return models


def _lines(document: Mapping[str, Any]) -> Iterator[str]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield f"{_scalar(name)}:"
            yield from (f"  {line}" for line in _lines(value))
        elif not isinstance(value, Sequence) or isinstance(value, str):
            yield f"{_scalar(name)}: {_scalar(value)}"
        elif value and (isinstance(value[0], Mapping) or len(value) > _INLINE):
            yield f"{_scalar(name)}:"
            for item in value:
                yield from _item(item)
        else:
            yield f"{_scalar(name)}: [{', '.join(map(_scalar, value))}]"


def _item(item: Any) -> Iterator[str]:
    if not isinstance(item, Mapping):
        yield f"  - {_scalar(item)}"
        return
    mark = "- "
    for line in _lines(item):
        yield f"  {mark}{line}"
        mark = "  "


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, datetime):
        value = value.isoformat()
    text = str(value)
    if _PLAIN.fullmatch(text) and text.casefold() not in _OTHERWISE:
        return text
    return f'"{"".join(map(_letter, text))}"'


def _letter(letter: str) -> str:
    if letter in ('"', "\\"):
        return f"\\{letter}"
    if letter.isprintable():
        return letter
    return f"\\U{ord(letter):08x}"
