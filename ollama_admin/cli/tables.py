"""How a table is drawn. In a pipe: no box, no colour, no cut cells.

It brings rich with it: `context.py` loads it where a table is printed.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ollama_admin.cli.lists import Cells, ListView
from ollama_admin.cli.output import Output
from ollama_admin.safe_text import safe_text

T = TypeVar("T")

WIDE = 120  # columns from which tables show more
PIPE_WIDTH = 10_000
GAP = 2  # spaces between columns
LEAST = 8  # characters that a shrinking column keeps
_SHRINKING = frozenset(
    ("NAME", "MODEL", "SERVER", "URL", "ON", "CAPABILITIES", "DEFAULT MODEL", "VALUE", "WHY")
)


class Table:
    """Prints columns `headings`, and `more` of them where there is room; a missing cell is a dash.

    On a narrow terminal only the columns in `_SHRINKING` lose characters; every other cell stays
    whole.
    """

    def __init__(self, output: Output, headings: Sequence[str], more: Sequence[str] = ()) -> None:
        self._output = output
        self._console = _console(output)
        self._headings = list(headings)
        if self._console.width >= WIDE:
            self._headings += more
        # what each column needs; it only grows
        self._natural = [cell_len(heading) for heading in self._headings]
        self._is_begun = False

    def print(self, rows: Iterable[Cells]) -> None:
        """Print rows, the first time below the headings."""
        safe_rows = [self._safe(row) for row in rows]
        for row in safe_rows:
            self._natural = [
                max(width, cell_len(cell)) for width, cell in zip(self._natural, row, strict=True)
            ]
        table = self._new_rich_table()
        for row in safe_rows:
            table.add_row(*map(Text, row))
        with self._console.capture() as captured:
            self._console.print(table)
        for line in captured.get().splitlines():
            self._output.line(line.rstrip())
        self._is_begun = True

    def _safe(self, row: Cells) -> list[str]:
        """The cells that there is room for, without control characters."""
        return [safe_text(cell) if cell else "-" for cell in row[: len(self._headings)]]

    def _new_rich_table(self) -> RichTable:
        """A table with our columns and no rows yet; headings are printed once."""
        table = RichTable(
            box=None,
            padding=(0, GAP, 0, 0),
            pad_edge=False,
            header_style="bold",
            show_header=not self._is_begun,
        )
        widths = fitted(self._headings, self._natural, self._console.width)
        for heading, width in zip(self._headings, widths, strict=True):
            table.add_column(heading, no_wrap=True, overflow="ellipsis", width=width)
        return table


class ListTable(Generic[T]):
    """A table of a list that comes in parts: each is printed when the next one is there, or the
    end.
    """

    def __init__(self, output: Output, view: ListView[T]) -> None:
        self._output = output
        self._view = view
        self._waiting: Sequence[T] = ()
        self._table: Table | None = None
        self._cells: Callable[[T], Cells]

    def add(self, items: Sequence[T]) -> None:
        if not items:
            return
        if self._waiting:
            self._print(is_all=False)
        self._waiting = items

    def end(self) -> None:
        if self._waiting:
            self._print(is_all=self._table is None)
        elif self._table is None:
            self._output.note(self._view.absence)

    def _print(self, *, is_all: bool) -> None:
        if self._table is None:
            layout = self._view.layout(self._waiting, is_all)
            self._table = Table(self._output, layout.headings, layout.more)
            self._cells = layout.cells
        self._table.print(map(self._cells, self._waiting))
        self._waiting = ()


def fitted(headings: Sequence[str], natural: Sequence[int], room: int) -> list[int]:
    """Widths that fit into `room`, taken from the widest shrinking column first."""
    widths = list(natural)
    shrinking = [index for index, heading in enumerate(headings) if heading in _SHRINKING]
    while sum(widths) + GAP * len(widths) > room:
        widest = max(shrinking, key=lambda index: widths[index], default=None)
        if widest is None or widths[widest] <= LEAST:
            break
        widths[widest] -= 1
    return widths


def _console(output: Output) -> Console:
    """A console that gives a pipe whole cells and no escapes, whatever FORCE_COLOR says."""
    console = Console(
        file=output.stdout,
        force_terminal=output.stdout.isatty(),
        highlight=False,
        markup=False,
        emoji=False,
    )
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console
