"""What `serve` keeps of the database: its own changes are seen at once, and it stays ready without
the database as long as that may be used.
"""

import time
from collections.abc import Callable
from typing import Any

from ollama_admin.services.registry import LATE, LONGEST, Registry
from ollama_admin.store import models, servers
from ollama_admin.store.database import Database
from tests.api.conftest import Serve, migrate
from tests.api.service import SECONDS, Service
from tests.postgres import OwnPostgresServer, TemplateDatabases
from tests.services.test_registry import NEVER, OFTEN, Clock


def database(service: Service) -> Database:
    assert service.opened is not None
    return service.opened._resources.db


def registry_of(service: Service, every: float, notes: list[str], clock: Clock) -> Registry:
    """A registry of the service that the test knows, and in which something is kept."""
    assert service.opened is not None
    kept = Registry(database(service), notes.append, every, clock=clock, idle=NEVER)
    service.opened._resources.__dict__["registry"] = kept
    service.run(kept.get("key", nothing))
    return kept


async def nothing() -> None:
    return None


def until(happened: Callable[[], Any]) -> None:
    ends = time.monotonic() + SECONDS
    while not happened():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_what_it_changes_itself_it_sees_at_once(api: Service, fakes: Serve) -> None:
    kept = registry_of(api, NEVER, [], Clock())
    fake = fakes("alpha")

    async def read() -> Any:
        rows = await database(api).read(servers.all_servers)
        return [row.name for row in rows], await database(api).read(models.counts)

    def known() -> Any:
        return api.run(kept.get("rows", read))

    assert known() == ([], {})
    api.ask("POST", "/api/servers", {"name": "one", "url": fake.url})
    assert known() == (["one"], {})
    api.ask("POST", "/api/discover")
    assert known() == (["one"], {1: 1})
    api.ask("PATCH", "/api/servers/1", {"name": "two"})
    assert known() == (["two"], {1: 1})
    refused = api.ask("POST", "/api/servers", {"name": "two", "url": "http://elsewhere"})
    assert refused.status_code == 409
    assert api.run(peek(kept)) == (["two"], {1: 1})
    api.ask("DELETE", "/api/servers/1")
    assert known() == ([], {})


async def peek(kept: Registry) -> Any:
    return kept.peek("rows")


def test_it_is_ready_without_the_database_while_what_it_keeps_is_in_use(
    stoppable_postgres: OwnPostgresServer,
) -> None:
    url, clock, notes = TemplateDatabases(stoppable_postgres).copy(migrate), Clock(), list[str]()
    with Service(url) as service:
        registry_of(service, OFTEN, notes, clock)
        assert service.ask("GET", "/readyz").json() == {"status": "ready"}
        stoppable_postgres.stop()
        until(lambda: notes)
        assert service.ask("GET", "/readyz").json() == {"status": "ready", "registry_age": 0.0}
        clock.now += LATE + 1
        assert service.ask("GET", "/readyz").json() == {"status": "ready", "registry_age": 6.0}
        clock.now += LONGEST
        refused = service.ask("GET", "/readyz")
        code = refused.json()["error"]["code"]
        assert (refused.status_code, code) == (503, "database_unavailable")
        stoppable_postgres.start()
        until(lambda: service.ask("GET", "/readyz").json() == {"status": "ready"})
    stoppable_postgres.drop_database(url)


def test_it_is_not_ready_when_the_database_was_never_there(
    stoppable_postgres: OwnPostgresServer,
) -> None:
    url, clock = TemplateDatabases(stoppable_postgres).copy(migrate), Clock()
    stoppable_postgres.stop()
    with Service(url) as service:
        registry_of(service, OFTEN, [], clock)
        for seconds in (0, LATE + 1):
            clock.now += seconds
            refused = service.ask("GET", "/readyz")
            code = refused.json()["error"]["code"]
            assert (refused.status_code, code) == (503, "database_unavailable")
        stoppable_postgres.start()
        until(lambda: service.ask("GET", "/readyz").json() == {"status": "ready"})
    stoppable_postgres.drop_database(url)


def test_a_registry_that_nobody_asks_is_not_what_ready_means(
    stoppable_postgres: OwnPostgresServer,
) -> None:
    url = TemplateDatabases(stoppable_postgres).copy(migrate)
    with Service(url) as service:
        clock = Clock()
        kept = registry_of(service, OFTEN, [], clock)

        def is_left_alone() -> bool:
            clock.now += NEVER
            return not kept.is_watching

        until(is_left_alone)
        stoppable_postgres.stop()
        assert service.ask("GET", "/readyz").status_code == 503
        stoppable_postgres.start()
        assert service.ask("GET", "/readyz").json() == {"status": "ready"}
    stoppable_postgres.drop_database(url)


def test_a_schema_that_moves_under_it_is_not_ready(api: Service) -> None:
    registry_of(api, OFTEN, [], Clock())
    api.run(database(api).write(stamp, "9999"))
    refused = api.ask("GET", "/readyz")
    code = refused.json()["error"]["code"]
    assert (refused.status_code, code) == (503, "schema_out_of_date")


def stamp(connection: Any, revision: str) -> None:
    connection.exec_driver_sql(f"UPDATE ollama_admin_version SET version_num = '{revision}'")
