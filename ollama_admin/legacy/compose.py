"""The variables of a compose file: what stands under each `environment:`.

Only what such blocks hold is read, line by line: `KEY: value` and `- KEY=value`, quoted or not.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_BLOCK = re.compile(r"(?P<indent> *)(?:- +)?environment:\s*(?:&\S+\s*)?(?:#.*)?")
_ENTRY = re.compile(
    r"(?P<indent> *)"
    r"(?:(?P<dash>- *)(?P<item>\S.*)|(?P<key>[\"']?[\w.-]+[\"']?)\s*:(?P<value>\s.*|))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable; `block` counts the blocks of the file. Its value may be a secret."""

    line: int
    block: int
    key: str
    value: str | None = field(repr=False)


def variables(text: str) -> Iterator[Variable]:
    block, indent = 0, None
    for line, row in enumerate(text.splitlines(), 1):
        if not row.strip() or row.lstrip().startswith("#"):
            continue
        started = _BLOCK.fullmatch(row)
        if started:
            block, indent = block + 1, len(started["indent"])
            continue
        entry = _ENTRY.fullmatch(row)
        if indent is None or entry is None or not _is_inside(entry, indent):
            indent = None
            continue
        key, value = _parts(entry)
        yield Variable(line=line, block=block, key=key, value=value)


def _is_inside(entry: re.Match[str], indent: int) -> bool:
    """A list may begin in the column of its key."""
    depth = len(entry["indent"])
    return depth > indent or (depth == indent and entry["dash"] is not None)


def _parts(entry: re.Match[str]) -> tuple[str, str | None]:
    if entry["item"] is None:
        return _scalar(entry["key"]), _scalar(entry["value"])
    key, mark, value = _scalar(entry["item"]).partition("=")
    if not mark:
        return key, None
    return key, value


def _scalar(text: str) -> str:
    """The text of a scalar on one line; `$$` is a dollar for compose."""
    text = text.strip()
    quote = text[:1]
    if quote in ("'", '"'):
        end = text.find(quote, 1)
        while quote == "'" and text[end : end + 2] == "''":
            end = text.find(quote, end + 2)
        return text[1:end].replace("''", "'").replace("$$", "$")
    return re.split(r"\s#", text, maxsplit=1)[0].strip().replace("$$", "$")
