"""Receipts for tests to write."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ollama_admin.domain.answers import Proof, Stats
from ollama_admin.domain.callers import Way
from ollama_admin.domain.receipts import Receipt
from ollama_admin.domain.servers import ServerRef

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ONE = ServerRef(id=1, name="one", url="http://one")


def new_receipt(told: Mapping[str, Any] | None = None, **values: Any) -> Receipt:
    """One of an answer that was proven; `told` changes its numbers, `values` the rest."""
    stats = {
        "total_ms": 900,
        "load_ms": 5,
        "prompt_tokens": 11,
        "output_tokens": 7,
        "tokens_per_second": 15.5,
        "time_to_first_token_ms": 400,
    }
    row: dict[str, Any] = {
        "created_at": NOON,
        "way": Way.API,
        "asked_model": "alpha",
        "model": "alpha:latest",
        "server": ONE,
        "digest": "d" * 64,
        "proof": Proof.DIGEST,
        "verified": True,
        "outcome": "ok",
        "attempts": 1,
        "stats": Stats(**stats | dict(told or {})),
    }
    return Receipt(**row | values)
