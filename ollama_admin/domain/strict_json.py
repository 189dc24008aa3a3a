"""JSON read strictly: what two readers could understand differently is refused."""

import json
import math
import re
from typing import Any

# One letter beyond 16 bits, and each of its text takes four bytes of memory.
_WIDEST = re.compile(rb"[\xf0-\xf4]|\\u[dD][89abAB]")
LONGEST_INTEGER = 309  # digits
_SURROGATE = re.compile(rb"\\u[dD]")


def loads(data: bytes) -> Any:
    """JSON in UTF-8: no NaN or infinity, no repeated keys, no half characters.

    Raises ValueError, and RecursionError where it is nested too deep.
    """
    document = _DECODER.decode(data.decode())
    if _SURROGATE.search(data):
        # a lone surrogate can be written, but is no character
        json.dumps(document, ensure_ascii=False).encode()
    return document


def width(data: bytes) -> int:
    """Bytes of memory that each letter of its texts may take."""
    if data.isascii() and b"\\u" not in data:
        return 1
    return 4 if _WIDEST.search(data) else 2


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a repeated key")
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is out of range")
    return number


def _short(text: str) -> int:
    """As long as a float may be: a long one takes the square of its length, and stops all threads
    meanwhile.
    """
    if len(text) > LONGEST_INTEGER:
        raise ValueError("a number of too many digits")
    return int(text)


# `json.loads` would make one for each call, which takes longer than to read a token
_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique,
    parse_constant=_refuse_constant,
    parse_float=_finite,
    parse_int=_short,
)
