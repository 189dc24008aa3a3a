"""An SQLite file that is not there: reading commands make nothing and say where they looked."""

from pathlib import Path

import pytest

from tests.cli.running import Cli

READING = [
    ("server", "list"),
    ("server", "check"),
    ("models",),
    ("models", "--by-model"),
    ("pin", "list"),
    ("receipts", "list"),
    ("receipts", "stats"),
    ("secrets", "status"),
    ("doctor",),
    ("discover",),
    ("migrate", "--status"),
]


def everything_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.name != "home")


@pytest.mark.parametrize("words", READING, ids=" ".join)
@pytest.mark.parametrize("named", [True, False], ids=["named", "default"])
def test_a_reading_command_makes_no_file_and_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], named: bool
) -> None:
    if named:
        monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", f"sqlite:///{tmp_path}/typo.db")
    ran = Cli()(*words)
    assert ran.exit_code == 0, ran
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize(
    "words",
    [
        ("server", "show", "gpu"),
        ("server", "remove", "gpu"),
        ("server", "enable", "gpu"),
        ("server", "update", "gpu", "--priority", "3"),
        ("server", "set-default", "gpu"),
        ("pin", "remove", "gpu"),
    ],
    ids=" ".join,
)
def test_a_server_that_is_looked_for_in_no_database_makes_none(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    ran = Cli()("--database-url", f"sqlite:///{tmp_path}/typo.db", *words)
    assert ran.exit_code == 3
    assert "note: there is no database yet" in ran.stderr
    assert everything_in(tmp_path) == []


def test_an_empty_list_says_where_it_looked(tmp_path: Path) -> None:
    ran = Cli().json("--database-url", f"sqlite:///{tmp_path}/typo.db", "server", "list")
    assert ran.data == []
    assert ran.stderr == (
        "note: there is no database yet: server add, import-env or migrate creates "
        f"{tmp_path}/typo.db\n"
    )


def test_the_file_is_made_by_the_first_row(tmp_path: Path) -> None:
    cli = Cli()
    url = f"sqlite:///{tmp_path}/one.db"
    added = cli("--database-url", url, "server", "add", "one", "gpu", "--no-check")
    assert (added.exit_code, added.stderr) == (0, "")
    (row,) = cli.json("--database-url", url, "server", "list").data
    assert row["name"] == "one"


@pytest.mark.parametrize(
    "words", [("server", "list"), ("server", "add", "one", "gpu", "--no-check"), ("migrate",)]
)
def test_a_folder_that_is_not_there_is_an_error_with_its_path(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    ran = Cli().json("--database-url", f"sqlite:///{tmp_path}/typo/one.db", *words)
    assert ran.failure == (5, "database_unavailable")
    assert f"there is no folder {tmp_path}/typo" in ran.error["message"]
    assert everything_in(tmp_path) == []


def test_the_default_file_and_its_folders_are_made_by_the_first_row(tmp_path: Path) -> None:
    cli = Cli()
    assert cli("server", "add", "one", "gpu", "--no-check").exit_code == 0
    assert (tmp_path / "home/.local/share/ollama-admin/ollama-admin.db").is_file()
    assert cli("server", "list").stderr == ""


def test_doctor_says_that_there_is_none(tmp_path: Path) -> None:
    ran = Cli()("--database-url", f"sqlite:///{tmp_path}/typo.db", "doctor")
    assert "there is no database yet\n" in ran.stdout
    assert Cli().json("doctor").data["revision"] is None
