from collections.abc import AsyncIterator

import pytest

from ollama_admin.client import Client
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.vault import new_key
from tests.cli.conftest import cli, serve, spawn, sqlite_cli
from tests.fake_ollama import FakeOllama

# fixtures of the command line, for these tests too
__all__ = ["cli", "serve", "spawn", "sqlite_cli"]


@pytest.fixture
def environ() -> dict[str, str]:
    """What `client` sees as its environment, now and at each use: a key, and what a test adds."""
    return {"OLLAMA_ADMIN_SECRET_KEY": new_key().reveal()}


@pytest.fixture
async def client(
    database_url: str, environ: dict[str, str], notes: list[str]
) -> AsyncIterator[Client]:
    """A client that can keep secrets, once on SQLite and once on PostgreSQL."""
    async with Client(database_url=database_url, environ=environ, on_note=notes.append) as opened:
        yield opened


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    """The key of the command line, set in the environment."""
    made = new_key().reveal()
    monkeypatch.setenv("OLLAMA_ADMIN_SECRET_KEY", made)
    return made


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(SimulatedModel("alpha")) as server:
        yield server


@pytest.fixture
async def other() -> AsyncIterator[FakeOllama]:
    """A second server, to which nothing of the first one's may come."""
    async with FakeOllama(SimulatedModel("alpha")) as server:
        yield server
