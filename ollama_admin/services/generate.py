"""One answer: send exactly what was asked to a server that the rules allow, accept nothing else."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Self, TypeVar

from ollama_admin.domain import names
from ollama_admin.domain.answers import Attempt, Piece, Proof, Reply, Stats
from ollama_admin.domain.callers import Way
from ollama_admin.domain.digests import short
from ollama_admin.domain.models import ListedModel
from ollama_admin.domain.receipts import Receipt
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.domain.servers import ApiVersion
from ollama_admin.errors import (
    AdminError,
    DatabaseUnavailable,
    ModelMismatch,
    ModelNotFound,
    ServerUnreachable,
    StreamInterrupted,
    UpstreamError,
)
from ollama_admin.rules import routing
from ollama_admin.rules.answers import Answer
from ollama_admin.rules.proof import Judgement, judge
from ollama_admin.rules.request_checks import check, unknown_options
from ollama_admin.rules.routing import Demand
from ollama_admin.services.leases import Lease
from ollama_admin.services.recorder import Recorder
from ollama_admin.services.selection import Choice, Selection
from ollama_admin.services.servers import Connect
from ollama_admin.services.slots import Slots
from ollama_admin.services.truncation import truncated

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Trail:
    """One request on its way, as its reply and its receipt tell it; `deadline` is a time of the
    running loop.
    """

    request: GenerateRequest
    started: float
    deadline: float | None
    choice: Choice | None = None
    answer: Answer | None = None
    judgement: Judgement | None = None
    attempts: list[Attempt] = field(default_factory=list)
    outcome: str | None = "error"

    def failed(self, choice: Choice, error: AdminError, began: float) -> None:
        ms = round((time.monotonic() - began) * 1000)
        self.attempts.append(Attempt(server=choice.target.ref, error=error, ms=ms))

    def receipt(self, way: Way, outcome: str) -> Receipt:
        choice, judged, now = self.choice, self.judgement, time.monotonic()
        return Receipt(
            created_at=datetime.now(UTC),
            way=way,
            asked_model=self.request.model,
            model=None if choice is None else choice.model,
            server=None if choice is None else choice.target.ref,
            digest=None if judged is None else judged.digest,
            proof=None if judged is None else judged.proof,
            verified=judged is not None and judged.proof is Proof.DIGEST,
            outcome=outcome,
            attempts=len(self.attempts) + (choice is not None),
            stats=self.answer.stats(now) if self.answer else _only_total(now - self.started),
        )


class _PlaceLostError(Exception):
    """The place at the server ran out before anything was sent: this process was stopped for a
    while.
    """


class Generation:
    """`way` is the front door by which requests come in; every one of them leaves a receipt
    there.
    """

    def __init__(
        self,
        selection: Selection,
        slots: Slots,
        recorder: Recorder,
        connect: Connect,
        note: Callable[[str], None],
        way: Way,
    ) -> None:
        self._selection = selection
        self._slots = slots
        self._recorder = recorder
        self._connect = connect
        self._note = note
        self._way = way

    async def run(self, request: GenerateRequest) -> AsyncGenerator[Piece | Reply, None]:
        """The pieces of the answer as they arrive, then the reply. Closing the generator cancels
        upstream.
        """
        check(request)
        started = time.monotonic()
        deadline = (
            None if request.timeout is None else asyncio.get_running_loop().time() + request.timeout
        )
        trail = Trail(request=request, started=started, deadline=deadline)
        try:
            async with aclosing(self._answer(trail)) as events:
                async for event in events:
                    yield event
            trail.outcome = "ok"
        except DatabaseUnavailable:
            trail.outcome = None  # it would take no receipt either
            raise
        except AdminError as exc:
            trail.outcome = exc.code
            raise
        except (asyncio.CancelledError, GeneratorExit):
            trail.outcome = "cancelled"
            raise
        finally:
            if trail.outcome is not None:
                self._recorder.record(trail.receipt(self._way, trail.outcome))

    async def _answer(self, trail: Trail) -> AsyncGenerator[Piece | Reply, None]:
        """The answer of the first choice that takes the request on; once it has begun, of no
        other.
        """
        plan = await _by(trail.deadline, self._selection.plan(trail.request))
        for key in unknown_options(trail.request.options):
            self._note(f"option {key} is not one that Ollama is known to read; it is sent as given")
        choices = list(plan.choices)
        while True:
            choice, lease = await _by(trail.deadline, self._place(trail.request, choices))
            began = time.monotonic()
            trail.choice = choice
            try:
                async with aclosing(
                    self._answer_of(trail, choice, lease, plan.demand_on(choice))
                ) as events:
                    async for event in events:
                        yield event
            except _PlaceLostError:
                continue
            except (UpstreamError, ModelNotFound) as exc:
                choices.remove(choice)
                if not choices or (isinstance(exc, UpstreamError) and not exc.may_pass_on):
                    raise
                trail.failed(choice, exc, began)
                self._note(f"{exc.message}; another server that holds the same build is asked")
            else:
                return

    async def _place(
        self, request: GenerateRequest, choices: list[Choice]
    ) -> tuple[Choice, Lease | None]:
        """The first choice that has room, and the place there; a dynamic server has no limit that
        we know.
        """
        servers = {
            choice.server.id: choice.server for choice in choices if choice.server is not None
        }
        if not servers:
            return choices[0], None
        by_url = request.server_url is not None
        lease = await self._slots.first_free(
            list(servers.values()), wait=request.wait, even_inactive=by_url
        )
        return next(
            c for c in choices if c.server is not None and c.server.id == lease.server_id
        ), lease

    async def _answer_of(
        self, trail: Trail, choice: Choice, lease: Lease | None, demand: Demand | None
    ) -> AsyncGenerator[Piece | Reply, None]:
        request, endpoint = trail.request, self._connect(choice.target, None)
        answer = trail.answer = _new_answer(trail, choice)
        async with lease or nullcontext():
            before = await _by(trail.deadline, self._look(request, choice, demand, endpoint))
            if lease is not None and not lease.is_trusted:
                raise _PlaceLostError
            if choice.is_remote:
                self._note(
                    f"model {choice.model} answers from a remote host: the prompt leaves the "
                    "fleet, as allowed"
                )
            async with aclosing(endpoint.generate(request, choice.model)) as events:
                while not answer.done:
                    event = await _by(
                        trail.deadline, anext(events, None), begun=answer.first_at is not None
                    )
                    if event is None:
                        break
                    if lease is not None:
                        lease.touch()
                    piece = answer.take(event, time.monotonic())
                    if piece is not None:
                        yield piece
            answer.require_end()
            ended = time.monotonic()
        cut = await truncated(request, choice, answer, endpoint, self._note)
        trail.judgement = await self._judge(trail, choice, demand, before, endpoint)
        self._accept(choice, demand, trail.judgement)
        yield _reply(trail, choice, answer, trail.judgement, truncated=cut, ended=ended)

    async def _look(
        self, request: GenerateRequest, choice: Choice, demand: Demand | None, endpoint: "Endpoint"
    ) -> ListedModel | None:
        """What the server lists under the name before anything is sent; asked where a build is
        demanded or none known.

        Raises ModelMismatch when it is not the demanded build.
        """
        if demand is None:
            if (
                choice.stored_digest
                or choice.listed_now
                or request.no_verify
                or not choice.shows_digests
            ):
                return choice.listed_now
            try:
                return await _listed(choice, endpoint)
            except UpstreamError:  # nobody insists on it
                return None
        found = await _listed(choice, endpoint)
        if found is None:
            raise ModelNotFound(
                f"server {choice.target.ref} does not list model {choice.model!r} any more"
            )
        if not demand.allows(found.digest):
            raise ModelMismatch(
                f"model {choice.model!r} on server {choice.target.ref} is build "
                f"{short(found.digest)} now, "
                f"demanded is {demand}; nothing was sent to it",
                "read again what it holds: ollama-admin discover",
                may_pass_on=True,
            )
        return found

    async def _judge(
        self,
        trail: Trail,
        choice: Choice,
        demand: Demand | None,
        before: ListedModel | None,
        endpoint: "Endpoint",
    ) -> Judgement:
        """The digest step: what the server lists right after the last token."""
        answer = trail.answer
        if choice.is_remote or answer is None or answer.is_remote:
            return Judgement(proof=Proof.REMOTE)
        if (trail.request.no_verify and demand is None) or not choice.shows_digests:
            return Judgement(proof=Proof.NAME)
        try:
            after = await _by(trail.deadline, _listed(choice, endpoint))
        except UpstreamError:
            return Judgement(proof=Proof.UNREAD)
        known = before.digest if demand is not None and before is not None else choice.stored_digest
        return judge(
            choice.model, known=known, before=before, after=after, started=answer.server_started
        )

    def _accept(self, choice: Choice, demand: Demand | None, judged: Judgement) -> None:
        """Tell what the digest step showed; raise ModelMismatch when it is not what was
        demanded.
        """
        told = _told(choice, judged)
        if demand is not None and judged.proof is not Proof.DIGEST:
            raise ModelMismatch(
                f"{told or 'a remote host answered'}; demanded was {demand}",
                "what was shown is not accepted; ask again",
            )
        if told is not None:
            self._note(told)


async def _listed(choice: Choice, endpoint: "Endpoint") -> ListedModel | None:
    """What the server itself lists under the name; None for none, or for several."""
    listed = await endpoint.models(is_ollama=True)
    found = [model for model in listed if routing.means(model.name, choice.model, is_ollama=True)]
    return found[0] if len(found) == 1 else None


def _told(choice: Choice, judged: Judgement) -> str | None:
    """What a person should know of a build that is not proven."""
    model = f"model {choice.model} on server {choice.target.ref}"
    if judged.drift is not None:
        before, after = short(judged.drift.before), short(judged.drift.after)
        command = f"discover {choice.server.id}" if choice.server else "discover"
        return (
            f"{model} is build {after}, known was {before}: it was moved; to accept it run: "
            f"ollama-admin {command}"
        )
    if judged.proof is Proof.CHANGED:
        return f"{model} was moved or removed while it answered: which build answered is not known"
    if judged.proof is Proof.UNREAD:
        return (
            f"{model}: its list could not be read after the answer: which build answered is "
            "not known"
        )
    return None


def _new_answer(trail: Trail, choice: Choice) -> Answer:
    accepted = {choice.model}
    if choice.is_remote and trail.request.allow_remote:
        accepted.add(names.without_cloud(choice.model))
    return Answer(
        server=choice.target.ref,
        model=choice.model,
        accepted=frozenset(accepted),
        needs_reason=choice.target.api_version is ApiVersion.V1,
        allow_remote=trail.request.allow_remote,
        started=trail.started,
        verbatim=trail.request.verbatim,
    )


def _reply(
    trail: Trail,
    choice: Choice,
    answer: Answer,
    judged: Judgement,
    *,
    truncated: bool | None,
    ended: float,
) -> Reply:
    return Reply(
        response="".join(answer.response),
        thinking="".join(answer.thinking),
        model=choice.model,
        server=choice.target.ref,
        digest=judged.digest,
        verified=judged.proof is Proof.DIGEST,
        proof=judged.proof,
        drift=judged.drift,
        truncated=truncated,
        done_reason=answer.done_reason,
        stats=answer.stats(ended),
        attempts=tuple(trail.attempts),
        tool_calls=tuple(answer.tool_calls),
        record=answer.record,
    )


def _only_total(seconds: float) -> Stats:
    return Stats(
        total_ms=round(seconds * 1000),
        load_ms=None,
        prompt_tokens=None,
        output_tokens=None,
        tokens_per_second=None,
        time_to_first_token_ms=None,
    )


async def _by(deadline: float | None, work: Awaitable[T], *, begun: bool = False) -> T:
    """Await `work` until `deadline`, a time of the running loop; `begun` says that a part of the
    answer was shown.
    """
    if deadline is None:
        return await work
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError as exc:
        message, hint = "the time given by the timeout is over", "give it more with --timeout"
        if begun:
            raise StreamInterrupted(f"{message} in the middle of the answer", hint) from exc
        raise ServerUnreachable(message, hint) from exc


class Stream:
    """Pieces of one answer; `reply` is there when they have all come."""

    def __init__(self, events: AsyncGenerator[Piece | Reply, None]) -> None:
        self._events = events
        self._reply: Reply | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._events.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        event = await anext(self._events)
        while isinstance(event, Reply):
            self._reply = event
            event = await anext(self._events)
        return event

    @property
    def reply(self) -> Reply:
        """The accepted answer; RuntimeError before the last piece was read."""
        if self._reply is None:
            raise RuntimeError("the answer has not been read to its end")
        return self._reply
