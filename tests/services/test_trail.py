"""One request on its way, by itself: its deadline, and what its receipt tells."""

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest

from ollama_admin.domain.answers import Attempt, Proof, Stats
from ollama_admin.domain.callers import OWNER, Caller, Way
from ollama_admin.domain.keys import Key
from ollama_admin.domain.names import ModelName
from ollama_admin.domain.requests import Request, Route, Terms
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import (
    ModelNotFound,
    RequestCancelled,
    ServerBusy,
    ServerUnreachable,
    StreamInterrupted,
    UpstreamError,
)
from ollama_admin.rules.access import TOKEN
from ollama_admin.rules.proof import Judgement
from ollama_admin.rules.routing import Obstacle, Verdict
from ollama_admin.services.trail import FOR_EVER, Deadline, Trail, passes_on
from tests.rules.rows import server
from tests.rules.test_candidates import NATIVE, candidate

DIGEST = "a" * 64


@dataclass(slots=True, kw_only=True)
class Answer:
    """What is known of an answer on its way. Its numbers tell when they were asked for."""

    is_begun: bool = False
    is_remote: bool = False
    is_estimated: bool = True
    sent_at: float | None = None
    truncated: bool | None = None
    server_started: datetime | None = None
    output_tokens: int | None = 7

    def stats(self, now: float) -> Stats:
        return Stats(total_ms=round(now * 1000), output_tokens=self.output_tokens)


def request(key: Key | None = None) -> Request:
    caller = Caller(way=Way.API, rights=OWNER, client="curl/8", key=key)
    name = ModelName.parse("alpha")
    return Request(name=name, route=Route(model="alpha"), terms=Terms(), caller=caller, id="r-1")


@pytest.fixture
def trail() -> Trail:
    return Trail(request=request(), started=time.monotonic(), deadline=FOR_EVER)


async def test_a_deadline_is_over_from_its_time_on(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(loop, "time", lambda: 100.0)
    deadline = Deadline.after(5.0)
    assert deadline == Deadline(105.0, 5.0)
    assert not deadline.is_over
    monkeypatch.setattr(loop, "time", lambda: 105.0)
    assert deadline.is_over
    monkeypatch.undo()


async def test_a_request_that_may_take_for_ever_has_no_end() -> None:
    assert Deadline.after(None) == FOR_EVER
    assert (FOR_EVER.is_over, FOR_EVER.seconds) == (False, 0)
    assert await FOR_EVER.keep(asyncio.sleep(0, "done")) == "done"


async def test_what_is_done_in_time_is_given_back() -> None:
    assert await Deadline.after(60).keep(asyncio.sleep(0, "done")) == "done"


async def test_a_request_out_of_time_says_how_long_it_had_and_what_to_do() -> None:
    deadline = replace(Deadline.after(0), seconds=2.5)
    with pytest.raises(StreamInterrupted, match=r"timed out after 2\.5 s in the middle"):
        await deadline.keep(asyncio.Event().wait(), lambda: True)
    with pytest.raises(ServerUnreachable) as refused:
        await deadline.keep(asyncio.Event().wait())
    assert refused.value.message == "timed out after 2.5 s"
    assert refused.value.hint == "allow more with --timeout"


@pytest.mark.parametrize("is_begun", [False, True])
def test_it_has_begun_when_a_part_of_an_answer_was_handed_on(trail: Trail, is_begun: bool) -> None:
    assert not trail.has_begun()
    trail.answer = Answer(is_begun=is_begun)
    assert trail.has_begun() is is_begun


def test_a_receipt_of_what_went_nowhere_knows_who_asked_and_how_long_it_took(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 200.0)
    trail.started = 99.5
    receipt = trail.receipt("model_not_found")
    assert (receipt.outcome, receipt.way, receipt.client) == ("model_not_found", Way.API, "curl/8")
    assert (receipt.asked_model, receipt.request_id) == ("alpha", "r-1")
    assert (receipt.model, receipt.server, receipt.server_version) == (None, None, None)
    assert (receipt.digest, receipt.proof, receipt.verified) == (None, None, False)
    assert (receipt.key, receipt.estimated, receipt.truncated) == (None, None, None)
    assert receipt.stats == Stats(total_ms=100_500)
    assert abs((datetime.now(UTC) - receipt.created_at).total_seconds()) < 60


def test_a_receipt_names_who_answered_and_what_was_proven(trail: Trail) -> None:
    trail.candidate = replace(candidate(), version="0.33.0")
    trail.asking(trail.candidate.target.ref)
    trail.answer = Answer(truncated=False)
    trail.judgement = Judgement(proof=Proof.DIGEST, digest=DIGEST)
    trail.stats = Stats(total_ms=5, output_tokens=9)
    receipt = trail.receipt("ok")
    assert (receipt.model, receipt.server_version) == (trail.candidate.name.text, "0.33.0")
    assert (receipt.server, receipt.attempts) == (trail.candidate.target.ref, 1)
    assert (receipt.digest, receipt.proof, receipt.verified) == (DIGEST, Proof.DIGEST, True)
    assert (receipt.stats, receipt.estimated) == (trail.stats, True)
    assert receipt.truncated is False


def test_a_receipt_names_the_key_of_the_request(trail: Trail) -> None:
    trail.request = request(TOKEN)
    assert trail.receipt("ok").key == TOKEN.ref


@pytest.mark.parametrize("proof", [proof for proof in Proof if proof is not Proof.DIGEST])
def test_only_a_digest_verifies(trail: Trail, proof: Proof) -> None:
    trail.judgement = Judgement(proof=proof, digest=DIGEST)
    receipt = trail.receipt("ok")
    assert (receipt.proof, receipt.verified) == (proof, False)


def test_an_answer_that_broke_off_has_the_numbers_of_that_moment(trail: Trail) -> None:
    trail.answer = Answer(output_tokens=None)
    before = round(time.monotonic() * 1000)
    receipt = trail.receipt("cancelled")
    assert receipt.stats is not None
    assert before <= receipt.stats.total_ms <= round(time.monotonic() * 1000)
    assert receipt.estimated is None  # nothing was counted


def test_a_failed_try_is_kept_with_its_time(trail: Trail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 200.0)
    error = ServerBusy("no more")
    trail.failed(candidate(), error, 99.5)
    (attempt,) = trail.attempts
    assert attempt == Attempt(server=candidate().target.ref, error=error, ms=100_500)


def test_the_time_to_the_server_is_told_without_the_wait_for_a_slot(trail: Trail) -> None:
    trail.started = 100.0
    assert (trail.added, trail.receipt("ok").queued_ms) == (None, None)
    trail.answer = Answer()
    assert (trail.added, trail.receipt("ok").queued_ms) == (None, None)
    trail.answer = Answer(sent_at=102.5)
    assert trail.added == 2.5
    trail.waited = 2.0
    assert (trail.added, trail.receipt("ok").queued_ms) == (0.5, 2500)
    trail.waited = 2.6
    assert trail.added == 0
    trail.failed(candidate(), ServerBusy("no more"), 100.0)
    assert trail.added is None


async def test_a_request_is_cancelled_once_and_says_so(trail: Trail) -> None:
    trail.cancel()
    assert not trail.is_cancelled
    trail.require_no_order()
    task = trail.task = asyncio.current_task()
    assert task is not None
    trail.require_no_order()
    trail.cancel()
    trail.cancel()
    assert (trail.is_cancelled, task.cancelling()) == (True, 1)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.sleep(0)
    with pytest.raises(RequestCancelled) as said:
        trail.require_no_order()
    assert (said.value.message, said.value.hint) == (
        "the request was cancelled",
        "ask who manages this fleet why",
    )
    assert task.cancelling() == 0


def test_a_receipt_says_why_each_server_was_passed_over(trail: Trail) -> None:
    assert trail.receipt("ok").passed_over is None
    full, failed, taken, later = (
        candidate(replace(NATIVE, ref=ServerRef(id=id_, name=name, url="http://h")))
        for id_, name in enumerate(("full", "failed", "taken", "later"))
    )
    full = replace(full, server=server(0, max_concurrent=3))
    by_url = replace(later, target=replace(NATIVE, ref=replace(later.target.ref, name="by-url")))
    trail.skip([full, failed, by_url, taken, later], [full, by_url, taken, later], taken)
    trail.verdicts = [
        Verdict(server=server(8, name="off"), obstacle=Obstacle.INACTIVE, why="it is inactive"),
        Verdict(server=server(9, name="able")),
    ]
    trail.failures = {"taken": "it is away"}
    assert trail.receipt("ok").passed_over == {
        "off": "it is inactive",
        "full": "all its 3 slots are in use",
        "failed": "it failed lately, and is asked last",
        "by-url": "it failed lately, and is asked last",
        "taken": "it is away",
    }


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (ModelNotFound("no such model"), True),
        (UpstreamError("it is busy", may_pass_on=True), True),
        (UpstreamError("it broke off"), False),
    ],
)
def test_another_server_is_asked_where_no_model_can_be_at_work(
    error: UpstreamError | ModelNotFound, passes: bool
) -> None:
    assert passes_on(error) is passes
