from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_admin.domain.times import point_in_time
from ollama_admin.errors import InvalidInput

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("90d", NOW - timedelta(days=90)),
        ("24h", NOW - timedelta(hours=24)),
        ("30m", NOW - timedelta(minutes=30)),
        ("15s", NOW - timedelta(seconds=15)),
        ("2w", NOW - timedelta(days=14)),
        ("0d", NOW),
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T10:30", datetime(2026, 1, 31, 10, 30, tzinfo=UTC)),
        ("2026-01-31 10:30:15", datetime(2026, 1, 31, 10, 30, 15, tzinfo=UTC)),
        ("2026-01-31T10:30Z", datetime(2026, 1, 31, 10, 30, tzinfo=UTC)),
        ("2026-01-31T10:30+03:00", datetime(2026, 1, 31, 7, 30, tzinfo=UTC)),
    ],
)
def test_time_is_a_date_a_time_or_an_age(text: str, time: datetime) -> None:
    assert point_in_time(text, NOW) == time


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "90",
            "d",
            "-1d",
            "1.5h",
            "90D",
            "1y",
            "2026",
            "20260131",
            "2026-02-30",
            "2026-01-31T25:00",
            "yesterday",
        ),
        *("٩d", "999999999w", "90d\n", "2026-01-31\x00", "0001-01-01T00:00+23:59", "--before"),
    ],
)
def test_anything_else_is_no_time(text: str) -> None:
    with pytest.raises(InvalidInput, match="is neither a date or time nor an age"):
        point_in_time(text, NOW)


@given(st.text() | st.from_regex(r"[0-9]{1,12}[smhdwy]", fullmatch=True))
def test_a_time_is_aware_or_an_error(text: str) -> None:
    try:
        assert point_in_time(text, NOW).tzinfo is UTC
    except InvalidInput as exc:
        assert exc.message.isascii()  # noqa: PT017
