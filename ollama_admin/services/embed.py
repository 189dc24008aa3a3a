"""Vectors of texts, from exactly the model that was named: by the same way as answers."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ollama_admin.domain.answers import EmbedReply, Proof
from ollama_admin.domain.callers import Caller
from ollama_admin.domain.names import without_cloud
from ollama_admin.domain.requests import EmbedRequest
from ollama_admin.domain.servers import ApiVersion
from ollama_admin.ollama.vectors import vectors_of
from ollama_admin.rules.candidates import Candidate
from ollama_admin.rules.request_checks import checked_embed
from ollama_admin.rules.vectors import VectorAnswer
from ollama_admin.services.dispatch import Accepted, Carrier, Dispatch
from ollama_admin.services.generate import name_unknown_options

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint

# Texts of one question to a server: the vectors of so many, of 8,192 numbers each, can be read.
BATCH = 32


class Embedding:
    def __init__(self, dispatch: Dispatch) -> None:
        self._dispatch = dispatch

    async def run(
        self, input: str | Sequence[str], asked: Mapping[str, Any], caller: Caller
    ) -> EmbedReply:
        """The vectors of a text, or of several, in order; `asked` are the other fields of
        `EmbedRequest`.
        """
        texts = [input] if isinstance(input, str) else input
        request = EmbedRequest(input=texts, **asked)
        carrier = _Embedding(request)
        dispatched = await asyncio.to_thread(checked_embed, request, caller)
        name_unknown_options(request.options, caller)
        return carrier.reply(await self._dispatch.run(dispatched, carrier))


class _Embedding(Carrier[VectorAnswer]):
    def __init__(self, request: EmbedRequest) -> None:
        self._request = request

    def begin(self, candidate: Candidate, started: float) -> VectorAnswer:
        accepted = {candidate.name.text}
        if candidate.is_remote and self._request.allow_remote:
            accepted.add(without_cloud(candidate.name.text))
        truncated = None
        if candidate.target.api_version is ApiVersion.NATIVE and not self._request.allow_truncate:
            truncated = False
        return VectorAnswer(
            server=candidate.target.ref,
            model=candidate.name.text,
            accepted=frozenset(accepted),
            allow_remote=self._request.allow_remote,
            started=started,
            truncated=truncated,
        )

    async def carry(self, candidate: Candidate, endpoint: "Endpoint", answer: VectorAnswer) -> None:
        texts = self._request.input
        answer.sent_at = time.monotonic()
        for start in range(0, len(texts), BATCH):
            batch = texts[start : start + BATCH]
            record = await vectors_of(endpoint, self._request, batch, candidate.name.text)
            answer.take(record, len(batch))

    def reply(self, accepted: Accepted[VectorAnswer]) -> EmbedReply:
        judgement = accepted.judgement
        return EmbedReply(
            embeddings=tuple(accepted.answer.embeddings),
            model=accepted.candidate.name.text,
            server=accepted.candidate.target.ref,
            digest=judgement.digest,
            verified=judgement.proof is Proof.DIGEST,
            proof=judgement.proof,
            drift=judgement.drift,
            truncated=accepted.answer.truncated,
            stats=accepted.stats,
            attempts=accepted.attempts,
        )
