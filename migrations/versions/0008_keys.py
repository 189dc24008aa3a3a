"""Keys of clients, what they spend, and who changed what

Revision: 0008, after 0007

Receipts tell the key, the client and the server's version, too. Older ones know none of them.
"""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"

time = sa.DateTime(timezone=True)
identity = sa.BigInteger().with_variant(sa.Integer, "sqlite")
json_document = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

STORED = {  # what SQLite stores of a value
    "text": "typeof({0}) IN ('text', 'null')",
    "boolean": "{0} IN (0, 1)",
    "integer": "typeof({0}) IN ('integer', 'null') AND {0} BETWEEN -2147483648 AND 2147483647",
    "bigint": "typeof({0}) IN ('integer', 'null')",
    "double": "typeof({0}) IN ('real', 'null')",
    "time": "typeof({0}) IN ('text', 'null')"
    " AND CASE WHEN {0} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] *' THEN"
    " {0} IS strftime('%Y-%m-%d %H:%M:%S', substr({0}, 1, 19), '+0 days') || substr({0}, 20)"
    " AND (length({0}) = 19 OR substr({0}, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]')"
    " ELSE {0} IS NULL END",
    "texts": "typeof({0}) IN ('text', 'null')"
    " AND CASE WHEN json_valid({0}) THEN json_type({0}) = 'array' ELSE {0} IS NULL END",
    "object": "typeof({0}) IN ('text', 'null')"
    " AND CASE WHEN json_valid({0}) THEN json_type({0}) = 'object' ELSE {0} IS NULL END",
}
JSONB = {  # and the shapes of JSON on PostgreSQL
    "texts": "jsonb_typeof({0}) = 'array'"
    """ AND NOT jsonb_path_exists({0}, 'strict $[*] ? (@.type() != "string")', '{{}}', true)""",
    "object": "jsonb_typeof({0}) = 'object'",
}
TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "text": sa.Text(),
    "boolean": sa.Boolean(),
    "integer": sa.Integer(),
    "bigint": sa.BigInteger(),
    "double": sa.Double(),
    "time": time,
}

KEYS = {
    "text": "name name_key public_id secret_hash old_secret_hash note",
    "texts": "can models servers networks",
    "boolean": "allow_remote allow_truncate anonymous is_active",
    "integer": "max_concurrent weight requests_per_minute",
    "bigint": "tokens_per_day",
    "time": "old_secret_expires_at expires_at last_used_at created_at updated_at",
}
KEYS_MAY_LACK = (
    "secret_hash old_secret_hash old_secret_expires_at note max_concurrent requests_per_minute "
    "tokens_per_day expires_at last_used_at"
)
AUDIT = {
    "text": "way who action subject outcome request_id",
    "bigint": "key_id",
    "object": "before after",
    "time": "created_at",
}
BUDGETS = {"text": "kind", "bigint": "key_id period granted"}
LEASES = {"text": "holder clock", "bigint": "key_id", "integer": "count", "double": "expires_at"}

# SQLite adds a column with its check in one statement, and no check to a table that is there. It
# keeps the lines as they stand here.
ON_SQLITE = """ALTER TABLE ollama_receipts ADD COLUMN {0} {1}
\tCONSTRAINT ck_ollama_receipts_{0}_type CHECK ({2})
"""
OF_RECEIPTS = {
    "key_id": "bigint",
    "key_name": "text",
    "client": "text",
    "server_version": "text",
    "estimated": "boolean",
}


def upgrade() -> None:
    op.create_table(
        "ollama_keys",
        sa.Column("id", identity, autoincrement=True, nullable=False),
        *_columns(KEYS, KEYS_MAY_LACK, {"weight": "1", "is_active": "true"}),
        sa.PrimaryKeyConstraint("id", name="pk_ollama_keys"),
        sa.UniqueConstraint("name_key", name="uq_ollama_keys_name_key"),
        sa.UniqueConstraint("public_id", name="uq_ollama_keys_public_id"),
        _check("ollama_keys", "name", "name <> ''"),
        _check("ollama_keys", "max_concurrent", "max_concurrent >= 1"),
        _check("ollama_keys", "weight", "weight >= 1"),
        _check("ollama_keys", "requests_per_minute", "requests_per_minute >= 1"),
        _check("ollama_keys", "tokens_per_day", "tokens_per_day >= 1"),
        *_type_checks("ollama_keys", KEYS),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "ollama_audit",
        sa.Column("id", identity, autoincrement=True, nullable=False),
        *_columns(AUDIT, "key_id subject before after request_id", {}),
        sa.PrimaryKeyConstraint("id", name="pk_ollama_audit"),
        _check("ollama_audit", "way", "way IN ('cli', 'api', 'python')"),
        *_type_checks("ollama_audit", AUDIT),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ollama_audit_created_at", "ollama_audit", ["created_at"])
    _create_counters()
    _add_to_receipts()


def _create_counters() -> None:
    op.create_table(
        "ollama_key_budgets",
        *_columns(BUDGETS, "", {}),
        sa.PrimaryKeyConstraint("key_id", "kind", name="pk_ollama_key_budgets"),
        _check("ollama_key_budgets", "kind", "kind IN ('requests', 'tokens')"),
        *_type_checks("ollama_key_budgets", BUDGETS),
        postgresql_with={"fillfactor": "50"},  # rewritten again and again: in place
    )
    op.create_table(
        "ollama_key_leases",
        *_columns(LEASES, "", {}),
        sa.PrimaryKeyConstraint("key_id", "holder", name="pk_ollama_key_leases"),
        _check("ollama_key_leases", "count", "count >= 0"),
        *_type_checks("ollama_key_leases", LEASES),
        postgresql_with={"fillfactor": "50"},
    )


def _add_to_receipts() -> None:
    for name, kind in OF_RECEIPTS.items():
        if _is_sqlite():
            type_ = str(TYPES[kind].compile(op.get_context().dialect))
            op.execute(ON_SQLITE.format(name, type_, STORED[kind].format(name)))
        else:
            op.add_column("ollama_receipts", sa.Column(name, TYPES[kind]))
    op.create_index(
        "ix_ollama_receipts_key_id_created_at", "ollama_receipts", ["key_id", "created_at"]
    )


def _columns(
    kinds: dict[str, str], may_lack: str, defaults: dict[str, str]
) -> Iterator[sa.Column[Any]]:
    for kind, names in kinds.items():
        for name in names.split():
            default = None
            if name in defaults:
                default = sa.text(defaults[name])
            type_ = TYPES.get(kind, json_document)
            nullable = name in may_lack.split()
            yield sa.Column(name, type_, nullable=nullable, server_default=default)


def _type_checks(table: str, kinds: dict[str, str]) -> Iterator[sa.CheckConstraint]:
    conditions = STORED if _is_sqlite() else JSONB
    for kind, names in kinds.items():
        if kind in conditions:
            for name in names.split():
                yield _check(table, f"{name}_type", conditions[kind].format(name))


def _check(table: str, name: str, condition: str) -> sa.CheckConstraint:
    return sa.CheckConstraint(condition, name=op.f(f"ck_{table}_{name}"))


def _is_sqlite() -> bool:
    return op.get_context().dialect.name == "sqlite"
