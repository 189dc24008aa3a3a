import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ollama_admin.settings import Settings
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.store.migrations import upgrade
from tests.api.service import Service
from tests.api.watchdog import watched
from tests.cli.conftest import spawn, sqlite_cli  # noqa: F401 (fixtures for here too)
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread

Serve = Callable[..., FakeOllamaThread]


@pytest.fixture(autouse=True)
def nothing_takes_long_on_the_loop() -> Iterator[None]:
    """Other requests wait meanwhile, and leases are not renewed."""
    with watched() as slow:
        yield
    assert slow == [], "\n".join(slow)


@pytest.fixture
def api(database_url: str) -> Iterator[Service]:
    """The API over a migrated database without rows, once on SQLite and once on PostgreSQL."""
    with Service(database_url) as service:
        yield service


@pytest.fixture
def sqlite_url(migrated_sqlite_file: Path, tmp_path: Path) -> str:
    """For what no database changes."""
    return f"sqlite:///{shutil.copy(migrated_sqlite_file, tmp_path / 'one.db')}"


@pytest.fixture
def sqlite_api(sqlite_url: str) -> Iterator[Service]:
    with Service(sqlite_url) as service:
        yield service


@pytest.fixture(scope="module")
def shared_api(
    migrated_sqlite_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One for all tests of a module that leave it as it was: they are refused."""
    path = shutil.copy(migrated_sqlite_file, tmp_path_factory.mktemp("shared") / "one.db")
    with Service(f"sqlite:///{path}") as service:
        yield service


@pytest.fixture
def fakes() -> Iterator[Serve]:
    """Starts a fake server that holds the models: names, or models with more to tell."""
    with ExitStack() as stack:

        def start(*models: str | SimulatedModel, **options: Any) -> FakeOllamaThread:
            held = (SimulatedModel(model) if isinstance(model, str) else model for model in models)
            return stack.enter_context(FakeOllamaThread(FakeOllama(*held, **options)))

        yield start


def migrate(url: str) -> None:
    """Make the tables. (To import `tests.conftest` for it would load the usual profile of
    hypothesis again.)
    """
    upgrade(Settings.read({}, url))


def register(service: Service, *fakes: FakeOllamaThread, **columns: Any) -> list[int]:
    """Add the servers as one, two, three and read what they hold; their ids."""
    names = ("one", "two", "three")
    added = [
        service.ask("POST", "/api/servers", {"name": name, "url": fake.url, **columns}).json()["id"]
        for name, fake in zip(names, fakes, strict=False)
    ]
    assert service.ask("POST", "/api/discover").json()["failed"] == 0
    return added


def prefer(service: Service, server_id: int) -> None:
    """Make it the default server, which is asked first whatever its equals do."""
    answer = service.ask("PATCH", f"/api/servers/{server_id}", {"is_default": True})
    assert answer.status_code == 200
