"""Foreign text made harmless for terminals and logs: names, messages and answers are somebody
else's.
"""

import re
from enum import Enum, auto

# C0, DEL, C1, bidi controls, line and paragraph separators, byte order mark, halves of surrogate
# pairs
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
# those of them that `json.dumps` leaves as they are
_UNSAFE_IN_JSON = re.compile(
    "[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
_KEPT = frozenset("\n\t")
_STRING_INTRODUCERS = frozenset("]PX^_")  # OSC, DCS, SOS, PM, APC: they run until BEL or ESC \
_C1_STRINGS = frozenset("\x90\x98\x9d\x9e\x9f")


def safe_text(text: str) -> str:
    """One line that shows what is there: each unsafe character as its escape, as in `\\x1b`."""
    return _UNSAFE.sub(_escaped, text)


def safe_json(text: str) -> str:
    """JSON text with each unsafe character that stands in it as JSON's own escape."""
    return _UNSAFE_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode()


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()
    SEQUENCE = auto()
    STRING = auto()
    STRING_ESCAPE = auto()


class TerminalFilter:
    """Takes control sequences out of an answer; a sequence may be split over any number of pieces.

    A line end ends any sequence, so that one which is never finished hides the rest of its line and
    no more.
    """

    def __init__(self) -> None:
        self._state = _State.TEXT

    def feed(self, text: str) -> str:
        """What of this piece may be shown."""
        if self._state is _State.TEXT and not _UNSAFE.search(text):
            return text
        return "".join(character for character in text if self._shows(character))

    def _shows(self, character: str) -> bool:
        if character == "\n":
            self._state = _State.TEXT
        match self._state:
            case _State.TEXT:
                return self._in_text(character)
            case _State.ESCAPE:
                self._state = self._after_escape(character)
            case _State.SEQUENCE:
                if "\x40" <= character <= "\x7e":
                    self._state = _State.TEXT
            case _State.STRING:
                self._state = self._in_string(character)
            case _State.STRING_ESCAPE:
                self._state = self._after_string_escape(character)
        return False

    def _in_text(self, character: str) -> bool:
        if character == "\x1b":
            self._state = _State.ESCAPE
        elif character == "\x9b":
            self._state = _State.SEQUENCE
        elif character in _C1_STRINGS:
            self._state = _State.STRING
        return character in _KEPT or not _UNSAFE.match(character)

    @staticmethod
    def _after_escape(character: str) -> _State:
        if character == "[":
            return _State.SEQUENCE
        if character in _STRING_INTRODUCERS:
            return _State.STRING
        if character == "\x1b" or "\x20" <= character <= "\x2f":
            return _State.ESCAPE
        return _State.TEXT

    @staticmethod
    def _in_string(character: str) -> _State:
        if character in "\x07\x9c":
            return _State.TEXT
        if character == "\x1b":
            return _State.STRING_ESCAPE
        return _State.STRING

    @staticmethod
    def _after_string_escape(character: str) -> _State:
        if character == "\\":
            return _State.TEXT
        return _State.STRING
