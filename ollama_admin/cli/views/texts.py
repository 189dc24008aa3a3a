"""Texts of cells that several nouns have: times, sizes, facts."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from ollama_admin.cli.output import Output
from ollama_admin.domain.values import fields_of
from ollama_admin.safe_text import safe_text

# seconds, the longest first
_AGES = (
    (31_536_000, "year"),
    (2_592_000, "month"),
    (604_800, "week"),
    (86_400, "day"),
    (3_600, "hour"),
    (60, "minute"),
)

_SHORT_AGES = ((86_400, "d"), (3_600, "h"), (60, "m"))

MOST_NAMED = 10  # servers that one cell or sentence names


def some_of(names: Sequence[str]) -> str:
    """The names, and of many the first ones and how many more there are."""
    if len(names) <= MOST_NAMED + 1:
        return ", ".join(names)
    return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"


def age(time: datetime | None) -> str:
    """How long ago a time is, in one unit."""
    if time is None:
        return "-"
    return ago((datetime.now(UTC) - time).total_seconds())


def ago(seconds: float) -> str:
    """How long ago something was, in one unit."""
    for length, unit in _AGES:
        if seconds >= length:
            count = int(seconds // length)
            plural = "s" if count > 1 else ""
            return f"{count} {unit}{plural} ago"
    return "just now"


def for_how_long(since: datetime | None) -> str:
    """How long something has been so, in one short unit, as in `12s`; empty where it is not
    known.
    """
    if since is None:
        return ""
    seconds = max(0, int((datetime.now(UTC) - since).total_seconds()))
    for length, unit in _SHORT_AGES:
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def stamp(time: datetime | None) -> str | None:
    """A time in UTC, to the second."""
    if time is None:
        return None
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def exact_stamp(time: datetime) -> str:
    """A time in UTC, to the millisecond."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def number(value: float | None) -> str | None:
    """A whole number as it is, another one with a decimal."""
    if isinstance(value, float):
        return f"{value:.1f}"
    return text_of(value)


def seconds(ms: int | None) -> str | None:
    """A time in milliseconds, as seconds: with decimals below ten."""
    if ms is None:
        return None
    if ms < 10_000:
        return f"{ms / 1000:.2f} s"
    return f"{ms / 1000:.0f} s"


def text_of(value: object) -> str | None:
    """The text of a value, None where there is none."""
    return None if value is None else str(value)


def print_fields(output: Output, value: object) -> None:
    """Print every field of an object of the domain, one a line."""
    facts = []
    for name, field in fields_of(value).items():
        text = ", ".join(field) if isinstance(field, tuple) else field
        facts.append((name.replace("_", " "), text))
    print_facts(output, facts)


def print_facts(output: Output, facts: Iterable[tuple[str, object]]) -> None:
    """Print names and values, one a line; a missing value is a dash."""
    for name, value in facts:
        text = "-" if value in (None, "") else safe_text(str(value))
        output.line(f"{safe_text(name):<16} {text}")
