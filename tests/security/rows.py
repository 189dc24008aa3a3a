"""Rows as they are stored, read and edited behind the program's back."""

import json
from typing import Any

from sqlalchemy import create_engine, text


def execute(
    database_url: str, statement: str, *, first: str | None = None, **values: Any
) -> list[Any]:
    """Run a statement of SQL with `:name` parameters, after the `first` one, and give back its
    rows.
    """
    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            if first:
                connection.execute(text(first))
            result = connection.execute(text(statement), values)
            return list(result) if result.returns_rows else []
    finally:
        engine.dispose()


def stored(database_url: str, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """`auth_config` and `headers` of the server, as they are in the database."""
    (row,) = execute(
        database_url,
        "SELECT auth_config, headers FROM ollama_servers WHERE name = :name",
        name=name,
    )
    config, headers = (json.loads(value) if isinstance(value, str) else value for value in row)
    return config, headers


def store(database_url: str, name: str, value: dict[str, Any], column: str = "auth_config") -> None:
    """Write a column of the server that holds JSON."""
    json_value = "CAST(:value AS jsonb)" if database_url.startswith("postgresql") else ":value"
    statement = f"UPDATE ollama_servers SET {column} = {json_value} WHERE name = :name"
    execute(database_url, statement, value=json.dumps(value), name=name)
