"""`ollama-admin migrate`"""

import json
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from tests.cli.conftest import Spawn
from tests.cli.running import SECONDS, Cli
from tests.postgres import OwnPostgresServer
from tests.store.processes import fork_commands_at_once

HEAD = "0011"
REVISIONS = ["0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", HEAD]
APPLIED = "".join(f"applied {revision}\n" for revision in REVISIONS) + f"the schema is at {HEAD}\n"
LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('ollama_admin ' || current_schema(), 0))"
WAITS_FOR_THE_LOCK = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
def empty_cli(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line on a database without tables."""
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", empty_database_url)
    return Cli()


@pytest.fixture
def postgres_cli(empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", empty_postgres_url)
    return Cli()


@pytest.fixture
def locked(empty_postgres_url: str) -> Iterator[psycopg.Connection]:
    """A connection that holds the lock of migrations until it is rolled back."""
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute(LOCK)
        yield connection


def tables(url: str) -> set[str]:
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        if not path.exists():
            return set()
        connection = sqlite3.connect(path)
        rows = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE '%\\_%' ESCAPE '\\'"
        )
        found = {name for (name,) in rows if not name.startswith("sqlite_")}
        connection.close()
        return found
    with psycopg.connect(url) as connection:
        return {
            name
            for (name,) in connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
            )
        }


OURS = {
    "ollama_admin_version",
    "ollama_servers",
    "ollama_models",
    "ollama_pins",
    "ollama_slots",
    "ollama_receipts",
    "ollama_registry",
    "ollama_waiting",
    "ollama_keys",
    "ollama_key_budgets",
    "ollama_key_leases",
    "ollama_audit",
    "ollama_sessions",
    "ollama_task_leases",
    "ollama_usage",
}


def test_migrate_makes_the_tables_and_prints_each_revision(
    empty_cli: Cli, empty_database_url: str
) -> None:
    ran = empty_cli("migrate")
    assert (ran.exit_code, ran.stderr) == (0, "")
    assert ran.stdout == APPLIED
    assert tables(empty_database_url) >= OURS


def test_second_migrate_has_nothing_to_do(empty_cli: Cli) -> None:
    first, second = empty_cli.json("migrate").data, empty_cli.json("migrate").data
    assert first == {"applied": REVISIONS, "current": HEAD, "head": HEAD, "pending": []}
    assert second == {"applied": [], "current": HEAD, "head": HEAD, "pending": []}
    assert empty_cli("migrate").stdout == f"the schema is at {HEAD}\n"


def test_check_exits_8_while_something_is_pending(empty_cli: Cli, empty_database_url: str) -> None:
    ran = empty_cli.json("migrate", "--check")
    assert ran.failure == (8, "migrations_pending")
    assert ran.error == {
        "code": "migrations_pending",
        "message": f"pending migrations: {', '.join(REVISIONS)}",
        "hint": "run: ollama-admin migrate",
    }
    assert empty_cli("migrate", "--check").exit_code == 8
    assert tables(empty_database_url) == set()
    empty_cli("migrate")
    assert empty_cli("migrate", "--check").exit_code == 0
    assert empty_cli.json("migrate", "--check").data["pending"] == []


def test_status_tells_where_the_schema_stands_and_changes_nothing(
    empty_cli: Cli, empty_database_url: str
) -> None:
    ran = empty_cli.json("migrate", "--status")
    assert ran.data == {"applied": [], "current": None, "head": HEAD, "pending": REVISIONS}
    assert (
        empty_cli("migrate", "--status").stdout
        == f"current  -\nhead     {HEAD}\npending  {', '.join(REVISIONS)}\n"
    )
    assert tables(empty_database_url) == set()
    empty_cli("migrate")
    assert empty_cli.json("migrate", "--status").data["current"] == HEAD
    assert (
        empty_cli("migrate", "--status").stdout == f"current  {HEAD}\nhead     {HEAD}\npending  -\n"
    )


def test_status_makes_no_sqlite_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    assert Cli()("--database-url", url, "migrate", "--status").exit_code == 0
    assert not (tmp_path / "new.db").exists()


def test_to_stops_at_a_revision(empty_cli: Cli) -> None:
    assert empty_cli.json("migrate", "--to", HEAD).data["current"] == HEAD


@pytest.mark.parametrize("revision", ["9999", "head", "base", "", "\x1b[31m"])
def test_unknown_revision_is_refused(
    empty_cli: Cli, empty_database_url: str, revision: str
) -> None:
    assert empty_cli.json("migrate", "--to", revision).failure == (2, "invalid_input")
    assert tables(empty_database_url) == set()


def test_unknown_revision_draws_the_list_of_known_ones(empty_cli: Cli) -> None:
    assert (
        empty_cli.json("migrate", "--to", "9999").error["hint"]
        == f"there are: {', '.join(REVISIONS)}"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("--check", "--status"),
        ("--check", "--sql"),
        ("--sql", "--status"),
        ("--wait", "-1"),
        ("--wait", "nan"),
        ("--wait", "soon"),
        ("--lock-timeout", "0"),
        ("--lock-timeout", "-1"),
        ("--lock-timeout", "nan"),
        ("--lock-timeout", "inf"),
        ("--lock-timeout", "1e300"),
    ],
)
def test_senseless_options_are_refused(
    empty_cli: Cli, empty_database_url: str, words: tuple[str, ...]
) -> None:
    assert empty_cli.json("migrate", *words).failure == (2, "invalid_input")
    assert tables(empty_database_url) == set()


def test_sql_run_by_hand_brings_an_empty_database_to_head(
    postgres_cli: Cli, empty_postgres_url: str
) -> None:
    sql = postgres_cli("migrate", "--sql").stdout
    assert tables(empty_postgres_url) == set()
    with psycopg.connect(empty_postgres_url, autocommit=True) as connection:
        connection.execute(sql.encode())
    assert postgres_cli("migrate", "--check").exit_code == 0
    assert tables(empty_postgres_url) == OURS
    assert postgres_cli("server", "add", "one", "gpu", "--no-check").exit_code == 0


def test_sql_makes_the_same_schema_as_migrate(
    postgres_cli: Cli, empty_postgres_url: str, migrated_postgres_url: str
) -> None:
    query = (
        "SELECT table_name, column_name, data_type, is_nullable, column_default FROM "
        "information_schema.columns"
        " WHERE table_schema = 'public' ORDER BY 1, 2"
    )
    constraints = (
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE "
        "connamespace = 'public'::regnamespace"
    )
    indexes = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
    found = []
    with psycopg.connect(empty_postgres_url, autocommit=True) as connection:
        connection.execute(postgres_cli("migrate", "--sql").stdout.encode())
    for url in (empty_postgres_url, migrated_postgres_url):
        with psycopg.connect(url) as connection:
            asked = (connection.execute(text).fetchall() for text in (query, constraints, indexes))
            found.append([sorted(rows) for rows in asked])
    assert found[0] == found[1]


def test_sql_of_nothing_pending_is_a_comment(postgres_cli: Cli) -> None:
    postgres_cli("migrate")
    assert postgres_cli("migrate", "--sql").stdout == "-- nothing is pending\n"
    assert postgres_cli.json("migrate", "--sql").data == {"sql": ""}


def test_sql_is_for_postgresql_only(sqlite_cli: Cli) -> None:
    assert sqlite_cli.json("migrate", "--sql").failure == (2, "invalid_input")


def test_other_commands_on_postgresql_want_migrate_first(postgres_cli: Cli) -> None:
    for words in (["server", "list"], ["models"], ["discover"], ["generate", "-m", "alpha", "hi"]):
        ran = postgres_cli.json(*words)
        assert ran.failure == (5, "schema_out_of_date")
        assert ran.error["hint"] == "run: ollama-admin migrate"


def test_first_row_on_sqlite_makes_the_tables(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    add = ("server", "add", "one", "gpu", "--no-check")
    assert Cli()("--database-url", url, *add).exit_code == 0
    assert tables(url) >= OURS
    assert (tmp_path / "new.db").stat().st_mode & 0o777 == 0o600


def test_schema_newer_than_the_program_is_refused(cli: Cli, database_url: str) -> None:
    statement = "UPDATE ollama_admin_version SET version_num = '9999'"
    if database_url.startswith("sqlite"):
        connection = sqlite3.connect(database_url.removeprefix("sqlite:///"), isolation_level=None)
    else:
        connection = psycopg.connect(database_url, autocommit=True)
    connection.execute(statement)
    connection.close()
    for words in (["server", "list"], ["migrate"], ["migrate", "--check"], ["migrate", "--status"]):
        ran = cli.json(*words)
        assert ran.failure == (5, "schema_out_of_date")
        assert ran.error["hint"] == "update ollama-admin"


# waiting


def test_lock_that_another_migration_holds_is_waited_for_no_longer_than_asked(
    postgres_cli: Cli, locked: psycopg.Connection, empty_postgres_url: str
) -> None:
    assert postgres_cli.json("migrate", "--lock-timeout", "0.2").failure == (5, "database_busy")
    locked.rollback()
    assert tables(empty_postgres_url) == set()
    assert postgres_cli("migrate", "--lock-timeout", "0.2").exit_code == 0


def test_sqlite_file_that_another_process_holds_is_waited_for_no_longer_than_asked(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'one.db'}"
    holder = sqlite3.connect(tmp_path / "one.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    ran = Cli().json("--database-url", url, "migrate", "--lock-timeout", "0.2")
    assert ran.failure == (5, "database_busy")
    assert "one.db" in ran.error["message"]
    holder.execute("ROLLBACK")
    holder.close()
    assert tables(url) == set()
    assert Cli()("--database-url", url, "migrate").exit_code == 0


def test_migrate_without_wait_fails_at_once_when_the_database_is_down(
    stoppable_postgres: OwnPostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", stoppable_postgres.url)
    stoppable_postgres.stop()
    for words in ((), ("--check",), ("--status",), ("--sql",), ("--wait", "0.1")):
        ran = Cli().json("migrate", *words)
        assert ran.failure == (5, "database_unavailable")
        assert urlsplit(stoppable_postgres.url).password not in ran.stderr


def test_migrate_waits_for_a_database_that_comes_up_later(
    stoppable_postgres: OwnPostgresServer, spawn: Spawn
) -> None:
    url = stoppable_postgres.create_database()
    stoppable_postgres.stop()
    with socket.create_server(("127.0.0.1", stoppable_postgres.port)) as listener:
        listener.settimeout(SECONDS)
        process = spawn("migrate", "--wait", "60", environ={"OLLAMA_ADMIN_DATABASE_URL": url})
        tried, _ = listener.accept()
        tried.close()
    stoppable_postgres.start()
    ran = process.ended()
    assert (ran.exit_code, ran.stdout, ran.stderr) == (0, APPLIED, "")
    stoppable_postgres.drop_database(url)


def test_interrupted_migrate_leaves_nothing(
    postgres_cli: Cli, locked: psycopg.Connection, empty_postgres_url: str, spawn: Spawn
) -> None:
    process = spawn("migrate")
    with psycopg.connect(empty_postgres_url, autocommit=True) as watcher:
        while not watcher.execute(WAITS_FOR_THE_LOCK).fetchone()[0]:
            pass
    process.interrupt()
    ran = process.ended()
    assert (ran.exit_code, ran.stdout) == (130, "")
    assert "Traceback" not in ran.stderr
    locked.rollback()
    assert tables(empty_postgres_url) == set()


def test_terminated_migrate_leaves_nothing(
    postgres_cli: Cli, locked: psycopg.Connection, empty_postgres_url: str, spawn: Spawn
) -> None:
    process = spawn("migrate")
    with psycopg.connect(empty_postgres_url, autocommit=True) as watcher:
        while not watcher.execute(WAITS_FOR_THE_LOCK).fetchone()[0]:
            pass
    process.terminate()
    ran = process.ended()
    assert ran.exit_code in (143, -15)  # a shell calls both 143
    locked.rollback()
    assert tables(empty_postgres_url) == set()


@pytest.mark.parametrize("count", [8, pytest.param(20, marks=pytest.mark.chaos)])
def test_migrations_at_once_all_succeed_and_one_does_the_work(
    count: int, empty_database_url: str, tmp_path: Path
) -> None:
    ended = fork_commands_at_once(empty_database_url, count, tmp_path)
    assert [(one.code, one.errors) for one in ended] == [(0, "")] * count
    documents = [json.loads(one.output) for one in ended]
    assert {document["current"] for document in documents} == {HEAD}
    assert sum(document["applied"] == REVISIONS for document in documents) == 1
    assert tables(empty_database_url) >= OURS
