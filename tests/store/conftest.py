import itertools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ollama_admin.store import migrations
from tests.postgres import PostgresServer
from tests.store.revisions import is_postgresql


@pytest.fixture
def revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the migrations that is run instead of them; the test adds to it."""
    copy = tmp_path / "migrations"
    shutil.copytree(
        migrations.script_location(), copy, ignore=shutil.ignore_patterns("__pycache__")
    )
    monkeypatch.setattr(migrations, "script_location", lambda: copy)
    return copy


@pytest.fixture
def fresh_urls(
    request: pytest.FixtureRequest, empty_database_url: str, tmp_path: Path
) -> Iterator[Callable[[], str]]:
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
