"""One answer: say exactly what was asked to a model, accept nothing else."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from ollama_admin.domain.answers import Piece, Proof, Reply
from ollama_admin.domain.callers import Caller
from ollama_admin.domain.names import without_cloud
from ollama_admin.domain.requests import GenerateRequest, Question, Request
from ollama_admin.domain.servers import ApiVersion
from ollama_admin.domain.values import Json
from ollama_admin.rules.answers import Answer
from ollama_admin.rules.candidates import Candidate
from ollama_admin.rules.request_checks import checked, unknown_options
from ollama_admin.services.dispatch import Accepted, Carrier, Dispatch
from ollama_admin.services.tasks import Handover
from ollama_admin.services.truncation import truncated

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint


class Generation:
    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    async def whole(self, asked: GenerateRequest, caller: Caller) -> Reply:
        """The reply alone, for whoever does not read the pieces."""
        request, question = await _prepared(asked, caller)
        carrier = _Generating(question, request, None, None)
        return carrier.reply(await self._dispatch.run(request, carrier))

    async def run(
        self,
        asked: GenerateRequest,
        caller: Caller,
        path: str | None = None,
        affinity: bytes | None = None,
        request_id: str | None = None,
    ) -> AsyncGenerator[Piece | Reply, None]:
        """The pieces of the answer as they arrive, then the reply.

        `path` is for callers that speak Ollama's own API: what they ask goes there with nothing
        added, an empty prompt loads the model, and every record is a piece but for the last one.
        Closing the generator ends the work upstream.
        """
        request, question = await _prepared(asked, caller, needs_content=path is None)
        request = replace(request, affinity=affinity, id=request_id)
        handover = Handover[Piece]()
        carrier = _Generating(question, request, path, handover.give)
        asking = asyncio.get_running_loop().create_task(self._dispatch.run(request, carrier))
        async with aclosing(handover.items_of(asking)) as pieces:
            async for piece in pieces:
                yield piece
        yield carrier.reply(asking.result())


class _Generating(Carrier[Answer]):
    def __init__(
        self,
        question: Question,
        request: Request,
        path: str | None,
        give: Callable[[Piece], Awaitable[None]] | None,
    ) -> None:
        self._give = give
        self._question = question
        self._terms = request.terms
        self._note = request.caller.note
        self._path = path

    def begin(self, candidate: Candidate, started: float) -> Answer:
        accepted = {candidate.name.text}
        if candidate.is_remote and self._terms.allow_remote:
            accepted.add(without_cloud(candidate.name.text))
        return Answer(
            server=candidate.target.ref,
            model=candidate.name.text,
            accepted=frozenset(accepted),
            needs_reason=candidate.target.api_version is ApiVersion.V1,
            allow_remote=self._terms.allow_remote,
            started=started,
            every_record=self._path is not None,
            only_loads=not (self._question.prompt or self._question.messages),
            takes_tool_calls=_offers_tools(self._question),
        )

    async def carry(self, candidate: Candidate, endpoint: "Endpoint", answer: Answer) -> None:
        answer.sent_at = time.monotonic()
        records = endpoint.generate(self._question, candidate.name.text, self._path)
        async with aclosing(records):
            async for record in records:
                piece = answer.take(record, time.monotonic())
                if piece is not None:
                    answer.is_begun = True
                    if self._give is not None:
                        await self._give(piece)
                if answer.done:
                    break
        answer.require_end()

    async def examine(self, candidate: Candidate, endpoint: "Endpoint", answer: Answer) -> None:
        if (spent := _spent_on_thinking(answer)) is not None:
            self._note(spent)
        answer.truncated = await truncated(
            self._question, candidate, answer.prompt_tokens, endpoint, self._note
        )

    def reply(self, accepted: Accepted[Answer]) -> Reply:
        answer, judgement = accepted.answer, accepted.judgement
        return Reply(
            response=answer.response.getvalue(),
            thinking=answer.thinking.getvalue(),
            model=accepted.candidate.name.text,
            server=accepted.candidate.target.ref,
            digest=judgement.digest,
            verified=judgement.proof is Proof.DIGEST,
            proof=judgement.proof,
            drift=judgement.drift,
            truncated=answer.truncated,
            done_reason=answer.done_reason,
            stats=accepted.stats,
            attempts=accepted.attempts,
            tool_calls=tuple(answer.tool_calls),
            record=answer.record,
        )


async def _prepared(
    asked: GenerateRequest, caller: Caller, *, needs_content: bool = True
) -> tuple[Request, Question]:
    # its images are decoded: tens of megabytes, and not on the loop
    request = await asyncio.to_thread(checked, asked, caller, needs_content=needs_content)
    question = asked.question()
    if not asked.allow_truncate:
        question = question.uncut()
    if question.options:
        name_unknown_options(question.options, caller)
    return request, question


def name_unknown_options(options: Mapping[str, Json], caller: Caller) -> None:
    """Note the options that no Ollama known to us reads."""
    for key in unknown_options(options):
        caller.note(f"Ollama is not known to read option {key}; it is sent as given")


def _spent_on_thinking(answer: Answer) -> str | None:
    """What to know of an answer that ended before it began; None for any other."""
    if answer.response.getvalue() or answer.tool_calls or not answer.thinking.getvalue():
        return None
    if answer.done_reason != "length":
        return None
    tokens = "all tokens"
    if answer.output_tokens is not None:
        tokens = f"{answer.output_tokens} tokens"
    return f"{tokens} of thinking, and no answer: allow more with --option num_predict=N"


def _offers_tools(question: Question) -> bool:
    """Whether the model may answer with calls of tools: some are given, or some were called
    before.
    """
    messages = question.messages or ()
    return bool(question.tools) or any(message.get("tool_calls") for message in messages)


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
    def events(self) -> AsyncGenerator[Piece | Reply, None]:
        """The pieces, and the reply as the last one, for whoever closes them."""
        return self._events

    @property
    def reply(self) -> Reply:
        """The accepted answer; RuntimeError before the last piece was read."""
        if self._reply is None:
            raise RuntimeError("the answer has not been read to its end")
        return self._reply
