"""YAML read strictly: texts, lists and objects with their places, and nothing that a reader could
understand in two ways. JSON is YAML, too.

No scalar is taken for anything but its text here: `no`, `1e12` and `12:30:00` are what they look
like.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from ollama_admin.domain.fleet_file import Mistake, Position

LONGEST = 16 * 2**20  # characters
DEEPEST = 20  # levels of nesting
NODES = 1_000_000  # of a document, with those that aliases repeat
ALIASES = 100  # of a document

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same events, ten times as fast
_INDENT = re.compile(r"(?m)^[ \t]+")
_HALVES = re.compile(r"(?i)(?<!\\)((?:\\\\)*)\\u(d[89ab][0-9a-f]{2})\\u(d[c-f][0-9a-f]{2})")
_NOTHING = ("", "~", "null", "Null", "NULL")
_START = Position(1, 1)


@dataclass(slots=True)
class Node:
    """A text, a list or an object. `is_bare`: the text stands there without quotes."""

    position: Position
    text: str | None = None
    is_bare: bool = False
    items: "list[Node] | None" = None
    pairs: "list[tuple[Node, Node]] | None" = None
    size: int = 1

    @property
    def is_nothing(self) -> bool:
        """Whether it is an empty place, or what YAML and JSON call null."""
        return self.is_bare and self.text in _NOTHING


class CannotGoOn(Exception):
    """What follows the last of the mistakes cannot be read."""


@dataclass(slots=True)
class Reading:
    """The document of a text, None where it cannot be read, and what is wrong with it."""

    root: Node | None = None
    mistakes: list[Mistake] = field(default_factory=list)


def read(text: str) -> Reading:
    """Read one document. Everything that is wrong is told at once; only what is no YAML at all, or
    beyond a bound, ends the reading there.
    """
    nodes = _Nodes()
    try:
        root = nodes.document(_events(text))
    except CannotGoOn:
        root = None
    except yaml.MarkedYAMLError as exc:
        nodes.add(_place(exc.problem_mark or exc.context_mark), f"no YAML: {exc.problem}")
        root = None
    except (yaml.YAMLError, UnicodeError) as exc:
        nodes.add(_START, f"no YAML: {getattr(exc, 'reason', 'it cannot be read')}")
        root = None
    return Reading(root, nodes.mistakes)


def _events(text: str) -> Iterator[Any]:
    if len(text) > LONGEST:
        raise yaml.MarkedYAMLError(problem=f"it is longer than {LONGEST} characters")
    text = text.removeprefix("\ufeff")
    if text.lstrip().startswith("{"):
        text = _as_yaml(text)
    events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
    return events


def _as_yaml(text: str) -> str:
    """JSON in what YAML has for it: spaces for tabs before a line, and one escape for the two
    halves of a character beyond 16 bits.
    """
    text = _INDENT.sub(lambda match: " " * len(match[0]), text)
    return _HALVES.sub(lambda match: f"{match[1]}\\U{_whole(match[2], match[3]):08x}", text)


def _whole(high: str, low: str) -> int:
    return 0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00


def _place(mark: Any) -> Position:
    if mark is None:
        return _START
    return Position(mark.line + 1, mark.column + 1)


class _Nodes:
    """Puts the events of a parser together, and keeps what is wrong."""

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self._anchors: dict[str, Node | None] = {}
        self._aliases = 0
        self._size = 0

    def add(self, position: Position, message: str) -> None:
        self.mistakes.append(Mistake(position, message))

    def document(self, events: Iterator[Any]) -> Node:
        """The one document of the events."""
        root = None
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                self._stop(event, "a second document begins here; a file has one")
            if isinstance(event, yaml.NodeEvent):
                root = self._node(event, events, 1)
        if root is None:
            self.add(_START, "it is empty; begin with version: 1")
            raise CannotGoOn
        return root

    def _stop(self, event: Any, message: str) -> NoReturn:
        self.add(_place(event.start_mark), message)
        raise CannotGoOn

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> Node:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth > DEEPEST:
            self._stop(event, f"it is nested deeper than {DEEPEST} levels")
        position = _place(event.start_mark)
        if event.tag is not None:
            self.add(position, f"the tag {event.tag[:100]!a} is not taken; leave it out")
        if event.anchor in self._anchors:
            self.add(position, f"the anchor {event.anchor[:100]!a} stands here twice")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        node = self._content(event, events, depth, position)
        self._count(event, 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _content(self, event: Any, events: Iterator[Any], depth: int, position: Position) -> Node:
        if isinstance(event, yaml.ScalarEvent):
            return Node(position, text=self._text(event), is_bare=not event.style)
        if isinstance(event, yaml.SequenceStartEvent):
            items = list(self._inner(events, depth))
            return Node(position, items=items, size=1 + sum(item.size for item in items))
        inner = self._inner(events, depth)
        pairs = list(zip(inner, inner, strict=True))
        self._check_keys(pairs)
        size = 1 + sum(key.size + value.size for key, value in pairs)
        return Node(position, pairs=pairs, size=size)

    def _inner(self, events: Iterator[Any], depth: int) -> Iterator[Node]:
        """The nodes up to the end of a list or an object."""
        for event in events:
            if isinstance(event, yaml.CollectionEndEvent):
                return
            yield self._node(event, events, depth + 1)

    def _text(self, event: Any) -> str:
        text: str = event.value
        try:
            text.encode()
        except UnicodeEncodeError:
            self.add(_place(event.start_mark), "half of a character stands alone")
            return ""
        return text

    def _alias(self, event: Any) -> Node:
        node = self._anchors.get(event.anchor)
        self._aliases += 1
        if self._aliases > ALIASES:
            self._stop(event, f"more than {ALIASES} aliases (*name); write it out")
        if node is None:
            place = _place(event.start_mark)
            self.add(place, f"the alias {event.anchor[:100]!a} has no anchor before it")
            return Node(place, text="")
        self._count(event, node.size)
        return node

    def _count(self, event: Any, size: int) -> None:
        self._size += size
        if self._size > NODES:
            self._stop(event, f"it has more than {NODES} values, with those that aliases repeat")

    def _check_keys(self, pairs: list[tuple[Node, Node]]) -> None:
        names: set[str] = set()
        for key, _ in pairs:
            if key.text is None:
                self.add(key.position, "a list or an object is no key")
            elif key.is_bare and key.text == "<<":
                self.add(key.position, "merge keys (<<) are not taken; write it out")
            elif key.text in names:
                self.add(key.position, f"{key.text[:100]!a} stands here twice")
            else:
                names.add(key.text)
