"""What is loaded when, and what every module and command owes its reader."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ollama_admin
from ollama_admin.cli.app import COMMANDS, load_command
from tests.cli.running import commands

PACKAGE = Path(ollama_admin.__file__).parent
HEAVY = ("sqlalchemy", "httpx", "alembic", "rich", "psycopg")
LONGEST = 40  # lines of a function

HELP = """
import contextlib, io, json, sys
from typer.testing import CliRunner
from ollama_admin.cli.app import app

loaded = {}
for words in json.loads(sys.argv[1]):
    result = CliRunner().invoke(app, [*words, "--help"], catch_exceptions=False)
    assert result.exit_code == 0, result
    loaded[" ".join(words)] = [name for name in json.loads(sys.argv[2]) if name in sys.modules]
print(json.dumps(loaded))
"""
EVERY_MODULE = """
import importlib, pkgutil, ollama_admin
for module in pkgutil.walk_packages(ollama_admin.__path__, "ollama_admin."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        print(module.name)
"""
LOADED = "import sys; print([name for name in {names!r} if name in sys.modules])"


def fresh(*words: str) -> str:
    """What a new interpreter prints; warnings are errors there."""
    done = subprocess.run([sys.executable, "-W", "error", *words], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_of_no_command_loads_anything_heavy() -> None:
    asked = [[], ["server"], *commands()]
    loaded = json.loads(fresh("-c", HELP, json.dumps(asked), json.dumps(HEAVY)))
    assert loaded == {" ".join(words): [] for words in asked}


def test_help_of_the_program_itself_loads_nothing_heavy() -> None:
    loaded = fresh("-X", "importtime", "-c", "import ollama_admin.__main__; " + LOADED.format(names=HEAVY))
    assert loaded == "[]\n"


def test_import_of_the_package_loads_nothing_heavy() -> None:
    assert fresh("-c", "import ollama_admin; " + LOADED.format(names=HEAVY)) == "[]\n"


def test_client_comes_with_the_package_when_it_is_asked_for() -> None:
    assert fresh("-c", "from ollama_admin import Client; print(Client.__name__)") == "Client\n"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = ollama_admin.Nothing


def test_list_of_servers_as_json_loads_neither_http_nor_migrations_nor_tables(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", database_url)
    code = (
        "import atexit, sys\n"
        "from ollama_admin.cli.app import main\n"
        "sys.argv[1:] = ['-o', 'json', 'server', 'list']\n"
        "atexit.register(lambda: print([name for name in ('httpx', 'alembic', 'rich') if name in sys.modules]))\n"
        "main()\n"
    )
    assert fresh("-c", code) == "[]\n[]\n"


def test_every_module_can_be_imported() -> None:
    imported = fresh("-c", EVERY_MODULE).split()
    files = {path for path in PACKAGE.rglob("*.py") if path.name != "__main__.py"}
    assert len(imported) + 1 == len(files)  # the package itself is not walked


# what the reader is owed


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_is_described(words: tuple[str, ...]) -> None:
    callback = commands()[words].callback
    assert callback is not None
    assert callback.__doc__
    assert callback.__doc__.splitlines()[0].endswith(".")


@pytest.mark.parametrize("name", COMMANDS)
def test_list_of_commands_says_what_the_command_itself_says(name: str) -> None:
    help_ = load_command(name).help
    assert help_ is not None
    assert COMMANDS[name][1] == help_.split("\n\n")[0].split(". ")[0].rstrip(".").replace("\n", " ") + "."


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_option_has_help(words: tuple[str, ...]) -> None:
    options: list[Any] = [param for param in commands()[words].params if param.param_type_name == "option"]
    assert [option.name for option in options if not option.help] == []


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", node


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From `def` to the end. A command's signature is its table of options and its docstring is its help, so
    of a command only what follows them is counted."""
    assert function.end_lineno is not None
    if not _is_command(function):
        return function.end_lineno - function.lineno + 1
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return function.end_lineno - body[0].lineno + 1


def _is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = function.args.args[0].annotation if function.args.args else None
    return first is not None and ast.unparse(first) == "typer.Context" and ast.get_docstring(function) is not None


def test_no_function_is_longer_than_a_screen() -> None:
    assert {name: lines(function) for name, function in functions() if lines(function) > LONGEST} == {}


def test_every_module_says_what_it_is_for() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path.read_text().strip()]
    assert [path.name for path in files if not ast.get_docstring(ast.parse(path.read_text()))] == []
