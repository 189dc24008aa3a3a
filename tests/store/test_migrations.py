import secrets
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from ollama_admin.client import Client
from ollama_admin.errors import (
    DatabaseUnavailable,
    InvalidInput,
    PendingMigrations,
    SchemaOutOfDate,
)
from ollama_admin.services.migrate import require_nothing_pending
from ollama_admin.store.migrations import pending_sql, status, upgrade
from tests.postgres import PostgresServer
from tests.store.revisions import (
    HEAD,
    ORPHANING_REVISION,
    REVISIONS,
    add_revision,
    add_server_with_models,
    execute,
    is_postgresql,
    settings,
    version,
)
from tests.store.schemas import schema, sqlite_path

# running them


def test_first_run_applies_everything_and_the_second_nothing(empty_database_url: str) -> None:
    heard: list[str] = []
    first = upgrade(settings(empty_database_url), on_revision=heard.append)
    second = upgrade(settings(empty_database_url), on_revision=heard.append)
    assert (first.applied, first.current, first.pending) == (REVISIONS, HEAD, ())
    assert (second.applied, second.current, second.pending) == ((), HEAD, ())
    assert heard == list(REVISIONS)


def test_status_tells_what_is_pending_and_changes_nothing(empty_database_url: str) -> None:
    found = status(settings(empty_database_url))
    assert (found.applied, found.current, found.head, found.pending) == ((), None, HEAD, REVISIONS)
    if is_postgresql(empty_database_url):
        assert schema(empty_database_url) == []
    else:
        assert not sqlite_path(empty_database_url).exists()


def test_status_of_a_migrated_database_lists_what_was_applied(database_url: str) -> None:
    found = status(settings(database_url))
    assert (found.applied, found.current, found.pending) == (REVISIONS, HEAD, ())


def test_printed_sql_makes_the_same_schema(
    empty_postgres_url: str, migrated_postgres_url: str
) -> None:
    text = pending_sql(settings(empty_postgres_url))
    assert schema(empty_postgres_url) == []
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute(text)
    assert schema(empty_postgres_url) == schema(migrated_postgres_url)
    assert status(settings(empty_postgres_url)).pending == ()


def test_printed_sql_is_empty_at_head(migrated_postgres_url: str) -> None:
    assert pending_sql(settings(migrated_postgres_url)) == ""


def test_printed_sql_of_one_pending_revision_leaves_out_the_others(
    migrated_postgres_url: str, revisions: Path
) -> None:
    add_revision(revisions, "9999")
    text = pending_sql(settings(migrated_postgres_url))
    assert "note" in text
    assert "CREATE TABLE" not in text


def test_printed_sql_is_refused_on_sqlite(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="PostgreSQL"):
        pending_sql(settings(f"sqlite:///{tmp_path / 'one.db'}"))


def test_unknown_target_is_refused(empty_database_url: str) -> None:
    with pytest.raises(InvalidInput, match="no revision 'nope'") as refused:
        upgrade(settings(empty_database_url), "nope")
    assert refused.value.hint == f"there are: {', '.join(REVISIONS)}"
    assert version(empty_database_url) is None


def test_upgrade_stops_at_the_target_and_never_goes_back(
    empty_database_url: str, revisions: Path
) -> None:
    add_revision(revisions, "9999")
    assert upgrade(settings(empty_database_url), HEAD).pending == ("9999",)
    assert upgrade(settings(empty_database_url)).applied == ("9999",)
    with pytest.raises(InvalidInput, match=f"past revision {HEAD}"):
        upgrade(settings(empty_database_url), HEAD)
    assert version(empty_database_url) == "9999"


def test_check_fails_while_something_is_pending(empty_database_url: str, revisions: Path) -> None:
    add_revision(revisions, "9999")
    with pytest.raises(PendingMigrations, match=f"{HEAD}, 9999"):
        require_nothing_pending(settings(empty_database_url))
    assert version(empty_database_url) is None
    upgrade(settings(empty_database_url))
    assert require_nothing_pending(settings(empty_database_url)).current == "9999"


# revisions that do not fit


@pytest.mark.parametrize(
    "statement", ["DELETE FROM ollama_admin_version", "DROP TABLE ollama_admin_version"]
)
async def test_tables_without_a_revision_are_told_and_left_alone(
    database_url: str, statement: str
) -> None:
    execute(database_url, statement)
    before = schema(database_url)
    told = "the database has a table ollama_servers, and ollama_admin_version does not say"
    with pytest.raises(SchemaOutOfDate, match=told):
        upgrade(settings(database_url))
    with pytest.raises(SchemaOutOfDate, match=told):
        status(settings(database_url))
    async with Client(database_url=database_url, environ={}) as client:
        with pytest.raises(SchemaOutOfDate, match=told):
            await client.servers.list()
    assert schema(database_url) == before


def test_unknown_revision_in_the_database_is_named_and_nothing_is_written(
    database_url: str,
) -> None:
    execute(database_url, "UPDATE ollama_admin_version SET version_num = '0042'")
    before = schema(database_url)
    for ask in (status, upgrade):
        with pytest.raises(
            SchemaOutOfDate, match=rf"revision 0042, .* only up to {HEAD}"
        ) as refused:
            ask(settings(database_url))
        assert refused.value.hint == "update ollama-admin"
    assert schema(database_url) == before
    assert execute(database_url, "SELECT version_num FROM ollama_admin_version") == [("0042",)]


async def test_client_refuses_a_database_of_a_newer_build(database_url: str) -> None:
    execute(database_url, "UPDATE ollama_admin_version SET version_num = '0042'")
    async with Client(database_url=database_url, environ={}) as client:
        with pytest.raises(SchemaOutOfDate, match=rf"revision 0042, .* only up to {HEAD}"):
            await client.servers.list()


def test_two_heads_are_both_named_and_nothing_is_written(
    empty_database_url: str, revisions: Path
) -> None:
    for revision in ("9998", "9999"):
        add_revision(revisions, revision)
    with pytest.raises(SchemaOutOfDate, match=r"9998.*9999"):
        upgrade(settings(empty_database_url))
    if is_postgresql(empty_database_url):
        assert schema(empty_database_url) == []
    else:
        assert not sqlite_path(empty_database_url).exists()


def test_missing_revision_file_is_named_with_the_one_that_needs_it(
    database_url: str, revisions: Path
) -> None:
    add_revision(revisions, "9999", after="9000")
    before = schema(database_url)
    with pytest.raises(SchemaOutOfDate, match=r"9000.*9999"):
        upgrade(settings(database_url))
    assert schema(database_url) == before


# rights and schemas


@pytest.fixture
def stranger_url(postgres_server: PostgresServer, empty_postgres_url: str) -> Iterator[str]:
    """The database as a role sees it that may connect and no more."""
    role, password = f"ollama_admin_test_{secrets.token_hex(6)}", "canary"
    name = sql.Identifier(role)
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(password))
        )
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    _, _, place = empty_postgres_url.rpartition("@")
    yield f"postgresql://{role}:{password}@{place}"
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute(sql.SQL("DROP OWNED BY {}; DROP ROLE {}").format(name, name))


def test_role_that_may_not_create_tables_is_told_the_privilege(stranger_url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="lacks a privilege") as refused:
        upgrade(settings(stranger_url))
    assert "CREATE" in (refused.value.hint or "")
    assert "canary" not in f"{refused.value} {refused.value.hint}"


def test_search_path_without_a_schema_is_told(empty_postgres_url: str) -> None:
    with pytest.raises(DatabaseUnavailable, match="no schema to make tables in"):
        upgrade(settings(f"{empty_postgres_url}?options=-csearch_path%3Dnowhere"))
    assert schema(empty_postgres_url) == []


def test_two_schemas_of_one_database_are_migrated_apart(empty_postgres_url: str) -> None:
    execute(empty_postgres_url, "CREATE SCHEMA one", "CREATE SCHEMA two")
    one, two = (f"{empty_postgres_url}?options=-csearch_path%3D{name}" for name in ("one", "two"))
    assert upgrade(settings(one)).applied == REVISIONS
    assert version(two) is None
    assert upgrade(settings(two)).applied == REVISIONS
    assert schema(empty_postgres_url) == []


# data


def test_batch_change_of_servers_keeps_models_checks_and_indexes(
    database_url: str, revisions: Path
) -> None:
    add_server_with_models(database_url, "alpha", "beta")
    add_revision(revisions, "9999")
    before = schema(database_url)
    assert upgrade(settings(database_url)).applied == ("9999",)
    lost = [
        line for line in before if line not in schema(database_url) and "default_model" not in line
    ]
    assert [line for line in lost if "CREATE TABLE" not in line] == []
    assert execute(database_url, "SELECT server_id, name FROM ollama_models ORDER BY id") == [
        (1, "alpha"),
        (1, "beta"),
    ]
    if not is_postgresql(database_url):
        assert execute(database_url, "PRAGMA foreign_key_check") == []


def test_rows_without_parents_are_refused_and_nothing_is_changed(
    tmp_path: Path, revisions: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'one.db'}"
    upgrade(settings(url))
    add_server_with_models(url, "alpha")
    add_revision(revisions, "9999", text=ORPHANING_REVISION)
    with pytest.raises(SchemaOutOfDate, match="without their parents"):
        upgrade(settings(url))
    assert version(url) == HEAD
    assert execute(url, "SELECT name FROM ollama_servers") == [("one",)]


def test_backup_holds_the_old_data_for_its_owner_alone(tmp_path: Path, revisions: Path) -> None:
    url = f"sqlite:///{tmp_path / 'one.db'}"
    upgrade(settings(url))
    assert list(tmp_path.glob("*.bak*")) == []
    add_server_with_models(url, "alpha")
    before = schema(url)
    add_revision(revisions, "9999")
    upgrade(settings(url))
    (backup,) = tmp_path.glob("one.db.bak*")
    assert backup.name == f"one.db.bak-{HEAD}"
    assert backup.stat().st_mode & 0o777 == 0o600
    copied = f"sqlite:///{backup}"
    assert schema(copied) == before
    assert execute(copied, "PRAGMA integrity_check") == [("ok",)]
    assert execute(copied, "SELECT name FROM ollama_models") == [("alpha",)]
