"""The shape of a fleet file: which fields there are, and what their texts are converted to."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ollama_admin.domain.fleet_file import VERSION, Mistake, Position
from ollama_admin.rules.likeness import nearest_servers
from ollama_admin.rules.yaml_nodes import Node

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_FLAGS = {"true": True, "false": False}


@dataclass(slots=True, kw_only=True)
class RawEntry:
    """One object of a list: its fields as they were converted, and where each stands."""

    position: Position
    values: dict[str, Any] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)

    def at(self, name: str) -> Position:
        return self.positions.get(name, self.position)


@dataclass(slots=True, kw_only=True)
class RawFile:
    """A document of the right shape; what its texts mean is not looked at yet."""

    owner: RawEntry
    servers: Sequence[RawEntry] = ()
    models: Sequence[RawEntry] = ()
    pins: Sequence[RawEntry] = ()
    keys: Sequence[RawEntry] = ()
    settings: RawEntry


class Shape:
    """Converts nodes, and keeps what is wrong with them."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        self._mistakes = mistakes

    def add(self, node: Node, message: str) -> None:
        self._mistakes.append(Mistake(node.position, message))

    def file(self, root: Node) -> RawFile:
        """The parts of a document."""
        top = self._fields(root, _TOP, "a fleet file")
        version = top.values.get("version")
        if version is None:
            self.add(root, f"it has no version; begin with version: {VERSION}")
        elif version != VERSION:
            place = Mistake(top.at("version"), f"version {version[:20]!a} is not {VERSION}")
            self._mistakes.append(place)
        owner = RawEntry(position=top.at("owner"))
        if "owner" in top.values:
            owner.values["owner"] = top.values["owner"]
        elif "owner" not in top.positions:
            self.add(root, "it has no owner; name whose rows these are, such as owner: team")
        settings = top.values.get("settings") or RawEntry(position=root.position)
        lists = {name: top.values.get(name, ()) for name in ("servers", "models", "pins", "keys")}
        return RawFile(owner=owner, settings=settings, **lists)

    def _fields(self, node: Node, fields: "Fields", what: str) -> RawEntry:
        """An object with fields that are known, converted. One that is wrong is left out."""
        entry = RawEntry(position=node.position)
        if node.pairs is None:
            self.add(node, f"{what} is an object, written as name: value")
            return entry
        for key, value in node.pairs:
            if key.text is None or key.text in entry.positions:
                continue  # told already
            entry.positions[key.text] = value.position
            if key.text not in fields:
                self.add(key, self._unknown(key.text, fields, what))
            elif (converted := fields[key.text](self, value, key.text)) is not None:
                entry.values[key.text] = converted
        return entry

    @staticmethod
    def _unknown(name: str, fields: "Fields", what: str) -> str:
        near = nearest_servers(name, fields)
        known = f"there are: {', '.join(fields)}"
        if near:
            known = f"did you mean {near[0]}?"
        return f"{what} has no {name[:100]!a}; {known}"

    def text(self, node: Node, name: str) -> str | None:
        """A text as it stands there."""
        if node.text is None:
            self.add(node, f"{name} is one value, not a list or an object")
        elif node.is_nothing:
            self.add(node, f"{name} has no value; leave it out, or put it in quotes")
        else:
            return node.text
        return None

    def whole(self, node: Node, name: str) -> int | None:
        text = self.text(node, name)
        if text is None:
            return None
        if not _WHOLE.fullmatch(text):
            self.add(node, f"{name} is a whole number in digits, not {text[:100]!a}")
            return None
        return int(text)

    def flag(self, node: Node, name: str) -> bool | None:
        text = self.text(node, name)
        if text is not None and text not in _FLAGS:
            self.add(node, f"{name} is true or false, not {text[:100]!a}")
        return _FLAGS.get(text or "")

    def time(self, node: Node, name: str) -> datetime | None:
        """A date or a time in ISO form, in UTC unless it names an offset."""
        text = self.text(node, name)
        if text is None:
            return None
        try:
            time = datetime.fromisoformat(text)
            return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
        except (ValueError, OverflowError):
            self.add(node, f"{name} is a date or a time as 2027-01-31T12:00Z, not {text[:100]!a}")
            return None

    def texts(self, node: Node, name: str) -> list[str] | None:
        if node.items is None:
            self.add(node, f"{name} is a list, written as [a, b]")
            return None
        texts = [self.text(item, name) for item in node.items]
        return [text for text in texts if text is not None]

    def pairs(self, node: Node, name: str) -> dict[str, str] | None:
        """Texts by names that nobody knows beforehand."""
        if node.pairs is None:
            self.add(node, f"{name} is an object, written as name: value")
            return None
        pairs = {}
        for key, value in node.pairs:
            text = self.text(value, f"{name}.{(key.text or '')[:100]}")
            if key.text is not None and text is not None:
                pairs[key.text] = text
        return pairs

    def auth(self, node: Node, name: str) -> dict[str, str] | None:
        if node.pairs is None:
            self.add(node, f"{name} is an object with a type and a secret")
            return None
        return self._fields(node, _AUTH, "auth").values

    def settings(self, node: Node, name: str) -> RawEntry:
        return self._fields(node, _SETTINGS, name)

    def entries(self, node: Node, name: str, fields: "Fields", what: str) -> list[RawEntry] | None:
        """A list of objects that have these fields."""
        if node.items is None:
            self.add(node, f"{name} is a list, each entry of it written as - name: ...")
            return None
        return [self._entry(item, fields, what) for item in node.items]

    def _entry(self, node: Node, fields: "Fields", what: str) -> RawEntry:
        entry = self._fields(node, fields, what)
        if node.pairs is not None and "name" not in entry.positions:
            self.add(node, f"{what} has no name")
        return entry


Convert = Callable[[Shape, Node, str], Any]
Fields = Mapping[str, Convert]


def _listed(fields: Fields, what: str) -> Convert:
    return lambda shape, node, name: shape.entries(node, name, fields, what)


SERVER: Fields = {
    "name": Shape.text,
    "url": Shape.text,
    "api_version": Shape.text,
    "capabilities": Shape.texts,
    "max_concurrent": Shape.whole,
    "priority": Shape.whole,
    "is_active": Shape.flag,
    "default_model": Shape.text,
    "labels": Shape.pairs,
    "auth": Shape.auth,
    "headers": Shape.pairs,
    "ca_file": Shape.text,
    "client_cert_file": Shape.text,
    "client_key_file": Shape.text,
    "proxy": Shape.text,
}
MODEL: Fields = {
    "name": Shape.text,
    "digest": Shape.text,
    "servers": Shape.texts,
    "labels": Shape.texts,
}
PIN: Fields = {"name": Shape.text, "digest": Shape.text}
KEY: Fields = {
    "name": Shape.text,
    "can": Shape.texts,
    "models": Shape.texts,
    "servers": Shape.texts,
    "networks": Shape.texts,
    "allow_remote": Shape.flag,
    "allow_truncate": Shape.flag,
    "anonymous": Shape.flag,
    "max_concurrent": Shape.whole,
    "weight": Shape.whole,
    "requests_per_minute": Shape.whole,
    "tokens_per_day": Shape.whole,
    "expires_at": Shape.time,
    "note": Shape.text,
}
_AUTH: Fields = {
    "type": Shape.text,
    "username": Shape.text,
    "header_name": Shape.text,
    "secret": Shape.text,
}
_SETTINGS: Fields = {"default_server": Shape.text}
_TOP: Fields = {
    "version": Shape.text,
    "owner": Shape.text,
    "servers": _listed(SERVER, "a server"),
    "models": _listed(MODEL, "a model"),
    "pins": _listed(PIN, "a pin"),
    "keys": _listed(KEY, "a key"),
    "settings": Shape.settings,
}
