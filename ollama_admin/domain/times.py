"""Points in time as people give them."""

import re
from datetime import UTC, datetime, timedelta

from ollama_admin.errors import InvalidInput

_AGE = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}


def duration(text: str) -> timedelta:
    """A length of time, as in `90d`, `24h`, `30m`."""
    match = _AGE.fullmatch(text)
    try:
        if match:
            return int(match[1]) * _UNITS[match[2]]
    except OverflowError:
        pass
    raise InvalidInput(f"{text[:100]!a} is not a length of time", "write 90d, 24h, 30m or 45s")


def seconds_of(text: str) -> float:
    """A wait as it is typed: digits are seconds, anything else is a length of time."""
    if text.isascii() and text.isdecimal():
        return float(text)
    return duration(text).total_seconds()


def point_ahead(text: str, now: datetime) -> datetime:
    """An ISO date or time, in UTC unless it names an offset, or so long after `now`, as in `90d`.
    Raises InvalidInput for one that is over.
    """
    try:
        if _AGE.fullmatch(text):
            return now + duration(text)
    except OverflowError as exc:
        raise InvalidInput(f"the time {text[:100]!a} is too far away") from exc
    time = point_in_time(text, now)
    if time <= now:
        raise InvalidInput(f"the time {text[:100]!a} is over")
    return time


def point_in_time(text: str, now: datetime) -> datetime:
    """An ISO date or time, in UTC unless it names an offset, or an age before `now`, as in `90d`,
    `24h`, `30m`.
    """
    try:
        age = _AGE.fullmatch(text)
        if age:
            return now - int(age[1]) * _UNITS[age[2]]
        if "-" in text:  # 20260101 could be meant otherwise
            time = datetime.fromisoformat(text)
            if time.tzinfo is None:
                return time.replace(tzinfo=UTC)
            return time.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidInput(
        f"{text[:100]!a} is neither a date or time nor an age",
        "write 2026-01-31, 2026-01-31T12:00Z, 90d, 24h or 30m",
    )


def keep_alive_of(text: str | None) -> int | str | None:
    """How long a model stays in memory, as it is typed: digits are seconds, anything else is a
    duration that is checked where it is used.
    """
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        return text
