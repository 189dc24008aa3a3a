"""Sessions of the pages, owners of rows, TLS of servers, and what came before an answer

Revision: 0010, after 0009

Older rows are managed by nobody, and older receipts do not tell what came before the answer.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"

TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "text": sa.Text(),
    "bigint": sa.BigInteger(),
    "time": sa.DateTime(timezone=True),
    "object": sa.JSON().with_variant(postgresql.JSONB(), "postgresql"),
}
STORED = {  # what SQLite stores of a value
    "text": "typeof({0}) IN ('text', 'null')",
    "bigint": "typeof({0}) IN ('integer', 'null')",
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
    "managed_by": "text",
    "ca_file": "text",
    "client_cert_file": "text",
    "client_key_file": "text",
    "proxy": "text",
}
OF_RECEIPTS = {"queued_ms": "bigint", "passed_over": "object"}
SESSIONS = {
    "token_hash": "text",
    "key_id": "bigint",
    "csrf_token": "text",
    "created_at": "time",
    "expires_at": "time",
}


def upgrade() -> None:
    _add("ollama_servers", OF_SERVERS)
    _add("ollama_pins", {"managed_by": "text"})
    _add("ollama_keys", {"managed_by": "text"})
    _add("ollama_receipts", OF_RECEIPTS)
    op.create_table(
        "ollama_sessions",
        *(
            sa.Column(name, TYPES[kind], nullable=name == "key_id")
            for name, kind in SESSIONS.items()
        ),
        sa.PrimaryKeyConstraint("token_hash", name="pk_ollama_sessions"),
        *_session_checks(),
    )


def _session_checks() -> Iterator[sa.CheckConstraint]:
    for name, kind in SESSIONS.items():
        for check, condition in _checks(name, kind):
            constraint = op.f(f"ck_ollama_sessions_{check}")
            yield sa.CheckConstraint(condition, name=constraint)


def _add(table: str, columns: dict[str, str]) -> None:
    for name, kind in columns.items():
        if _is_sqlite():
            op.execute(_on_sqlite(table, name, kind))
            continue
        op.add_column(table, sa.Column(name, TYPES[kind]))
        for check, condition in _checks(name, kind):
            op.create_check_constraint(op.f(f"ck_{table}_{check}"), table, condition)


def _on_sqlite(table: str, name: str, kind: str) -> str:
    """SQLite adds a column with its checks in one statement, and no check to a table that is there.
    It keeps the lines as they stand here.
    """
    type_ = str(TYPES[kind].compile(op.get_context().dialect))
    lines = [f"ALTER TABLE {table} ADD COLUMN {name} {type_}"]
    for check, condition in _checks(name, kind):
        lines.append(f"\tCONSTRAINT ck_{table}_{check} CHECK ({condition})")
    return "\n".join(lines) + "\n"


def _checks(name: str, kind: str) -> Iterator[tuple[str, str]]:
    """The name and the condition of each check of a column."""
    conditions = STORED if _is_sqlite() else JSONB
    if kind in conditions:
        yield f"{name}_type", conditions[kind].format(name)


def _is_sqlite() -> bool:
    return op.get_context().dialect.name == "sqlite"
