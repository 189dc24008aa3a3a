"""Points in time as people give them."""

import re
from datetime import UTC, datetime, timedelta

from ollama_admin.errors import InvalidInput

_AGE = re.compile(r"([0-9]{1,9})([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def point_in_time(text: str, now: datetime) -> datetime:
    """An ISO date or time, in UTC unless it names an offset, or an age before `now`, as in `90d`,
    `24h`, `30m`.
    """
    try:
        found = _AGE.fullmatch(text)
        if found:
            return now - timedelta(**{_UNITS[found[2]]: int(found[1])})
        if "-" in text:  # 20260101 could be meant otherwise
            time = datetime.fromisoformat(text)
            return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise InvalidInput(
        f"{text[:100]!a} is neither a date or time nor an age",
        "write 2026-01-31, 2026-01-31T12:00Z, 90d, 24h or 30m",
    )
