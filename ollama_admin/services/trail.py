"""One request on its way: how long it may take, and what its receipt will tell."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol, Self, TypeVar

from ollama_admin.domain.answers import Attempt, Proof, Stats
from ollama_admin.domain.receipts import Receipt
from ollama_admin.domain.requests import Request
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import (
    AdminError,
    ModelNotFound,
    RequestCancelled,
    ServerUnreachable,
    StreamInterrupted,
    UpstreamError,
)
from ollama_admin.rules.candidates import Candidate
from ollama_admin.rules.proof import Judgement
from ollama_admin.rules.routing import Verdict

T = TypeVar("T")


class Carried(Protocol):
    """What is asked of an answer while it is carried. Times are of one monotonic clock."""

    @property
    def is_begun(self) -> bool:
        """Whether a part of it was handed on."""
        ...

    @property
    def is_remote(self) -> bool: ...

    @property
    def server_started(self) -> datetime | None:
        """When the server took the request on, by its own clock; None where it does not tell."""

    @property
    def is_estimated(self) -> bool:
        """Whether tokens are not told but counted."""
        ...

    @property
    def sent_at(self) -> float | None:
        """When it was about to be asked for; None before."""
        ...

    @property
    def truncated(self) -> bool | None:
        """Whether the server cut the prompt, as far as the answer proved it; None is not known."""
        ...

    def stats(self, now: float) -> Stats: ...


def never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Deadline:
    """The end of the time that a request may take as a whole: `time` by the running loop's clock,
    None for a request that may take for ever. `seconds` is how long that was at the beginning.
    """

    time: float | None
    seconds: float = 0

    @classmethod
    def after(cls, seconds: float | None) -> Self:
        if seconds is None:
            return cls(None)
        return cls(asyncio.get_running_loop().time() + seconds, seconds)

    @property
    def is_over(self) -> bool:
        return self.time is not None and asyncio.get_running_loop().time() >= self.time

    async def keep(self, work: Awaitable[T], has_begun: Callable[[], bool] = never) -> T:
        """Await `work` until then.

        Raises ServerUnreachable when the time is over, and StreamInterrupted when it is after a
        part of the answer was handed on, which `has_begun` says.
        """
        if self.time is None:
            return await work
        try:
            async with asyncio.timeout_at(self.time):
                return await work
        except TimeoutError as exc:
            message = f"timed out after {self.seconds:g} s"
            hint = "allow more with --timeout"
            if has_begun():
                raise StreamInterrupted(f"{message} in the middle of the answer", hint) from exc
            raise ServerUnreachable(message, hint) from exc


FOR_EVER = Deadline(None)


@dataclass(slots=True, kw_only=True)
class Trail:
    """One request on its way, as its receipt tells it.

    `asked` are the servers that were tried, in order, the last one perhaps without success; `stats`
    are those of a whole answer. `unproven` is the attempt whose build is looked at behind the
    answer. `verdicts` are those of the plan, `skipped` why able servers were not taken that come
    before the one that was, `failures` how those failed that were: as text, since an error keeps
    all that was at hand where it was raised, answers too. `waited` is seconds that it waited for
    slots. `started` is by the monotonic clock, `came_at` the same by the other one; `task` carries
    it out.
    """

    request: Request
    started: float
    deadline: Deadline
    asked: dict[ServerRef, None] = field(default_factory=dict)
    candidate: Candidate | None = None
    answer: Carried | None = None
    stats: Stats | None = None
    judgement: Judgement | None = None
    unproven: Any = None
    attempts: list[Attempt] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    verdicts: Sequence[Verdict] = ()
    skipped: Mapping[str, str] | None = None
    task: asyncio.Task[Any] | None = None
    is_cancelled: bool = False
    came_at: float = field(default_factory=time.time)
    waited: float = 0.0

    @property
    def added(self) -> float | None:
        """Seconds from its arrival until it was sent, without its wait for a slot; None where it
        was not sent, or where another server failed before.
        """
        if self.answer is None or self.answer.sent_at is None or self.attempts:
            return None
        return max(0.0, self.answer.sent_at - self.started - self.waited)

    def asking(self, server: ServerRef) -> None:
        self.asked[server] = None

    def has_begun(self) -> bool:
        """Whether a part of the answer was handed on."""
        return self.answer is not None and self.answer.is_begun

    def cancel(self) -> None:
        """End it, on somebody's order."""
        if self.task is not None and not self.is_cancelled:
            self.is_cancelled = True
            self.task.cancel()

    def require_no_order(self) -> None:
        """Raise RequestCancelled where that is why its task was cancelled."""
        if self.is_cancelled and self.task is not None:
            self.task.uncancel()
            raise RequestCancelled("the request was cancelled", "ask who manages this fleet why")

    def failed(self, candidate: Candidate, error: AdminError, began: float) -> None:
        ms = round((time.monotonic() - began) * 1000)
        self.attempts.append(Attempt(server=candidate.target.ref, error=error, ms=ms))

    def skip(
        self, candidates: Sequence[Candidate], well: Sequence[Candidate], taken: Candidate
    ) -> None:
        """Keep why those candidates were not taken that come before the one that was: `well` are
        those that have not failed lately.
        """
        reasons: dict[str, str] = {}
        for candidate in candidates[: candidates.index(taken)]:
            server = candidate.server
            why = "it failed lately, and is asked last"
            if server is not None and candidate in well:
                why = f"all its {server.max_concurrent} slots are in use"
            reasons[str(candidate.target.ref)] = why
        self.skipped = reasons

    def receipt(self, outcome: str) -> Receipt:
        now = time.monotonic()
        model, version, digest, proven = None, None, None, None
        stats = self.stats or Stats(total_ms=round((now - self.started) * 1000))
        if self.candidate is not None:
            model, version = self.candidate.name.text, self.candidate.version
        if self.answer is not None and self.stats is None:
            stats = self.answer.stats(now)
        if self.judgement is not None:
            digest, proven = self.judgement.digest, self.judgement.proof
        caller = self.request.caller
        return Receipt(
            created_at=datetime.now(UTC),
            way=caller.way,
            asked_model=self.request.route.model,
            model=model,
            server=next(reversed(self.asked), None),
            digest=digest,
            proof=proven,
            verified=proven is Proof.DIGEST,
            outcome=outcome,
            attempts=len(self.asked),
            stats=stats,
            request_id=self.request.id,
            key=None if caller.key is None else caller.key.ref,
            client=caller.client,
            server_version=version,
            estimated=self._is_estimated(stats),
            truncated=None if self.answer is None else self.answer.truncated,
            queued_ms=self._queued_ms(),
            passed_over=self._passed_over(),
        )

    def _queued_ms(self) -> int | None:
        if self.answer is None or self.answer.sent_at is None:
            return None
        return round((self.answer.sent_at - self.started) * 1000)

    def _passed_over(self) -> dict[str, str] | None:
        """Servers by name, and why each was not taken, or how it failed."""
        reasons: dict[str, str] = {}
        for verdict in self.verdicts:
            if verdict.obstacle is not None:
                reasons[verdict.server.name] = verdict.why
        if self.skipped is not None:
            reasons |= self.skipped
        return reasons | self.failures or None

    def _is_estimated(self, stats: Stats) -> bool | None:
        if self.answer is None or stats.output_tokens is None:
            return None
        return self.answer.is_estimated


def passes_on(error: UpstreamError | ModelNotFound) -> bool:
    """Whether the server did not take the request on, so that another one may be asked."""
    return isinstance(error, ModelNotFound) or error.may_pass_on
