"""How commands fail: one line, a hint, the exit code, and nothing half done."""

import ctypes
import os
import shutil
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from ollama_admin import errors
from tests.cli.conftest import Spawn
from tests.cli.running import Cli, commands

CAPABILITY_VERSION = 0x20080522  # of linux/capability.h, as the numbers below
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
EXIT_CODES = {
    "InvalidInput": 2,
    "NotFound": 3,
    "ServerNotFound": 3,
    "ModelNotFound": 3,
    "Conflict": 4,
    "ServerExists": 4,
    "ServerInactive": 4,
    "ModelAmbiguous": 4,
    "RemoteNotAllowed": 4,
    "DatabaseUnavailable": 5,
    "DatabaseBusy": 5,
    "SchemaOutOfDate": 5,
    "SecretUnavailable": 5,
    "UpstreamError": 6,
    "ServerUnreachable": 6,
    "ServerUnauthorized": 6,
    "ServerBusy": 6,
    "PromptTooLong": 6,
    "StreamInterrupted": 6,
    "ModelMismatch": 6,
    "PendingMigrations": 8,
}


def test_every_class_of_errors_has_the_exit_code_that_is_promised() -> None:
    classes = {
        name: value
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    found = {name: value.exit_code for name, value in classes.items() if name != "AdminError"}
    assert {name: found[name] for name in EXIT_CODES} == EXIT_CODES


# usage


@pytest.mark.parametrize(
    "words",
    [
        ("bogus",),
        ("server", "bogus"),
        ("--bogus",),
        ("server", "add"),
        ("server", "add", "one"),
        ("server", "add", "one", "gpu", "extra"),
        ("server", "add", "one", "gpu", "--bogus"),
        ("server", "list", "extra"),
        ("server", "show"),
        ("server", "update"),
        ("server", "remove"),
        ("server", "list", "-o", "xml"),
        ("-o", "xml", "server", "list"),
        ("server", "list", "--capability"),
        ("migrate", "--wait"),
        ("migrate", "extra"),
        ("models", "--name"),
        ("generate", "--option"),
        ("generate", "--model"),
        ("import-env", "--bogus"),
        ("demo", "extra"),
    ],
)
def test_wrong_usage_is_one_line_and_the_way_to_the_help(
    sqlite_cli: Cli, words: tuple[str, ...]
) -> None:
    ran = sqlite_cli(*words)
    assert (ran.exit_code, ran.stdout) == (2, "")
    error, hint = ran.stderr.splitlines()
    assert error.startswith("error: ")
    assert "see: ollama-admin" in hint
    assert hint.endswith(" --help")


@pytest.mark.parametrize(
    "words",
    [
        ("-o", "json", "bogus"),
        ("-o", "json", "server", "add"),
        ("server", "show", "-o", "json"),
        ("server", "add", "one", "gpu", "--bogus", "-o", "json"),
        ("--output=json", "server", "list", "extra"),
        ("-ojson", "server", "bogus"),
        ("migrate", "--wait", "soon", "--output", "json"),
    ],
)
def test_wrong_usage_is_json_where_json_was_asked_for(
    sqlite_cli: Cli, words: tuple[str, ...]
) -> None:
    ran = sqlite_cli(*words)
    assert ran.failure == (2, "invalid_input")
    assert ran.error["hint"].startswith("see: ollama-admin")


@pytest.mark.parametrize("words", [*commands(), ("server",)], ids=" ".join)
def test_unknown_option_of_every_command_is_refused(
    sqlite_cli: Cli, words: tuple[str, ...]
) -> None:
    ran = sqlite_cli(*words, "--no-such-option")
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr.startswith("error: no such option: --no-such-option")


def test_mistyped_server_draws_the_nearest_one(cli: Cli) -> None:
    for name in ("first", "second"):
        cli("server", "add", name, f"http://{name}:11434", "--no-check")
    assert cli.json("server", "show", "frist").error["hint"] == "nearest: first"
    assert cli.json("generate", "-m", "alpha", "-s", "sec", "hi").error["hint"] == "nearest: second"


def test_mistyped_command_draws_the_nearest_one(sqlite_cli: Cli) -> None:
    assert "Did you mean 'list'?" in sqlite_cli("server", "lst").stderr


def test_hostile_argument_is_escaped_in_the_error(sqlite_cli: Cli) -> None:
    for words in (
        ("\x1b[31m",),
        ("server", "show", "\x1b]0;x\x07"),
        ("server", "add", "a\u202eb", "gpu"),
    ):
        ran = sqlite_cli(*words)
        assert ran.exit_code in (2, 3)
        assert not set("\x1b\x07\u202e") & set(ran.stderr)


def test_error_and_hint_are_two_lines(sqlite_cli: Cli) -> None:
    ran = sqlite_cli("server", "show", "none")
    assert (
        ran.stderr
        == "error: no server named 'none'\nhint: list them with: ollama-admin server list\n"
    )


def test_error_without_a_next_step_has_no_hint(sqlite_cli: Cli) -> None:
    ran = sqlite_cli("server", "add", "one", "gpu", "--max-concurrent", "0")
    assert (ran.exit_code, len(ran.stderr.splitlines())) == (2, 1)
    assert (
        sqlite_cli.json("server", "add", "one", "gpu", "--max-concurrent", "0").error["hint"]
        is None
    )


# the database


@pytest.mark.parametrize(
    "url",
    [
        "mysql://x",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///file:x?mode=ro",
        "nonsense",
        "postgresql",
        "postgresql://user:pa:ss@host:port/db",
        "postgresql://[::1/db",
    ],
)
def test_database_url_that_cannot_be_used_is_bad_input(url: str) -> None:
    ran = Cli().json("--database-url", url, "server", "list")
    assert ran.failure == (2, "invalid_input")
    assert "pa:ss" not in ran.stderr


def test_empty_database_url_is_not_taken_for_the_default_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Cli().json("--database-url", "", "server", "list").failure == (2, "invalid_input")
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", "")
    assert Cli().json("server", "list").failure == (2, "invalid_input")
    assert not (tmp_path / "home/.local").exists()


def test_without_any_setting_the_database_is_a_file_in_the_data_folder(tmp_path: Path) -> None:
    assert Cli()("server", "add", "one", "gpu", "--no-check").exit_code == 0
    assert (tmp_path / "home/.local/share/ollama-admin/ollama-admin.db").is_file()


def with_part(url: str, **parts: str) -> str:
    return urlunsplit(urlsplit(url)._replace(**parts))


def test_wrong_password_is_told_without_repeating_it(migrated_postgres_url: str) -> None:
    parts = urlsplit(migrated_postgres_url)
    url = with_part(
        migrated_postgres_url, netloc=f"{parts.username}:hunter2@{parts.hostname}:{parts.port}"
    )
    for words in (("server", "list"), ("migrate",), ("-v", "server", "list")):
        ran = Cli()("--database-url", url, *words)
        assert (ran.exit_code, ran.stdout) == (5, "")
        assert "password" in ran.stderr.splitlines()[1]
        assert "hunter2" not in ran.stderr
        assert "Traceback" not in ran.stderr


def test_missing_database_is_told(migrated_postgres_url: str) -> None:
    ran = Cli().json(
        "--database-url",
        with_part(migrated_postgres_url, path="/no_such_database"),
        "server",
        "list",
    )
    assert ran.failure == (5, "database_unavailable")
    assert "createdb" in ran.error["hint"]


def test_unknown_parameter_of_the_database_url_is_told(migrated_postgres_url: str) -> None:
    ran = Cli().json("--database-url", f"{migrated_postgres_url}?no_such=1", "server", "list")
    assert ran.exit_code in (2, 5)
    assert "?" in ran.error["hint"]


def test_database_where_nothing_listens_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"postgresql://me:hunter2@127.0.0.1:{port}/db"
    for words in (
        ["server", "list"],
        ["models"],
        ["discover"],
        ["migrate", "--status"],
        ["generate", "-m", "a", "hi"],
    ):
        ran = Cli().json("--database-url", url, *words)
        assert ran.failure == (5, "database_unavailable")
        assert "hunter2" not in ran.stderr


def test_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a database, and longer than the header of one " * 10)
    url = f"sqlite:///{tmp_path / 'notes.txt'}"
    for words in (["server", "list"], ["migrate"], ["migrate", "--check"]):
        ran = Cli().json("--database-url", url, *words)
        assert ran.failure == (5, "database_unavailable")
        assert "notes.txt is not an SQLite database" in ran.error["message"]


def test_folder_as_a_database_is_named(tmp_path: Path) -> None:
    ran = Cli().json("--database-url", f"sqlite:///{tmp_path}", "server", "list")
    assert ran.failure == (5, "database_unavailable")
    assert str(tmp_path) in ran.error["message"]


def test_sqlite_file_locked_by_another_process_is_busy(
    sqlite_cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ollama_admin.store.database.BUSY_TIMEOUT", 0.1)
    holder = sqlite3.connect(tmp_path / "one.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    ran = sqlite_cli.json("server", "add", "one", "gpu", "--no-check")
    holder.close()
    assert ran.failure == (5, "database_busy")
    assert "one.db is locked" in ran.error["message"]
    assert sqlite_cli.json("server", "list").data == []


# the data folder


@pytest.mark.parametrize("words", [("server", "list"), ("migrate",)])
def test_data_folder_that_is_a_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "file"))
    ran = Cli().json(*words)
    assert ran.failure == (5, "database_unavailable")
    assert str(tmp_path / "file") in ran.error["message"]
    assert ran.error["hint"] is not None


@pytest.fixture
def without_privileges() -> Iterator[None]:
    """Permissions count for this thread, even where the tests are run by root.

    The user stays who it is: another one need not be able to enter the folder that the code is in.
    """
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable, twice 32 of each
    assert libc.capget(header, sets) == 0, os.strerror(ctypes.get_errno())
    effective = sets[0]
    sets[0] &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        sets[0] = effective
        assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())


@pytest.fixture
def protected(tmp_path: Path) -> Iterator[Path]:
    """A folder with a database, in which nothing can be written."""
    folder = tmp_path / "protected"
    folder.mkdir()
    shutil.copy(tmp_path / "one.db", folder / "one.db")
    (folder / "one.db").chmod(0o400)
    folder.chmod(0o500)
    yield folder
    folder.chmod(0o700)


ADD = ("server", "add", "one", "gpu", "--no-check")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("server", "list"), "one.db"),
        *((words, name) for words in (ADD, ("migrate",)) for name in ("one.db", "new.db")),
        *((words, "new/one.db") for words in (("server", "list"), ADD, ("migrate",))),
    ],
)
def test_database_without_permission_is_named(
    sqlite_cli: Cli, protected: Path, without_privileges: None, name: str, words: tuple[str, ...]
) -> None:
    ran = sqlite_cli.json("--database-url", f"sqlite:///{protected / name}", *words)
    assert ran.failure == (5, "database_unavailable")
    assert str(protected / name) in ran.error["message"]


def test_unset_home_is_no_obstacle(spawn: Spawn, tmp_path: Path) -> None:
    ran = spawn("server", "add", "one", "gpu", "--no-check", environ={"HOME": None}).ended()
    assert ran.exit_code == 0
    assert (tmp_path / "home/.local/share/ollama-admin/ollama-admin.db").is_file()


# bugs


def test_bug_shows_where_it_is_but_no_value_of_a_variable(
    sqlite_cli: Cli, spawn: Spawn, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import ollama_admin.cli.output as output\n"
        "def broken(self, value):\n"
        "    password = 'hunter2'\n"
        "    raise RuntimeError('a bug')\n"
        "output.Output.data = broken\n"
    )
    ran = spawn("-o", "json", "pin", "list", environ={"PYTHONPATH": str(tmp_path)}).ended()
    assert (ran.exit_code, ran.stdout) == (1, "")
    assert "RuntimeError: a bug" in ran.stderr
    assert "hunter2" not in ran.stderr.replace("password = 'hunter2'", "")


# mistakes that nobody meant


@pytest.mark.parametrize(
    "words",
    [
        ("generate", "-m", "alpha", "--model", "beta", "hi"),
        ("generate", "-s", "one", "-s", "two", "hi"),
        ("generate", "--digest", "a" * 12, "--digest", "b" * 12, "hi"),
        ("models", "--capability", "vision", "--capability", "tools"),
    ],
    ids=" ".join,
)
def test_two_answers_to_who_answers_are_refused(sqlite_cli: Cli, words: tuple[str, ...]) -> None:
    ran = sqlite_cli.json(*words)
    assert ran.failure == (2, "invalid_input")
    assert ran.error["message"].endswith(" is given twice")
    assert ran.error["hint"] == f"see: ollama-admin {words[0]} --help"


@pytest.mark.parametrize("words", [("list", "--since"), ("prune", "--yes", "--before")])
def test_a_time_in_the_future_is_refused(sqlite_cli: Cli, words: tuple[str, ...]) -> None:
    ran = sqlite_cli.json("receipts", *words, "2999-01-01")
    assert ran.failure == (2, "invalid_input")
    assert ran.error["message"] == "the time '2999-01-01' is in the future"


def test_capabilities_in_one_word_are_refused_and_a_mistyped_one_is_noted(cli: Cli) -> None:
    add = ("server", "add", "one", "gpu", "--no-check", "--capability")
    assert cli.json(*add, "vision,tools").failure == (2, "invalid_input")
    assert cli(*add, "vision").stderr == ""
    ran = cli("server", "update", "one", "--capability", "visoin")
    assert ran.stderr == "note: capability 'visoin' is a new one; is vision meant?\n"


def test_a_tilde_in_a_url_is_told(tmp_path: Path) -> None:
    ran = Cli().json("--database-url", "sqlite:///~/one.db", "server", "list")
    assert ran.failure == (5, "database_unavailable")
    assert ran.error["hint"].startswith("~ means nothing in a URL: write sqlite:////")


def test_models_list_is_told_how_models_are_listed(sqlite_cli: Cli) -> None:
    ran = sqlite_cli.json("models", "list")
    assert ran.failure == (2, "invalid_input")
    assert ran.error["hint"] == "ollama-admin models"


def test_a_command_of_a_group_alone_is_told_where_it_is(sqlite_cli: Cli) -> None:
    ran = sqlite_cli.json("remove")
    assert ran.failure == (2, "invalid_input")
    assert ran.error["hint"] == "commands: server remove, pin remove, key remove"
    assert sqlite_cli.json("set-default", "x").error["hint"] == "commands: server set-default"


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("stop", "let go of a model in memory with: ollama-admin unload MODEL --on S"),
    ],
)
def test_a_command_of_ollama_is_told_what_to_type_here(
    sqlite_cli: Cli, word: str, hint: str
) -> None:
    ran = sqlite_cli.json(word, "llama3.2:3b")
    assert ran.failure == (2, "invalid_input")
    assert ran.error["hint"] == hint


def test_a_mistyped_option_draws_the_nearest_one(sqlite_cli: Cli) -> None:
    ran = sqlite_cli.json("models", "--capabilty", "vision")
    assert ran.error["message"] == "no such option: --capabilty"
    assert ran.error["hint"] == "did you mean --capability? see: ollama-admin models --help"


def test_a_path_for_a_database_url_is_told_how_one_is_written() -> None:
    ran = Cli().json("--database-url", "/tmp/fleet.db", "server", "list")
    assert ran.failure == (2, "invalid_input")
    assert ran.error["hint"] == (
        "write postgresql://user@host:5432/database or sqlite:////absolute/path.db"
    )


def test_there_is_nothing_to_rotate_before_the_first_secret(sqlite_cli: Cli) -> None:
    ran = sqlite_cli.json("secrets", "rotate")
    assert ran.failure == (2, "invalid_input")
    assert ran.error["message"] == "there is no secret and no key yet"
