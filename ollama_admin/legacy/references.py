"""The `${...}` of one file, filled from earlier lines and their own defaults."""

import re
from dataclasses import dataclass, field

from ollama_admin.errors import InvalidInput

FILLED_LIMIT = 4 * 2**20  # characters of all values after filling: references can multiply
DEPTH_LIMIT = 10  # references inside of defaults

_NAME = re.compile(r"\$\{(?P<name>\w{0,100})(?P<operator>:?[-=?+])?")
_BRACE = re.compile(r"\$\{|\}")


@dataclass(slots=True)
class Filled:
    """A filled text; `references` are all names in it, `unfilled` those without a value."""

    text: str
    references: tuple[str, ...] = ()
    unfilled: tuple[str, ...] = ()


@dataclass(slots=True)
class Filler:
    """`known` holds the values of earlier lines."""

    known: dict[str, str | None] = field(default_factory=dict)
    room: int = FILLED_LIMIT

    def fill(self, text: str, depth: int = 0) -> Filled:
        """A name counts as set when a line before sets it, to nothing too, as python-dotenv has
        it. Raises InvalidInput when all values together become too long.
        """
        pieces = []
        references: dict[str, None] = {}
        unfilled: dict[str, None] = {}
        end = 0
        while (match := _NAME.search(text, end)) and depth < DEPTH_LIMIT:
            close = _close(text, match.end())
            if close is None:
                break
            operator, rest = match["operator"], text[match.end() : close]
            pieces.append(text[end : match.start()])
            end = close + 1
            if operator is None and rest:
                pieces.append(text[match.start() : end])
                continue
            references[match["name"]] = None
            inner = self._value(match["name"], operator or "", rest, depth)
            references |= dict.fromkeys(inner.references)
            unfilled |= dict.fromkeys(inner.unfilled)
            pieces.append(inner.text)
        pieces.append(text[end:])
        joined = "".join(pieces)
        self.room -= len(joined)
        if self.room < 0:
            raise InvalidInput("its ${...} references make the values too long")
        return Filled(joined, tuple(references), tuple(unfilled))

    def _value(self, name: str, operator: str, rest: str, depth: int) -> Filled:
        value = self.known.get(name)
        if operator.endswith("+") and value is None:
            return Filled("")
        if operator.endswith("+") or (operator.endswith(("-", "=")) and value is None):
            return self.fill(rest, depth + 1)
        if value is None:
            return Filled("", unfilled=(name,))
        return Filled(value)


def _close(text: str, start: int) -> int | None:
    """Where the brace ends that is open before `start`."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "${" else -1
        if depth == 0:
            return brace.start()
    return None
