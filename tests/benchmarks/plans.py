"""How a database runs the statements that some work executes."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, create_engine, event

from ollama_admin.settings import Settings
from tests.benchmarks.measuring import QueryPlan

_EXPLAIN = {"postgresql": "EXPLAIN (COSTS OFF)", "sqlite": "EXPLAIN QUERY PLAN"}
_OF_OURS = re.compile(r"\bollama_\w+")

Statement = tuple[str, Any]  # with its parameters


@contextmanager
def heard() -> Iterator[list[Statement]]:
    """The statements on tables of ours that are executed meanwhile."""
    statements: list[Statement] = []

    def hear(connection: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if _OF_OURS.search(statement):
            statements.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", hear)


def explained(
    database: str, url: str, work: str, statements: Sequence[Statement]
) -> Iterator[QueryPlan]:
    """One plan for each statement, with the parameters that it had first."""
    first: dict[str, Any] = {}
    for statement, parameters in statements:
        first.setdefault(statement, parameters)
    engine = create_engine(Settings.read({}, url).database_url)
    try:
        with engine.connect() as connection:
            for statement, parameters in first.items():
                rows = connection.exec_driver_sql(
                    f"{_EXPLAIN[engine.dialect.name]} {statement}", parameters
                )
                lines = tuple(str(row[-1]) for row in rows)
                yield QueryPlan(database=database, work=work, statement=statement, lines=lines)
    finally:
        engine.dispose()
