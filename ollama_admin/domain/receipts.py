"""What became of requests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

from ollama_admin.domain.answers import Proof, Stats
from ollama_admin.domain.callers import Way
from ollama_admin.domain.keys import KeyRef
from ollama_admin.domain.servers import ServerRef
from ollama_admin.domain.values import fields_of, made_often

# what receipts can be added up by
GROUPS = ("key", "model", "server", "day")
NO_FAILURE = ("ok", "cancelled")  # outcomes: who leaves early has no complaint
# milliseconds to the first token that usage sorts times by; the last one stands for more, too
BOUNDS = (
    *(10, 20, 50, 100, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 7500),
    *(10_000, 15_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 3_600_000),
)
# what receipts can be sorted by, and the column that holds it
SORTS = {
    "total": "total_ms",
    "first-token": "time_to_first_token_ms",
    "speed": "tokens_per_second",
    "prompt": "prompt_tokens",
    "output": "output_tokens",
    "tries": "attempts",
}


@made_often
class Receipt:
    """A row of `ollama_receipts`: what became of one request; never the prompt or the answer.

    `outcome` is `ok`, `cancelled`, or the code of the error. `server` is the one that was tried
    last, None when none was; counts and times are None where they are not known. `attempts` counts
    the servers that were tried. `id` is None before it is written; `request_id` is the one in the
    header `X-Request-Id` of an answer, None for a request that came another way. `key` and `client`
    (what it calls itself in `User-Agent`) are those of a request over HTTP; `server_version` is
    what the server was known to run. `estimated` says that tokens were not told but counted.
    `truncated` says whether the server cut the prompt: False (it would have refused), True (seen),
    None (not known). `queued_ms` passed before it was sent, for the last time if it was passed on;
    None where it was not. `passed_over` says of servers, by their names, why they were not taken,
    or how they failed; None where there is none.
    """

    id: int | None = None
    created_at: datetime
    way: Way
    asked_model: str | None
    model: str | None
    server: ServerRef | None
    digest: str | None
    proof: Proof | None
    verified: bool
    outcome: str
    attempts: int
    stats: Stats | None
    request_id: str | None = None
    key: KeyRef | None = None
    client: str | None = None
    server_version: str | None = None
    estimated: bool | None = None
    truncated: bool | None = None
    queued_ms: int | None = None
    passed_over: Mapping[str, str] | None = field(default=None, hash=False)

    def document(self) -> dict[str, Any]:
        """The numbers stand beside the rest, as the columns do."""
        values = fields_of(self)
        del values["stats"]
        if self.stats is None:
            return values | dict.fromkeys(field.name for field in fields(Stats))
        return values | fields_of(self.stats)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What was found, the newest first. `last_id` and `last_at` are of the last receipt that was
    looked at, where older ones were not, and too few were found before it; else None.
    """

    receipts: Sequence[Receipt]
    last_id: int | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptStats:
    """Receipts of one model on one server, added up. Sums and times are None where no receipt tells
    them.

    `tokens_per_second` is weighted by time: all tokens over all the time that they took. Added up
    `by` something else, that alone tells whose they are, in `model`, `server`, `key` or `day`.
    """

    by: str | None = None
    model: str | None
    server: ServerRef | None
    key: KeyRef | None = None
    day: str | None = None
    count: int
    failures: int
    prompt_tokens: int | None
    output_tokens: int | None
    tokens_per_second: float | None
    time_to_first_token_p50_ms: int | None
    time_to_first_token_p95_ms: int | None

    def document(self) -> dict[str, Any]:
        values = fields_of(self)
        own = ("model", "server") if self.by is None else (self.by,)
        left_out = {"by", *GROUPS}.difference(own)
        return {name: value for name, value in values.items() if name not in left_out}


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a key used on a day of UTC, or, `by` something else, what that alone used: in `day`,
    `key`, `model` or `server`. `key` is None for requests that came without HTTP.

    `estimated_tokens` are those of `output_tokens` that nothing told, and that were counted.
    `tokens_per_second` is weighted by time. Half of the requests, and 95 % of them, had their first
    token within the two times, of which there are few: 200, 300, 500 ms and so on.
    """

    by: str | None = None
    day: str | None
    key: KeyRef | None
    model: str | None = None
    server: ServerRef | None = None
    requests: int
    failures: int
    prompt_tokens: int
    output_tokens: int
    estimated_tokens: int
    tokens_per_second: float | None = None
    time_to_first_token_p50_ms: int | None = None
    time_to_first_token_p95_ms: int | None = None

    def document(self) -> dict[str, Any]:
        values = fields_of(self)
        own = ("day", "key") if self.by is None else (self.by,)
        left_out = {"by", *GROUPS}.difference(own)
        return {name: value for name, value in values.items() if name not in left_out}
