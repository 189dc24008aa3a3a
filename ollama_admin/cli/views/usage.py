"""How usage is shown: a line for each key and day."""

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells
from ollama_admin.cli.output import Output
from ollama_admin.cli.views.texts import text_of

if TYPE_CHECKING:
    from ollama_admin.domain.receipts import Usage

_COLUMNS = ("requests", "failures", "prompt_tokens", "output_tokens", "estimated_tokens")


def print_usage(output: Output, rows: "Sequence[Usage]") -> None:
    if not rows:
        output.note("no receipts of that time")
        return
    headings = ["DAY", "KEY", "REQUESTS", "FAILED", "PROMPT", "OUTPUT", "ESTIMATED"]
    print_table(output, headings, map(_cells, rows))


def print_csv(output: Output, rows: "Sequence[Usage]") -> None:
    """Print a heading, and a line for each; a name that a spreadsheet would take for a formula
    stands behind an apostrophe.
    """
    output.line(",".join(("day", "key_id", "key") + _COLUMNS))
    for row in rows:
        key_id, name = "", ""
        if row.key is not None:
            key_id, name = text_of(row.key.id) or "", row.key.name
        if name.startswith(("=", "+", "-", "@")):
            name = f"'{name}"
        text = io.StringIO()
        numbers = [getattr(row, column) for column in _COLUMNS]
        csv.writer(text).writerow([row.day, key_id, name] + numbers)
        output.line(text.getvalue().rstrip("\r\n"))


def _cells(row: "Usage") -> Cells:
    cells = [row.day, text_of(row.key)]
    return cells + [str(getattr(row, column)) for column in _COLUMNS]
