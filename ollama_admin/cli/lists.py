"""What a view says of a list that comes in parts; `cli/tables.py` draws it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")


class Wrong(str):
    """A cell about something that somebody should look after; in colour, where there is one."""

    __slots__ = ()


# one row of a table; an empty or missing cell is shown as a dash
Cells: TypeAlias = Sequence[str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout(Generic[T]):
    """The columns of a list: of `more`, those are shown for which there is room."""

    headings: Sequence[str]
    more: Sequence[str] = ()
    cells: Callable[[T], Cells]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListView(Generic[T]):
    """How a list is shown. `absence` is the note of an empty one, if the view has one.

    `layout` is given the first part, and whether that is all of the list.
    """

    layout: Callable[[Sequence[T], bool], Layout[T]]
    absence: str | None = None
