"""Usage of each day, which stays when receipts are deleted

Revision: 0011, after 0010

What receipts there are is added up here; it takes about a minute for each ten million.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "text": sa.Text(),
    "bigint": sa.BigInteger(),
    "double": sa.Double(),
}
STORED = {  # what SQLite stores of a value
    "text": "typeof({0}) IN ('text', 'null')",
    "bigint": "typeof({0}) IN ('integer', 'null')",
    "double": "typeof({0}) IN ('real', 'null')",
}
IDENTITY = {
    "day": "text",
    "key_id": "bigint",
    "key_name": "text",
    "model": "text",
    "server_id": "bigint",
    "server_name": "text",
}
BOUNDS = (
    *(10, 20, 50, 100, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 7500),
    *(10_000, 15_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000, 3_600_000),
)
WITHIN = {bound: f"within_{bound}" for bound in BOUNDS}  # ms to the first token
USAGE = IDENTITY | {
    "server_url": "text",
    "requests": "bigint",
    "failures": "bigint",
    "prompt_tokens": "bigint",
    "output_tokens": "bigint",
    "estimated_tokens": "bigint",
    "timed_tokens": "bigint",
    "timed_seconds": "double",
}
USAGE |= dict.fromkeys(WITHIN.values(), "bigint")
MOST_TOKENS = 2**41
DAYS = {
    "sqlite": "substr(CAST(created_at AS TEXT), 1, 10)",
    "postgresql": "to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
}


def upgrade() -> None:
    op.create_table(
        "ollama_usage",
        *(sa.Column(name, TYPES[kind], nullable=False) for name, kind in USAGE.items()),
        sa.PrimaryKeyConstraint(*IDENTITY, name="pk_ollama_usage"),
        *_checks(),
    )
    op.execute(_added_up())


def _checks() -> Iterator[sa.CheckConstraint]:
    if op.get_context().dialect.name != "sqlite":
        return
    for name, kind in USAGE.items():
        constraint = op.f(f"ck_ollama_usage_{name}_type")
        yield sa.CheckConstraint(STORED[kind].format(name), name=constraint)


def _added_up() -> str:
    """The receipts that there are, as the program adds them up from here on."""
    columns = {
        "day": DAYS[op.get_context().dialect.name],
        "key_id": "COALESCE(key_id, 0)",
        "key_name": "substr(COALESCE(key_name, ''), 1, 200)",
        "model": "substr(COALESCE(model, asked_model, ''), 1, 200)",
        "server_id": "COALESCE(server_id, 0)",
        "server_name": "substr(COALESCE(server_name, server_url, ''), 1, 200)",
        "server_url": "MAX(COALESCE(server_url, ''))",
        "requests": "COUNT(*)",
        "failures": "SUM(CASE WHEN outcome IN ('ok', 'cancelled') THEN 0 ELSE 1 END)",
        "prompt_tokens": f"SUM({_tokens('prompt_tokens')})",
        "output_tokens": f"SUM({_tokens('output_tokens')})",
        "estimated_tokens": f"SUM(CASE WHEN estimated THEN {_tokens('output_tokens')} ELSE 0 END)",
        "timed_tokens": "SUM(CASE WHEN tokens_per_second > 0 THEN "
        f"{_tokens('output_tokens')} ELSE 0 END)",
        "timed_seconds": "SUM(CASE WHEN tokens_per_second > 0 THEN "
        f"{_tokens('output_tokens')} / tokens_per_second ELSE 0.0 END)",
    }
    columns |= {name: f"SUM({_is_within(bound)})" for bound, name in WITHIN.items()}
    chosen = ", ".join(columns.values())
    groups = ", ".join(str(number) for number in range(1, len(IDENTITY) + 1))
    return (
        f"INSERT INTO ollama_usage ({', '.join(columns)})"  # noqa: S608 (our own names)
        f" SELECT {chosen} FROM ollama_receipts GROUP BY {groups}"
    )


def _is_within(bound: int) -> str:
    """1 where this is the least bound that the time does not exceed; the last takes the rest."""
    place = BOUNDS.index(bound)
    conditions = []
    if place:
        conditions.append(f"time_to_first_token_ms > {BOUNDS[place - 1]}")
    if bound != BOUNDS[-1]:
        conditions.append(f"time_to_first_token_ms <= {bound}")
    return f"CASE WHEN {' AND '.join(conditions)} THEN 1 ELSE 0 END"


def _tokens(column: str) -> str:
    """A number that a server told, within what can be added up."""
    return (
        f"CASE WHEN {column} > {MOST_TOKENS} THEN {MOST_TOKENS}"
        f" WHEN {column} > 0 THEN {column} ELSE 0 END"
    )
