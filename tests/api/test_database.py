"""The database away, behind or ahead: nothing is served, nobody is called a stranger, and it
recovers by itself.
"""

import sqlite3
from pathlib import Path

import psycopg
import pytest

from ollama_admin.services import grants
from tests.api.conftest import Serve, migrate, register
from tests.api.service import Service
from tests.postgres import OwnPostgresServer, TemplateDatabases

ROUTES = [
    ("GET", "/api/servers", None),
    ("POST", "/api/servers", {"name": "x", "url": "10.0.0.9"}),
    ("GET", "/api/models", None),
    ("POST", "/api/discover", None),
    ("GET", "/api/tags", None),
    ("POST", "/api/generate", {"model": "alpha", "prompt": "hi"}),
    ("POST", "/api/chat", {"model": "alpha", "messages": [{"role": "user", "content": "hi"}]}),
]


def refusals(service: Service, code: str) -> None:
    """Every route that needs the database refuses for now, with this code."""
    for method, path, body in ROUTES:
        refused = service.ask(method, path, body)
        document = refused.json()
        error = document if isinstance(document["error"], str) else document["error"]
        assert (refused.status_code, error["code"]) == (503, code), (path, refused.text)
        assert int(refused.headers["retry-after"]) > 0
        assert "psycopg" not in refused.text
        assert "password" not in refused.text
    ready = service.ask("GET", "/readyz")
    assert (ready.status_code, ready.json()["error"]["code"]) == (503, code)
    assert "/" not in ready.json()["error"]["message"]
    assert service.ask("GET", "/healthz").json() == {"status": "ok"}
    with service.client(headers={}) as stranger:  # there may be a key for the network
        assert stranger.get("/api/servers").status_code == 503


def test_a_database_that_goes_and_comes_back_needs_no_restart(
    stoppable_postgres: OwnPostgresServer, fakes: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grants, "AWAY", 0.0)  # else requests wait for it to come back
    url = TemplateDatabases(stoppable_postgres).copy(migrate)
    fake = fakes("alpha")
    with Service(url) as service:
        register(service, fake)
        assert service.ask("GET", "/readyz").json() == {"status": "ready"}
        prompts = len(fake.requests())
        stoppable_postgres.stop()
        refusals(service, "database_unavailable")
        assert len(fake.requests()) == prompts
        stoppable_postgres.start()
        assert service.ask("GET", "/readyz").status_code == 200
        assert [server["name"] for server in service.ask("GET", "/api/servers").json()] == ["one"]
        assert (
            service.ask("POST", "/api/generate", {"model": "alpha", "prompt": "hi"}).status_code
            == 200
        )
    stoppable_postgres.drop_database(url)


def test_a_database_that_is_away_at_the_start_is_waited_for(
    stoppable_postgres: OwnPostgresServer,
) -> None:
    url = TemplateDatabases(stoppable_postgres).copy(migrate)
    stoppable_postgres.stop()
    with Service(url) as service:
        refusals(service, "database_unavailable")
        assert any(
            line.startswith("not ready: the database cannot be reached") for line in service.said
        )
        stoppable_postgres.start()
        assert service.ask("GET", "/readyz").status_code == 200
        assert service.ask("GET", "/api/servers").json() == []
    stoppable_postgres.drop_database(url)


def test_a_standby_is_read_from_and_not_ready_until_it_is_promoted(
    stoppable_postgres: OwnPostgresServer,
) -> None:
    url = TemplateDatabases(stoppable_postgres).copy(migrate)
    stoppable_postgres.stop()
    stoppable_postgres.stand_by()
    with Service(url) as service:
        refused = service.ask("GET", "/readyz")
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            503,
            "database_unavailable",
        )
        assert service.ask("GET", "/api/servers").status_code == 200
        with psycopg.connect(url, autocommit=True) as opened:
            opened.execute("SELECT pg_promote()")
        assert service.ask("GET", "/readyz").status_code == 200
    stoppable_postgres.drop_database(url)


def test_a_database_that_is_set_to_read_only_is_not_ready(migrated_postgres_url: str) -> None:
    with psycopg.connect(migrated_postgres_url, autocommit=True) as opened:
        opened.execute(
            "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on',"
            " current_database()); END $$"
        )
    with Service(migrated_postgres_url) as service:
        assert service.ask("GET", "/readyz").status_code == 503
        assert service.ask("GET", "/api/servers").status_code == 200


@pytest.mark.parametrize("revision", ["0001", "9999"])
def test_a_schema_that_moves_under_it_is_not_served(database_url: str, revision: str) -> None:
    with Service(database_url) as service:
        assert service.ask("GET", "/api/servers").status_code == 200
        head = stamp(database_url, revision)
        refusals(service, "schema_out_of_date")
        stamp(database_url, head)
        assert service.ask("GET", "/api/servers").status_code == 200


def test_a_database_without_tables_is_not_served_until_it_has_been_migrated(
    empty_postgres_url: str,
) -> None:
    with Service(empty_postgres_url) as service:
        refusals(service, "schema_out_of_date")
        migrate(empty_postgres_url)
        assert service.ask("GET", "/readyz").status_code == 200


def test_a_new_sqlite_file_is_filled_at_the_start(tmp_path: Path) -> None:
    with Service(f"sqlite:///{tmp_path / 'new.db'}") as service:
        assert service.ask("GET", "/api/servers").json() == []


def stamp(url: str, revision: str) -> str:
    """Write another revision into the database; the one that stood there."""
    read, write = (
        "SELECT version_num FROM ollama_admin_version",
        f"UPDATE ollama_admin_version SET version_num = '{revision}'",
    )
    if url.startswith("sqlite"):
        connection = sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        head = str(connection.execute(read).fetchone()[0])
        connection.execute(write)
        connection.close()
        return head
    with psycopg.connect(url, autocommit=True) as opened:
        found = opened.execute(read).fetchone()
        assert found is not None
        opened.execute(write)
        return str(found[0])
