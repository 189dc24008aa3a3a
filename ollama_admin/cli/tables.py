"""How a table is drawn: nothing of a cell is ever left out. In a pipe: no box, no colour, no folds.

It brings rich with it: `context.py` loads it where a table is printed.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

from rich.cells import cell_len, chop_cells
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from ollama_admin.cli.lists import Cells, ListView, Wrong
from ollama_admin.cli.output import Output
from ollama_admin.safe_text import safe_text

T = TypeVar("T")

PIPE_WIDTH = 10_000
NARROW = 40  # columns that a table takes on any terminal
GAP = 2  # spaces between columns
READABLE = 24  # characters that a last column of sentences or lists keeps as long as it can
LEAST = 8  # characters that a folded column keeps as long as it can
FEWEST = 4  # characters that every column keeps
_FOLDING = frozenset(
    ("NAME", "MODEL", "SERVER", "URL", "ON", "CAPABILITIES", "DEFAULT MODEL", "VALUE", "WHY")
)


class Table:
    """Prints columns `headings`, and as many of `more` as there is room for; a missing cell is a
    dash.

    On a narrow terminal cells are folded: the lines below the first one begin with a space.
    """

    def __init__(self, output: Output, headings: Sequence[str], more: Sequence[str] = ()) -> None:
        self._output = output
        self._console = _console(output)
        self._least = len(headings)
        self._headings = [*headings, *more]
        # what each column needs; it only grows
        self._natural = [cell_len(heading) for heading in self._headings]
        self._is_begun = False

    def print(self, rows: Iterable[Cells]) -> None:
        """Print rows, the first time below the headings."""
        self._output.begin_data()
        safe_rows = [[_safe(cell) for cell in row] for row in rows]
        for row in safe_rows:
            self._natural = [
                max(width, cell_len(cell)) for width, cell in zip(self._natural, row, strict=False)
            ]
        if not self._is_begun:
            self._choose_columns()
        widths = self._natural
        if self._console.is_terminal:
            widths = fitted(self._headings, self._natural, self._console.width)
        table = self._new_rich_table(widths)
        for row in safe_rows:
            cells = zip(row, widths, strict=False)
            table.add_row(*[Text(_folded(cell, width), _style(cell)) for cell, width in cells])
        with self._console.capture() as captured:
            self._console.print(table)
        for line in captured.get().splitlines():
            self._output.line(line.rstrip())
        self._is_begun = True

    def _choose_columns(self) -> None:
        """Leave out the last columns for which there is no room beside whole cells of the others;
        the same columns stay for all rows.
        """
        while len(self._headings) > self._least and _taken(self._natural) > self._console.width:
            self._headings.pop()
            self._natural.pop()

    def _new_rich_table(self, widths: Sequence[int]) -> RichTable:
        """A table with our columns and no rows yet; headings are printed once."""
        table = RichTable(
            box=None,
            padding=(0, GAP, 0, 0),
            pad_edge=False,
            header_style="bold",
            show_header=not self._is_begun,
        )
        for heading, width in zip(self._headings, widths, strict=True):
            table.add_column(_folded(heading, width), no_wrap=True, overflow="crop", width=width)
        if not self._console.is_terminal:
            self._console.width = max(PIPE_WIDTH, _taken(widths))
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

    def end(self) -> bool:
        """Print what is left; whether the list was empty."""
        if self._waiting:
            self._print(is_all=self._table is None)
        is_empty = self._table is None
        if is_empty and self._view.absence:
            self._output.note(self._view.absence)
        return is_empty

    def _print(self, *, is_all: bool) -> None:
        if self._table is None:
            layout = self._view.layout(self._waiting, is_all)
            self._table = Table(self._output, layout.headings, layout.more)
            self._cells = layout.cells
        self._table.print(map(self._cells, self._waiting))
        self._waiting = ()


def fitted(headings: Sequence[str], natural: Sequence[int], room: int) -> list[int]:
    """Widths that fit into `room`: first the last column gives, then the widest of those that may
    be folded, then the widest of all.
    """
    every = range(len(headings))
    folding = [index for index in every if headings[index] in _FOLDING]
    last = [index for index in folding if index == len(headings) - 1]
    widths = list(natural)
    for columns, least in ((last, READABLE), (folding, LEAST), (every, FEWEST)):
        _shrink(widths, columns, least, room)
    return widths


def _shrink(widths: list[int], columns: Sequence[int], least: int, room: int) -> None:
    """Take from the widest of these columns until all fit, or these have no more to give."""
    while _taken(widths) > room:
        widest = max(columns, key=widths.__getitem__, default=None)
        if widest is None or widths[widest] <= least:
            return
        widths[widest] -= 1


def _taken(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * len(widths)


def _folded(text: str, width: int) -> str:
    """A text in lines of that width; those after the first are set in by a space.

    Text is cut where the line is full, as a fold at a space would hide how many there are.
    """
    if cell_len(text) <= width:
        return text
    first, *rest = chop_cells(text, width)
    return "\n ".join([first, *chop_cells("".join(rest), width - 1)])


def _safe(cell: str | None) -> str:
    """A cell without control characters; it stays marked as wrong."""
    if not cell:
        return "-"
    text = safe_text(cell)
    return Wrong(text) if isinstance(cell, Wrong) else text


def _style(cell: str) -> str:
    return "red" if isinstance(cell, Wrong) else ""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Raise what was raised: rich would end the program, with an exit code of its own."""
        raise  # noqa: PLE0704 (rich calls this while it handles the error)


def _console(output: Output) -> Console:
    """A console that gives a pipe whole cells and no escapes, whatever FORCE_COLOR says."""
    console = _Console(
        file=output.stdout,
        force_terminal=output.stdout.isatty(),
        highlight=False,
        markup=False,
        emoji=False,
    )
    console.width = max(console.width, NARROW)
    if not console.is_terminal:
        console.width = PIPE_WIDTH
    return console
