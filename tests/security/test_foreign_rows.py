"""A row that another program wrote, and that cannot be read, is named in one line; the other rows
work on (C15).
"""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Serve
from tests.cli.running import Cli, Ran
from tests.fake_ollama_thread import FakeOllamaThread
from tests.security.rows import execute

ANYWHERE = [
    ("capabilities", '{"vision": 1}'),
    ("capabilities", "[7]"),
    ("capabilities", '"vision"'),
    ("auth_config", "[]"),
    ("headers", '"X-A"'),
    ("url", "ftp://gpu"),
    ("url", "http://gpu\r\nX-Evil: 1"),
    ("api_version", "v9"),
    ("auth_type", "kerberos"),
    ("status", "odd"),
]
ON_SQLITE = [
    ("capabilities", "not JSON"),
    ("capabilities", ""),
    ("auth_config", "{"),
    ("max_concurrent", "many"),
    ("priority", 1.5),
    ("name", b"\xff"),
    ("url", b"\xff"),
    ("created_at", "yesterday"),
    ("last_seen_at", "never"),
]
JSON_COLUMNS = ("capabilities", "auth_config", "headers", "families")


def broken(
    url: str, column: str, value: object, table: str = "ollama_servers", row_id: int = 1
) -> None:
    """Write what the program never would, past the checks of the database."""
    if url.startswith("sqlite"):
        given = "CAST(:value AS BLOB)" if isinstance(value, bytes) else ":value"
        without_checks = "PRAGMA ignore_check_constraints = ON"
    else:
        given = "CAST(:value AS jsonb)" if column in JSON_COLUMNS else ":value"
        without_checks = f"ALTER TABLE {table} DROP CONSTRAINT IF EXISTS ck_{table}_{column}"
    execute(
        url,
        f"UPDATE {table} SET {column} = {given} WHERE id = {row_id}",
        first=without_checks,
        value=value,
    )


@pytest.fixture
def good(serve: Serve, cli: Cli) -> FakeOllamaThread:
    """The server of the second row; both rows list the model, and the first one comes first."""
    fake = serve("alpha")
    assert (
        cli(
            "server", "add", "broken", f"{fake.url}/prefix", "--no-check", "--priority", "9"
        ).exit_code
        == 0
    )
    assert cli("server", "add", "good", fake.url, "--discover").exit_code == 0
    return fake


def assert_one_line(ran: Ran, column: str) -> None:
    """An error that says which row, what of it, and what to do."""
    assert ran.failure == (5, "database_unavailable")
    assert ran.error["message"].startswith("server 1, ")
    assert ran.error["message"].endswith(f": its {column} cannot be read; another program wrote it")
    assert ran.error["hint"] == "mend it in the database, or: ollama-admin server remove 1"


def assert_others_work(cli: Cli, column: str) -> None:
    listed = cli.json("server", "list")
    assert [row["name"] for row in listed.data] == ["good"]
    (note,) = listed.stderr.splitlines()
    assert note.startswith("note: server 1, ")
    assert f"its {column} cannot be read" in note
    assert_one_line(cli.json("server", "show", "1"), column)
    assert cli("server", "show", "good").exit_code == 0


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize(("column", "value"), ANYWHERE)
def test_a_row_of_another_program_is_named_and_the_others_are_listed(
    cli: Cli, database_url: str, column: str, value: object
) -> None:
    broken(database_url, column, value)
    assert_others_work(cli, column)


@pytest.mark.parametrize(("column", "value"), ON_SQLITE)
def test_what_sqlite_stores_in_any_column_is_named_and_the_others_are_listed(
    sqlite_cli: Cli, tmp_path: Path, column: str, value: object
) -> None:
    for name in ("broken", "good"):
        assert (
            sqlite_cli("server", "add", name, f"http://127.0.0.1:9/{name}", "--no-check").exit_code
            == 0
        )
    broken(f"sqlite:///{tmp_path}/one.db", column, value)
    assert_others_work(sqlite_cli, column)
    for words in (
        ["server", "check", "--all"],
        ["-o", "json", "server", "check", "--all"],
        ["doctor"],
    ):
        assert sqlite_cli(*words).exit_code == 7
    assert sqlite_cli("server", "remove", "1", "--yes").exit_code == 0


def test_every_command_goes_on_without_the_row_or_names_it(
    cli: Cli, database_url: str, good: FakeOllamaThread
) -> None:
    broken(database_url, "capabilities", "[7]")
    asked = cli("generate", "-m", "alpha", "hi")
    assert (asked.exit_code, asked.stdout) == (0, "I am alpha")
    for words in (["server", "check"], ["discover"]):
        ran = cli.json(*words)
        assert ran.exit_code == 7
        results = {
            result["server"]["name"]: result["error"]
            for result in json.loads(ran.stdout)["results"]
        }
        assert results["good"] is None
        assert results["broken"]["code"] == "database_unavailable"
    report = cli.json("doctor")
    assert report.exit_code == 7
    assert "its capabilities cannot be read" in report.stdout
    assert [health["server"]["name"] for health in json.loads(report.stdout)["servers"]] == ["good"]
    status = cli.json("secrets", "status")
    assert (status.exit_code, json.loads(status.stdout)["unreadable"]) == (5, ["broken"])
    assert cli("models", "--all").exit_code == 0
    for words in (
        ["server", "check", "broken"],
        ["discover", "1"],
        ["server", "update", "1", "--priority", "3"],
        ["server", "disable", "broken"],
        ["generate", "-m", "alpha", "-s", "1", "hi"],
        ["generate", "-m", "alpha", "--server-url", f"{good.url}/prefix", "hi"],
    ):
        assert_one_line(cli.json(*words), "capabilities")


def test_a_server_that_lists_the_model_and_cannot_be_read_is_passed_over_by_name(
    cli: Cli, database_url: str, good: FakeOllamaThread
) -> None:
    execute(database_url, "UPDATE ollama_models SET server_id = 1")
    assert cli("discover", "good").exit_code == 0  # both rows hold the model now
    broken(database_url, "capabilities", "[7]")
    ran = cli("generate", "-m", "alpha", "hi")
    assert (ran.exit_code, ran.stdout) == (0, "I am alpha")
    assert ran.stderr.startswith("note: server 1, 'broken': its capabilities cannot be read")
    assert ran.stderr.endswith("it is passed over\n")


@pytest.mark.usefixtures("good")
def test_the_row_can_be_removed(cli: Cli, database_url: str) -> None:
    broken(database_url, "auth_config", "[]")
    assert cli.json("server", "remove", "1", "--yes").data == {
        "removed": {"id": 1, "name": "broken"}
    }
    listed = cli.json("server", "list")
    assert ([row["name"] for row in listed.data], listed.stderr) == (["good"], "")


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize(
    ("column", "value"), [("families", '{"a": 1}'), ("capabilities", "7"), ("size", None)]
)
def test_a_model_row_of_another_program_is_named_and_written_anew_by_discovery(
    cli: Cli, database_url: str, column: str, value: object
) -> None:
    on_sqlite = database_url.startswith("sqlite")
    if column == "size" and not on_sqlite:
        column, value = "families", "[null]"  # PostgreSQL keeps text out of a number
    elif column == "size":
        value = "big"
    broken(database_url, column, value, "ollama_models")
    for words in (["models"], ["generate", "-m", "alpha", "hi"]):
        ran = cli.json(*words)
        assert ran.failure == (5, "database_unavailable")
        told = (
            f"model 'alpha:latest' of server 2: its {column} cannot be read; another program "
            "wrote it"
        )
        assert (ran.error["message"], ran.error["hint"]) == (
            told,
            "read it again: ollama-admin discover 2",
        )
    assert cli("discover", "2").exit_code == 0
    (model,) = cli.json("models").data
    assert (model["name"], model["capabilities"]) == ("alpha:latest", ["completion"])
    assert cli("generate", "-m", "alpha", "hi").stdout == "I am alpha"


def test_text_that_is_not_json_in_a_model_row_is_written_anew(
    sqlite_cli: Cli, serve: Serve, tmp_path: Path
) -> None:
    fake = serve("alpha")
    assert sqlite_cli("server", "add", "gpu", fake.url, "--discover").exit_code == 0
    for row_id, column in enumerate(("families", "capabilities", "modified_at"), 1):
        broken(f"sqlite:///{tmp_path}/one.db", column, "not JSON", "ollama_models", row_id)
        assert sqlite_cli.json("models").failure == (5, "database_unavailable")
        assert sqlite_cli("discover").exit_code == 0
        assert [model["name"] for model in sqlite_cli.json("models").data] == ["alpha:latest"]
