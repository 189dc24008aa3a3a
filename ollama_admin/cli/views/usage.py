"""How usage is shown: a line for each key and day, or for each of something else."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells
from ollama_admin.cli.output import Output
from ollama_admin.cli.views.texts import number, seconds, text_of
from ollama_admin.rules.usage_csv import usage_csv
from ollama_admin.safe_text import safe_text

if TYPE_CHECKING:
    from ollama_admin.domain.receipts import Usage

_COUNTS = ("requests", "failures", "prompt_tokens", "output_tokens", "estimated_tokens")


def print_usage(output: Output, rows: "Sequence[Usage]", by: str | None) -> None:
    """Print a line for each; speed and times where there is room."""
    if not rows:
        output.note("no receipts of that time")
        return
    headings = ["DAY", "KEY"] if by is None else [by.upper()]
    headings += ["REQUESTS", "FAILED", "PROMPT", "OUTPUT", "ESTIMATED"]
    print_table(output, headings, map(_cells, rows), ["TOK/S", "FIRST P50", "FIRST P95"])


def print_csv(output: Output, rows: "Sequence[Usage]", by: str | None) -> None:
    """Print a heading, and a line for each."""
    for line in usage_csv(rows, by):
        output.line(safe_text(line))


def _cells(row: "Usage") -> Cells:
    groups = ("day", "key") if row.by is None else (row.by,)
    cells: list[str | None] = [text_of(getattr(row, name)) for name in groups]
    cells += [str(getattr(row, column)) for column in _COUNTS]
    return cells + [
        number(row.tokens_per_second),
        seconds(row.time_to_first_token_p50_ms),
        seconds(row.time_to_first_token_p95_ms),
    ]
