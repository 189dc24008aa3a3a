"""The checks of every column, and the revision that brings them to a database with rows."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import IntegrityError

from ollama_admin.domain.receipts import BOUNDS
from ollama_admin.errors import AdminError, DatabaseUnavailable
from ollama_admin.store import engines, migrations, tables
from ollama_admin.store.migrations import upgrade
from tests.cli.running import Cli
from tests.store.revisions import (
    HEAD,
    add_server_with_models,
    execute,
    is_postgresql,
    settings,
    version,
)
from tests.store.schemas import schema

COLUMNS = [
    (table.name, column.name) for table in tables.metadata.sorted_tables for column in table.columns
]
TIME = "'2026-01-01 00:00:00'"
ADD_PIN = (
    "INSERT INTO ollama_pins (name_key, name, digest, created_at, updated_at)"
    f" VALUES ('alpha', 'alpha', 'abc', {TIME}, {TIME})"
)
ADD_SLOT = "INSERT INTO ollama_slots (server_id, slot, expires_at) VALUES (1, 1, 2.5)"
ADD_WAITING = "INSERT INTO ollama_waiting VALUES ('host:1:a', 1, 2, 2.5, 'boot', 7.5)"
ADD_KEY = (
    "INSERT INTO ollama_keys (name, name_key, public_id, can, models, servers, networks,"
    " allow_remote, allow_truncate, anonymous, created_at, updated_at)"
    f" VALUES ('k', 'k', '0', '[]', '[]', '[]', '[]', false, false, false, {TIME}, {TIME})"
)
ADD_BUDGET = (
    "INSERT INTO ollama_key_budgets (kind, key_id, period, granted) VALUES ('tokens',1,1,1)"
)
ADD_KEY_LEASE = (
    "INSERT INTO ollama_key_leases (holder, clock, key_id, count, expires_at)"
    " VALUES ('host:1:a', 'boot', 1, 1, 7.5)"
)
ADD_AUDIT = (
    "INSERT INTO ollama_audit (way, who, action, outcome, created_at)"
    f" VALUES ('cli', 'me', 'key.add', 'ok', {TIME})"
)
ADD_TASK_LEASE = "INSERT INTO ollama_task_leases VALUES ('look', 'host:1:a', 'boot', 7.5)"
ADD_SESSION = f"INSERT INTO ollama_sessions VALUES ('ab', 1, 'cd', {TIME}, {TIME})"
ADD_USAGE = (
    "INSERT INTO ollama_usage VALUES ('2026-01-01', 0, '', '', 0, '', '', 1, 0, 0, 0, 0, 0, 0.0"
    f"{', 0' * len(BOUNDS)})"
)
LATER = (  # tables of later revisions
    *("ollama_registry", "ollama_waiting"),
    *("ollama_keys", "ollama_key_budgets", "ollama_key_leases", "ollama_audit"),
    *("ollama_task_leases", "ollama_sessions", "ollama_usage"),
)
ADD_RECEIPT = (
    "INSERT INTO ollama_receipts (created_at, way, proof, verified, outcome, attempts)"
    f" VALUES ({TIME}, 'cli', 'digest', true, 'ok', 1)"
)

# statement that breaks a row, the table and row of the message, and the column
BROKEN = {
    "JSON of another shape": (
        "UPDATE ollama_servers SET headers = '[]'",
        "servers, row 1",
        "headers",
    ),
    "a URL without a scheme": ("UPDATE ollama_servers SET url = 'gpu'", "servers, row 1", "url"),
    "an empty name": ("UPDATE ollama_servers SET name = ''", "servers, row 1", "name"),
    "a model": (
        "UPDATE ollama_models SET families = '7' WHERE id = 2",
        "models, row 2",
        "families",
    ),
    "a pin": ("UPDATE ollama_pins SET digest = ''", "pins, row 'alpha'", "digest"),
    "a slot": ("UPDATE ollama_slots SET slot = 0", "slots, row 1, 0", "slot"),
    "a receipt": ("UPDATE ollama_receipts SET proof = 'odd'", "receipts, row 1", "proof"),
}
BROKEN_ON_SQLITE = {
    "no JSON": ("UPDATE ollama_servers SET capabilities = 'x'", "servers, row 1", "capabilities"),
    "no number": ("UPDATE ollama_servers SET priority = 1.5", "servers, row 1", "priority"),
    "a number that is too high": (
        "UPDATE ollama_servers SET max_concurrent = 2147483648",
        "servers, row 1",
        "max_concurrent",
    ),
    "no time": ("UPDATE ollama_models SET last_seen_at = 'now'", "models, row 1", "last_seen_at"),
    "a time with something after it": (
        "UPDATE ollama_pins SET created_at = '2026-01-01 00:00:00x'",
        "pins, row 'alpha'",
        "created_at",
    ),
    "no day of the calendar": (
        "UPDATE ollama_receipts SET created_at = '2026-02-30 00:00:00'",
        "receipts, row 1",
        "created_at",
    ),
    "bytes": ("UPDATE ollama_pins SET name_key = x'ff'", r"pins, row b'\xff'", "name_key"),
    "no truth": ("UPDATE ollama_models SET is_available = 7", "models, row 1", "is_available"),
    "no seconds": ("UPDATE ollama_slots SET expires_at = 'x'", "slots, row 1, 1", "expires_at"),
}


@pytest.fixture
def older_url(fresh_urls: Callable[[], str]) -> str:
    return older_database(fresh_urls())


@pytest.fixture
def older_sqlite_url(tmp_path: Path) -> str:
    return older_database(f"sqlite:///{tmp_path}/older.db")


def older_database(url: str) -> str:
    """Make a database at 0002 with rows in every table; server 3 was there and was removed."""
    upgrade(settings(url), "0002")
    add_rows(url)
    execute(url, another_server("3"), "DELETE FROM ollama_servers WHERE id = 3")
    return url


def add_rows(url: str) -> None:
    add_server_with_models(url, "alpha", "beta")
    execute(url, ADD_PIN, ADD_SLOT, ADD_RECEIPT)


def another_server(number: str) -> str:
    """The statement that adds a server with this id; NULL takes the next one."""
    return (
        "INSERT INTO ollama_servers (id, name, name_key, url, api_version, capabilities,"
        " auth_config, headers, created_at, updated_at)"
        f" VALUES ({number}, 'n{number}', 'n{number}', 'http://n{number}', 'native', '[]',"
        f" '{{}}', '{{}}', {TIME}, {TIME})"
    )


def contents(url: str) -> dict[str, list[tuple[object, ...]]]:
    return {
        table: execute(url, f"SELECT * FROM {table} ORDER BY 1, 2")
        for table in tables.metadata.tables
        if table not in LATER
    }


def assert_refused(url: str, statement: str, row: str, column: str) -> None:
    execute(url, statement)
    before = schema(url), contents(url)
    with pytest.raises(DatabaseUnavailable) as refused:
        upgrade(settings(url))
    assert refused.value.message == (
        f"ollama_{row}: its {column} cannot be read; another program wrote it, and nothing was "
        "changed"
    )
    assert refused.value.hint == (
        "mend or delete that row in the database, then: ollama-admin migrate"
    )
    assert version(url) == "0002"
    assert (schema(url), contents(url)) == before


@pytest.mark.parametrize("what", BROKEN)
def test_row_that_breaks_a_check_stops_the_revision_and_is_named(older_url: str, what: str) -> None:
    assert_refused(older_url, *BROKEN[what])


@pytest.mark.parametrize("what", BROKEN_ON_SQLITE)
def test_value_that_only_sqlite_stores_stops_the_revision_and_is_named(
    older_sqlite_url: str, what: str
) -> None:
    assert_refused(older_sqlite_url, *BROKEN_ON_SQLITE[what])


def test_element_that_is_no_text_stops_the_revision_on_postgresql(older_url: str) -> None:
    statement = 'UPDATE ollama_servers SET capabilities = \'["vision", ["a"]]\''
    if is_postgresql(older_url):
        assert_refused(older_url, statement, "servers, row 1", "capabilities")
    else:  # no check of SQLite's can look at each element
        execute(older_url, statement)
        assert upgrade(settings(older_url)).current == HEAD


def test_row_that_got_past_an_older_check_of_sqlite_stops_the_revision(
    older_sqlite_url: str,
) -> None:
    execute(
        older_sqlite_url,
        "PRAGMA ignore_check_constraints = ON",
        "UPDATE ollama_servers SET status = 'odd'",
    )
    with pytest.raises(DatabaseUnavailable, match="ollama_servers, row 1: its status cannot be"):
        upgrade(settings(older_sqlite_url))
    assert version(older_sqlite_url) == "0002"


def test_command_says_it_in_one_line_without_any_value(
    older_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute(older_url, "UPDATE ollama_servers SET headers = '[\"canary\"]'")
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", older_url)
    ran = Cli()("migrate")
    assert (ran.exit_code, ran.stdout) == (5, "")
    assert "canary" not in ran.stderr
    assert ran.stderr == (
        "error: ollama_servers, row 1: its headers cannot be read; another program wrote it, and "
        "nothing was changed\n"
        "hint: mend or delete that row in the database, then: ollama-admin migrate\n"
    )
    execute(older_url, "UPDATE ollama_servers SET headers = '{}'")
    assert Cli()("migrate").exit_code == 0
    assert version(older_url) == HEAD


def test_revision_keeps_every_row(older_url: str) -> None:
    before = contents(older_url)
    assert upgrade(settings(older_url)).current == HEAD
    after = contents(older_url)
    # columns of later ones: the request, the key and more
    assert take_last(9, after["ollama_receipts"]) == {(None,) * 9}
    of_servers = ("{}", 0, None, None, None, 0, None)
    if is_postgresql(older_url):
        of_servers = ({}, False, None, None, None, 0, None)
    assert take_last(5, after["ollama_servers"]) == {(None,) * 5}
    assert [row[-7:] for row in after["ollama_servers"]] == [of_servers]
    after["ollama_servers"] = [row[:-7] for row in after["ollama_servers"]]
    assert take_last(1, after["ollama_pins"]) == {(None,)}
    assert after == before


def take_last(count: int, rows: list[tuple[Any, ...]]) -> set[tuple[Any, ...]]:
    """Shorten the rows by so many columns; which values stood there."""
    values = {row[-count:] for row in rows}
    rows[:] = [row[:-count] for row in rows]
    return values


def test_revision_gives_out_no_id_of_a_removed_server(older_sqlite_url: str) -> None:
    upgrade(settings(older_sqlite_url))
    execute(older_sqlite_url, another_server("NULL"))
    assert execute(older_sqlite_url, "SELECT max(id) FROM ollama_servers") == [(4,)]


def test_revision_gives_out_no_id_of_a_table_that_was_emptied(older_sqlite_url: str) -> None:
    for table in ("ollama_slots", "ollama_models", "ollama_servers"):
        execute(older_sqlite_url, f"DELETE FROM {table}")
    upgrade(settings(older_sqlite_url))
    execute(older_sqlite_url, another_server("NULL"))
    assert execute(older_sqlite_url, "SELECT id FROM ollama_servers") == [(4,)]


def test_what_somebody_added_to_an_sqlite_file_stays(older_sqlite_url: str) -> None:
    execute(
        older_sqlite_url,
        "CREATE INDEX mine ON ollama_models (lower(name)) WHERE is_available",
        "CREATE VIEW seen AS SELECT name FROM ollama_servers",
        "CREATE TRIGGER heard AFTER DELETE ON ollama_servers BEGIN SELECT 1; END",
    )
    before = schema(older_sqlite_url)
    upgrade(settings(older_sqlite_url))
    after = schema(older_sqlite_url)
    assert [line for line in before if line not in after] == []
    assert execute(older_sqlite_url, "SELECT name FROM seen") == [("one",)]
    assert execute(older_sqlite_url, "PRAGMA foreign_key_check") == []


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_no_column_of_sqlite_takes_bytes(
    migrated_sqlite_file: Path, tmp_path: Path, table: str, column: str
) -> None:
    url = f"sqlite:///{shutil.copy(migrated_sqlite_file, tmp_path / 'one.db')}"
    add_rows(url)
    execute(url, ADD_WAITING, ADD_KEY, ADD_BUDGET, ADD_KEY_LEASE, ADD_AUDIT, ADD_TASK_LEASE)
    execute(url, ADD_SESSION, ADD_USAGE)
    with pytest.raises(IntegrityError):
        execute(url, f"UPDATE {table} SET {column} = x'ff'")


@pytest.mark.parametrize("found", [0, 1])
@pytest.mark.parametrize("is_refused", [False, True])
def test_revision_leaves_the_connection_as_it_was(
    older_sqlite_url: str, monkeypatch: pytest.MonkeyPatch, found: int, is_refused: bool
) -> None:
    """Also where it fails in the middle: the connection may be another program's."""
    engine = engines.open_migration_engine(settings(older_sqlite_url), 5)
    monkeypatch.setattr(migrations, "open_migration_engine", lambda *_: engine)
    if is_refused:
        execute(older_sqlite_url, "CREATE TABLE new_ollama_slots (taken)")
    seen: list[list[int]] = []

    def set_before(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA legacy_alter_table = {found}")

    def look_after(connection: Any, _: object) -> None:
        pragmas = ("PRAGMA legacy_alter_table", "PRAGMA foreign_keys")
        seen.append([connection.execute(pragma).fetchone()[0] for pragma in pragmas])

    event.listen(engine, "connect", set_before)
    event.listen(engine, "close", look_after)
    if is_refused:
        with pytest.raises(AdminError):
            upgrade(settings(older_sqlite_url))
    else:
        upgrade(settings(older_sqlite_url))
    assert seen == [[found, 0]] * len(seen)
    assert seen


def test_every_microsecond_of_ours_passes_the_check(tmp_path: Path) -> None:
    """SQLite itself rounds to the millisecond."""
    url = f"sqlite:///{tmp_path}/one.db"
    upgrade(settings(url))
    execute(url, another_server("1"))
    for fraction in ("000000", "499999", "999499", "999500", "999999"):
        time = f"2026-12-31 23:59:59.{fraction}"
        execute(url, f"UPDATE ollama_servers SET updated_at = '{time}'")
