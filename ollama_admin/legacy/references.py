"""The `${...}` of one file, filled from earlier lines and their own defaults."""

import re
from dataclasses import dataclass, field

from ollama_admin.errors import InvalidInput

FILLED_LIMIT = 4 * 2**20  # characters of all values after filling: references can multiply
DEPTH_LIMIT = 10  # references inside of defaults

_NAME = re.compile(r"\$\{(?P<name>\w{0,100})(?::?(?P<operator>[-=?+]))?")
_BRACE = re.compile(r"\$\{|\}")


@dataclass(slots=True)
class Filler:
    """`known` holds the values of earlier lines."""

    known: dict[str, str | None] = field(default_factory=dict)
    room: int = FILLED_LIMIT

    def fill(self, text: str, names: dict[str, bool], depth: int = 0) -> str:
        """The text with its references filled; `names` gets each name, and whether it has no value.

        A name counts as set when a line before sets it, to nothing too, as python-dotenv has it.
        Raises InvalidInput when all values together become too long.
        """
        pieces = []
        end = 0
        while depth < DEPTH_LIMIT and (match := _NAME.search(text, end)):
            close = _close(text, match.end())
            if close is None:
                break
            value = text[match.start() : close + 1]
            if match["operator"] or match.end() == close:
                value = self._value(match, text[match.end() : close], names, depth)
            pieces += [text[end : match.start()], value]
            end = close + 1
        filled = "".join(pieces) + text[end:]
        self.room -= len(filled)
        if self.room < 0:
            raise InvalidInput("its ${...} references make the values too long")
        return filled

    def _value(self, match: re.Match[str], rest: str, names: dict[str, bool], depth: int) -> str:
        name, operator = match["name"], match["operator"]
        value = self.known.get(name)
        is_unfilled = value is None and operator in (None, "?")
        names[name] = names.get(name, False) or is_unfilled
        if operator == "+" and value is None:
            return ""
        if operator == "+" or (operator in ("-", "=") and value is None):
            return self.fill(rest, names, depth + 1)
        return value or ""


def _close(text: str, start: int) -> int | None:
    """Where the brace ends that is open before `start`."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "${" else -1
        if depth == 0:
            return brace.start()
    return None
