"""How the code reads, counted: what is over a bar here is hard to follow, whatever it does."""

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import ollama_admin

PACKAGE = Path(ollama_admin.__file__).parent
SOURCES = {
    path.relative_to(PACKAGE): path.read_text(encoding="utf-8")
    for path in sorted(PACKAGE.rglob("*.py"))
}
LINES = sum(len(source.splitlines()) for source in SOURCES.values())

WIDTH = 100  # columns
LONGEST_MODULE = 400  # lines
MEDIAN_FUNCTION, NINE_OF_TEN = 7, 22  # lines, from `def` to the end
CONDITIONALS, UNPACKINGS = 12, 2  # in 1,000 lines
TOP_MODULES = 8


def nodes() -> Iterator[ast.AST]:
    for source in SOURCES.values():
        yield from ast.walk(ast.parse(source))


def in_thousand(count: int) -> float:
    return 1000 * count / LINES


def test_no_line_is_wider_than_a_page() -> None:
    wide = [
        f"{path}:{number}"
        for path, source in SOURCES.items()
        for number, line in enumerate(source.splitlines(), 1)
        if len(line) > WIDTH
    ]
    assert wide == []


def test_no_module_is_longer_than_one_noun() -> None:
    lengths = {str(path): len(source.splitlines()) for path, source in SOURCES.items()}
    assert {path: length for path, length in lengths.items() if length > LONGEST_MODULE} == {}


def test_functions_are_short() -> None:
    """No function is longer than 40 lines either: tests/test_imports.py names those that are."""
    lengths = sorted(
        (node.end_lineno or 0) - node.lineno + 1
        for node in nodes()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    assert len(lengths) > 1000
    assert statistics.median(lengths) <= MEDIAN_FUNCTION
    assert lengths[len(lengths) * 9 // 10] <= NINE_OF_TEN


def test_conditions_are_statements() -> None:
    assert in_thousand(sum(isinstance(node, ast.IfExp) for node in nodes())) <= CONDITIONALS


def test_values_are_named_and_not_unpacked() -> None:
    """In literals and in lists of arguments; a dictionary's `**` has no key in the tree."""
    stars = sum(isinstance(node, ast.Starred) for node in nodes())
    stars += sum(node.keys.count(None) for node in nodes() if isinstance(node, ast.Dict))
    assert in_thousand(stars) <= UNPACKINGS


def test_few_modules_stand_loose_at_the_top() -> None:
    assert len([path for path in SOURCES if len(path.parts) == 1]) <= TOP_MODULES


def test_filters_of_warnings_are_left_alone() -> None:
    """They belong to the whole process: what one thread sets for itself meets all others."""
    setters = {"catch_warnings", "simplefilter", "filterwarnings"}
    names = {node.attr for node in nodes() if isinstance(node, ast.Attribute)}
    names |= {
        alias.name for node in nodes() if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert not names & setters
