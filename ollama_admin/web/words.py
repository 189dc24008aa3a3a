"""How pages say times and sizes."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote

from ollama_admin.domain.answers import Stats

_UNITS = (("day", 86400), ("hour", 3600), ("minute", 60))
_SIZES = ("B", "KB", "MB", "GB", "TB")


def now() -> datetime:
    return datetime.now(UTC)


def span(length: timedelta) -> str:
    """A length of time in its largest unit: what changes each second would be sent each second."""
    seconds = max(0, int(length.total_seconds()))
    for name, size in _UNITS:
        count = seconds // size
        if count:
            plural = "s" if count > 1 else ""
            return f"{count} {name}{plural}"
    return "under a minute"


def ago(time: datetime | None) -> str:
    """How long ago that was."""
    if time is None:
        return "never"
    return f"{span(now() - time)} ago"


def left(time: datetime | None) -> str:
    """How long it is until then."""
    if time is None:
        return "not told"
    if time.year > now().year + 50:  # how Ollama says that a model stays
        return "for ever"
    return f"{span(time - now())} left"


def moment(time: datetime | None) -> str:
    """A time as people read it, in UTC."""
    if time is None:
        return ""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def size(count: int | None) -> str:
    """Bytes, in units of 1,000 as Ollama counts them."""
    if count is None:
        return "not told"
    value, unit = float(count), _SIZES[0]
    for unit in _SIZES:
        if value < 1000 or unit == _SIZES[-1]:
            break
        value /= 1000
    digits = 0 if unit == "B" or value >= 100 else 1
    return f"{value:.{digits}f} {unit}"


def in_path(value: object) -> str:
    """A text as one part of a path."""
    return quote(str(value), safe="")


def ms(time: int | None) -> str:
    """Milliseconds as people read them."""
    if time is None:
        return "not told"
    if time < 1000:
        return f"{time} ms"
    digits = 2 if time < 10_000 else 0
    return f"{time / 1000:.{digits}f} s"


def count(number: int | None) -> str:
    """A number with its thousands apart."""
    return "not told" if number is None else f"{number:,}"


def tokens_of(stats: Stats | None) -> str:
    """The tokens of a request's prompt and answer."""
    if stats is None or stats.prompt_tokens is stats.output_tokens is None:
        return "not told"
    return f"{count(stats.prompt_tokens)} in, {count(stats.output_tokens)} out"
