"""`--sort`, `--reverse` and `--limit` of lists, for tables and JSON alike."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import typer

from ollama_admin.errors import InvalidInput

T = TypeVar("T")

ReverseOption = Annotated[bool, typer.Option("--reverse", help="Reverse the order.")]
LimitOption = Annotated[
    int | None,
    typer.Option("-L", "--limit", metavar="N", help="Show only the first N.", show_default=False),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field(Generic[T]):
    """What a list can be sorted by; with `descending`, what is most or newest comes first."""

    value: Callable[[T], Any]
    descending: bool = False


def field_of(fields: Mapping[str, Field[T]], sort: str | None) -> Field[T] | None:
    """The field that `--sort` names, None where it is not given; InvalidInput for another one."""
    if sort is None:
        return None
    if sort not in fields:
        raise InvalidInput(f"cannot sort by {sort!a}", f"choose from: {', '.join(fields)}")
    return fields[sort]


def sorted_by(rows: Sequence[T], field: Field[T] | None, *, reverse: bool) -> list[T]:
    """Rows in the order of a field, or as they came; those without a value come last."""
    if field is None:
        return list(reversed(rows)) if reverse else list(rows)
    known = [row for row in rows if field.value(row) is not None]
    known.sort(key=field.value, reverse=field.descending is not reverse)
    return known + [row for row in rows if field.value(row) is None]


def in_order(
    read: Callable[[Any], AsyncGenerator[Sequence[T], None]],
    field: Field[T] | None,
    *,
    reverse: bool,
    limit: int | None,
) -> Callable[[Any], AsyncGenerator[Sequence[T], None]]:
    """What reads a list from a client, so that it is sorted and cut."""
    return lambda client: arranged(read(client), field, reverse=reverse, limit=limit)


async def arranged(
    parts: AsyncGenerator[Sequence[T], None],
    field: Field[T] | None,
    *,
    reverse: bool,
    limit: int | None,
) -> AsyncGenerator[Sequence[T], None]:
    """A list that comes in parts, sorted and cut. Only what is sorted is held in memory."""
    require_limit(limit)
    left = limit
    async with aclosing(_whole(parts, field, reverse=reverse)) as ordered:
        async for part in ordered:
            chosen = part if left is None else part[:left]
            yield chosen
            if left is not None:
                left -= len(chosen)
                if left <= 0:
                    return


async def _whole(
    parts: AsyncGenerator[Sequence[T], None], field: Field[T] | None, *, reverse: bool
) -> AsyncGenerator[Sequence[T], None]:
    async with aclosing(parts):
        if field is None and not reverse:
            async for part in parts:
                yield part
            return
        rows = [row async for part in parts for row in part]
    yield sorted_by(rows, field, reverse=reverse)


def require_limit(limit: int | None) -> None:
    """Raise InvalidInput for a limit that is below 1."""
    if limit is not None and limit < 1:
        raise InvalidInput(f"the limit must be 1 or more, not {limit}")
