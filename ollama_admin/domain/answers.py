"""The records of an answer as they arrive, and the reply that comes of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from ollama_admin.domain.models import DigestChange
from ollama_admin.domain.servers import ServerRef
from ollama_admin.domain.values import Json, fields_of, made_often
from ollama_admin.errors import AdminError


class Proof(StrEnum):
    """What was learnt about the build that answered; the table in `rules/proof.py` says when each
    holds.
    """

    DIGEST = "digest"
    DRIFT = "drift"
    CHANGED = "changed"
    UNREAD = "unread"
    REMOTE = "remote"
    NAME = "name"


@made_often
class StreamEvent:
    """One record of an answer. `done` is Ollama's `done: true`, or `[DONE]`; durations are
    nanoseconds.

    `created_at` is when the record was made, by the server's clock; `record` is the whole of it, of
    a native server.
    """

    model: str | None = None
    response: str = ""
    thinking: str = ""
    done: bool = False
    done_reason: str | None = None
    is_remote: bool = False
    error: str | None = None
    created_at: datetime | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    eval_duration: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    tool_calls: tuple[Mapping[str, Json], ...] = ()
    record: Mapping[str, Json] | None = field(default=None, repr=False, compare=False)


@made_often
class Piece:
    """A part of an answer as it arrives: text, thinking, calls of tools. `record` is how a native
    server sent it.
    """

    response: str = ""
    thinking: str = ""
    tool_calls: tuple[Mapping[str, Json], ...] = ()
    record: Mapping[str, Json] | None = field(default=None, repr=False, compare=False)


@made_often
class Stats:
    """Times in ms by our clock: total of the whole request, first token since it was sent to the
    server that answered; load is by the server's. None is not told.
    """

    total_ms: int
    load_ms: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    tokens_per_second: float | None = None
    time_to_first_token_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One server that was tried and failed before the one that answered."""

    server: ServerRef
    error: AdminError
    ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorRecord:
    """What a server answered to one question for vectors; durations are nanoseconds."""

    model: str | None
    embeddings: tuple[tuple[float, ...], ...]
    is_remote: bool = False
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EmbedReply:
    """Vectors that were accepted, one for each text, in order. `truncated`: False (the server would
    have refused), None (unknown).
    """

    embeddings: tuple[tuple[float, ...], ...]
    model: str
    server: ServerRef
    digest: str | None
    verified: bool
    proof: Proof
    drift: DigestChange | None
    truncated: bool | None
    stats: Stats
    attempts: tuple[Attempt, ...] = ()

    def document(self) -> dict[str, Any]:
        drift = self.drift and {"from": self.drift.before, "to": self.drift.after}
        return fields_of(self) | {"drift": drift}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that was accepted. `truncated`: False (the server would have refused), True (seen),
    None (unknown).

    `record` is the last record as a native server sent it; it and `tool_calls` are no part of the
    JSON of a reply.
    """

    response: str
    thinking: str
    model: str
    server: ServerRef
    digest: str | None
    verified: bool
    proof: Proof
    drift: DigestChange | None
    truncated: bool | None
    done_reason: str | None
    stats: Stats
    attempts: tuple[Attempt, ...] = ()
    tool_calls: tuple[Mapping[str, Json], ...] = ()
    record: Mapping[str, Json] | None = field(default=None, repr=False, compare=False)

    def document(self) -> dict[str, Any]:
        drift = self.drift and {"from": self.drift.before, "to": self.drift.after}
        shown = {
            name: value
            for name, value in fields_of(self).items()
            if name not in ("tool_calls", "record")
        }
        return shown | {"drift": drift}
