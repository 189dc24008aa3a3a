"""The program on a PostgreSQL that stands still: it answers, it hears signals, and it recovers by
itself.
"""

import re
import threading
from collections.abc import Callable, Iterator

import pytest

from ollama_admin.simulator.server import HoldAt
from tests.api.conftest import Serve, migrate
from tests.api.service import SECONDS, Service
from tests.api.test_serve import Spawn, ask, started
from tests.cli.running import Process
from tests.postgres import OwnPostgresServer, TemplateDatabases


@pytest.fixture
def url(stoppable_postgres: OwnPostgresServer) -> Iterator[str]:
    url = TemplateDatabases(stoppable_postgres).copy(migrate)
    yield url
    stoppable_postgres.drop_database(url)


def test_every_route_answers_and_works_again_afterwards(
    stoppable_postgres: OwnPostgresServer, url: str
) -> None:
    with Service(url) as service:
        assert service.ask("GET", "/api/servers").json() == []
        with stoppable_postgres.standing_still():
            for path in ("/api/servers", "/readyz"):
                refused = service.ask("GET", path)
                code = refused.json()["error"]["code"]
                assert (refused.status_code, code) == (503, "database_unavailable")
        assert service.ask("GET", "/readyz").status_code == 200
        assert service.ask("GET", "/api/servers").json() == []


def test_service_hears_the_sign_to_stop_while_a_request_waits(
    stoppable_postgres: OwnPostgresServer, url: str, spawn: Spawn
) -> None:
    process, address = started(spawn, url, "--grace", "0.1")
    assert ask(address, "GET", "/api/servers").json() == []
    with stoppable_postgres.standing_still():
        asking = threading.Thread(target=lambda: ask(address, "GET", "/api/servers"))
        asking.start()
        process.terminate()
        assert process.ended().exit_code == 0
        asking.join(SECONDS)


@pytest.mark.parametrize(
    ("leave", "code"), [(Process.interrupt, 130), (Process.terminate, 143)], ids=["int", "term"]
)
def test_command_that_cannot_give_its_slot_back_says_so_and_ends(
    stoppable_postgres: OwnPostgresServer,
    url: str,
    fakes: Serve,
    spawn: Spawn,
    leave: Callable[[Process], None],
    code: int,
) -> None:
    hold = HoldAt(0)
    fake = fakes("alpha", before_token=hold)
    environ = {"OLLAMA_ADMIN_DATABASE_URL": url}
    added = spawn("server", "add", "gpu", fake.url, "--discover", environ=environ).ended()
    assert added.exit_code == 0
    process = spawn("generate", "-m", "alpha", "hi", environ=environ)
    fake.run(hold.reached.wait(), SECONDS)
    with stoppable_postgres.standing_still():
        leave(process)
        ran = process.ended()
    assert ran.exit_code == code
    assert re.search("the slot at server gpu could not be released: .* does not answer", ran.stderr)
