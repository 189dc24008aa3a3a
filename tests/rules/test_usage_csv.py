"""Usage as lines of CSV."""

import csv

import pytest

from ollama_admin.domain.keys import KeyRef
from ollama_admin.domain.receipts import Usage
from ollama_admin.domain.servers import ServerRef
from ollama_admin.rules.usage_csv import usage_csv

COUNTED = {
    "requests": 1,
    "failures": 2,
    "prompt_tokens": 3,
    "output_tokens": 4,
    "estimated_tokens": 5,
}
TIMED = COUNTED | {
    "tokens_per_second": 6.5,
    "time_to_first_token_p50_ms": 7,
    "time_to_first_token_p95_ms": 8,
}
NUMBERS = ["1", "2", "3", "4", "5", "6.5", "7", "8"]


def row(**values: object) -> Usage:
    usual: dict[str, object] = {"day": "2026-11-29", "key": KeyRef(id=9, name="team")}
    return Usage(**(usual | TIMED | values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("by", "columns", "cells"),
    [
        (None, ["day", "key_id", "key"], ["2026-11-29", "9", "team"]),
        ("day", ["day"], ["2026-11-29"]),
        ("key", ["key_id", "key"], ["9", "team"]),
        ("model", ["model"], ["alpha"]),
        ("server", ["server_id", "server"], ["4", "gpu"]),
    ],
)
def test_each_group_has_its_columns_before_the_numbers(
    by: str | None, columns: list[str], cells: list[str]
) -> None:
    server = ServerRef(id=4, name="gpu", url="http://gpu")
    heading, line = csv.reader(usage_csv([row(model="alpha", server=server)], by))
    assert heading == [*columns, *TIMED]
    assert line == cells + NUMBERS


def test_what_is_not_known_is_an_empty_cell() -> None:
    unknown = row(key=None, tokens_per_second=None)
    assert list(usage_csv([unknown], None))[1] == "2026-11-29,,,1,2,3,4,5,,7,8"


@pytest.mark.parametrize("beginning", ["=", "+", "-", "@", "\t", "\r"])
def test_a_name_is_no_formula_of_a_spreadsheet(beginning: str) -> None:
    rows = [row(model=f"{beginning}1+1"), row(model=f"a{beginning}")]
    _, formula, name = usage_csv(rows, "model")
    assert next(csv.reader([formula]))[0] == f"'{beginning}1+1"
    assert not name.startswith("'")
