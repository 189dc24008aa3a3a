"""Labels and draining of servers, what is known of their health, and which prompts were cut

Revision: 0009, after 0008

Older rows have no label, and nothing is known of them but what the last check saw.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"

TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "text": sa.Text(),
    "boolean": sa.Boolean(),
    "integer": sa.Integer(),
    "double": sa.Double(),
    "time": sa.DateTime(timezone=True),
    "object": sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
}
STORED = {  # what SQLite stores of a value
    "text": "typeof({0}) IN ('text', 'null')",
    "boolean": "{0} IN (0, 1)",
    "integer": "typeof({0}) IN ('integer', 'null') AND {0} BETWEEN -2147483648 AND 2147483647",
    "double": "typeof({0}) IN ('real', 'null')",
    "time": "typeof({0}) IN ('text', 'null')"
    " AND CASE WHEN {0} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] *' THEN"
    " {0} IS strftime('%Y-%m-%d %H:%M:%S', substr({0}, 1, 19), '+0 days') || substr({0}, 20)"
    " AND (length({0}) = 19 OR substr({0}, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]')"
    " ELSE {0} IS NULL END",
    "object": "typeof({0}) IN ('text', 'null')"
    " AND CASE WHEN json_valid({0}) THEN json_type({0}) = 'object' ELSE {0} IS NULL END",
}
JSONB = {"object": "jsonb_typeof({0}) = 'object'"}  # the shapes of JSON on PostgreSQL

OF_SERVERS = {
    "labels": "object",
    "is_draining": "boolean",
    "status_since": "time",
    "status_at": "time",
    "latency_ms": "integer",
    "failures": "integer",
    "asked_last_until": "time",
}
OF_RECEIPTS = {"truncated": "boolean"}
DEFAULTS = {"labels": "'{}'", "is_draining": "false", "failures": "0"}
VALUES = {"latency_ms": "latency_ms >= 0", "failures": "failures >= 0"}
LEASES = {"task": "text", "holder": "text", "clock": "text", "expires_at": "double"}


def upgrade() -> None:
    _add("ollama_servers", OF_SERVERS)
    _add("ollama_receipts", OF_RECEIPTS)
    op.create_table(
        "ollama_task_leases",
        *(sa.Column(name, TYPES[kind], nullable=False) for name, kind in LEASES.items()),
        sa.PrimaryKeyConstraint("task", name="pk_ollama_task_leases"),
        *_leases_checks(),
    )


def _leases_checks() -> Iterator[sa.CheckConstraint]:
    for name, kind in LEASES.items():
        for check, condition in _checks(name, kind):
            constraint = op.f(f"ck_ollama_task_leases_{check}")
            yield sa.CheckConstraint(condition, name=constraint)


def _add(table: str, columns: dict[str, str]) -> None:
    for name, kind in columns.items():
        if _is_sqlite():
            op.execute(_on_sqlite(table, name, kind))
            continue
        default = None
        if name in DEFAULTS:
            default = sa.text(DEFAULTS[name])
        is_nullable = name not in DEFAULTS
        op.add_column(
            table, sa.Column(name, TYPES[kind], nullable=is_nullable, server_default=default)
        )
        for check, condition in _checks(name, kind):
            op.create_check_constraint(op.f(f"ck_{table}_{check}"), table, condition)


def _on_sqlite(table: str, name: str, kind: str) -> str:
    """SQLite adds a column with its checks in one statement, and no check to a table that is there.
    It keeps the lines as they stand here.
    """
    type_ = str(TYPES[kind].compile(op.get_context().dialect))
    lines = [f"ALTER TABLE {table} ADD COLUMN {name} {type_}"]
    if name in DEFAULTS:
        lines[0] += f" DEFAULT {DEFAULTS[name]} NOT NULL"
    for check, condition in _checks(name, kind):
        lines.append(f"\tCONSTRAINT ck_{table}_{check} CHECK ({condition})")
    return "\n".join(lines) + "\n"


def _checks(name: str, kind: str) -> Iterator[tuple[str, str]]:
    """The name and the condition of each check of a column."""
    if name in VALUES:
        yield name, VALUES[name]
    conditions = STORED if _is_sqlite() else JSONB
    if kind in conditions:
        yield f"{name}_type", conditions[kind].format(name)


def _is_sqlite() -> bool:
    return op.get_context().dialect.name == "sqlite"
