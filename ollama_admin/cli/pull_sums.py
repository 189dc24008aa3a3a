"""What is known of running pulls while they are followed, and how it is told without a screen.

It loads nothing heavy; `pull_screen.py` draws bars of the same.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from ollama_admin.cli.output import Output
from ollama_admin.cli.units import size, span
from ollama_admin.domain.fleet_file import Applied
from ollama_admin.domain.pulls import PullProgress, PullReport, PullResult
from ollama_admin.domain.sync import SyncReport

Event: TypeAlias = PullProgress | PullResult | PullReport | SyncReport | Applied
Clock = Callable[[], float]

WINDOW = 10.0  # seconds that a speed is the mean of
STEP = 0.5  # seconds between two points of it
EVERY = 5.0  # seconds between two lines in a pipe
NAMED = 10  # pulls that a message names


@dataclass(eq=False, slots=True)
class PullRow:
    """One pull: how far it is, and what came of it once that is known."""

    progress: PullProgress
    result: PullResult | None = None
    _points: deque[tuple[float, int]] = field(default_factory=deque)

    def tell(self, progress: PullProgress, now: float) -> None:
        """Hear how far it is, at a time in seconds."""
        self.progress = progress
        points = self._points
        if not points or now - points[-1][0] >= STEP:
            points.append((now, progress.received))
        while now - points[0][0] > WINDOW:
            points.popleft()

    def speed(self, now: float) -> float:
        """Bytes in a second, over the last seconds."""
        if self.result is not None or not self._points:
            return 0.0
        since, before = self._points[0]
        return max(0, self.progress.received - before) / max(now - since, STEP)

    def seconds_left(self, now: float) -> float | None:
        """How long the rest of what the server has named takes; None where nothing comes."""
        speed = self.speed(now)
        if speed < 1:
            return None
        return (self.progress.total - self.progress.completed) / speed

    @property
    def is_running(self) -> bool:
        return self.result is None and self.progress.has_begun


class PullSums:
    """The rows of all pulls, in the order in which they were asked for."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self._rows: dict[tuple[int | None, str], PullRow] = {}

    def tell(self, event: Event) -> None:
        """Hear of one event; a report says nothing new."""
        if isinstance(event, PullProgress):
            row = self._rows.setdefault(event.key, PullRow(event))
            row.tell(event, self.clock())
        elif isinstance(event, PullResult):
            row = self._rows[event.key]
            row.result = event
            row.progress = replace(row.progress, completed=event.completed, total=event.total)

    @property
    def rows(self) -> Sequence[PullRow]:
        return list(self._rows.values())

    @property
    def sentence(self) -> str:
        """How far all are together."""
        rows, now = self.rows, self.clock()
        results = [row.result for row in rows if row.result is not None]
        failed = sum(result.error is not None for result in results)
        words = [f"{len(results)} of {len(rows)} done"]
        if failed:
            words.append(f"{failed} failed")
        completed = sum(row.progress.completed for row in rows)
        words.append(f"{size(completed)} of {size(sum(row.progress.total for row in rows))}")
        speed = sum(row.speed(now) for row in rows)
        if speed >= 1:
            words.append(f"{size(round(speed))}/s")
        left = [seconds for row in rows if (seconds := row.seconds_left(now)) is not None]
        if left:
            words.append(f"{span(max(left))} left")
        return ", ".join(words)

    @property
    def unfinished(self) -> str | None:
        """Which pulls have no result yet, with how far they are; None where all have one."""
        rows = [row.progress for row in self.rows if row.result is None]
        if not rows:
            return None
        words = [f"{progress.server} ({progress.share})" for progress in rows[:NAMED]]
        if len(rows) > NAMED:
            words.append(f"{len(rows) - NAMED} more")
        return f"not finished: {', '.join(words)}; the same command goes on where this one stopped"


class PullLines:
    """Tells how far pulls are in a line from time to time, for a pipe or a file."""

    def __init__(self, output: Output, sums: PullSums) -> None:
        self._output = output
        self._sums = sums
        self._told = sums.clock()

    def tell(self, event: Event) -> None:  # noqa: ARG002 (the sums have it)
        """Hear that something has come."""
        now = self._sums.clock()
        if now - self._told >= EVERY:
            self._told = now
            self._output.note(f"pulling: {self._sums.sentence}")

    def stop(self) -> None:
        """Nothing is left on the screen."""


class PullRecords:
    """Prints each event as a line of JSON."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def tell(self, event: Event) -> None:
        """Print an event."""
        self._output.record(event)

    def stop(self) -> None:
        """Nothing is left on the screen."""
