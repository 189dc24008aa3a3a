"""Judges an answer while it arrives. Pure: the clock is handed in."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from io import StringIO
from typing import ClassVar, Protocol

from ollama_admin.domain.answers import Piece, Stats, StreamEvent
from ollama_admin.domain.servers import ServerRef
from ollama_admin.domain.values import Json
from ollama_admin.errors import ModelMismatch, StreamInterrupted, UpstreamError

NANOSECONDS_PER_MS = 1_000_000
_NUMBERS = (
    "done_reason",
    "created_at",
    "total_duration",
    "load_duration",
    "eval_duration",
    "prompt_tokens",
    "output_tokens",
)
# bytes of all that is kept of one answer, as JSON in ASCII: at most six for each that was received
ANSWER_LIMIT = 4 * 2**20
NO_ANSWER = ("load", "unload")  # how a request ends that asks nothing
VALUE_SIZE = 64  # bytes of memory that an empty value takes, which `[],` says in three


class Numbers(Protocol):
    """What the last record of an answer tells; durations are nanoseconds, None is not told."""

    @property
    def created_at(self) -> datetime | None: ...
    @property
    def total_duration(self) -> int | None: ...
    @property
    def load_duration(self) -> int | None: ...
    @property
    def eval_duration(self) -> int | None: ...
    @property
    def prompt_tokens(self) -> int | None: ...
    @property
    def output_tokens(self) -> int | None: ...


@dataclass(slots=True, kw_only=True)
class Answer:
    """What came so far. `accepted` are the names that the answer may carry, times seconds of one
    monotonic clock, `sent_at` when the request was about to be sent, `size` bytes as `ANSWER_LIMIT`
    counts them. `is_begun`: a part of it was handed on. `only_loads`: nothing was said that could
    be answered.
    """

    is_estimated: ClassVar[bool] = False  # its tokens are those that the server tells
    server: ServerRef
    model: str
    accepted: frozenset[str]
    needs_reason: bool
    allow_remote: bool
    started: float
    every_record: bool = False
    takes_tool_calls: bool = False
    only_loads: bool = False
    response: StringIO = field(default_factory=StringIO)
    thinking: StringIO = field(default_factory=StringIO)
    tool_calls: list[Mapping[str, Json]] = field(default_factory=list)
    record: Mapping[str, Json] | None = None
    size: int = 0
    sent_at: float | None = None
    first_at: float | None = None
    is_begun: bool = False
    is_named: bool = False
    is_remote: bool = False
    done: bool = False
    done_reason: str | None = None
    created_at: datetime | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    eval_duration: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    truncated: bool | None = None

    def take(self, event: StreamEvent, now: float) -> Piece | None:
        """Accept a record and give back what it says, or raise what it proves to be wrong.

        With `every_record` each record of a native server is a piece, but for the last one, which
        is `record`.
        """
        if event.error is not None:
            raise self._failed(event.error)
        self._check_name(event)
        self._check_remote(event)
        self._check_tool_calls(event)
        self._note_numbers(event)
        self.record = event.record
        says_something = bool(event.response or event.thinking or event.tool_calls)
        is_piece = says_something
        if self.every_record:
            is_piece = not event.done and (says_something or event.record is not None)
        if not (says_something or is_piece):
            return None
        if not self.is_named:
            raise ModelMismatch(f"server {self.server} does not say which model answers")
        if says_something:
            self._keep(event, now)
        return _piece(event) if is_piece else None

    def _keep(self, event: StreamEvent, now: float) -> None:
        if self.first_at is None:
            self.first_at = now
        self.size += kept_size(event.response, event.thinking, event.tool_calls)
        if self.size > ANSWER_LIMIT:
            raise StreamInterrupted(
                f"the answer of server {self.server} is longer than {ANSWER_LIMIT // 2**20} MiB",
                "what was shown is incomplete; bound it with --option num_predict=N",
            )
        self.response.write(event.response)
        self.thinking.write(event.thinking)
        self.tool_calls += event.tool_calls

    def require_end(self) -> None:
        """Raise StreamInterrupted unless the server said that it was done."""
        if not self.done or (self.needs_reason and self.done_reason is None):
            characters = len(self.response.getvalue())
            raise StreamInterrupted(
                f"the answer of server {self.server} ended without its end mark, after "
                f"{characters} characters",
                "what was shown is incomplete; the model may have repeated itself, or its process "
                "died",
            )
        if not self.is_named:
            raise ModelMismatch(f"server {self.server} does not say which model answered")
        if self.done_reason in NO_ANSWER and not self.only_loads:
            raise self._failed(f"it did not read the prompt, and says {self.done_reason!r}")

    @property
    def server_started(self) -> datetime | None:
        return server_started(self)

    def stats(self, now: float) -> Stats:
        return stats(self, self.started, self.first_at, now, self.sent_at)

    def _check_name(self, event: StreamEvent) -> None:
        # an empty name is how Ollama's /v1 shows a stream that broke; its end will tell
        if event.model is None:
            return
        if event.model not in self.accepted:
            raise ModelMismatch(
                f"server {self.server} answered as {event.model!r}, not as {self.model!r}",
                "nothing from another model is accepted",
            )
        self.is_named = True

    def _check_remote(self, event: StreamEvent) -> None:
        if event.is_remote and not self.allow_remote:
            raise ModelMismatch(
                f"server {self.server} handed the prompt for {self.model!r} to a remote host, "
                "which was not allowed",
                "discover it again; allow remote models with --allow-remote",
            )
        self.is_remote = self.is_remote or event.is_remote

    def _check_tool_calls(self, event: StreamEvent) -> None:
        if event.tool_calls and not self.takes_tool_calls:
            raise self._failed("it calls tools, and none were offered to it")

    def _note_numbers(self, event: StreamEvent) -> None:
        self.done = self.done or event.done
        for name in _NUMBERS:
            value = getattr(event, name)
            if value is not None:
                setattr(self, name, value)

    def _failed(self, text: str) -> UpstreamError:
        if self.first_at is None:
            return UpstreamError(f"server {self.server} failed: {text}")
        return StreamInterrupted(
            f"server {self.server} failed in the middle of the answer: {text}",
            "what was shown is incomplete",
        )


def server_started(numbers: Numbers) -> datetime | None:
    """When the server took the request on, by its own clock; None where it does not tell (`v1`)."""
    if numbers.created_at is None or numbers.total_duration is None:
        return None
    try:
        return numbers.created_at - timedelta(microseconds=numbers.total_duration / 1000)
    except OverflowError:
        return None


def stats(
    numbers: Numbers,
    started: float,
    first_at: float | None,
    now: float,
    sent_at: float | None = None,
) -> Stats:
    """The times and counts of an answer; `first_at` is when its first text came, if any did. The
    time to it counts from `sent_at`, where that is known: what was waited for before, a slot or the
    start of this process, is no time of the server's.
    """
    waited_from = started if sent_at is None else sent_at
    seconds = (numbers.eval_duration or 0) / 1e9
    speed = numbers.output_tokens / seconds if numbers.output_tokens and seconds else None
    return Stats(
        total_ms=round((now - started) * 1000),
        load_ms=None
        if numbers.load_duration is None
        else numbers.load_duration // NANOSECONDS_PER_MS,
        prompt_tokens=numbers.prompt_tokens,
        output_tokens=numbers.output_tokens,
        tokens_per_second=speed and round(speed, 1),
        time_to_first_token_ms=None if first_at is None else round((first_at - waited_from) * 1000),
    )


def kept_size(*values: object) -> int:
    """Bytes that values count for `ANSWER_LIMIT`."""
    size = 0
    for value in filter(None, values):
        text = json.dumps(value)
        size += len(text) - 2
        if not isinstance(value, str):
            size += VALUE_SIZE * sum(map(text.count, ",[{"))
    return size


def _piece(event: StreamEvent) -> Piece:
    return Piece(
        response=event.response,
        thinking=event.thinking,
        tool_calls=event.tool_calls,
        record=event.record,
    )
