"""One request on its way to a server that may answer it, whatever it carries there.

Choose, take a slot, look, carry, judge, accept, record; and where a server is away before anything
came of it, pass the request on to the next one that holds the same build.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from ollama_admin.domain.answers import Attempt, Proof, Stats
from ollama_admin.domain.callers import Way
from ollama_admin.domain.models import ListedModel, Listing
from ollama_admin.domain.requests import Request
from ollama_admin.domain.servers import Server
from ollama_admin.domain.values import made_often
from ollama_admin.errors import (
    AdminError,
    DatabaseUnavailable,
    ModelNotFound,
    UpstreamError,
)
from ollama_admin.rules.candidates import Candidate, is_demanded, without_demand
from ollama_admin.rules.proof import Judgement, judge
from ollama_admin.services import proof
from ollama_admin.services.leases import Lease
from ollama_admin.services.lists import Lists
from ollama_admin.services.loads import Loads
from ollama_admin.services.recorder import Recorder
from ollama_admin.services.selection import Plan, Selection
from ollama_admin.services.servers import Connect
from ollama_admin.services.slots import Slots
from ollama_admin.services.trail import FOR_EVER, Carried, Deadline, Trail, never, passes_on

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint

T = TypeVar("T")
A = TypeVar("A", bound="Carried")


class Carrier(Generic[A]):
    """What goes to a server, and how its answer `A` comes back; its parts go to whoever asked for
    it as they come, by a way that is the carrier's own.

    Without `proves`, nothing is asked of the server's list after the answer. With `proves_behind`
    nobody waits for what it says but who demands a build; it then stands in the receipt alone.
    """

    proves = True
    proves_behind = False

    def begin(self, candidate: Candidate, started: float) -> A:
        """The answer of a candidate, before anything is sent to it."""
        raise NotImplementedError

    async def carry(self, candidate: Candidate, endpoint: "Endpoint", answer: A) -> None:
        """Send, and hand on the parts of the answer, to its proper end or an error. Before the
        first part the answer is told that it `is_begun`.
        """
        raise NotImplementedError

    async def examine(self, candidate: Candidate, endpoint: "Endpoint", answer: A) -> None:
        """Look at an accepted answer once more; it is not lost where that is an UpstreamError."""

    async def finish(self, answer: A) -> None:
        """Hand on what was kept back until the answer was accepted."""


@made_often
class Accepted(Generic[A]):
    """A whole answer, with what was learnt of the build that gave it; `stats` at its end.

    `judgement` is that of an unread list where the look comes behind the answer.
    """

    candidate: Candidate
    answer: A
    judgement: Judgement
    attempts: tuple[Attempt, ...]
    stats: Stats


@dataclass(slots=True, kw_only=True)
class Try(Generic[A]):
    """One candidate that is asked: under which slot, and what it answers.

    `lease` is None for a dynamic server. `before` is what it listed before sending, if read.
    """

    candidate: Candidate
    lease: Lease | None
    endpoint: "Endpoint"
    answer: A
    before: ListedModel | None = None


class _LeaseLostError(Exception):
    """The slot was lost before anything was sent: this process was stopped for a while."""


class Dispatch:
    """Every request leaves a receipt, unless the database is away, which could not take it."""

    def __init__(
        self,
        selection: Selection,
        slots: Slots,
        recorder: Recorder,
        lists: Lists,
        loads: Loads,
        connect: Connect,
    ) -> None:
        self._selection = selection
        self._slots = slots
        self._recorder = recorder
        self._lists = lists
        self._loads = loads
        self._connect = connect

    async def run(
        self, request: Request, carrier: Carrier[A], plan: Plan | None = None
    ) -> Accepted[A]:
        """The accepted answer, whose parts were handed on as they came. Without a plan one is made.
        Cancelling it ends the work upstream.
        """
        deadline = FOR_EVER
        if request.terms.timeout is not None:
            deadline = Deadline.after(request.terms.timeout)
        started, task = time.monotonic(), asyncio.current_task()
        trail = Trail(request=request, started=started, deadline=deadline, task=task)
        self._recorder.running[id(trail)] = trail
        outcome: str | None = "error"
        try:
            accepted = await self._first_answer(trail, carrier, plan)
            await carrier.finish(accepted.answer)
            outcome = "ok"
        except DatabaseUnavailable:
            outcome = None
            raise
        except AdminError as exc:
            outcome = exc.code
            raise
        except asyncio.CancelledError:
            outcome = "cancelled"
            trail.require_no_order()
            raise
        finally:
            del self._recorder.running[id(trail)]
            if outcome is not None:
                self._record(trail, outcome)
        return accepted

    def _record(self, trail: Trail, outcome: str) -> None:
        """Have the receipt written; where a look at the build is still due, behind that."""
        attempt = trail.unproven
        if attempt is None:
            self._recorder.record(trail.receipt(outcome), trail)
            return

        def conclude(listing: Listing | None) -> None:
            trail.judgement = _judgement(attempt, listing)
            self._recorder.record(trail.receipt(outcome), trail)

        self._lists.behind(attempt.candidate.target.ref, attempt.endpoint, conclude)

    async def _first_answer(
        self, trail: Trail, carrier: Carrier[A], plan: Plan | None
    ) -> Accepted[A]:
        """The answer of the first candidate that takes the request on, and then of no other."""
        candidates = await self._candidates(trail, carrier, plan)
        while True:
            candidate, lease = await _in_time(trail, self._slot(trail, candidates))
            began = time.monotonic()
            try:
                with self._running(candidate, candidates):
                    accepted = await self._answer_of(trail, candidate, lease, carrier)
            except _LeaseLostError:
                continue
            except (UpstreamError, ModelNotFound) as exc:
                candidates.remove(candidate)
                self._loads.health.failed(candidate, exc, trail.deadline)
                said = trail.failures[str(candidate.target.ref)] = exc.summary
                if trail.has_begun() or not candidates or not passes_on(exc):
                    raise
                trail.failed(candidate, exc, began)
                note = f"{said}; asking another server that holds the same build"
                trail.request.caller.note(note)
            else:
                self._loads.health.good(candidate)
                return accepted

    async def _candidates(
        self, trail: Trail, carrier: Carrier[A], plan: Plan | None
    ) -> list[Candidate]:
        """Who may be asked, best first; raises the refusal where nobody may."""
        is_old = plan is not None
        if plan is None:
            plan = await _in_time(trail, self._selection.plan(trail.request, trail.asking))
        if trail.request.caller.detail is not None:
            for line in plan.lines():
                trail.request.caller.detail(line)
        trail.verdicts = plan.verdicts
        if plan.refusal is not None:
            raise plan.refusal.with_traceback(None)  # it may be kept, and raised again
        candidates = self._in_order(trail.request, plan.candidates, is_old=is_old)
        if not carrier.proves:
            candidates = without_demand(candidates)
        if len(candidates) == 1:  # who fails if it has no slot
            trail.asked[candidates[0].target.ref] = None
        return candidates

    def _running(
        self, candidate: Candidate, candidates: Sequence[Candidate]
    ) -> AbstractContextManager[None]:
        """For the time of an answer, others that could be asked instead prefer this server."""
        if len(candidates) < 2:
            return nullcontext()
        return self._loads.running(candidate)

    def _in_order(
        self, request: Request, candidates: Sequence[Candidate], *, is_old: bool
    ) -> list[Candidate]:
        """The candidates in the order of now; the rows of an old plan tell no slots in use. Only
        for a service, which is asked again, servers are read.
        """
        if len(candidates) < 2:
            return list(candidates)
        if request.caller.way is Way.API:
            self._loads.asked(candidates)
        in_flight: dict[int, int] = {}
        for candidate in candidates:
            if candidate.server is not None:
                in_flight[candidate.server.id] = self._at_work(candidate.server, is_old=is_old)
        return list(self._loads.ordered(candidates, request.affinity, in_flight))

    def _at_work(self, server: Server, *, is_old: bool) -> int:
        """How many requests run at a server: of this process, where its row is old; else of all."""
        if is_old:
            return self._slots.in_flight(server.id)
        return max(0, server.slots_in_use - self._slots.kept(server.id))

    def _begin(
        self,
        trail: Trail,
        candidate: Candidate,
        lease: Lease | None,
        carrier: Carrier[A],
    ) -> Try[A]:
        target, trace = candidate.target, trail.request.caller.trace
        trail.asked[target.ref] = None
        if trace is not None:
            target = target.traced(trace.header)
        endpoint = self._connect(target, None)
        answer = carrier.begin(candidate, trail.started)
        trail.candidate, trail.answer = candidate, answer
        return Try(candidate=candidate, lease=lease, endpoint=endpoint, answer=answer)

    async def _slot(
        self, trail: Trail, all_candidates: list[Candidate]
    ) -> tuple[Candidate, Lease | None]:
        """The first candidate that has room, and its slot; a dynamic server has no known limit."""
        request, candidates = trail.request, all_candidates
        if len(candidates) > 1:
            candidates = await self._loads.health.first(candidates, request.terms.wait)
        servers = [candidate.server for candidate in candidates if candidate.server is not None]
        if not servers:
            return candidates[0], None
        caller = request.caller
        key, weight = (str(caller.key.id), caller.key.weight) if caller.key else (None, 1)
        began = time.monotonic()
        lease = await self._slots.first_free(
            servers,
            wait=request.terms.wait,
            key=key,
            weight=weight,
            even_inactive=caller.rights.inactive_by_url and request.route.server_url is not None,
            note=caller.note,
        )
        trail.waited += time.monotonic() - began
        if len(candidates) == 1:
            return candidates[0], lease
        number = [server.id for server in servers].index(lease.server.id)
        if candidates[number] is not all_candidates[0]:
            trail.skip(all_candidates, candidates, candidates[number])
        return candidates[number], lease

    async def _answer_of(
        self, trail: Trail, candidate: Candidate, lease: Lease | None, carrier: Carrier[A]
    ) -> Accepted[A]:
        async with lease or nullcontext():
            attempt = self._begin(trail, candidate, lease, carrier)
            await self._look(trail, carrier, attempt)
            carrying = carrier.carry(candidate, attempt.endpoint, attempt.answer)
            await _in_time(trail, carrying, trail.has_begun)
            stats = trail.stats = attempt.answer.stats(time.monotonic())
        return await self._accept(trail, carrier, attempt, stats)

    async def _accept(
        self, trail: Trail, carrier: Carrier[A], attempt: Try[A], stats: Stats
    ) -> Accepted[A]:
        """What a whole answer comes to, by the build that gave it."""
        candidate = attempt.candidate
        judgement = _without_list(trail, carrier, attempt)
        if judgement is None and carrier.proves_behind and not is_demanded(candidate):
            trail.unproven = attempt
            return self._accepted(trail, attempt, Judgement(proof=Proof.UNREAD), stats)
        if judgement is None:
            judgement = await self._judge(trail, attempt)
        trail.judgement = judgement
        doubt = proof.require(candidate, judgement)
        if judgement.proof is Proof.NAME and carrier.proves and not trail.request.terms.no_verify:
            doubt = self._lists.without_digests(candidate.target.ref)
        if doubt is not None:
            trail.request.caller.note(doubt)
        with suppress(UpstreamError):  # the answer is whole
            await _in_time(trail, carrier.examine(candidate, attempt.endpoint, attempt.answer))
        return self._accepted(trail, attempt, judgement, stats)

    @staticmethod
    def _accepted(trail: Trail, attempt: Try[A], judgement: Judgement, stats: Stats) -> Accepted[A]:
        return Accepted(
            candidate=attempt.candidate,
            answer=attempt.answer,
            judgement=judgement,
            attempts=tuple(trail.attempts),
            stats=stats,
        )

    async def _look(self, trail: Trail, carrier: Carrier[A], attempt: Try[A]) -> None:
        """The last look before something is sent: is it the build, is the slot ours still."""
        candidate, terms = attempt.candidate, trail.request.terms
        attempt.before = await _in_time(
            trail,
            proof.before_sending(
                candidate,
                terms,
                attempt.endpoint,
                self._lists,
                may_be_recent=carrier.proves_behind,
            ),
        )
        if attempt.lease is not None and not attempt.lease.is_trusted:
            raise _LeaseLostError
        if candidate.is_remote:
            trail.request.caller.note(
                f"model {candidate.name} answers from a remote host: the prompt leaves the fleet, "
                "as allowed"
            )

    async def _judge(self, trail: Trail, attempt: Try[A]) -> Judgement:
        """The digest step: what the server lists right after the last token."""
        looking = self._lists.now(attempt.candidate.target.ref, attempt.endpoint)
        try:
            listing = await _in_time(trail, looking)
        except UpstreamError:
            return Judgement(proof=Proof.UNREAD)
        return _judgement(attempt, listing)


async def _in_time(trail: Trail, work: Awaitable[T], has_begun: Callable[[], bool] = never) -> T:
    """Await `work` within the time that the request has."""
    if trail.deadline.time is None:
        return await work
    return await trail.deadline.keep(work, has_begun)


def _without_list(trail: Trail, carrier: Carrier[A], attempt: Try[A]) -> Judgement | None:
    """What can be said of the build without a look at the server's list; None where a look is
    due.
    """
    if not carrier.proves:
        return Judgement(proof=Proof.NAME)
    candidate = attempt.candidate
    if candidate.is_remote or attempt.answer.is_remote:
        return Judgement(proof=Proof.REMOTE)
    looks = candidate.demand is not None or not trail.request.terms.no_verify
    if not looks or not candidate.shows_digests:
        return Judgement(proof=Proof.NAME)
    return None


def _judgement(attempt: Try[A], listing: Listing | None) -> Judgement:
    """What a list after the answer says of its build; None for one that could not be read."""
    if listing is None:
        return Judgement(proof=Proof.UNREAD)
    candidate, before = attempt.candidate, attempt.before
    known = candidate.stored_digest
    if candidate.demand is not None and before is not None:
        known = before.digest
    return judge(
        candidate.name.text,
        known=known,
        before=before,
        after=listing.only(candidate.name),
        started=attempt.answer.server_started,
    )
