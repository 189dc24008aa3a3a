"""Checks of every column

Revision: 0003, after 0002

Until here SQLite kept any value in any column, and both databases kept JSON of any shape. A row
that breaks a check is named, and nothing is changed.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op

from ollama_admin.errors import DatabaseUnavailable

revision = "0003"
down_revision = "0002"

KEYS = {
    "ollama_servers": ("id",),
    "ollama_models": ("id",),
    "ollama_pins": ("name_key",),
    "ollama_slots": ("server_id", "slot"),
    "ollama_receipts": ("id",),
}

# of both databases: (table, column), and what it holds
VALUES = {
    ("ollama_servers", "name"): "name <> ''",
    ("ollama_servers", "url"): "substr(url, 1, 7) = 'http://' OR substr(url, 1, 8) = 'https://'",
    ("ollama_pins", "name_key"): "name_key <> ''",
    ("ollama_pins", "name"): "name <> ''",
    ("ollama_pins", "digest"): "digest <> ''",
    ("ollama_slots", "slot"): "slot >= 1",
    ("ollama_slots", "token"): "token >= 0",
    (
        "ollama_receipts",
        "proof",
    ): "proof IN ('digest', 'drift', 'changed', 'unread', 'remote', 'name')",
    ("ollama_receipts", "attempts"): "attempts >= 0",
}

# constraints of 0001 and 0002, which an SQLite file may break: they can be turned off there
OLDER = {
    ("ollama_servers", "api_version"): "api_version IN ('native', 'v1')",
    ("ollama_servers", "auth_type"): "auth_type IN ('none', 'basic', 'bearer', 'api_key')",
    ("ollama_servers", "max_concurrent"): "max_concurrent >= 1",
    (
        "ollama_servers",
        "status",
    ): "status IN ('unknown', 'online', 'offline', 'unauthorized', 'error')",
    ("ollama_receipts", "way"): "way IN ('cli', 'api', 'python')",
}

TYPES = {
    "ollama_servers": {
        "text": "name name_key url api_version default_model auth_type status version last_error",
        "texts": "capabilities",
        "object": "auth_config headers",
        "integer": "max_concurrent priority",
        "boolean": "is_default is_active",
        "time": "last_seen_at last_discovered_at created_at updated_at",
    },
    "ollama_models": {
        "text": "name name_key digest format family parameter_size quantization_level "
        "remote_host remote_model",
        "texts": "families capabilities",
        "bigint": "server_id size context_length embedding_length",
        "boolean": "is_available",
        "time": "modified_at first_seen_at last_seen_at digest_changed_at",
    },
    "ollama_pins": {"text": "name_key name digest", "time": "created_at updated_at"},
    "ollama_slots": {
        "text": "holder clock",
        "integer": "slot",
        "bigint": "server_id token",
        "double": "expires_at",
    },
    "ollama_receipts": {
        "text": "way asked_model model server_name server_url digest proof outcome",
        "integer": "attempts",
        "bigint": "server_id prompt_tokens output_tokens total_ms load_ms time_to_first_token_ms",
        "double": "tokens_per_second",
        "boolean": "verified",
        "time": "created_at",
    },
}

_STORED_JSON = (
    "typeof({0}) IN ('text', 'null')"
    " AND CASE WHEN json_valid({0}) THEN json_type({0}) = '%s' ELSE {0} IS NULL END"
)
# a day of the calendar and a time of day, to the second or the microsecond. A change by 0 days
# makes the 2nd of March of the 30th of February; of the text 'now' `strftime` takes no check.
_STORED_TIME = (
    "typeof({0}) IN ('text', 'null')"
    " AND CASE WHEN {0} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] *' THEN"
    " {0} IS strftime('%Y-%m-%d %H:%M:%S', substr({0}, 1, 19), '+0 days') || substr({0}, 20)"
    " AND (length({0}) = 19 OR substr({0}, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]')"
    " ELSE {0} IS NULL END"
)
ON_SQLITE = {
    "text": "typeof({0}) IN ('text', 'null')",
    "boolean": "{0} IN (0, 1)",
    "integer": "typeof({0}) IN ('integer', 'null') AND {0} BETWEEN -2147483648 AND 2147483647",
    "bigint": "typeof({0}) IN ('integer', 'null')",
    "double": "typeof({0}) IN ('real', 'null')",
    "time": _STORED_TIME,
    "texts": _STORED_JSON % "array",
    "object": _STORED_JSON % "object",
}
ON_POSTGRESQL = {
    "texts": "jsonb_typeof({0}) = 'array'"
    """ AND NOT jsonb_path_exists({0}, 'strict $[*] ? (@.type() != "string")', '{{}}', true)""",
    "object": "jsonb_typeof({0}) = 'object'",
}


def upgrade() -> None:
    if op.get_context().dialect.name == "sqlite":
        _upgrade_sqlite(op.get_bind())
    else:
        _upgrade_postgresql()


def _upgrade_sqlite(connection: sa.Connection) -> None:
    for table in KEYS:
        conditions = _values(table, OLDER) + _types(table, ON_SQLITE) + _values(table, VALUES)
        _refuse_broken_rows(connection, table, conditions)
    query = "SELECT tbl_name, type, sql FROM sqlite_master WHERE sql IS NOT NULL"
    parts = connection.exec_driver_sql(query).all()
    last_ids = connection.exec_driver_sql("SELECT name, seq FROM sqlite_sequence").all()
    with _views_left_alone(connection):
        for table in KEYS:
            of_table = [(part.type, part.sql) for part in parts if part.tbl_name == table]
            _rebuild(connection, table, of_table)
    connection.exec_driver_sql("DELETE FROM sqlite_sequence")
    for name, last_id in last_ids:
        connection.exec_driver_sql("INSERT INTO sqlite_sequence VALUES (?, ?)", (name, last_id))


@contextmanager
def _views_left_alone(connection: sa.Connection) -> Iterator[None]:
    """A view of somebody's on a table that is away for a moment is no reason to fail."""
    found = connection.exec_driver_sql("PRAGMA legacy_alter_table").scalar()
    connection.exec_driver_sql("PRAGMA legacy_alter_table = ON")
    try:
        yield
    finally:
        connection.exec_driver_sql(f"PRAGMA legacy_alter_table = {found}")


def _upgrade_postgresql() -> None:
    # nobody writes between the look at the rows and the constraint
    op.execute(f"LOCK TABLE {', '.join(KEYS)} IN ACCESS EXCLUSIVE MODE")
    for table in KEYS:
        conditions = _types(table, ON_POSTGRESQL) + _values(table, VALUES)
        if not conditions:
            continue
        if not op.get_context().as_sql:
            _refuse_broken_rows(op.get_bind(), table, conditions)
        added = ", ".join(f"ADD {constraint}" for constraint in _constraints(table, ON_POSTGRESQL))
        op.execute(f"ALTER TABLE {table} {added}")


def _types(table: str, conditions: Mapping[str, str]) -> list[tuple[str, str]]:
    """Columns with the condition on their type, for those types that the database has one for."""
    return [
        (column, conditions[kind].format(column))
        for kind, columns in TYPES[table].items()
        if kind in conditions
        for column in columns.split()
    ]


def _values(table: str, conditions: Mapping[tuple[str, str], str]) -> list[tuple[str, str]]:
    """Columns with the condition on their value."""
    return [(column, condition) for (of, column), condition in conditions.items() if of == table]


def _constraints(table: str, type_conditions: Mapping[str, str]) -> list[str]:
    named = [(f"{column}_type", condition) for column, condition in _types(table, type_conditions)]
    return [
        f"CONSTRAINT ck_{table}_{name} CHECK ({condition})"
        for name, condition in named + _values(table, VALUES)
    ]


def _refuse_broken_rows(
    connection: sa.Connection, table: str, conditions: list[tuple[str, str]]
) -> None:
    """Raise DatabaseUnavailable for the first row that breaks a condition; it says no value but the
    row's key.
    """
    broken = " ".join(f"WHEN NOT ({condition}) THEN '{column}'" for column, condition in conditions)
    key = ", ".join(KEYS[table])
    rows = f"SELECT CASE {broken} END AS broken, {key} FROM {table}"  # noqa: S608 (our own names)
    row = connection.exec_driver_sql(
        f"SELECT * FROM ({rows}) AS seen WHERE broken IS NOT NULL ORDER BY {key} LIMIT 1"  # noqa: S608
    ).first()
    if row is not None:
        shown = ", ".join(ascii(value) for value in row[1:])
        raise DatabaseUnavailable(
            f"{table}, row {shown}: its {row.broken} cannot be read; another program wrote it, and "
            "nothing was changed",
            "mend or delete that row in the database, then: ollama-admin migrate",
        )


def _rebuild(connection: sa.Connection, table: str, parts: list[tuple[str, str]]) -> None:
    """Make another table with the constraints, and give it the rows, the name, and what belonged to
    it (`parts`, as kind and SQL): SQLite adds no constraint to a table.

    By the text that made the table, and not as Alembic's batch mode does: that forgets triggers and
    indexes of expressions.
    """
    (made,) = (sql for kind, sql in parts if kind == "table")
    columns = made[made.index("(") : made.rindex(")")].rstrip()
    lines = ", \n\t".join([columns, *_constraints(table, ON_SQLITE)])
    connection.exec_driver_sql(f"CREATE TABLE new_{table} {lines}\n)")
    connection.exec_driver_sql(f"INSERT INTO new_{table} SELECT * FROM {table}")  # noqa: S608
    connection.exec_driver_sql(f"DROP TABLE {table}")
    connection.exec_driver_sql(f"ALTER TABLE new_{table} RENAME TO {table}")
    for kind, sql in parts:
        if kind in ("index", "trigger"):
            connection.exec_driver_sql(sql)
