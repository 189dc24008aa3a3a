"""What a database's catalogue says of its schema, as lines that can be compared."""

import re
import sqlite3
from pathlib import Path

import psycopg

_POSTGRES = (
    """SELECT format('%s.%s %s %s %s', table_name, column_name, udt_name, is_nullable,
              column_default)
       FROM information_schema.columns WHERE table_schema = current_schema()""",
    """SELECT format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
       FROM pg_constraint WHERE connamespace = current_schema()::regnamespace""",
    "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema()",
)


# an added column stands in the line of the one before it
_ADDED = re.compile(r", (?=[a-z_]+ (?:TEXT|BIGINT|INTEGER|DOUBLE|BOOLEAN|JSON|DATETIME)\b)")


def schema(url: str) -> list[str]:
    """Columns, constraints with their definitions, and indexes, without the table that holds the
    revision.
    """
    found = _of_postgres(url) if url.startswith("postgresql") else _of_sqlite(sqlite_path(url))
    return sorted(line for line in found if "ollama_admin_version" not in line)


def sqlite_path(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def _of_postgres(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [str(line) for query in _POSTGRES for (line,) in connection.execute(query)]


def _of_sqlite(path: Path) -> list[str]:
    connection = sqlite3.connect(path)
    try:
        rows = connection.execute(
            "SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL"
        ).fetchall()
    finally:
        connection.close()
    lines = [
        f"{table}: " + line.strip(" ,\t")
        for table, text in rows
        for line in _ADDED.sub(",\n", text).splitlines()
    ]
    # a rebuilt table has them so
    lines = [re.sub(r'CREATE TABLE "(\w+)"', r"CREATE TABLE \1", line) for line in lines]
    return [re.sub(r"DEFAULT \((\w+)\)", r"DEFAULT \1", line) for line in lines]
