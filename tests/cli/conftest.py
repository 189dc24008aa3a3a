import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ollama_admin.simulator.model import SimulatedModel
from tests.cli.running import Cli, Process
from tests.fake_ollama import FakeOllama
from tests.fake_ollama_thread import FakeOllamaThread

Serve = Callable[..., FakeOllamaThread]
Spawn = Callable[..., Process]


@pytest.fixture
def cli(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line on a migrated database, once on SQLite and once on PostgreSQL."""
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", database_url)
    return Cli()


@pytest.fixture
def sqlite_cli(migrated_sqlite_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The command line on a migrated SQLite database alone, for what no database changes."""
    path = shutil.copy(migrated_sqlite_file, tmp_path / "one.db")
    monkeypatch.setenv("OLLAMA_ADMIN_DATABASE_URL", f"sqlite:///{path}")
    return Cli()


@pytest.fixture
def spawn() -> Iterator[Spawn]:
    """Starts commands in processes of their own; none outlives the test."""
    with ExitStack() as stack:

        def start(*words: str, **how: Any) -> Process:
            process = Process(*words, **how)
            stack.callback(process.close)
            return process

        yield start


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Starts a fake server that holds the models: names, or models with more to tell."""
    with ExitStack() as stack:

        def start(*models: str | SimulatedModel, **options: Any) -> FakeOllamaThread:
            held = (SimulatedModel(model) if isinstance(model, str) else model for model in models)
            return stack.enter_context(FakeOllamaThread(FakeOllama(*held, **options)))

        yield start
