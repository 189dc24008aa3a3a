"""Migrations that many processes ask for at the same time, and those that are killed or frozen on
their way.
"""

import itertools
import sqlite3
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import event

from ollama_admin.errors import DatabaseBusy, SchemaOutOfDate
from ollama_admin.store.engines import open_engine
from ollama_admin.store.migrations import status, upgrade
from ollama_admin.store.schema import revision
from tests.postgres import PostgresServer
from tests.store.processes import frozen_migration, killer, migrate_at_once, run_command_at_once
from tests.store.revisions import (
    HEAD,
    REVISIONS,
    add_revision,
    settings,
    version,
    with_old_version_table,
)
from tests.store.schemas import schema, sqlite_path

APPLIED = "".join(f"applied {revision}\n" for revision in REVISIONS) + f"the schema is at {HEAD}\n"


@pytest.mark.chaos  # the quick tests start the command itself: tests/cli/test_migrate.py
def test_twenty_processes_at_once_all_succeed_and_one_migrates(empty_database_url: str) -> None:
    assert migrate_at_once(empty_database_url, 20) == [f"[{','.join(REVISIONS)}]"]
    assert version(empty_database_url) == HEAD
    assert migrate_at_once(empty_database_url, 20) == []


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.chaos)])
def test_killed_at_any_step_the_next_run_brings_the_database_to_head(
    fresh_urls: Callable[[], str], stride: int
) -> None:
    expected = None
    with killer() as process:
        for step in itertools.count(step=stride):  # pragma: no branch
            url = fresh_urls()
            died = process.killed(url, step)
            upgrade(settings(url))
            expected = expected or schema(url)
            assert schema(url) == expected, f"killed at step {step}"
            assert status(settings(url)).pending == ()
            if not died:
                break
    assert step > 20


def test_frozen_holder_of_the_lock_makes_others_give_up(empty_database_url: str) -> None:
    with frozen_migration(empty_database_url):
        with pytest.raises(DatabaseBusy):
            upgrade(settings(empty_database_url), lock_timeout=0.2)
        assert version(empty_database_url) is None
    assert version(empty_database_url) == HEAD


def test_killed_holder_of_the_lock_leaves_it_to_the_next(empty_database_url: str) -> None:
    with frozen_migration(empty_database_url) as process:
        process.kill()
        assert upgrade(settings(empty_database_url), lock_timeout=20).applied == REVISIONS


def test_reader_in_an_open_transaction_blocks_a_change_only_for_the_timeout(
    migrated_postgres_url: str, revisions: Path
) -> None:
    add_revision(revisions, "9999")
    before = schema(migrated_postgres_url)
    with psycopg.connect(migrated_postgres_url) as reader:
        reader.execute("SELECT * FROM ollama_servers")
        with pytest.raises(DatabaseBusy):
            upgrade(settings(migrated_postgres_url), lock_timeout=0.2)
    assert schema(migrated_postgres_url) == before
    assert upgrade(settings(migrated_postgres_url)).applied == ("9999",)


def test_reader_of_an_sqlite_file_does_not_block_a_change(tmp_path: Path, revisions: Path) -> None:
    url = f"sqlite:///{tmp_path / 'one.db'}"
    upgrade(settings(url))
    add_revision(revisions, "9999")
    reader = sqlite3.connect(sqlite_path(url), isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM ollama_servers").fetchall()
    assert upgrade(settings(url), lock_timeout=0.2).applied == ("9999",)
    reader.close()


def test_processes_that_find_a_stricter_isolation_by_default_all_succeed(
    postgres_server: PostgresServer, empty_postgres_url: str
) -> None:
    name = sql.Identifier(empty_postgres_url.rpartition("/")[2])
    with psycopg.connect(postgres_server.url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = serializable").format(
                name
            )
        )
    assert migrate_at_once(empty_postgres_url, 8) == [f"[{','.join(REVISIONS)}]"]


def test_migration_that_silently_does_nothing_is_an_error(
    empty_database_url: str, revisions: Path
) -> None:
    """With the lock taken before `configure`, Alembic takes the transaction for somebody else's and
    commits nothing.
    """
    env = revisions / "env.py"
    lock = '        context.config.attributes["lock"](connection)\n'
    configure = "    context.configure(\n        connection=connection,"
    text = env.read_text()
    assert text.count(lock) == text.count(configure) == 1
    env.write_text(text.replace(lock, "").replace(configure, lock.removeprefix("    ") + configure))
    with pytest.raises(SchemaOutOfDate, match=f"the migration to {HEAD} left the database at None"):
        upgrade(settings(empty_database_url))


@pytest.mark.chaos
@pytest.mark.parametrize("round_", range(5))
def test_twenty_commands_at_once_all_exit_0(empty_database_url: str, round_: int) -> None:
    ended = run_command_at_once(empty_database_url, 20)
    assert [one.errors for one in ended if one.code] == []
    assert [one.output for one in ended if "applied" in one.output] == [APPLIED]


@pytest.mark.chaos
def test_twenty_processes_at_once_succeed_after_one_was_killed(
    fresh_urls: Callable[[], str],
) -> None:
    with killer() as process:
        for step in itertools.count():  # pragma: no branch
            url = fresh_urls()
            died = process.killed(url, step)
            pending = status(settings(url)).pending
            assert migrate_at_once(url, 20) == ([f"[{','.join(pending)}]"] if pending else [])
            if not died:
                break


def test_a_migration_that_commits_during_a_look_at_the_revision_is_seen_whole(
    empty_database_url: str,
) -> None:
    """Not as tables that nothing says the revision of."""
    engine = open_engine(settings(empty_database_url), sqlite_patience=30)
    with engine.connect() as connection:

        @event.listens_for(connection, "after_cursor_execute", once=True)
        def migrate(*_: object) -> None:
            upgrade(settings(empty_database_url))

        assert revision(connection) in (None, HEAD)
    engine.dispose()
    assert version(empty_database_url) == HEAD


@pytest.mark.parametrize("looks", [1, 2])
def test_a_migration_that_drops_the_old_version_table_during_a_look_is_seen_whole(
    database_url: str, looks: int
) -> None:
    """Twenty that migrate an older database at once all look there while the first of them drops
    it.
    """
    with_old_version_table(database_url)
    engine = open_engine(settings(database_url), sqlite_patience=30)
    left = iter(range(looks))
    with engine.connect() as connection:

        @event.listens_for(connection, "after_cursor_execute")
        def migrate(*_: object) -> None:
            if next(left, None) == looks - 1:
                upgrade(settings(database_url))

        assert revision(connection) in ("0006", HEAD)
    engine.dispose()
    assert version(database_url) == HEAD
