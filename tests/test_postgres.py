import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import sqlalchemy

from tests.postgres import OwnPostgresServer, PostgresServer, TemplateDatabases

OWNER = """
from tests.postgres import OwnPostgresServer
server = OwnPostgresServer()
print(server.url, server._folder, flush=True)
input()
"""


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement)


def tables(url: str) -> list[str]:
    statement = "SELECT relname FROM pg_stat_user_tables ORDER BY relname"
    with psycopg.connect(url) as connection:
        return [name for (name,) in connection.execute(statement)]


def refuses_connections(url: str) -> bool:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname, parts.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_table_in_one_database_is_not_seen_in_another(
    postgres_server: PostgresServer, empty_postgres_url: str
) -> None:
    other = postgres_server.create_database()
    execute(empty_postgres_url, "CREATE TABLE here (id int)")
    assert tables(empty_postgres_url) == ["here"]
    assert tables(other) == []
    postgres_server.drop_database(other)


def test_sqlalchemy_accepts_the_url(empty_postgres_url: str) -> None:
    engine = sqlalchemy.create_engine(empty_postgres_url)
    with engine.connect() as connection:
        version = connection.scalar(sqlalchemy.text("SHOW server_version_num"))
    engine.dispose()
    assert engine.driver == "psycopg"
    assert int(version) >= 140000


def test_a_template_is_made_once_and_copied(postgres_server: PostgresServer) -> None:
    made = []

    def make(url: str) -> None:
        made.append(url)
        execute(url, "CREATE TABLE prepared (id int)")

    templates = TemplateDatabases(postgres_server)
    first, second = templates.copy(make), templates.copy(make)
    execute(first, "CREATE TABLE later (id int)")
    assert tables(first) == ["later", "prepared"]
    assert tables(second) == ["prepared"]
    assert len(made) == 1
    for url in (first, second, *made):
        postgres_server.drop_database(url)


def test_dropping_a_database_ends_its_connections(postgres_server: PostgresServer) -> None:
    url = postgres_server.create_database()
    with psycopg.connect(url) as connection:
        postgres_server.drop_database(url)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


def test_a_stopped_server_comes_back_on_its_port_with_its_data(
    stoppable_postgres: OwnPostgresServer,
) -> None:
    url = stoppable_postgres.create_database()
    execute(url, "CREATE TABLE kept (id int)")
    stoppable_postgres.stop()
    assert not stoppable_postgres.running
    assert refuses_connections(url)
    stoppable_postgres.start()
    assert tables(url) == ["kept"]
    stoppable_postgres.drop_database(url)


def test_a_server_ends_when_its_owner_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", OWNER],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdout is not None
        url, folder = owner.stdout.readline().split()
        owner.kill()
    deadline = time.monotonic() + 20
    while Path(folder).exists():
        assert time.monotonic() < deadline, "the data of a killed owner is still there"
    assert refuses_connections(url)


def test_standby_has_what_the_primary_had_and_takes_its_place() -> None:
    with OwnPostgresServer() as primary, OwnPostgresServer(follows=primary) as standby:
        primary.wait_for_standby()
        execute(primary.url, "CREATE TABLE followed (id int)")
        with psycopg.connect(primary.url) as connection:
            connection.execute("SET LOCAL synchronous_commit TO remote_apply")
            connection.execute("CREATE TABLE applied (id int)")
        assert tables(standby.url) == ["applied", "followed"]
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            execute(standby.url, "CREATE TABLE here (id int)")
        primary.kill()
        assert refuses_connections(primary.url)
        standby.promote()
        execute(standby.url, "CREATE TABLE here (id int)")
        assert tables(standby.url) == ["applied", "followed", "here"]
