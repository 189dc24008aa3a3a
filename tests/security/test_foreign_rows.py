"""What no column can mean is refused by the database; a row that got past its checks, or that no
check can judge, is named in one line, and the other rows work on by themselves (C15).
"""

from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

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
    ("url", "gpu:11434"),
    ("url", "http://gpu\r\nX-Evil: 1"),
    ("api_version", "v9"),
    ("auth_type", "kerberos"),
    ("status", "odd"),
]
NOT_CHECKED = {"http://gpu\r\nX-Evil: 1"}  # SQL does not know what our URLs are
NOT_CHECKED_ON_SQLITE = {"[7]"}  # a check may have no subquery: it cannot look at each element
ON_SQLITE = [
    ("capabilities", "not JSON"),
    ("capabilities", ""),
    ("auth_config", "{"),
    ("max_concurrent", "many"),
    ("priority", 1.5),
    ("name", b"\xff"),
    ("url", b"\xff"),
    ("created_at", "yesterday"),
    ("created_at", "2026-99-99x"),
    ("created_at", "2026-02-30 00:00:00"),
    ("updated_at", "2026-01-01 00:00:00.5x"),
    ("last_seen_at", "never"),
]
JSON_COLUMNS = ("capabilities", "auth_config", "headers", "families")


def broken(
    url: str, column: str, value: object, table: str = "ollama_servers", row_id: int = 1
) -> None:
    """Write what the program never would, past the checks of the database."""
    if url.startswith("sqlite"):
        without_checks = "PRAGMA ignore_check_constraints = ON"
    else:
        names = (f"ck_{table}_{column}", f"ck_{table}_{column}_type")
        dropped = ", ".join(f"DROP CONSTRAINT IF EXISTS {name}" for name in names)
        without_checks = f"ALTER TABLE {table} {dropped}"
    write(url, column, value, table, row_id, first=without_checks)


def write(
    url: str,
    column: str,
    value: object,
    table: str = "ollama_servers",
    row_id: int = 1,
    *,
    first: str | None = None,
) -> None:
    """Write a column as another program would."""
    given = ":value"
    if isinstance(value, bytes):
        given = "CAST(:value AS BLOB)"
    elif column in JSON_COLUMNS and not url.startswith("sqlite"):
        given = "CAST(:value AS jsonb)"
    statement = f"UPDATE {table} SET {column} = {given} WHERE id = {row_id}"
    execute(url, statement, first=first, value=value)


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
    assert_one_line(cli.json("server", "list"), column)
    assert_one_line(cli.json("server", "show", "1"), column)
    assert cli("server", "show", "good").exit_code == 0


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize(
    ("column", "value"), [*ANYWHERE, ("name", ""), ("url", ""), ("max_concurrent", 0)]
)
def test_what_a_column_cannot_mean_is_refused_by_the_database(
    cli: Cli, database_url: str, column: str, value: object
) -> None:
    before = cli("-o", "json", "server", "list").stdout
    not_checked = set(NOT_CHECKED)
    if database_url.startswith("sqlite"):
        not_checked |= NOT_CHECKED_ON_SQLITE
    if value in not_checked:
        write(database_url, column, value)
        assert_others_work(cli, column)
        return
    with pytest.raises(IntegrityError):
        write(database_url, column, value)
    assert cli("-o", "json", "server", "list").stdout == before


@pytest.mark.parametrize(("column", "value"), ON_SQLITE)
def test_what_sqlite_would_store_in_any_column_is_refused(
    sqlite_cli: Cli, tmp_path: Path, column: str, value: object
) -> None:
    assert sqlite_cli("server", "add", "one", "http://127.0.0.1:9", "--no-check").exit_code == 0
    with pytest.raises(IntegrityError):
        write(f"sqlite:///{tmp_path}/one.db", column, value)
    assert [row["name"] for row in sqlite_cli.json("server", "list").data] == ["one"]


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize(("column", "value"), ANYWHERE)
def test_a_row_of_another_program_is_named_and_the_others_are_shown(
    cli: Cli, database_url: str, column: str, value: object
) -> None:
    broken(database_url, column, value)
    assert_others_work(cli, column)


@pytest.mark.parametrize(("column", "value"), ON_SQLITE)
def test_what_sqlite_stores_past_its_checks_is_named_and_the_others_are_shown(
    sqlite_cli: Cli, tmp_path: Path, column: str, value: object
) -> None:
    for name in ("broken", "good"):
        assert (
            sqlite_cli("server", "add", name, f"http://127.0.0.1:9/{name}", "--no-check").exit_code
            == 0
        )
    broken(f"sqlite:///{tmp_path}/one.db", column, value)
    assert_others_work(sqlite_cli, column)
    assert_one_line(sqlite_cli.json("server", "check", "--all"), column)
    assert sqlite_cli("server", "check", "--all").exit_code == 5
    assert sqlite_cli("doctor").exit_code == 7
    assert sqlite_cli("server", "remove", "1", "--yes").exit_code == 0


def test_every_command_goes_on_without_the_row_or_names_it(
    cli: Cli, database_url: str, good: FakeOllamaThread
) -> None:
    broken(database_url, "capabilities", "[7]")
    asked = cli("generate", "-m", "alpha", "hi")
    assert (asked.exit_code, asked.stdout) == (0, "I am alpha")
    for words in (["server", "check"], ["discover"], ["secrets", "status"]):
        assert_one_line(cli.json(*words), "capabilities")
    for words in (["server", "check", "good"], ["discover", "good"]):
        assert cli(*words).exit_code == 0
    report = cli.json("doctor")
    assert report.exit_code == 7
    assert "its capabilities cannot be read" in report.stdout
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


@pytest.mark.usefixtures("good")
def test_a_server_that_lists_the_model_and_cannot_be_read_is_named(
    cli: Cli, database_url: str
) -> None:
    execute(database_url, "UPDATE ollama_models SET server_id = 1")
    assert cli("discover", "good").exit_code == 0  # both rows hold the model now
    broken(database_url, "capabilities", "[7]")
    assert_one_line(cli.json("generate", "-m", "alpha", "hi"), "capabilities")
    assert cli("generate", "-m", "alpha", "-s", "good", "hi").stdout == "I am alpha"


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


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize(("column", "value"), [("families", '{"a": 1}'), ("capabilities", "7")])
def test_what_a_model_row_cannot_mean_is_refused_by_the_database(
    cli: Cli, database_url: str, column: str, value: object
) -> None:
    with pytest.raises(IntegrityError):
        write(database_url, column, value, "ollama_models")
    assert [model["name"] for model in cli.json("models").data] == ["alpha:latest"]


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


PINS_AND_RECEIPTS = [
    ("ollama_pins", "created_at", "2026-99-99x"),
    ("ollama_pins", "updated_at", b"\xff"),
    ("ollama_pins", "digest", b"\xff"),
    ("ollama_receipts", "created_at", "2027-99-99x"),
    ("ollama_receipts", "way", "odd"),
    ("ollama_receipts", "proof", "odd"),
    ("ollama_receipts", "attempts", "many"),
    ("ollama_receipts", "total_ms", 1.5),
    ("ollama_receipts", "outcome", b"\xff"),
]


@pytest.mark.parametrize(("table", "column", "value"), PINS_AND_RECEIPTS)
def test_a_pin_or_receipt_that_sqlite_stored_past_its_checks_is_named(
    sqlite_cli: Cli, serve: Serve, tmp_path: Path, table: str, column: str, value: object
) -> None:
    fake = serve("alpha")
    assert sqlite_cli("server", "add", "gpu", fake.url, "--discover").exit_code == 0
    assert sqlite_cli("pin", "set", "alpha").exit_code == 0
    assert sqlite_cli("generate", "-m", "alpha", "hi").exit_code == 0
    url = f"sqlite:///{tmp_path}/one.db"
    given = "CAST(:value AS BLOB)" if isinstance(value, bytes) else ":value"
    without_checks = "PRAGMA ignore_check_constraints = ON"
    execute(url, f"UPDATE {table} SET {column} = {given}", first=without_checks, value=value)
    asked = [["pin", "list"], ["pin", "remove", "alpha"], ["generate", "-m", "alpha", "hi"]]
    row = "pin 'registry.ollama.ai/library/alpha:latest'"
    if table == "ollama_receipts":
        asked, row = [["receipts", "list"]], "receipt 1"
        assert sqlite_cli("receipts", "stats").exit_code in (0, 5)
    for words in asked:
        ran = sqlite_cli.json(*words)
        assert ran.failure == (5, "database_unavailable"), ran
        assert ran.error["message"] == (
            f"{row}: its {column} cannot be read; another program wrote it"
        )
    for words in (["models"], ["models", "--by-model"], ["discover"], ["doctor"]):
        assert sqlite_cli(*words).exit_code in (0, 5, 7)


@pytest.mark.parametrize("column", ["name", "version", "last_error"])
def test_text_that_is_not_utf8_is_an_error_of_one_line(
    sqlite_cli: Cli, tmp_path: Path, column: str
) -> None:
    assert sqlite_cli("server", "add", "one", "http://127.0.0.1:9", "--no-check").exit_code == 0
    statement = f"UPDATE ollama_servers SET {column} = CAST(x'ff41' AS TEXT)"
    execute(f"sqlite:///{tmp_path}/one.db", statement)
    for words in (["server", "list"], ["server", "show", "1"], ["server", "check"]):
        assert sqlite_cli.json(*words).failure == (5, "database_unavailable")
