"""What the shell is told when somebody presses Tab."""

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Serve, Spawn
from tests.cli.running import Cli

NOWHERE = "postgresql://u:hunter2@127.0.0.1:9/db"


def completed(spawn: Spawn, *words: str, environ: dict[str, str | None] | None = None) -> list[str]:
    """What bash would offer for the last word, which may be empty."""
    asked = {
        "_OLLAMA_ADMIN_COMPLETE": "complete_bash",
        "COMP_WORDS": " ".join(["ollama-admin", *words]),
    }
    ran = spawn(environ={**asked, "COMP_CWORD": str(len(words)), **(environ or {})}).ended()
    assert (ran.exit_code, ran.stderr) == (0, "")
    return ran.stdout.split()


@pytest.fixture
def fleet(sqlite_cli: Cli) -> None:
    for name in ("north", "south", "nord-2"):
        assert (
            sqlite_cli("server", "add", name, f"http://{name}:11434", "--no-check").exit_code == 0
        )


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    "words",
    [
        ("server", "show", "no"),
        ("server", "check", "south", "no"),
        ("discover", "no"),
        ("generate", "-m", "alpha", "--server", "no"),
        ("receipts", "list", "--server", "no"),
        ("pin", "set", "alpha", "--server", "no"),
    ],
    ids=" ".join,
)
def test_names_of_servers_are_offered(spawn: Spawn, words: tuple[str, ...]) -> None:
    assert completed(spawn, *words) == ["nord-2", "north"]


@pytest.mark.usefixtures("fleet")
def test_database_that_the_command_line_names_is_the_one_that_is_looked_into(spawn: Spawn) -> None:
    other = "sqlite:///not-there.db"
    assert completed(spawn, "--database-url", other, "server", "show", "no") == []


@pytest.mark.parametrize(
    "name", ["a;id", "two words", "$(id)", 'x\\") ; id ; ("', "*", "a'b", "back`tick"]
)
def test_names_that_a_shell_would_read_are_not_offered(
    sqlite_cli: Cli, spawn: Spawn, name: str
) -> None:
    assert sqlite_cli("server", "add", name, "http://odd:11434", "--no-check").exit_code == 0
    assert (
        sqlite_cli("server", "add", "plain.one", "http://plain:11434", "--no-check").exit_code == 0
    )
    assert completed(spawn, "server", "show", "") == ["plain.one"]


@pytest.mark.parametrize("variable", ["OLLAMA_ADMIN_DATABASE_URL", "OLLAMA_ADMIN_RECEIPTS"])
def test_settings_that_make_no_sense_offer_nothing(spawn: Spawn, variable: str) -> None:
    assert completed(spawn, "server", "show", "no", environ={variable: ""}) == []


def test_nothing_is_made_for_a_completion(spawn: Spawn, tmp_path: Path) -> None:
    database = tmp_path / "none.db"
    environ: dict[str, str | None] = {"OLLAMA_ADMIN_DATABASE_URL": f"sqlite:///{database}"}
    assert completed(spawn, "server", "show", "no", environ=environ) == []
    assert not database.exists()
    database.touch()
    assert completed(spawn, "server", "show", "no", environ=environ) == []
    assert database.stat().st_size == 0


def test_database_that_is_away_offers_nothing_and_says_nothing(spawn: Spawn) -> None:
    assert (
        completed(spawn, "server", "show", "no", environ={"OLLAMA_ADMIN_DATABASE_URL": NOWHERE})
        == []
    )


def test_commands_are_offered(spawn: Spawn) -> None:
    assert completed(spawn, "ser") == ["server", "serve"]
    assert completed(spawn, "server", "set") == ["set-default"]
    assert "_OLLAMA_ADMIN_COMPLETE" not in os.environ


@pytest.fixture
def models(sqlite_cli: Cli, serve: Serve) -> None:
    """Two models, one of which is pinned, and a capability of a server."""
    fake = serve("phi4:14b", "alpha")
    words = ("server", "add", "one", fake.url, "--capability", "code-review", "--discover")
    assert sqlite_cli(*words).exit_code == 0
    assert sqlite_cli("pin", "set", "phi4:14b").exit_code == 0


@pytest.mark.usefixtures("models")
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("generate", "ph"), ["phi4:14b"]),
        (("generate", "-m", "ph"), ["phi4:14b"]),
        (("generate", "-m", "alpha", "ph"), []),
        (("generate", "alpha", "ph"), []),
        (("pin", "set", "al"), ["alpha:latest"]),
        (("pin", "remove", ""), ["phi4:14b"]),
        (("models", "--name", "ph"), ["phi4:14b"]),
        (("receipts", "list", "--model", "ph"), ["phi4:14b"]),
        (("server", "update", "one", "--default-model", "ph"), ["phi4:14b"]),
        (("models", "--capability", "co"), ["code-review", "completion"]),
        (("generate", "--capability", "code"), ["code-review"]),
        (("server", "list", "--capability", "code"), ["code-review"]),
    ],
    ids=" ".join,
)
def test_models_capabilities_and_pins_are_offered_and_no_files(
    spawn: Spawn, tmp_path: Path, words: tuple[str, ...], offered: list[str]
) -> None:
    (tmp_path / "phantom.txt").touch()
    assert completed(spawn, *words) == offered
