"""What a column may hold: SQLite stores any value in any column, and both databases take JSON of
any shape.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Dialect,
    Double,
    Integer,
    Table,
    Text,
    TypeDecorator,
)

from ollama_admin.store.dialects import JSONDocument


class UTCDateTime(TypeDecorator[datetime]):
    """Aware UTC in and out: SQLite has no time zones and gives back naive times."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a naive time")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, _dialect: Dialect) -> datetime | None:
        return value and (
            value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        )


_STORED_TIME = (
    "typeof({0}) IN ('text', 'null')"
    " AND CASE WHEN {0} GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9] *' THEN"
    " {0} IS strftime('%Y-%m-%d %H:%M:%S', substr({0}, 1, 19), '+0 days') || substr({0}, 20)"
    " AND (length({0}) = 19 OR substr({0}, 20) GLOB '.[0-9][0-9][0-9][0-9][0-9][0-9]')"
    " ELSE {0} IS NULL END"
)
_STORED = {  # what SQLite stores of a value; NULL is for NOT NULL to refuse
    Text: "typeof({0}) IN ('text', 'null')",
    Boolean: "{0} IN (0, 1)",
    Integer: "typeof({0}) IN ('integer', 'null') AND {0} BETWEEN -2147483648 AND 2147483647",
    BigInteger: "typeof({0}) IN ('integer', 'null')",
    Double: "typeof({0}) IN ('real', 'null')",
    UTCDateTime: _STORED_TIME,
}
_STORED_JSON = (
    "typeof({0}) IN ('text', 'null')"
    " AND CASE WHEN json_valid({0}) THEN json_type({0}) = '{1}' ELSE {0} IS NULL END"
)
_STRINGS_ONLY = (
    """ AND NOT jsonb_path_exists({0}, 'strict $[*] ? (@.type() != "string")', '{{}}', true)"""
)
_JSON_SHAPES = {  # by shape: the type in SQLite's words, and the condition on PostgreSQL
    "object": ("object", "jsonb_typeof({0}) = 'object'"),
    "texts": ("array", "jsonb_typeof({0}) = 'array'" + _STRINGS_ONLY),
}


def check_types(table: Table) -> None:
    """Add the constraints of its columns' types."""
    for column in table.columns:
        name = column.name
        if isinstance(column.type, JSONDocument):
            sqlite_type, on_postgresql = _JSON_SHAPES[column.type.shape]
            _check_type(table, name, "postgresql", on_postgresql.format(name))
            _check_type(table, name, "sqlite", _STORED_JSON.format(name, sqlite_type))
        elif column.autoincrement is not True:  # SQLite itself takes nothing but a number there
            _check_type(table, name, "sqlite", _STORED[type(column.type)].format(name))


def _check_type(table: Table, column: str, dialect: str, condition: str) -> None:
    constraint = CheckConstraint(condition, name=f"{column}_type").ddl_if(dialect=dialect)
    table.append_constraint(constraint)
