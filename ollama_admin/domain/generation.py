"""A request to a model, the pieces of its answer, and the reply."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, TypedDict

from ollama_admin.domain.models import DigestChange
from ollama_admin.domain.servers import AuthType, ServerRef
from ollama_admin.domain.values import Given, Json, fields_of
from ollama_admin.errors import AdminError

DEFAULT_WAIT = 300.0  # seconds that a request waits for a place at a server

ThinkLevel = Literal["low", "medium", "high", "max"]


class Proof(StrEnum):
    """What was learnt about the build that answered; the table in `proof.py` says when each holds."""

    DIGEST = "digest"
    DRIFT = "drift"
    CHANGED = "changed"
    UNREAD = "unread"
    REMOTE = "remote"
    NAME = "name"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """What was asked for. `timeout` in seconds bounds the whole; None leaves it to the per-step limits.

    `wait` is seconds for a free place at a server. `digest` (12 to 64 hex digits) and `verified` (the stored digest)
    demand a build; `no_verify` leaves the look at the build out.

    `messages` is a conversation to be answered instead of a prompt, each message as Ollama takes it. `native` holds
    further fields of Ollama's own API, sent as they are. `verbatim` is for callers that speak that API themselves:
    nothing is added to what they ask for, and they get the records as the server sent them.
    """

    prompt: str = ""
    messages: tuple[Mapping[str, Json], ...] | None = None
    tools: tuple[Mapping[str, Json], ...] = ()
    native: Mapping[str, Json] = field(default_factory=dict)
    verbatim: bool = False
    model: str | None = None
    server: int | str | None = None
    server_url: str | None = None
    capability: str | None = None
    system: str | None = None
    images: tuple[bytes, ...] = ()
    format: Literal["json"] | Mapping[str, Json] | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    think: bool | ThinkLevel | None = None
    keep_alive: float | str | None = None
    timeout: float | None = None
    wait: float = DEFAULT_WAIT
    digest: str | None = None
    verified: bool = False
    no_verify: bool = False
    allow_remote: bool = False
    allow_truncate: bool = False
    auth_type: AuthType | str | None = None
    auth_config: Mapping[str, Given] | None = field(default=None, repr=False)
    headers: Mapping[str, Given] | None = field(default=None, repr=False)


class AskedOfAny(TypedDict, total=False):
    """The keyword arguments of `Client` that all questions have: fields of `GenerateRequest`."""

    model: str | None
    server: int | str | None
    server_url: str | None
    capability: str | None
    format: Literal["json"] | Mapping[str, Json] | None
    options: Mapping[str, Json]
    think: bool | ThinkLevel | None
    keep_alive: float | str | None
    timeout: float | None
    wait: float
    digest: str | None
    verified: bool
    no_verify: bool
    allow_remote: bool
    allow_truncate: bool
    auth_type: AuthType | str | None
    auth_config: Mapping[str, Given] | None
    headers: Mapping[str, Given] | None


class Asked(AskedOfAny, total=False):
    """The keyword arguments of `generate` and `stream` beside the prompt."""

    system: str | None
    images: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of an answer as it arrives: text, thinking, calls of tools. `record` is how a native server sent it."""

    response: str = ""
    thinking: str = ""
    tool_calls: tuple[Mapping[str, Json], ...] = ()
    record: Mapping[str, Json] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Times in ms: total and first token by our clock, load by the server's. None is not told."""

    total_ms: int
    load_ms: int | None
    prompt_tokens: int | None
    output_tokens: int | None
    tokens_per_second: float | None
    time_to_first_token_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One server that was tried and failed before the one that answered."""

    server: ServerRef
    error: AdminError
    ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that was accepted. `truncated`: False (the server would have refused), True (seen), None (unknown).

    `record` is the last record as a native server sent it; it and `tool_calls` are no part of the JSON of a reply.
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
        shown = {name: value for name, value in fields_of(self).items() if name not in ("tool_calls", "record")}
        return shown | {"drift": drift}
