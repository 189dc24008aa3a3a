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
    raise InvalidInput(
        f"{text[:100]!a} is not a length of time", "write 30 (seconds), 45s, 30m, 24h or 90d"
    )


def seconds_of(text: str | float) -> float:
    """A length of time as it is typed, in seconds: a number is seconds, anything else is as in
    `5m`, `2h`, `1d`.
    """
    try:
        return float(text)
    except ValueError:
        return duration(str(text)).total_seconds()


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
    """How long a model stays in memory, as it is typed: digits are seconds, `d` and `w` are put
    into seconds, and anything else is a duration that Ollama knows, checked where it is used.
    """
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        pass
    if text[-1:] in ("d", "w") and _AGE.fullmatch(text):
        return round(duration(text).total_seconds())
    return text
