"""What the benchmarks have in common: rows of the table, medians, and two kinds of work in turn."""

import re
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

_PARTS = re.compile(r"([()]|\bSELECT\b|\bRETURNING\b|\bFROM\b)")
_SHOWN = 200  # characters of a line

HEADINGS = ("WORK", "OURS", "FLOOR", "RATIO", "BAR", "")


class BenchmarkError(Exception):
    """What was to be measured did not do its work; a slow one is never an error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. `ours` None is work that was stopped, or that died, before its end.

    The bar is on the ratio to the floor, or without a floor on `ours`. A row without a bar is
    information.
    """

    work: str
    unit: str
    ours: float | None
    floor: float | None = None
    bar: float | None = None

    @property
    def ratio(self) -> float | None:
        return None if self.ours is None or not self.floor else self.ours / self.floor

    @property
    def holds(self) -> bool | None:
        """None where there is no bar."""
        if self.bar is None:
            return None
        measured = self.ours if self.floor is None else self.ratio
        return measured is not None and measured <= self.bar

    @property
    def cells(self) -> tuple[str, ...]:
        is_ratio = self.floor is not None
        ours = "stopped" if self.ours is None else _figure(self.ours, self.unit)
        floor = _figure(self.floor, self.unit) if self.floor is not None else ""
        ratio = f"{self.ratio:.2f}x" if self.ratio is not None else ""
        bar = (
            ""
            if self.bar is None
            else f"{self.bar:g}x"
            if is_ratio
            else f"{self.bar:g} {self.unit}"
        )
        is_over = self.holds is False or self.ours is None
        return self.work, ours, floor, ratio, bar, "over" if is_over else ""

    def document(self) -> dict[str, Any]:
        return {
            "work": self.work,
            "ours": self.ours,
            "floor": self.floor,
            "unit": self.unit,
            "ratio": self.ratio,
            "bar": self.bar,
            "holds": self.holds,
        }


@dataclass(frozen=True, slots=True)
class Note:
    """A line under the table."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryPlan:
    """How a database runs a statement, in its own words."""

    database: str
    work: str
    statement: str
    lines: tuple[str, ...]

    @property
    def short_statement(self) -> str:
        """The statement in a line that is not too long, without the columns that it reads."""
        text, hidden, depth = "", None, 0
        for part in _PARTS.split(" ".join(self.statement.split())):
            depth += (part == "(") - (part == ")")
            if hidden is not None and (depth < hidden or (part == "FROM" and depth == hidden)):
                hidden = None
            text += part if hidden is None else ""
            if part in ("SELECT", "RETURNING") and hidden is None:
                text, hidden = f"{text} ... ", depth
        return _cut(text)

    @property
    def short_lines(self) -> list[str]:
        return [_cut(line) for line in self.lines]

    def document(self) -> dict[str, Any]:
        return {
            "database": self.database,
            "work": self.work,
            "statement": self.statement,
            "plan": self.lines,
        }


Told = Row | Note | QueryPlan
Group = Callable[[int | None], Iterator[Told]]


def table(rows: Iterable[Row]) -> list[str]:
    """The lines of the table: the first column to the left, figures to the right."""
    cells = [HEADINGS, *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return [_padded(line, widths) for line in cells]


def alternate(
    rounds: int, ours: Callable[[], T], floor: Callable[[], T], *, warm_up: int = 1
) -> tuple[list[T], list[T]]:
    """Both kinds of work in turn; the rounds of `warm_up` come first and are not counted."""
    done = [(ours(), floor()) for _ in range(warm_up + rounds)][warm_up:]
    return [one for one, _ in done], [other for _, other in done]


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def percentile(values: Sequence[float], percent: int) -> float:
    """The nearest rank."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def _cut(line: str) -> str:
    return line if len(line) <= _SHOWN else f"{line[:_SHOWN]} ..."


def _figure(value: float, unit: str) -> str:
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f} {unit}"


def _padded(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = line
    return "  ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]).rstrip()
