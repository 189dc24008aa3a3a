"""What looks and requests make of a server's health."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ollama_admin.domain.health import Health
from ollama_admin.domain.servers import ServerStatus
from ollama_admin.errors import (
    AdminError,
    ModelMismatch,
    ModelNotFound,
    PromptTooLong,
    ServerBusy,
    ServerUnauthorized,
    ServerUnreachable,
    StreamInterrupted,
    UpstreamError,
)
from ollama_admin.rules.health import (
    LONGEST,
    answered,
    failed,
    is_asked_last,
    is_news,
    status_after,
    tells_of_server,
)

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
WELL = Health(status=ServerStatus.ONLINE, since=NOON, at=NOON, good_at=NOON)
MIDDLE = 0.5  # of the jitter: none


def later(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def down(before: Health, at: datetime, status: ServerStatus = ServerStatus.OFFLINE) -> Health:
    return failed(before, at, status, "gone", MIDDLE)


def seconds_last(health: Health) -> float:
    assert health.asked_last_until is not None
    assert health.at is not None
    return (health.asked_last_until - health.at).total_seconds()


def test_the_time_doubles_with_each_failure_in_a_row_and_is_bounded() -> None:
    health, times = WELL, []
    for _ in range(12):
        health = down(health, health.asked_last_until or NOON)
        times.append(seconds_last(health))
    assert times == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
    assert health.failures == 12
    assert (health.since, health.good_at) == (NOON, NOON)


def test_a_failure_while_others_are_asked_first_is_no_other_one() -> None:
    """Fifty requests run at a server when it dies."""
    health = down(WELL, later(1))
    for number in range(50):
        health = down(health, later(1 + number / 100))
    assert (health.failures, health.asked_last_until) == (1, later(2))


@pytest.mark.parametrize(("random", "seconds"), [(0.0, 0.8), (1.0, 1.2)])
def test_the_time_is_jittered(random: float, seconds: float) -> None:
    health = failed(WELL, NOON, ServerStatus.OFFLINE, "gone", random)
    assert seconds_last(health) == pytest.approx(seconds)


def test_others_are_asked_first_until_the_time_is_over() -> None:
    health = down(WELL, NOON)
    assert is_asked_last(health, later(0.9))
    assert not is_asked_last(health, later(1))
    assert not is_asked_last(WELL, NOON)


def test_a_time_that_another_clock_set_too_far_ahead_is_none() -> None:
    health = down(WELL, later(3600))
    assert not is_asked_last(health, NOON)
    assert is_asked_last(down(WELL, later(LONGEST)), NOON)
    longest = 72  # seconds: a minute, and a fifth of it
    assert is_asked_last(replace(WELL, asked_last_until=later(longest)), NOON)
    assert not is_asked_last(replace(WELL, asked_last_until=later(longest + 1)), NOON)


def test_an_answer_ends_it() -> None:
    health = answered(down(WELL, NOON), later(5), by_model=True, latency_ms=7)
    assert health == Health(
        status=ServerStatus.ONLINE,
        since=later(5),
        at=later(5),
        good_at=later(5),
        latency_ms=7,
    )
    assert answered(health, later(9), by_model=True).since == later(5)


@pytest.mark.parametrize("status", [ServerStatus.OFFLINE, ServerStatus.UNAUTHORIZED])
def test_a_check_ends_what_a_check_can_see(status: ServerStatus) -> None:
    health = answered(down(WELL, NOON, status), later(0.1), by_model=False)
    assert (health.failures, health.asked_last_until) == (0, None)


def test_a_check_that_is_answered_says_nothing_of_a_runner_that_is_stuck() -> None:
    stuck = down(WELL, NOON, ServerStatus.ERROR)
    checked = answered(answered(stuck, later(0.1), by_model=False), later(0.2), by_model=False)
    assert (checked.status, checked.error, checked.failures) == (ServerStatus.ONLINE, None, 1)
    assert is_asked_last(checked, later(0.5))
    assert down(checked, later(3)).failures == 2
    assert answered(checked, later(3), by_model=True).failures == 0


def test_news_is_another_status_or_another_failure() -> None:
    health = down(WELL, NOON)
    assert is_news(WELL, health)
    assert not is_news(health, down(health, later(0.5)))
    assert is_news(health, down(health, later(5)))
    assert is_news(health, answered(health, later(5), by_model=True))
    assert not is_news(WELL, answered(WELL, later(5), by_model=False))


@pytest.mark.parametrize(
    ("error", "tells"),
    [
        (ServerUnreachable("refused"), True),
        (ServerUnauthorized("401"), True),
        (UpstreamError("502", may_pass_on=True), True),
        (ServerBusy("503", may_pass_on=True), True),
        (UpstreamError("500 to a request"), False),
        (StreamInterrupted("in the middle", may_pass_on=True), False),
        (PromptTooLong("too long"), False),
        (ModelMismatch("another build"), False),
        (ModelNotFound("no such model"), False),
    ],
    ids=str,
)
def test_what_an_error_tells_of_the_server(error: AdminError, tells: bool) -> None:
    assert tells_of_server(error) is tells


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ServerUnreachable("refused"), ServerStatus.OFFLINE),
        (ServerUnauthorized("401"), ServerStatus.UNAUTHORIZED),
        (UpstreamError("502"), ServerStatus.ERROR),
    ],
)
def test_what_a_server_is_called_after_an_error(error: AdminError, status: ServerStatus) -> None:
    assert status_after(error) is status
