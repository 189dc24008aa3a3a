"""What is loaded when, and what every module and command owes its reader."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ollama_admin
from ollama_admin.cli.app import COMMANDS, load_command
from ollama_admin.simulator.model import SimulatedModel
from tests.cli.running import commands
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread

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
    done = subprocess.run(
        [sys.executable, "-W", "error", *words], capture_output=True, text=True, env=os.environ
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_of_no_command_loads_anything_heavy() -> None:
    asked = [[], ["server"], *commands()]
    loaded = json.loads(fresh("-c", HELP, json.dumps(asked), json.dumps(HEAVY)))
    assert loaded == {" ".join(words): [] for words in asked}


def test_help_of_the_program_itself_loads_nothing_heavy() -> None:
    loaded = fresh(
        "-X", "importtime", "-c", "import ollama_admin.__main__; " + LOADED.format(names=HEAVY)
    )
    assert loaded == "[]\n"


def test_import_of_the_package_loads_nothing_heavy() -> None:
    assert fresh("-c", "import ollama_admin; " + LOADED.format(names=HEAVY)) == "[]\n"


def test_client_comes_with_the_package_when_it_is_asked_for() -> None:
    assert fresh("-c", "from ollama_admin import Client; print(Client.__name__)") == "Client\n"
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = ollama_admin.Nothing


# what a whole run of a command loads

RUN = """
import atexit, json, sys
from ollama_admin.__main__ import main
sys.argv[1:] = json.loads(sys.argv[1])
loaded = lambda: [name for name, module in sys.modules.items() if module is not None]
atexit.register(lambda: print("\\n" + json.dumps(loaded()), file=sys.stderr))
main()
"""
PRINTER = ("rich", "ollama_admin.cli.tables", "ollama_admin.cli.progress")
NETWORK = ("httpx", "httpcore", "httptools", "anyio", "ollama_admin.ollama")
REQUESTS = (
    "ollama_admin.services.generate",
    "ollama_admin.services.discover",
    "ollama_admin.domain.requests",
)
DATABASE = ("sqlalchemy", "sqlite3", "ollama_admin.client", "ollama_admin.store")
OTHER_DATABASE = ("psycopg", "sqlalchemy.dialects.postgresql")
NEVER = (
    *("pydantic", "alembic", "sqlalchemy.orm", "click", "fastapi", "httpx._main", "pygments"),
    "uvloop",
)


def loaded_by(*words: str, environ: dict[str, str] | None = None) -> set[str]:
    """The modules that a run of the program had loaded when it ended."""
    command = [sys.executable, "-c", RUN, json.dumps(words)]
    environ = os.environ | (environ or {})
    done = subprocess.run(
        command, capture_output=True, text=True, env=environ, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.fixture
def sqlite_database(
    migrated_sqlite_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = shutil.copy(migrated_sqlite_file, tmp_path / "one.db")
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", f"sqlite:///{file}")


@pytest.mark.parametrize("words", [("--version",), ("--help",), ("server", "--help")], ids=" ".join)
def test_help_and_version_load_the_command_line_alone(words: tuple[str, ...]) -> None:
    loaded = loaded_by(*words)
    assert loaded & {*NEVER, *DATABASE, *NETWORK, *PRINTER, *REQUESTS, "asyncio", "hmac"} == set()
    commands_loaded = {name for name in loaded if name.startswith("ollama_admin.cli.")} - {
        f"ollama_admin.cli.{name}"
        for name in ("app", "startup", "context", "output", "options", "auth", "help")
    }
    servers = {
        "servers",
        "server_options",
        "draining",
        "target_options",
        "results",
        "lists",
        "ordering",
        "views",
        "views.servers",
        "views.texts",
    }
    expected = {f"ollama_admin.cli.{name}" for name in servers} if words[0] == "server" else set()
    assert commands_loaded == expected


@pytest.fixture
def one_ollama() -> Iterator[str]:
    """The URL of a fake server with the model alpha."""
    with FakeOllamaThread(FakeOllama(SimulatedModel("alpha"))) as fakes:
        yield fakes.url


@pytest.mark.usefixtures("sqlite_database")
@pytest.mark.parametrize(
    ("words", "absent"),
    [
        (("-o", "json", "server", "list"), (*NETWORK, *PRINTER, *REQUESTS, *OTHER_DATABASE)),
        (("server", "list"), (*NETWORK, *REQUESTS, *OTHER_DATABASE)),
        (("-o", "json", "models"), (*NETWORK, *PRINTER, *REQUESTS[:2], *OTHER_DATABASE)),
        (
            ("-o", "json", "discover"),
            (*NETWORK, *PRINTER, *OTHER_DATABASE, "ollama_admin.services.generate"),
        ),
        (
            ("-o", "json", "receipts", "list"),
            (*NETWORK, *PRINTER, *OTHER_DATABASE, "ollama_admin.services.generate"),
        ),
    ],
    ids=lambda value: " ".join(value) if value[0] in ("-o", "server") else "",
)
def test_a_command_loads_what_it_does_and_nothing_else(
    words: tuple[str, ...], absent: tuple[str, ...]
) -> None:
    loaded = loaded_by(*words)
    assert loaded & {*absent, *NEVER} == set()
    assert loaded >= {"sqlalchemy", "ollama_admin.client"}


@pytest.mark.usefixtures("sqlite_database")
def test_generation_loads_neither_tables_nor_the_other_database(one_ollama: str) -> None:
    loaded = loaded_by("generate", "--server-url", one_ollama, "-m", "alpha", "hi")
    assert loaded & {*PRINTER, *NEVER, *OTHER_DATABASE, "ollama_admin.services.discover"} == set()
    assert "httpx" in loaded
    assert loaded & {"httptools", "ollama_admin.ollama.raw_http"} == set()


@pytest.mark.usefixtures("sqlite_database")
def test_discovery_goes_the_fast_way_alone(one_ollama: str) -> None:
    assert loaded_by("server", "add", "one", one_ollama)
    loaded = loaded_by("discover", "--all")
    assert loaded & {*NEVER, "httpx", "httpcore", "anyio"} == set()
    assert "ollama_admin.ollama.raw_http" in loaded


def test_postgresql_is_listed_without_http_tables_or_pydantic(migrated_postgres_url: str) -> None:
    loaded = loaded_by(
        "-o", "json", "server", "list", environ={"OLLAMA_ADMIN_DATABASE_URL": migrated_postgres_url}
    )
    assert loaded & {*NETWORK, *PRINTER, *REQUESTS, *NEVER} == set()
    assert "psycopg" in loaded


# values of options


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-o", "xml", "server", "list"), "'-o' / '--output'"),
        (("discover", "--concurrency", "many"), "--concurrency"),
        (("serve", "--port", "70000"), "--port"),
        (("generate", "--wait", "soon", "hi"), "--wait"),
    ],
    ids=["choice", "whole number", "range", "number"],
)
def test_values_that_are_not_plainly_right_are_refused_by_typer(
    words: tuple[str, ...], message: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ollama_admin", *words], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[0]
    assert "Traceback" not in done.stderr


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
    assert (
        COMMANDS[name][1]
        == help_.split("\n\n")[0].split(". ")[0].rstrip(".").replace("\n", " ") + "."
    )


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_option_has_help(words: tuple[str, ...]) -> None:
    options: list[Any] = [
        param for param in commands()[words].params if param.param_type_name == "option"
    ]
    assert [option.name for option in options if not option.help] == []


def functions() -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}", node


def lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """From `def` to the end. A command's signature is its table of options and its docstring is its
    help, so of a command only what follows them is counted."""
    assert function.end_lineno is not None
    if not _is_command(function):
        return function.end_lineno - function.lineno + 1
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return function.end_lineno - body[0].lineno + 1


def _is_command(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    first = function.args.args[0].annotation if function.args.args else None
    return (
        first is not None
        and ast.unparse(first) == "typer.Context"
        and ast.get_docstring(function) is not None
    )


def test_no_function_is_longer_than_a_screen() -> None:
    assert {
        name: lines(function) for name, function in functions() if lines(function) > LONGEST
    } == {}


def test_every_module_says_what_it_is_for() -> None:
    files = [path for path in PACKAGE.rglob("*.py") if path.read_text().strip()]
    assert [path.name for path in files if not ast.get_docstring(ast.parse(path.read_text()))] == []
