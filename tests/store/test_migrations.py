import ast
import hashlib
import itertools
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from psycopg import sql

from ollama_admin.client import Client
from ollama_admin.errors import DatabaseBusy, DatabaseUnavailable, InvalidInput, SchemaOutOfDate
from ollama_admin.settings import Settings
from ollama_admin.store import migrations, tables
from ollama_admin.store.engines import open_engine, open_migration_engine
from ollama_admin.store.migrations import pending_sql, status, upgrade
from tests.postgres import PostgresServer
from tests.store.processes import Ended, frozen_migration, killer, migrate_at_once
from tests.store.schemas import schema, sqlite_path

VERSIONS = migrations.script_location() / "versions"

# What a released revision looked like. It never changes: a new revision changes the schema.
CHECKSUMS = {
    "0001_servers_and_models.py": "35146a5ceb933e33bf735cf46a09c17f1a89de3439958c8542301ac28beca16d",
}

NAMES = {"pk": r"pk_{}", "fk": r"fk_{}_\w+", "uq": r"uq_{}_\w+", "ix": r"ix_{}_\w+", "ck": r"ck_{}_\w+"}

NEW_REVISION = """
import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{after}"


def upgrade() -> None:
    with op.batch_alter_table("ollama_servers", table_kwargs={{"sqlite_autoincrement": True}}) as batch:
        batch.add_column(sa.Column("note", sa.Text))
        batch.alter_column("default_model", existing_type=sa.Text, type_=sa.String(500))
"""

ORPHANING_REVISION = """
from alembic import op

revision = "9999"
down_revision = "0001"


def upgrade() -> None:
    op.execute("DELETE FROM ollama_servers")
"""


def settings(url: str) -> Settings:
    return Settings.read({}, url)


def is_postgresql(url: str) -> bool:
    return url.startswith("postgresql")


def version(url: str) -> str | None:
    """The revision that a connection of its own finds."""
    return status(settings(url)).current


def execute(url: str, *statements: str) -> list[tuple[object, ...]]:
    """Run statements as somebody else would; the rows of the last one."""
    engine = open_migration_engine(settings(url), 5)
    with engine.begin() as connection:
        for statement in statements:
            result = connection.execute(sa.text(statement))
        return [tuple(row) for row in result] if result.returns_rows else []


def add_server_with_models(url: str, *names: str) -> None:
    now = "'2026-01-01 00:00:00+00'" if is_postgresql(url) else "'2026-01-01 00:00:00'"
    execute(
        url,
        "INSERT INTO ollama_servers (name, name_key, url, api_version, capabilities, auth_config, headers, created_at,"
        f" updated_at) VALUES ('one', 'one', 'http://one', 'native', '[]', '{{}}', '{{}}', {now}, {now})",
        *(
            "INSERT INTO ollama_models (server_id, name, name_key, first_seen_at, last_seen_at)"
            f" VALUES (1, '{name}', '{name}', {now}, {now})"
            for name in names
        ),
    )


@pytest.fixture
def revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations that is run instead of them; the test adds to it."""
    copy = tmp_path / "migrations"
    shutil.copytree(migrations.script_location(), copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(migrations, "script_location", lambda: copy)
    return copy


@pytest.fixture
def fresh_urls(request: pytest.FixtureRequest, empty_database_url: str, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Makes one empty database after the other, of the same kind as `empty_database_url`."""
    numbers = itertools.count()
    if not is_postgresql(empty_database_url):
        yield lambda: f"sqlite:///{tmp_path / f'fresh-{next(numbers)}.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    made: list[str] = []

    def make() -> str:
        made.append(server.create_database())
        return made[-1]

    yield make
    for url in made:
        server.drop_database(url)


def add_revision(revisions: Path, revision: str, after: str = "0001", text: str = NEW_REVISION) -> None:
    content = text if text == ORPHANING_REVISION else text.format(revision=revision, after=after)
    (revisions / "versions" / f"{revision}_test.py").write_text(content)


# the schema


def test_migrated_database_is_what_the_tables_say(database_url: str) -> None:
    engine = open_engine(settings(database_url))
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), tables.metadata) == []
    engine.dispose()


def test_migrated_catalogue_equals_that_of_the_tables(fresh_urls: Callable[[], str]) -> None:
    """Checks, partial indexes and AUTOINCREMENT too, which autogenerate does not compare."""
    migrated, made = fresh_urls(), fresh_urls()
    upgrade(settings(migrated))
    with open_migration_engine(settings(made), 5).begin() as connection:
        tables.metadata.create_all(connection)
    assert schema(migrated) == schema(made)


def test_head_of_the_code_is_the_head_of_the_revisions(database_url: str) -> None:
    assert status(settings(database_url)).head == tables.HEAD


def test_every_constraint_has_its_conventional_name(database_url: str) -> None:
    engine = open_engine(settings(database_url))
    found = sa.inspect(engine)
    for table in ("ollama_servers", "ollama_models"):
        names = {
            "pk": [found.get_pk_constraint(table)["name"]] if is_postgresql(database_url) else [],  # AUTOINCREMENT
            "fk": [key["name"] for key in found.get_foreign_keys(table)],
            "uq": [key["name"] for key in found.get_unique_constraints(table)],
            "ck": [key["name"] for key in found.get_check_constraints(table)],
        }
        odd = [
            name
            for kind, called in names.items()
            for name in called
            if not re.fullmatch(NAMES[kind].format(table), name or "")
        ]
        indexes = [index["name"] for index in found.get_indexes(table)]
        odd += [name for name in indexes if not re.fullmatch(rf"(ix|uq)_{table}_\w+", name or "")]
        assert odd == []
    engine.dispose()


# running them


def test_first_run_applies_everything_and_the_second_nothing(empty_database_url: str) -> None:
    heard: list[str] = []
    first = upgrade(settings(empty_database_url), on_revision=heard.append)
    second = upgrade(settings(empty_database_url), on_revision=heard.append)
    assert (first.applied, first.current, first.pending) == (("0001",), "0001", ())
    assert (second.applied, second.current, second.pending) == ((), "0001", ())
    assert heard == ["0001"]


def test_status_tells_what_is_pending_and_changes_nothing(empty_database_url: str) -> None:
    found = status(settings(empty_database_url))
    assert (found.applied, found.current, found.head, found.pending) == ((), None, "0001", ("0001",))
    if is_postgresql(empty_database_url):
        assert schema(empty_database_url) == []
    else:
        assert not sqlite_path(empty_database_url).exists()


def test_status_of_a_migrated_database_lists_what_was_applied(database_url: str) -> None:
    found = status(settings(database_url))
    assert (found.applied, found.current, found.pending) == (("0001",), "0001", ())


def test_printed_sql_makes_the_same_schema(empty_postgres_url: str, migrated_postgres_url: str) -> None:
    text = pending_sql(settings(empty_postgres_url))
    assert schema(empty_postgres_url) == []
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute(text)
    assert schema(empty_postgres_url) == schema(migrated_postgres_url)
    assert status(settings(empty_postgres_url)).pending == ()


def test_printed_sql_is_empty_at_head(migrated_postgres_url: str) -> None:
    assert pending_sql(settings(migrated_postgres_url)) == ""


def test_printed_sql_of_one_pending_revision_leaves_out_the_others(migrated_postgres_url: str, revisions: Path) -> None:
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
    assert refused.value.hint == "there are: 0001"
    assert version(empty_database_url) is None


def test_upgrade_stops_at_the_target_and_never_goes_back(empty_database_url: str, revisions: Path) -> None:
    add_revision(revisions, "9999")
    assert upgrade(settings(empty_database_url), "0001").pending == ("9999",)
    assert upgrade(settings(empty_database_url)).applied == ("9999",)
    with pytest.raises(InvalidInput, match="past revision 0001"):
        upgrade(settings(empty_database_url), "0001")
    assert version(empty_database_url) == "9999"


# many at once, killed, frozen


def all_well(ended: list[Ended]) -> bool:
    """Whether every process ended well and exactly one of them had something to do."""
    assert [one.errors for one in ended if one.code] == []
    return sorted(one.applied for one in ended) == [[]] * (len(ended) - 1) + [["0001"]]


def test_twenty_processes_at_once_all_succeed_and_one_migrates(empty_database_url: str) -> None:
    assert all_well(migrate_at_once(empty_database_url, 20))
    assert version(empty_database_url) == "0001"


def test_killed_at_any_step_the_next_run_brings_the_database_to_head(fresh_urls: Callable[[], str]) -> None:
    expected = None
    with killer() as process:
        for step in itertools.count():  # pragma: no branch
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
    assert version(empty_database_url) == "0001"


def test_killed_holder_of_the_lock_leaves_it_to_the_next(empty_database_url: str) -> None:
    with frozen_migration(empty_database_url) as process:
        process.kill()
        assert upgrade(settings(empty_database_url), lock_timeout=20).applied == ("0001",)


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
        connection.execute(sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = serializable").format(name))
    assert all_well(migrate_at_once(empty_postgres_url, 4))


def test_migration_that_silently_does_nothing_is_an_error(empty_database_url: str, revisions: Path) -> None:
    """With the lock taken before `configure`, Alembic takes the transaction for somebody else's and commits nothing."""
    env = revisions / "env.py"
    lock = '        context.config.attributes["lock"](connection)\n'
    configure = "    context.configure(\n        connection=connection,"
    text = env.read_text()
    assert text.count(lock) == text.count(configure) == 1
    env.write_text(text.replace(lock, "").replace(configure, lock.removeprefix("    ") + configure))
    with pytest.raises(SchemaOutOfDate, match="the migration to 0001 left the database at None"):
        upgrade(settings(empty_database_url))


# revisions that do not fit


def test_unknown_revision_in_the_database_is_named_and_nothing_is_written(database_url: str) -> None:
    execute(database_url, "UPDATE alembic_version SET version_num = '0042'")
    before = schema(database_url)
    for ask in (status, upgrade):
        with pytest.raises(SchemaOutOfDate, match=r"revision 0042, .* only up to 0001") as refused:
            ask(settings(database_url))
        assert refused.value.hint == "update ollama-admin"
    assert schema(database_url) == before
    assert execute(database_url, "SELECT version_num FROM alembic_version") == [("0042",)]


async def test_client_refuses_a_database_of_a_newer_build(database_url: str) -> None:
    execute(database_url, "UPDATE alembic_version SET version_num = '0042'")
    async with Client(database_url=database_url, environ={}) as client:
        with pytest.raises(SchemaOutOfDate, match=r"revision 0042, .* only up to 0001"):
            await client.servers.list()


def test_two_heads_are_both_named_and_nothing_is_written(empty_database_url: str, revisions: Path) -> None:
    for revision in ("9998", "9999"):
        add_revision(revisions, revision)
    with pytest.raises(SchemaOutOfDate, match=r"9998.*9999"):
        upgrade(settings(empty_database_url))
    if is_postgresql(empty_database_url):
        assert schema(empty_database_url) == []
    else:
        assert not sqlite_path(empty_database_url).exists()


def test_missing_revision_file_is_named_with_the_one_that_needs_it(database_url: str, revisions: Path) -> None:
    add_revision(revisions, "9999", after="9000")
    before = schema(database_url)
    with pytest.raises(SchemaOutOfDate, match=r"9000.*9999"):
        upgrade(settings(database_url))
    assert schema(database_url) == before


def test_released_revisions_are_not_edited() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(VERSIONS.glob("*.py"))}
    assert found == CHECKSUMS


@pytest.mark.parametrize("path", sorted(VERSIONS.glob("*.py")), ids=lambda path: path.stem)
def test_revision_stays_inside_its_transaction(path: Path) -> None:
    """The lock ends with the transaction, and statements that wait for others' snapshots would wait for ever."""
    tree = ast.parse(path.read_text())
    words = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    words |= {keyword.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for keyword in node.keywords}
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    assert not words & {"autocommit_block", "transaction_per_migration", "postgresql_concurrently", "commit"}
    assert not [text for text in texts if re.search(r"\b(concurrently|commit|vacuum)\b", text, re.IGNORECASE)]


def test_environment_runs_all_revisions_in_one_transaction() -> None:
    assert "transaction_per_migration" not in (migrations.script_location() / "env.py").read_text()


# rights and schemas


@pytest.fixture
def stranger_url(postgres_server: PostgresServer, empty_postgres_url: str) -> Iterator[str]:
    """The database as a role sees it that may connect and no more."""
    role, password = "ollama_admin_stranger", "canary"
    name = sql.Identifier(role)
    with psycopg.connect(empty_postgres_url) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(name, sql.Literal(password)))
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
    assert upgrade(settings(one)).applied == ("0001",)
    assert version(two) is None
    assert upgrade(settings(two)).applied == ("0001",)
    assert schema(empty_postgres_url) == []


# data


def test_batch_change_of_servers_keeps_models_checks_and_indexes(database_url: str, revisions: Path) -> None:
    add_server_with_models(database_url, "alpha", "beta")
    add_revision(revisions, "9999")
    before = schema(database_url)
    assert upgrade(settings(database_url)).applied == ("9999",)
    lost = [line for line in before if line not in schema(database_url) and "default_model" not in line]
    assert [line for line in lost if "CREATE TABLE" not in line] == []
    assert execute(database_url, "SELECT server_id, name FROM ollama_models ORDER BY id") == [(1, "alpha"), (1, "beta")]
    if not is_postgresql(database_url):
        assert execute(database_url, "PRAGMA foreign_key_check") == []


def test_rows_without_parents_are_refused_and_nothing_is_changed(tmp_path: Path, revisions: Path) -> None:
    url = f"sqlite:///{tmp_path / 'one.db'}"
    upgrade(settings(url))
    add_server_with_models(url, "alpha")
    add_revision(revisions, "9999", text=ORPHANING_REVISION)
    with pytest.raises(SchemaOutOfDate, match="without their parents"):
        upgrade(settings(url))
    assert version(url) == "0001"
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
    assert backup.name == "one.db.bak-0001"
    assert backup.stat().st_mode & 0o777 == 0o600
    copied = f"sqlite:///{backup}"
    assert schema(copied) == before
    assert execute(copied, "PRAGMA integrity_check") == [("ok",)]
    assert execute(copied, "SELECT name FROM ollama_models") == [("alpha",)]


# long forms


@pytest.mark.chaos
@pytest.mark.parametrize("round_", range(5))
def test_twenty_commands_at_once_all_exit_0(empty_database_url: str, round_: int) -> None:
    command = [sys.executable, "-c", RUN_COMMAND]
    ended = migrate_at_once(empty_database_url, 20, command)
    assert [one.errors for one in ended if one.code] == []
    assert version(empty_database_url) == "0001"


@pytest.mark.chaos
@pytest.mark.parametrize("step", range(3, 43, 8))
def test_twenty_processes_at_once_succeed_after_one_was_killed(empty_database_url: str, step: int) -> None:
    with killer() as process:
        process.killed(empty_database_url, step)
    migrated = version(empty_database_url) is not None
    ended = migrate_at_once(empty_database_url, 20)
    assert [one.errors for one in ended if one.code] == []
    assert [one.applied for one in ended if one.applied] == ([] if migrated else [["0001"]])
    assert version(empty_database_url) == "0001"


RUN_COMMAND = """
import runpy, sys
import ollama_admin.cli.app, ollama_admin.store.migrations

sys.argv = ["ollama-admin", "--database-url", sys.argv[1], "migrate"]
print("ready", flush=True)
sys.stdin.readline()
runpy.run_module("ollama_admin", run_name="__main__")
"""
