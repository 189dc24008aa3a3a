"""The screen of `top`: drawn anew once a second, in whatever size the terminal has then. It brings
rich with it.
"""

import asyncio
import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.text import Text

from ollama_admin.cli.activity_cells import (
    ELSEWHERE,
    HEADINGS,
    ORDERS,
    REQUEST_HEADINGS,
    Doc,
    ordered,
    request_cells,
    server_cells,
    summary,
)
from ollama_admin.cli.lists import Wrong
from ollama_admin.cli.output import Output
from ollama_admin.errors import AdminError
from ollama_admin.safe_text import safe_text

GAP = 2  # spaces between columns
WIDEST_NAME = 24  # cells of the first column
LEAST_LAST = 12  # cells that the last column needs to be shown
KEYS = "q quit  s sort  r reverse  j k scroll"
FRAME = 4  # lines beside the rows: the fleet, headings, an empty one, the keys

Read = Callable[[], Awaitable[Doc]]


class TopScreen:
    """What is shown, and how: sorted by what, from which row on."""

    def __init__(self, sort: str, *, reverse: bool) -> None:
        self._sort = sort
        self._reverse = reverse
        self._first = 0
        self._activity: Doc | None = None
        self._problem: str | None = None

    def take(self, activity: Doc) -> None:
        """Show this from now on."""
        self._activity, self._problem = activity, None

    def fail(self, error: AdminError) -> None:
        """Say that nothing newer could be read; what was read stays."""
        self._problem = error.message

    def press(self, key: str) -> bool:
        """Do what a key stands for; whether to go on."""
        match key:
            case "q" | "Q":
                return False
            case "s":
                names = list(ORDERS)
                self._sort = names[(names.index(self._sort) + 1) % len(names)]
            case "r":
                self._reverse = not self._reverse
            case "j" | " ":
                self._first += 1 if key == "j" else 10
            case "k":
                self._first = max(0, self._first - 1)
        return True

    def text(self, width: int, height: int) -> Text:
        """All of it, in at most so many lines of at most so many cells."""
        lines = [] if self._activity is None else self._lines(self._activity, width, height)
        text = Text("\n", no_wrap=True, overflow="crop").join(lines[: max(0, height - 1)])
        text.append("\n")
        return text.append(_cut(self._footer(), width), "reverse")

    def _lines(self, activity: Doc, width: int, height: int) -> list[Text]:
        at = datetime.fromisoformat(activity["at"])
        lines = [Text(_cut(f"{at:%H:%M:%S} UTC  {summary(activity)}", width), "bold")]
        requests = activity["requests"] or ()
        below = min(len(requests) + 2, height // 3) if requests else 1
        servers = ordered(activity["servers"], self._sort, reverse=self._reverse)
        room = max(1, height - FRAME - below)
        self._first = max(0, min(self._first, len(servers) - room))
        shown = servers[self._first : self._first + room]
        widest = [server_cells(row, at) for row in servers]
        rows = [server_cells(row, at) for row in shown]
        lines += _table(HEADINGS, rows, width, widest)
        lines += [Text("")] * (room - len(shown))
        if activity["requests"] is None:
            return [*lines, Text(_cut(ELSEWHERE, width), "dim")]
        return lines + self._requests(requests, width, below)

    @staticmethod
    def _requests(requests: Sequence[Doc], width: int, room: int) -> list[Text]:
        if not requests:
            return [Text(_cut("no requests on their way", width), "dim")]
        rows = [request_cells(row) for row in requests[: max(1, room - 2)]]
        return [Text("")] + _table(REQUEST_HEADINGS, rows, width, rows)

    def _footer(self) -> str:
        if self._problem is not None:
            return f"not up to date: {safe_text(self._problem)}"
        order = self._sort
        if self._reverse:
            order += " reversed"
        total = 0 if self._activity is None else len(self._activity["servers"])
        return f"{KEYS}  by {order}, from {min(self._first + 1, total)} of {total}"


def _table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], width: int, widest: Sequence[Any]
) -> list[Text]:
    """Lines of that width: the last columns are left out where there is no room, and the last one
    that is shown takes what is left.
    """
    widths = [
        max([cell_len(heading)] + [cell_len(row[number]) for row in widest])
        for number, heading in enumerate(headings)
    ]
    widths[0] = min(widths[0], WIDEST_NAME, max(8, width // 3))
    while len(widths) > 1 and _taken(widths[:-1]) + min(widths[-1], LEAST_LAST) > width:
        widths.pop()
    widths[-1] = max(1, width - _taken(widths[:-1]))
    lines = [_line(headings, widths)]
    lines[0].stylize("bold")
    return lines + [_line(row, widths) for row in rows]


def _taken(widths: Sequence[int]) -> int:
    return sum(widths) + GAP * len(widths)


def _line(cells: Sequence[str], widths: Sequence[int]) -> Text:
    line = Text(no_wrap=True, overflow="crop")
    for cell, width in zip(cells, widths, strict=False):
        style = "red" if isinstance(cell, Wrong) else ""
        line.append(set_cell_size(_cut(safe_text(cell), width), width), style)
        line.append(" " * GAP)
    line.rstrip()
    return line


def _cut(text: str, width: int) -> str:
    """The text, its end left out where it is too long."""
    if cell_len(text) <= width:
        return text
    return set_cell_size(text, max(0, width - 1)) + "\u2026"


async def run_screen(output: Output, screen: TopScreen, read: Read, every: float) -> None:
    """Show the screen until `q` is pressed. The first failure to read is raised, later ones are
    shown.
    """
    screen.take(await read())
    console = Console(file=output.stdout, force_terminal=True, highlight=False, markup=False)
    changed = asyncio.Event()
    keys: list[str] = []
    output.has_progress = True
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGWINCH, changed.set)
    live = Live(console=console, screen=True, auto_refresh=False)
    try:
        with _pressed(keys, changed), live:
            while _all_pressed(screen, keys):
                live.update(screen.text(console.width, console.height), refresh=True)
                await _shown(screen, read, changed, every)
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
        output.has_progress = False


def _all_pressed(screen: TopScreen, keys: list[str]) -> bool:
    pressed, keys[:] = list(keys), []
    return all(screen.press(key) for key in pressed)


async def _shown(screen: TopScreen, read: Read, changed: asyncio.Event, every: float) -> None:
    """Wait for a key or another size, or read what is new after a while."""
    changed.clear()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(every):
            await changed.wait()
            return
    try:
        screen.take(await read())
    except AdminError as exc:
        screen.fail(exc)


@contextlib.contextmanager
def _pressed(keys: list[str], changed: asyncio.Event) -> Iterator[None]:
    """Hear of each key at once while the block runs; nothing is echoed."""
    loop, number = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(number)

    def come() -> None:
        data = os.read(number, 100)
        if not data:  # nobody can press anything any more
            loop.remove_reader(number)
            keys.append("q")
        keys.extend(data.decode(errors="replace"))
        changed.set()

    tty.setcbreak(number)
    loop.add_reader(number, come)
    try:
        yield
    finally:
        loop.remove_reader(number)
        termios.tcsetattr(number, termios.TCSADRAIN, before)
