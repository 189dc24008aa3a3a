"""Lists that are shown a page at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Self, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paged(Generic[T]):
    """The items of page `at`, counted from 1, of `pages`; `total` are all items."""

    items: Sequence[T]
    at: int
    pages: int
    total: int

    @classmethod
    def of(cls, items: Sequence[T], at: int, size: int) -> Self:
        """A page of what is there; the last one where there are fewer."""
        pages = max(1, -(-len(items) // size))
        at = min(at, pages)
        start = (at - 1) * size
        return cls(items=items[start : start + size], at=at, pages=pages, total=len(items))


def place(total: int, at: int, size: int) -> Paged[None]:
    """Which page of so many items, which somebody else has cut out."""
    pages = max(1, -(-total // size))
    return Paged(items=(), at=min(at, pages), pages=pages, total=total)
