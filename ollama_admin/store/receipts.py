"""SQL on `ollama_receipts`."""

import math
import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert

from ollama_admin.domain import Receipt
from ollama_admin.store.tables import receipts

TEXT_LIMIT = 1000  # characters of a name or URL
_INT_LIMIT = 2**63 - 1
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL takes no NUL, no driver takes half a surrogate pair
_STATS = ("prompt_tokens", "output_tokens", "tokens_per_second", "total_ms", "load_ms", "time_to_first_token_ms")


def add(connection: Connection, new: Sequence[Receipt]) -> None:
    """Insert receipts. What no column takes is changed: these rows tell of errors, too, and of what servers made up."""
    connection.execute(insert(receipts), [_columns(receipt) for receipt in new])


def _columns(receipt: Receipt) -> dict[str, Any]:
    server = receipt.server
    return {
        "created_at": receipt.created_at,
        "way": receipt.way,
        "asked_model": _text(receipt.asked_model),
        "model": _text(receipt.model),
        "server_id": server and server.id,
        "server_name": _text(server.name if server else None),
        "server_url": _text(server.url if server else None),
        "digest": _text(receipt.digest),
        "proof": receipt.proof,
        "verified": receipt.verified,
        "outcome": receipt.outcome,
        "attempts": receipt.attempts,
        **{name: receipt.stats and _number(getattr(receipt.stats, name)) for name in _STATS},
    }


def _text(value: str | None) -> str | None:
    return None if value is None else _UNSTORABLE.sub("\ufffd", value[:TEXT_LIMIT])


def _number(value: float | None) -> float | None:
    if value is None or not math.isfinite(value):
        return None
    return max(-_INT_LIMIT, min(value, _INT_LIMIT))
