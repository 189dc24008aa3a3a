import functools
import gc
import os
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings
from typer.main import get_command

from ollama_admin.cli.app import load_command
from ollama_admin.client import Client
from ollama_admin.settings import Settings
from ollama_admin.store.migrations import upgrade
from tests.llama_server import LlamaServer, serve
from tests.postgres import (
    POSTGRES_URL_VARIABLE,
    OwnPostgresServer,
    PostgresServer,
    TemplateDatabases,
    fast_folder,
)

# Read before the environment is cleaned for the first test.
GIVEN_POSTGRES_URL = os.environ.get(POSTGRES_URL_VARIABLE)

# Tests never assert times. The same examples each time, so that a change breaks what it breaks at
# once; `make chaos` takes new ones with --hypothesis-profile=random.
settings.register_profile("project", deadline=None, derandomize=True)
settings.register_profile("random", deadline=None)
settings.register_profile("fuzz", deadline=None)
settings.load_profile("project")

# A shell ignores SIGINT in what it starts in the background, and nohup SIGHUP; our children would
# inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Where pytest makes the folders of the tests: each database file that is closed waits for the disk.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(fast_folder()))

FOREIGN_PREFIXES = ("OLLAMA", "OPENAI_")
FOREIGN_NAMES = {
    *(
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
        "NETRC",
    ),
    *("NO_COLOR", "FORCE_COLOR", "COLUMNS", "PYTHONUNBUFFERED"),
}


def pytest_collection_finish() -> None:
    """Fourteen thousand tests stay to the end: the collector need not go through them each time,
    and looking for garbage less often takes less of the processor.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(scope="session", autouse=True)
def command_line_built_once() -> Iterator[None]:
    """Typer's runner builds it anew for each call, which takes longer than most commands do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ollama_admin.cli.app.load_command", functools.cache(load_command))
        patch.setattr("typer.testing._get_command", functools.cache(get_command))
        yield


@pytest.fixture(scope="session", autouse=True)
def garbage_is_collected() -> Iterator[None]:
    """A command freezes what its process has loaded. The tests run thousands in one process, where
    each would keep for ever the garbage of those before it.
    """
    collector = SimpleNamespace(
        **{name: getattr(gc, name) for name in ("collect", "disable", "enable", "set_threshold")},
        freeze=lambda: None,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ollama_admin.cli.startup.gc", collector)
        yield


@pytest.fixture(autouse=True)
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine reaches a test: no settings, proxies or colours, an empty home, an
    empty folder.
    """
    for name in list(os.environ):
        if name.upper().startswith(FOREIGN_PREFIXES) or name.upper() in FOREIGN_NAMES:
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_DATA_HOME", str(home / ".local" / "share"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / ".config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def own_postgres_server() -> Iterator[OwnPostgresServer]:
    """A server of this worker alone."""
    with OwnPostgresServer() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """The server named in the environment, else the worker's own."""
    if GIVEN_POSTGRES_URL is None:
        yield request.getfixturevalue("own_postgres_server")
    else:
        with PostgresServer(GIVEN_POSTGRES_URL) as server:
            yield server


@pytest.fixture
def empty_postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """A new empty database, dropped after the test."""
    url = postgres_server.create_database()
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(scope="session")
def template_databases(postgres_server: PostgresServer) -> TemplateDatabases:
    return TemplateDatabases(postgres_server)


@pytest.fixture(scope="session")
def migrated_sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database at head, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "template.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture
def migrated_postgres_url(
    postgres_server: PostgresServer, template_databases: TemplateDatabases
) -> Iterator[str]:
    """A database at head without rows, dropped after the test."""
    url = template_databases.copy(migrate)
    yield url
    postgres_server.drop_database(url)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Once a new PostgreSQL database without tables, once an SQLite file that is not there yet."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("empty_postgres_url"))
    return f"sqlite:///{tmp_path / 'one.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database at head without rows, once on SQLite and once on PostgreSQL."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("migrated_postgres_url"))
    template = request.getfixturevalue("migrated_sqlite_file")
    return f"sqlite:///{shutil.copy(template, tmp_path / 'one.db')}"


@pytest.fixture
def notes() -> list[str]:
    """What `client` wanted a person to know, in order."""
    return []


@pytest.fixture
async def client(database_url: str, notes: list[str]) -> AsyncIterator[Client]:
    """A client on a migrated database, once on SQLite and once on PostgreSQL."""
    async with Client(database_url=database_url, environ={}, on_note=notes.append) as opened:
        yield opened


@pytest.fixture
def stoppable_postgres(own_postgres_server: OwnPostgresServer) -> Iterator[OwnPostgresServer]:
    """A server the test may stop; it runs again after the test."""
    yield own_postgres_server
    own_postgres_server.start()


@pytest.fixture(scope="session")
def llama_servers(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[LlamaServer, LlamaServer]]:
    """Two inference servers; what they say tells which one answered."""
    folder = tmp_path_factory.mktemp("llama")
    with ExitStack() as stack:
        north, south = (
            stack.enter_context(
                serve(folder, model_id=f"{name}.gguf", sentence=f"this is the {name} server")
            )
            for name in ("north", "south")
        )
        yield north, south


def migrate(url: str) -> None:
    upgrade(Settings.read({}, url))
