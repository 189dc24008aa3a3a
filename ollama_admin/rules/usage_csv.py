"""Usage as CSV, for a spreadsheet."""

import csv
import io
from collections.abc import Iterator, Sequence

from ollama_admin.domain.receipts import Usage

_NUMBERS = (
    "requests",
    "failures",
    "prompt_tokens",
    "output_tokens",
    "estimated_tokens",
    "tokens_per_second",
    "time_to_first_token_p50_ms",
    "time_to_first_token_p95_ms",
)
_GROUPS = {
    None: ("day", "key_id", "key"),
    "day": ("day",),
    "key": ("key_id", "key"),
    "model": ("model",),
    "server": ("server_id", "server"),
}


def usage_csv(rows: Sequence[Usage], by: str | None) -> Iterator[str]:
    """The lines: a heading, and one for each row, without their ends. A name that a spreadsheet
    would take for a formula stands behind an apostrophe.
    """
    yield _line(_GROUPS[by] + _NUMBERS)
    for row in rows:
        cells = [_cell(row, column) for column in _GROUPS[by]]
        yield _line(cells + [getattr(row, column) for column in _NUMBERS])


def _cell(row: Usage, column: str) -> object:
    noun, _, is_id = column.partition("_")
    value = getattr(row, noun)
    if is_id:
        return None if value is None else value.id
    if value is None:
        return None
    text = str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _line(cells: Sequence[object]) -> str:
    text = io.StringIO()
    csv.writer(text).writerow(cells)
    return text.getvalue().rstrip("\r\n")
