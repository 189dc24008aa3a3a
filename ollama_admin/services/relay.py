"""One relayed call: the client's bytes to the server that holds the model, its answer's bytes back.

Nothing is parsed and written again. The one change is to a prompt for Ollama's own paths: the
server is asked not to cut it.
"""

import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from ollama_admin.domain.answers import Stats
from ollama_admin.domain.names import without_cloud
from ollama_admin.domain.relayed import Headers, RelayedCall, RelayedHead
from ollama_admin.domain.requests import Question, Request
from ollama_admin.domain.servers import ApiVersion
from ollama_admin.errors import (
    AdminError,
    ModelMismatch,
    ServerUnreachable,
    StreamInterrupted,
    UpstreamError,
)
from ollama_admin.ollama.faults import reason_of
from ollama_admin.ollama.relaying import relayed
from ollama_admin.ollama.response import end_of
from ollama_admin.rules import answers
from ollama_admin.rules.answers import NO_ANSWER
from ollama_admin.rules.candidates import Candidate, is_demanded
from ollama_admin.services.dispatch import Carrier, Dispatch
from ollama_admin.services.plans import Planned
from ollama_admin.services.truncation import truncated

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint
    from ollama_admin.ollama.passing import Passing

# What asks an Ollama server to refuse a prompt that does not fit; a later key of the client wins.
_WHOLE = {
    "/api/generate": b'"truncate":false,"shift":false,',
    "/api/chat": b'"truncate":false,"shift":false,',
    "/api/embed": b'"truncate":false,',
}
LONG = 2**19  # bytes of a piece that only a line makes which is that long
BYTES_OF_A_TOKEN = 4  # about, of a body
# Whose answers always say which model they are of.
_NAMED = ("/api/generate", "/api/chat", "/v1/chat/completions", "/v1/completions")


class RelayAnswer:
    """What came of a relayed answer so far; times are seconds of one monotonic clock, `sent_at`
    when the request was about to be sent.
    """

    def __init__(self, candidate: Candidate, accepted: frozenset[str], started: float) -> None:
        self.candidate = candidate
        self.accepted = accepted
        self.passing: Passing | None = None
        self.head: RelayedHead | None = None
        self.is_begun = False
        self.sent_at: float | None = None
        self.pieces = 0  # of a stream, each about a token
        self.truncated: bool | None = None
        self._started = started
        self._first_at: float | None = None

    @property
    def is_remote(self) -> bool:
        return self.passing is not None and self.passing.is_remote

    @property
    def server_started(self) -> datetime | None:
        if self.passing is None:
            return None
        return answers.server_started(self.passing.numbers)

    def begin(self) -> None:
        self.is_begun = True
        self._first_at = time.monotonic()

    @property
    def is_estimated(self) -> bool:
        """Whether the tokens of the answer were counted by its pieces: nothing told them."""
        told = self.passing is not None and self.passing.numbers.output_tokens is not None
        return bool(self.pieces) and not told

    @property
    def output_tokens(self) -> int | None:
        if self.is_estimated:
            return self.pieces
        return None if self.passing is None else self.passing.numbers.output_tokens

    def stats(self, now: float) -> Stats:
        if self.passing is None:
            return Stats(total_ms=round((now - self._started) * 1000))
        numbers = self.passing.numbers
        stats = answers.stats(numbers, self._started, self._first_at, now, self.sent_at)
        if self.is_estimated:
            return replace(stats, output_tokens=self.pieces)
        return stats


class Refusal(Exception):
    """A status other than 200, of the last server that could be asked: it goes to the client as it
    is. `error` is what it means.
    """

    def __init__(self, error: AdminError, status: int, headers: Headers, body: bytes) -> None:
        super().__init__(error.message)
        self.error = error
        self.status = status
        self.headers = headers
        self.body = body


class ToldFailure(Exception):
    """The answer itself has said that it failed: nobody need say it again. `error` is what it is to
    the receipt.
    """

    def __init__(self, error: AdminError) -> None:
        super().__init__(error.message)
        self.error = error


class Receiver(Protocol):
    """Who asked, and takes the answer as it comes."""

    def note(self, text: str) -> None:
        """What a person should know although nothing failed."""

    def keep(self, size: int) -> None:
        """So many bytes of the answer have to be kept before more are read; what it raises ends the
        work.
        """

    async def head(self, head: RelayedHead) -> None:
        """Comes once, before anything else, when there is something to show."""

    async def send(self, data: bytes) -> None:
        """The bytes of the body as they come."""

    async def end(self, data: bytes) -> None:
        """The last of them, with what tells that the answer is whole: it is, and its build proven
        if that was demanded.
        """


class Relay:
    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    async def run(self, call: RelayedCall, planned: Planned, receiver: Receiver) -> None:
        """Relay one call. Raises Refusal and ToldFailure. Cancelling it ends the work upstream."""
        request = planned.request_of(call, receiver.note)
        carrier = _Relaying(call, request, receiver)
        try:
            await self._dispatch.run(request, carrier, planned.plan)
        except AdminError as exc:
            if carrier.has_told:
                raise ToldFailure(exc) from exc
            if carrier.refusal is not None and carrier.refusal.error is exc:
                raise carrier.refusal from exc
            raise
        finally:
            if call.counted is not None:
                call.counted(carrier.tokens())


class _Relaying(Carrier[RelayAnswer]):
    proves_behind = True

    def __init__(self, call: RelayedCall, request: Request, receiver: Receiver) -> None:
        self._call = call
        self._request = request
        self._receiver = receiver
        self._kept = 0
        self.refusal: Refusal | None = None
        self.has_told = False
        self._answer: RelayAnswer | None = None

    def begin(self, candidate: Candidate, started: float) -> RelayAnswer:
        accepted = {candidate.name.text, self._call.model}
        if candidate.is_remote and self._request.terms.allow_remote:
            accepted |= {without_cloud(name) for name in accepted}
        self._answer = RelayAnswer(candidate, frozenset(accepted), started)
        return self._answer

    def tokens(self) -> int:
        """How many tokens the last server took for prompt and answer, estimated where it does not
        tell them.
        """
        answer = self._answer
        if answer is None or answer.passing is None:
            return 0
        prompt = answer.passing.numbers.prompt_tokens
        if prompt is None:
            prompt = len(self._call.body) // BYTES_OF_A_TOKEN
        return prompt + (answer.output_tokens or 0)

    async def carry(self, candidate: Candidate, endpoint: "Endpoint", answer: RelayAnswer) -> None:
        try:
            await self._carry(candidate, endpoint, answer)
        except ServerUnreachable as exc:
            if not answer.is_begun:
                raise
            raise StreamInterrupted(
                f"server {candidate.target.ref} broke off in the middle of the answer: "
                f"{reason_of(exc, candidate.target)}",
                "what was shown is incomplete; ask again",
            ) from exc

    async def _carry(self, candidate: Candidate, endpoint: "Endpoint", answer: RelayAnswer) -> None:
        call, self.refusal = self._call, None
        body = self._body_for(candidate)
        answer.sent_at = time.monotonic()
        async with relayed(
            endpoint, call.method, call.target, call.headers, body, call.model
        ) as response:
            if response.refusal is not None:
                self.refusal = Refusal(
                    response.refusal, response.status, response.headers, response.body
                )
                raise response.refusal
            if response.is_early:
                raise UpstreamError(
                    f"server {candidate.target.ref} answered before it was sent the whole prompt"
                )
            passing = answer.passing = response.passing(
                call.path, answer.accepted, holds=is_demanded(candidate)
            )
            answer.head = self._head(candidate, response.status, response.headers)
            async for chunk in response.chunks:
                await self._pass_on(answer, passing, chunk)
                if passing.has_ended or passing.error is not None:
                    break
            if passing.has_ended:
                await self._pass_on(answer, passing, await end_of(response.chunks))
            self._require_whole(answer, passing)
            if call.asks:
                answer.truncated = await self._seen_cut(candidate, endpoint, passing)

    async def finish(self, answer: RelayAnswer) -> None:
        """What was kept back until the answer was accepted; it is kept no longer."""
        if answer.passing is None:
            return
        held, answer.passing.held = answer.passing.held, b""
        await self._begin(answer)
        await self._receiver.end(held)

    async def _pass_on(self, answer: RelayAnswer, passing: "Passing", chunk: bytes) -> None:
        passed = passing.take(chunk)
        if passing.kept > self._kept or len(passed) > LONG:
            self._count_kept(passing.kept + len(passed))
        self._require_no_remote(answer, passing)
        self._require_answer(answer, passing)
        if not passed or (passing.error is not None and not answer.is_begun):
            return
        answer.pieces += passed.count(passing.mark)
        if not answer.is_begun:
            await self._begin(answer)
        await self._receiver.send(passed)

    async def _begin(self, answer: RelayAnswer) -> None:
        if not answer.is_begun and answer.head is not None:
            answer.begin()
            await self._receiver.head(answer.head)

    def _require_no_remote(self, answer: RelayAnswer, passing: "Passing") -> None:
        if passing.is_remote and not self._request.terms.allow_remote:
            raise ModelMismatch(
                f"server {answer.candidate.target.ref} handed the prompt for "
                f"{self._call.model!r} to a remote host, which was not allowed",
                "discover it again; allow remote models with --allow-remote",
            )

    def _count_kept(self, size: int) -> None:
        """What is on its way to the client is still there while more is read."""
        if size > self._kept:
            self._receiver.keep(size - self._kept)
            self._kept = size

    def _require_answer(self, answer: RelayAnswer, passing: "Passing") -> None:
        """Refuse the record that only tells of a model that was loaded, where a prompt was sent."""
        if self._call.asks and passing.reason in NO_ANSWER:
            raise UpstreamError(
                f"server {answer.candidate.target.ref} did not read the prompt, and says "
                f"{passing.reason!r}"
            )

    def _require_whole(self, answer: RelayAnswer, passing: "Passing") -> None:
        is_whole = passing.end()
        self._require_no_remote(answer, passing)  # a document is read at its end
        server = answer.candidate.target.ref
        if passing.error is not None and not answer.is_begun:
            raise UpstreamError(f"server {server} failed: {passing.error}")
        if passing.error is not None:
            self.has_told = True
            raise StreamInterrupted(
                f"server {server} failed in the middle of the answer: {passing.error}"
            )
        if not is_whole:
            if not answer.is_begun:
                raise UpstreamError(f"server {server} sent nothing that is an answer")
            raise StreamInterrupted(
                f"the answer of server {server} ended without its end mark",
                "what was shown is incomplete; ask again",
            )
        self._require_answer(answer, passing)
        if not passing.is_named and self._call.path in _NAMED:
            raise ModelMismatch(f"server {server} does not say which model answered")

    async def _seen_cut(
        self, candidate: Candidate, endpoint: "Endpoint", passing: "Passing"
    ) -> bool | None:
        """True, with a note, where the prompt was cut: old servers do so whatever they are asked;
        None where nothing shows it. As a rule this asks nobody.
        """
        question = Question(prompt="", options=self._call.options, truncate=False, shift=False)
        tokens, note = passing.numbers.prompt_tokens, self._request.caller.note
        return await truncated(question, candidate, tokens, endpoint, note) or None

    def _head(self, candidate: Candidate, status: int, headers: Headers) -> RelayedHead:
        ref = candidate.target.ref
        digest = candidate.stored_digest
        if digest is None and candidate.listed is not None and candidate.shows_digests:
            digest = candidate.listed.digest
        return RelayedHead(
            status=status, headers=headers, server=str(ref), server_url=ref.url, digest=digest
        )

    def _body_for(self, candidate: Candidate) -> bytes:
        """The client's bytes, for a server to refuse where its context is too short."""
        call = self._call
        whole = _WHOLE.get(call.path)
        if whole is None or call.allow_truncate or candidate.target.api_version is ApiVersion.V1:
            return call.body
        begins = call.body.index(b"{") + 1
        return b"".join((call.body[:begins], whole, call.body[begins:]))
