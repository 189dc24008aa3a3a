"""The sums of a pull, from what a server tells layer by layer."""

import pytest

from ollama_admin.domain.pulls import Pull, PullProgress, PullRecord, PullReport, PullResult
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import UpstreamError
from ollama_admin.rules.pulling import LAYERS, PullTally
from tests.rules.rows import server

PULL = Pull(server=server(1), model="alpha")


def tally_of(*records: PullRecord) -> PullTally:
    tally = PullTally(PULL)
    for record in records:
        tally.add(record)
    return tally


def layer(name: str, completed: int, total: int = 100) -> PullRecord:
    return PullRecord(status=f"pulling {name}", layer=name, total=total, completed=completed)


def sums(progress: PullProgress) -> tuple[int, int, int]:
    return progress.completed, progress.total, progress.received


def test_layers_are_added_up_and_what_was_there_has_not_come() -> None:
    tally = tally_of(layer("a", 0), layer("a", 60), layer("b", 30), layer("b", 50), layer("c", 100))
    assert sums(tally.progress) == (210, 300, 80)
    assert tally.progress.share == "70 %"


def test_layer_that_begins_again_has_received_no_less_than_nothing() -> None:
    """A server forgets parts of a layer whose digest was wrong."""
    tally = tally_of(layer("a", 90), layer("a", 0))
    assert sums(tally.progress) == (0, 100, 0)


def test_more_of_a_layer_than_there_is_counts_as_all_of_it() -> None:
    assert sums(tally_of(layer("a", 500)).progress) == (100, 100, 0)


def test_bytes_are_on_their_way_until_a_layer_is_whole() -> None:
    tally = PullTally(PULL)
    assert (tally.has_begun, tally.is_downloading) == (False, False)
    for record, is_downloading in (
        (PullRecord(status="pulling manifest"), False),
        (layer("a", 10), True),
        (layer("a", 100), False),
        (PullRecord(status="verifying sha256 digest"), False),
    ):
        tally.add(record)
        assert (tally.has_begun, tally.is_downloading) == (True, is_downloading)
    assert tally.progress.status == "verifying sha256 digest"


def test_progress_names_the_server_the_model_and_what_the_server_says() -> None:
    tally = PullTally(PULL)
    assert (tally.progress.server, tally.progress.model) == (server(1).ref, "alpha")
    assert (tally.progress.status, tally.progress.has_begun) == ("waiting", False)
    tally.add(PullRecord(status=""))
    assert (tally.progress.status, tally.progress.has_begun) == ("answering", True)
    tally.add(PullRecord(status="x" * 201))
    assert tally.progress.status == "x" * 200


def test_layer_of_which_no_size_is_told_is_not_counted() -> None:
    tally = tally_of(PullRecord(status="pulling a", layer="a"))
    assert (sums(tally.progress), tally.is_downloading) == ((0, 0, 0), False)


def test_layers_have_an_end() -> None:
    tally = tally_of(*[layer(str(number), 1) for number in range(LAYERS)])
    tally.add(layer("0", 2))
    with pytest.raises(UpstreamError, match="more than 1000 layers"):
        tally.add(layer("one more", 1))


def test_report_tells_builds_by_model() -> None:
    def result(name: str, model: str, digest: str | None) -> PullResult:
        ref = ServerRef(id=1, name=name, url="http://x")
        return PullResult(server=ref, model=model, digest=digest)

    same = PullReport(results=(result("a", "m", "1"), result("b", "m", "1"), result("a", "n", "2")))
    assert (same.differs, same.is_whole) == (False, True)
    other = PullReport(
        results=(result("a", "m", "1"), result("b", "m", "2"), result("c", "m", "2"))
    )
    assert (other.differs, other.is_whole) == (True, False)
    assert [(build.digest, build.servers) for build in other.builds] == [
        ("2", ("b", "c")),
        ("1", ("a",)),
    ]
    assert not PullReport(results=(result("a", "m", None),)).differs
