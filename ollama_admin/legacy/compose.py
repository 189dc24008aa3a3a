"""The variables of a compose file: what stands under each `environment:`, and each `x-...: &name`.

Only such blocks are read, line by line: `KEY: value`, `- KEY=value` and `{KEY: value}`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

_BLOCK = re.compile(
    r"(?P<indent> *)(?:- +)?(?:environment:\s*(?:&\S+\s*)?|x-[\w.-]+:\s*&\S+\s*)"
    r"(?P<flow>\{.*\})?\s*(?:#.*)?"
)
_SCALAR = r"\"[^\"]*\"|'[^']*'"
_PAIR = re.compile(rf"(?P<key>{_SCALAR}|[\w.-]+)\s*:\s*(?P<value>{_SCALAR}|[^,}}]*)")
_ENTRY = re.compile(rf"\s*(?:-\s+(?P<item>\S.*)|(?P<key>{_SCALAR}|[\w.-]+)\s*:(?P<value>\s.*|))")
_CLOSED = 2**20  # deeper than any line
_FOLDED = re.compile(r"[|>][-+]?")  # the value stands in the lines below


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable; `block` counts the blocks of the file. Its value may be a secret."""

    line: int
    block: int
    key: str
    value: str | None = field(repr=False)


def variables(text: str) -> Iterator[Variable]:
    block, indent = 0, _CLOSED
    folded: Variable | None = None
    for line, row in enumerate(text.splitlines(), 1):
        if not row.strip() or row.lstrip().startswith("#"):
            continue
        started, entry = _BLOCK.fullmatch(row), _ENTRY.fullmatch(row)
        if started:
            block, indent = block + 1, len(started["indent"])
            for pair in _PAIR.finditer(started["flow"] or ""):
                key, value = _scalar(pair["key"]), _scalar(pair["value"])
                yield Variable(line=line, block=block, key=key, value=value)
        elif not _is_inside(row, indent):
            indent = _CLOSED
        elif folded is not None:
            yield replace(folded, value=row.strip())
        elif entry is not None:
            variable = _variable(line, block, entry)
            if not _FOLDED.fullmatch(variable.value or ""):
                yield variable
                continue
            folded = variable
            continue
        folded = None


def _is_inside(row: str, indent: int) -> bool:
    """A list may begin in the column of its key."""
    depth = len(row) - len(row.lstrip())
    return depth > indent or (depth == indent and row.lstrip().startswith("- "))


def _variable(line: int, block: int, entry: re.Match[str]) -> Variable:
    if entry["item"] is None:
        key, value = _scalar(entry["key"]), _scalar(entry["value"])
        return Variable(line=line, block=block, key=key, value=value)
    key, mark, value = _scalar(entry["item"]).partition("=")
    if not mark:
        return Variable(line=line, block=block, key=key, value=None)
    return Variable(line=line, block=block, key=key, value=value)


def _scalar(text: str) -> str:
    """The text of a scalar on one line; `$$` is a dollar for compose."""
    text = text.strip()
    quote = text[:1]
    if quote in ("'", '"') and quote in text[1:]:
        return text[1 : text.rindex(quote)].replace("''", "'").replace("$$", "$")
    return re.split(r"\s#", text, maxsplit=1)[0].strip().replace("$$", "$")
