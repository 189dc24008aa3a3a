"""Databases met in the field: set up otherwise than ours, named as other programs name them."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest
from sqlalchemy import Connection, text

from ollama_admin.client import Client
from ollama_admin.errors import AdminError, DatabaseBusy, DatabaseUnavailable, InvalidInput
from ollama_admin.settings import Settings
from ollama_admin.store import engines, schema
from ollama_admin.store.database import Database
from ollama_admin.store.migrations import pending_sql, status, upgrade
from ollama_admin.store.tables import HEAD
from tests.cli.test_errors import without_privileges
from tests.postgres import PostgresServer
from tests.store.revisions import execute, with_old_version_table

__all__ = ["without_privileges"]

SET_UP = (
    "CREATE ROLE field_nologin NOLOGIN PASSWORD 'hunter2'",
    "CREATE ROLE field_limited LOGIN PASSWORD 'hunter2' CONNECTION LIMIT 0",
    "CREATE ROLE field_plain LOGIN PASSWORD 'hunter2'",
    "CREATE DATABASE field_closed ALLOW_CONNECTIONS false",
    "CREATE DATABASE field_limited CONNECTION LIMIT 0",
)
TAKE_DOWN = (
    "DROP DATABASE IF EXISTS field_closed",
    "DROP DATABASE IF EXISTS field_limited",
    "DROP ROLE IF EXISTS field_nologin",
    "DROP ROLE IF EXISTS field_limited",
    "DROP ROLE IF EXISTS field_plain",
)


class Place(NamedTuple):
    """Where the server is, and the database of that name as its own user sees it."""

    at: str
    owner: str

    def of(self, user: str, database: str) -> str:
        return f"postgresql://{user}:hunter2@{self.at}/{database}"

    def named(self, database: str, parameters: str = "") -> str:
        return f"postgresql://{self.owner}@{self.at}/{database}{parameters}"


@pytest.fixture
def place(postgres_server: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Nobody waits for a database that is crowded."""
    monkeypatch.setattr("ollama_admin.store.database.BUSY_TIMEOUT", 0.0)
    owner, _, rest = postgres_server.url.removeprefix("postgresql://").rpartition("@")
    with psycopg.connect(postgres_server.url, autocommit=True) as admin:
        for statement in (*TAKE_DOWN, *SET_UP):
            admin.execute(statement)
        yield Place(at=rest.partition("/")[0], owner=owner)
        for statement in TAKE_DOWN:
            admin.execute(statement)


@contextmanager
def opened(url: str) -> Iterator[Database]:
    db = Database(Settings.read({}, url), lambda: None)
    try:
        yield db
    finally:
        db.close()


def failure(url: str) -> AdminError:
    with pytest.raises(AdminError) as failed, opened(url) as db:
        db.read_now(one)
    said = f"{failed.value.message} {failed.value.hint}"
    assert "hunter2" not in said
    return failed.value


def one(connection: Connection) -> int:
    return int(connection.scalar(text("SELECT 1")) or 0)


REFUSALS: dict[str, tuple[Callable[[Place], str], type[AdminError], str, str]] = {
    "a certificate to check, and none of an authority": (
        lambda place: place.named("postgres", "?sslmode=verify-full"),
        DatabaseUnavailable,
        "server does not support SSL, but SSL was required",
        "leave sslmode out",
    ),
    "an sslmode of another driver": (
        lambda place: place.named("postgres", "?sslmode=no-verify"),
        InvalidInput,
        "invalid sslmode value",
        "write one of disable, allow, prefer, require, verify-ca, verify-full",
    ),
    "a role that may not log in": (
        lambda place: place.of("field_nologin", "postgres"),
        DatabaseUnavailable,
        'role "field_nologin" is not permitted to log in',
        "ALTER ROLE NAME LOGIN",
    ),
    "a role at its limit": (
        lambda place: place.of("field_limited", "postgres"),
        DatabaseBusy,
        'too many connections for role "field_limited"',
        "raise its connection limit",
    ),
    "a database at its limit": (
        lambda place: place.of("field_plain", "field_limited"),
        DatabaseBusy,
        'too many connections for database "field_limited"',
        "raise its connection limit",
    ),
    "a database that lets nobody in": (
        lambda place: place.named("field_closed"),
        DatabaseUnavailable,
        'database "field_closed" is not currently accepting connections',
        "ALLOW_CONNECTIONS true",
    ),
    "a database that is not there": (
        lambda place: place.named("field_missing"),
        DatabaseUnavailable,
        'database "field_missing" does not exist',
        "createdb",
    ),
    "a wrong password": (
        lambda place: place.of("nobody", "postgres"),
        DatabaseUnavailable,
        'password authentication failed for user "nobody"',
        "check the user and the password",
    ),
    "no server": (
        lambda _: "postgresql://u:hunter2@127.0.0.1:9/fleet",
        DatabaseUnavailable,
        'Connection refused ("fleet" at 127.0.0.1:9)',
        "check host and port",
    ),
    "no socket": (
        lambda _: "postgresql://u:hunter2@%2Frun%2Fnowhere:5432/fleet",
        DatabaseUnavailable,
        'No such file or directory ("fleet" at /run/nowhere:5432)',
        "check host and port",
    ),
    "no server, and no port in the URL": (
        lambda _: "postgresql://u:hunter2@127.0.0.1/fleet?port=9",
        DatabaseUnavailable,
        '("fleet" at 127.0.0.1:9)',
        "check host and port",
    ),
    "none of several servers": (
        lambda _: "postgresql://u:hunter2@127.0.0.1:9,[::1]:10/",
        DatabaseUnavailable,
        "(the user's own database at 127.0.0.1:9,[::1]:10)",
        "check host and port",
    ),
    "no such host": (
        lambda _: "postgresql://u:hunter2@nowhere.invalid/fleet",
        DatabaseUnavailable,
        '("fleet" at nowhere.invalid:5432)',
        "check the host",
    ),
    "an unknown parameter": (
        lambda _: "postgresql://u:hunter2@127.0.0.1:9/fleet?nonsense=hunter2",
        InvalidInput,
        "nonsense",
        "check what follows the ?",
    ),
}


@pytest.mark.parametrize(("url_at", "kind", "said", "hint"), REFUSALS.values(), ids=REFUSALS)
def test_the_sentence_of_the_database_is_told_with_a_hint_that_is_certain(
    place: Place,
    url_at: Callable[[Place], str],
    kind: type[AdminError],
    said: str,
    hint: str,
) -> None:
    error = failure(url_at(place))
    assert type(error) is kind
    assert said in error.message
    assert hint in (error.hint or "")


def test_a_value_of_a_statement_is_not_repeated_from_the_databases_sentence(
    migrated_postgres_url: str,
) -> None:
    def fail(connection: Connection) -> None:
        connection.execute(text("SELECT pg_read_file(:name)"), {"name": "/hunter2"})

    with opened(migrated_postgres_url) as db, pytest.raises(DatabaseUnavailable) as failed:
        db.read_now(fail)
    assert 'could not open file "********" for reading' in failed.value.message
    assert "hunter2" not in failed.value.message


SAME_DATABASE: dict[str, Callable[[str], str]] = {
    "of asyncpg": lambda url: url.replace("postgresql:", "postgresql+asyncpg:"),
    "of psycopg2": lambda url: url.replace("postgresql:", "postgresql+psycopg2:"),
    "of Heroku": lambda url: url.replace("postgresql:", "postgres:"),
    "in quotes": lambda url: f'"{url}"',
    "in other quotes, with a line end": lambda url: f"'{url}'\n",
    "of Prisma": lambda url: f"{url}?pgbouncer=true&connection_limit=1&schema=public",
    "of asyncpg, without TLS": lambda url: f"{url}?ssl=false",
    "several hosts": lambda url: url.replace("@", "@127.0.0.1:9,"),
}


@pytest.mark.parametrize("spelt", SAME_DATABASE.values(), ids=SAME_DATABASE)
def test_urls_of_other_programs_name_the_same_database(
    migrated_postgres_url: str, spelt: Callable[[str], str]
) -> None:
    assert status(Settings.read({}, spelt(migrated_postgres_url))).current == HEAD


async def test_what_is_left_out_of_a_url_is_named(migrated_postgres_url: str) -> None:
    notes: list[str] = []
    url = f"{migrated_postgres_url}?pgbouncer=true"
    async with Client(database_url=url, environ={}, on_note=notes.append) as client:
        assert await client.servers.list() == []
    assert notes == ["pgbouncer in the database URL is another driver's, and is left out"]


@pytest.mark.parametrize("parameter", ["schema=fleet", "currentSchema=fleet", "ssl=maybe"])
def test_what_would_change_the_meaning_is_not_left_out(
    migrated_postgres_url: str, parameter: str
) -> None:
    error = failure(f"{migrated_postgres_url}?{parameter}")
    assert type(error) is InvalidInput
    assert "write" in (error.hint or "")


async def test_variables_of_libpq_do_not_choose_the_encoding(
    migrated_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    async with Client(database_url=migrated_postgres_url, environ={}) as client:
        await client.servers.add(name="söhne", url="http://gpu")
        assert [server.name for server in await client.servers.list()] == ["söhne"]


# a version table of our own


def test_a_table_of_versions_of_another_program_is_nothing_to_us(empty_database_url: str) -> None:
    settings = Settings.read({}, empty_database_url)
    execute(empty_database_url, "CREATE TABLE alembic_version (version_num VARCHAR(32))")
    execute(empty_database_url, "INSERT INTO alembic_version VALUES ('4f1a2b3c')")
    assert status(settings).current is None
    assert upgrade(settings).current == HEAD
    assert status(settings).current == HEAD
    assert execute(empty_database_url, "SELECT version_num FROM alembic_version") == [("4f1a2b3c",)]


def test_migrate_moves_the_revision_into_a_table_of_our_own(database_url: str) -> None:
    with_old_version_table(database_url)
    settings = Settings.read({}, database_url)
    assert status(settings).current == "0006"
    upgrade(settings)
    assert execute(database_url, "SELECT version_num FROM ollama_admin_version") == [(HEAD,)]
    with pytest.raises(Exception, match="alembic_version"):
        execute(database_url, "SELECT version_num FROM alembic_version")


def test_printed_sql_moves_it_too(migrated_postgres_url: str) -> None:
    with_old_version_table(migrated_postgres_url)
    settings = Settings.read({}, migrated_postgres_url)
    with psycopg.connect(migrated_postgres_url, autocommit=True) as admin:
        admin.execute(pending_sql(settings).encode())
    assert pending_sql(settings) == ""
    assert status(settings).current == HEAD


# who waits, and for how long


@contextmanager
def locked(url: str) -> Iterator[None]:
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE ollama_servers IN ACCESS EXCLUSIVE MODE")
        yield


async def test_a_table_that_another_session_locks_is_busy_and_not_ready(
    migrated_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "ANSWER_TIMEOUT", 0.3)
    monkeypatch.setattr(schema, "LOOK_PATIENCE", 0.3)
    async with Client(database_url=migrated_postgres_url, environ={}) as client:
        await client._resources.db.read(schema.require_writable)
        with locked(migrated_postgres_url):
            with pytest.raises(DatabaseBusy, match="waited for another one's lock"):
                await client.servers.list()
            with pytest.raises(DatabaseBusy):
                await client._resources.db.read(schema.require_writable)
        await client._resources.db.read(schema.require_writable)


async def test_the_timeout_of_a_request_bounds_the_wait_for_the_database_too(
    migrated_postgres_url: str,
) -> None:
    with locked(migrated_postgres_url):
        async with Client(database_url=migrated_postgres_url, environ={}) as client:
            with pytest.raises(AdminError, match=r"timed out after 0\.2 s"):
                await client.generate(model="alpha", prompt="hi", timeout=0.2)


def test_an_sqlite_file_that_is_write_protected_is_not_ready(
    migrated_sqlite_file: Path, tmp_path: Path, without_privileges: None
) -> None:
    path = tmp_path / "one.db"
    path.write_bytes(migrated_sqlite_file.read_bytes())
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    with opened(f"sqlite:///{path}") as db:
        db.read_now(schema.require_writable)
        path.chmod(0o400)
        with pytest.raises(DatabaseUnavailable, match="cannot be written"):
            db.read_now(schema.require_writable)
