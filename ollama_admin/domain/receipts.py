"""What became of requests."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ollama_admin.domain.answers import Proof, Stats
from ollama_admin.domain.callers import Way
from ollama_admin.domain.keys import KeyRef
from ollama_admin.domain.servers import ServerRef
from ollama_admin.domain.values import fields_of

# what receipts can be sorted by, and the column that holds it
SORTS = {
    "total": "total_ms",
    "first-token": "time_to_first_token_ms",
    "speed": "tokens_per_second",
    "prompt": "prompt_tokens",
    "output": "output_tokens",
    "tries": "attempts",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A row of `ollama_receipts`: what became of one request; never the prompt or the answer.

    `outcome` is `ok`, `cancelled`, or the code of the error. `server` is the one that was tried
    last, None when none was; counts and times are None where they are not known. `attempts` counts
    the servers that were tried. `id` is None before it is written; `request_id` is the one in the
    header `X-Request-Id` of an answer, None for a request that came another way. `key` and `client`
    (what it calls itself in `User-Agent`) are those of a request over HTTP; `server_version` is
    what the server was known to run. `estimated` says that tokens were not told but counted.
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

    def document(self) -> dict[str, Any]:
        """The numbers stand beside the rest, as the columns do."""
        values = fields_of(self)
        del values["stats"]
        if self.stats is None:
            return values | dict.fromkeys(Stats.__slots__)
        return values | fields_of(self.stats)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptStats:
    """Receipts of one model on one server, added up. Sums and times are None where no receipt tells
    them.

    `tokens_per_second` is weighted by time: all tokens over all the time that they took.
    """

    model: str | None
    server: ServerRef | None
    count: int
    failures: int
    prompt_tokens: int | None
    output_tokens: int | None
    tokens_per_second: float | None
    time_to_first_token_p50_ms: int | None
    time_to_first_token_p95_ms: int | None
