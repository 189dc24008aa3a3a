"""Bars on a terminal while servers pull, and a line about all of them. It brings rich with it."""

from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ollama_admin.cli.output import Output
from ollama_admin.cli.pull_sums import Event, PullRow, PullSums
from ollama_admin.cli.units import size, span
from ollama_admin.safe_text import safe_text

PER_SECOND = 4  # times that the screen is drawn
NARROW = 60  # columns; below that there are no bars
NAME_WIDTH = 30  # columns of a server's name at most, and a third of a terminal
KEPT_FREE = 2  # lines below the bars: the one about all, and the cursor's
ECHO = 4  # columns behind the last line, where a terminal shows the ^C that was typed


class PullScreen:
    """Draws the pulls on stderr; what is drawn is gone when it stops."""

    def __init__(self, output: Output, sums: PullSums) -> None:
        self._output = output
        self._sums = sums
        self._console = Console(
            file=output.stderr, force_terminal=True, highlight=False, markup=False, emoji=False
        )
        self._live = Live(
            console=self._console,
            get_renderable=self._drawn,
            refresh_per_second=PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        output.has_progress = True
        self._live.start()

    def tell(self, event: Event) -> None:
        """Hear that something has come; it is drawn at the next turn."""

    def stop(self) -> None:
        """Take the bars away."""
        self._live.stop()
        self._output.has_progress = False

    def _drawn(self) -> Table:
        """The pulls as they are now, and a line about all. It is called in a thread of rich's."""
        rows, now = self._sums.rows, self._sums.clock()
        shown = _most_telling(rows, max(1, self._console.height - KEPT_FREE))
        width = self._console.width
        several = len({row.progress.model for row in rows}) > 1
        table = Table.grid(padding=(0, 1, 0, 0))
        for row in shown:
            name = str(row.progress.server)
            if several:
                name = f"{name} {row.progress.model}"
            name_width = min(NAME_WIDTH, width // 3)
            table.add_row(_cut(name, name_width), *_cells(row, now, width))
        return _with_line(table, _cut(self._sums.sentence, width - ECHO))


def _with_line(table: Table, line: Text) -> Table:
    whole = Table.grid()
    whole.add_row(table)
    whole.add_row(line)
    return whole


def _cells(row: PullRow, now: float, width: int) -> list[Text | ProgressBar]:
    """What is drawn of a pull behind its name."""
    progress, cells = row.progress, list[Text | ProgressBar]()
    if width >= NARROW:
        bar_width = max(10, min(40, width - 70))
        total = max(progress.total, 1)
        cells.append(ProgressBar(total=total, completed=progress.completed, width=bar_width))
    share = progress.share
    if row.result is not None and row.result.error is None:
        share = "100 %"
    cells.append(Text(share, justify="right"))
    cells.append(_says(row, now, width))
    return cells


def _says(row: PullRow, now: float, width: int) -> Text:
    """What a pull is about: bytes, speed and time while they come, else what the server does."""
    progress, result = row.progress, row.result
    room = max(10, width - width // 3 - 8)
    if result is not None and result.error is not None:
        return Text(result.error.code, style="red", no_wrap=True)
    if result is not None:
        words = f"done, {size(result.total)}" if result.total else "was there"
        return Text(words, style="green", no_wrap=True)
    left = row.seconds_left(now)
    if left is None or progress.completed >= progress.total:
        return _cut(progress.status, room)
    words = f"{size(progress.completed)} of {size(progress.total)}"
    speed = f"{size(round(row.speed(now)))}/s"
    if width >= NARROW:
        return Text(f"{words}, {speed}, {span(left)} left", no_wrap=True)
    return Text(f"{speed}, {span(left)}", no_wrap=True)


def _most_telling(rows: Sequence[PullRow], room: int) -> Sequence[PullRow]:
    """As many rows as there is room for: those that run first, then those that failed."""
    if len(rows) <= room:
        return rows
    return sorted(rows, key=_urgency)[:room]


def _urgency(row: PullRow) -> int:
    if row.is_running:
        return 0
    if row.result is None:
        return 2
    return 3 if row.result.error is None else 1


def _cut(text: str, width: int) -> Text:
    """A text that is safe to show, on one line."""
    cut = Text(safe_text(text), no_wrap=True)
    cut.truncate(max(width, 1), overflow="ellipsis")
    return cut
