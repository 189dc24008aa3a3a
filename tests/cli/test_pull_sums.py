"""What is told of running pulls: sums, speeds, and a line from time to time."""

import io

import pytest

from ollama_admin.cli.output import Output
from ollama_admin.cli.pull_sums import EVERY, PullLines, PullSums
from ollama_admin.cli.units import span
from ollama_admin.domain.pulls import PullProgress, PullResult
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import UpstreamError

GB = 10**9


class Clock:
    """Stands still until a test moves it; seconds."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def ref(number: int) -> ServerRef:
    return ServerRef(id=number, name=f"s{number}", url=f"http://s{number}")


def progress(number: int, completed: int, *, received: int | None = None) -> PullProgress:
    return PullProgress(
        server=ref(number),
        model="alpha",
        status="pulling",
        completed=completed,
        total=10 * GB,
        received=completed if received is None else received,
        has_begun=True,
    )


def result(number: int, *, failed: bool = False) -> PullResult:
    error = UpstreamError("no") if failed else None
    completed = 5 * GB if failed else 10 * GB
    return PullResult(
        server=ref(number), model="alpha", completed=completed, total=10 * GB, error=error
    )


def test_speed_is_the_mean_of_the_last_seconds_and_counts_only_what_came(clock: Clock) -> None:
    """Eight of the ten gigabytes were there before."""
    sums = PullSums(clock)
    sums.tell(progress(1, 8 * GB, received=0))
    for _ in range(30):
        clock.now += 1
        [row] = sums.rows
        sums.tell(
            progress(1, row.progress.completed + 10**7, received=row.progress.received + 10**7)
        )
    [row] = sums.rows
    assert row.speed(clock.now) == pytest.approx(10**7)
    assert row.seconds_left(clock.now) == pytest.approx(170)
    assert sums.sentence == "0 of 1 done, 8.3 GB of 10 GB, 10 MB/s, 2m50s left"
    clock.now += 90
    assert row.speed(clock.now) < 2 * 10**6


def test_nothing_comes_and_nothing_is_left_of_what_has_not_begun(clock: Clock) -> None:
    sums = PullSums(clock)
    sums.tell(PullProgress(server=ref(1), model="alpha", status="waiting"))
    assert sums.sentence == "0 of 1 done, 0 B of 0 B"
    assert sums.rows[0].seconds_left(clock.now) is None
    assert not sums.rows[0].is_running
    assert sums.unfinished == (
        "not finished: s1 (0 %); the same command goes on where this one stopped"
    )


def test_sums_are_of_all_and_results_are_counted(clock: Clock) -> None:
    sums = PullSums(clock)
    for number in (1, 2, 3):
        sums.tell(progress(number, GB))
    sums.tell(result(1))
    sums.tell(result(2, failed=True))
    assert sums.sentence == "2 of 3 done, 1 failed, 16 GB of 30 GB"
    assert sums.unfinished is not None
    assert "s3 (10 %)" in sums.unfinished
    sums.tell(result(3))
    assert sums.unfinished is None


def test_twelve_unfinished_pulls_are_not_all_named(clock: Clock) -> None:
    sums = PullSums(clock)
    for number in range(1, 13):
        sums.tell(progress(number, 0))
    assert sums.unfinished is not None
    assert "s10 (0 %), 2 more; the same command" in sums.unfinished


def test_pipe_gets_a_line_every_few_seconds_and_none_of_a_short_pull(clock: Clock) -> None:
    stderr = io.StringIO()
    output = Output(json=False, stdout=io.StringIO(), stderr=stderr)
    sums = PullSums(clock)
    lines = PullLines(output, sums)
    for eighth in range(96):
        clock.now += 0.125
        sums.tell(event := progress(1, eighth * 10**7))
        lines.tell(event)
    told = stderr.getvalue().splitlines()
    assert len(told) == int(12 / EVERY)
    assert told[0] == "note: pulling: 0 of 1 done, 390 MB of 10 GB, 80 MB/s, 2m00s left"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "0s"),
        (59.4, "59s"),
        (60, "1m00s"),
        (3599, "59m59s"),
        (3600, "1h00m"),
        (90_000, "25h00m"),
    ],
)
def test_time_that_is_left_has_two_units(seconds: float, text: str) -> None:
    assert span(seconds) == text
