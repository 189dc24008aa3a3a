"""Discovery of a SIMULATED fleet as a whole process, against a bare fetch of the same answers."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from sys import executable
from typing import Any

from sqlalchemy import Engine, event

from ollama_admin.client import Client
from tests.benchmarks.fleet import MODELS, simulated_fleet
from tests.benchmarks.measuring import BenchmarkError, Note, Row, Told, alternate, median
from tests.benchmarks.processes import PROGRAM, Ran, environ, run

ROUNDS = 7
LARGE_ROUNDS = 2
SMALL, LARGE = 100, 1000  # servers
MEMORY_BAR = 150  # MiB

_BARE = str(Path(__file__).with_name("bare_discovery.py"))


@dataclass(frozen=True, slots=True)
class Registry:
    """A database that is put back as it was before each run; beside it a file of its servers'
    URLs.
    """

    folder: Path
    urls: Sequence[str]

    @property
    def work(self) -> Path:
        return self.folder / f"{len(self.urls)}.db"

    @property
    def database_url(self) -> str:
        return f"sqlite:///{self.work}"

    @property
    def list(self) -> Path:
        return self.folder / f"{len(self.urls)}.urls"

    def keep(self) -> None:
        """Take the database as it is now for the one to begin with."""
        shutil.copyfile(self.work, self.work.with_suffix(".kept"))

    def restore(self) -> None:
        shutil.copyfile(self.work.with_suffix(".kept"), self.work)

    def discover(self) -> Ran:
        """Our discovery, beginning with the kept database."""
        self.restore()
        return run([PROGRAM, "-o", "json", "discover"], environ(self.database_url))

    def fetch(self, *more: str) -> Ran:
        return run([executable, _BARE, str(self.list), *more], environ())


def rows(rounds: int | None) -> Iterator[Told]:
    with tempfile.TemporaryDirectory() as folder, simulated_fleet(LARGE) as urls:
        small, large = (Registry(Path(folder), urls[:count]) for count in (SMALL, LARGE))
        for registry in (small, large):
            asyncio.run(_register(registry))
        what = f"discover {SMALL} servers x {len(MODELS)} models"
        yield from _large(small, large, rounds or LARGE_ROUNDS)
        yield _against_bare(f"{what}, first time", small, rounds or ROUNDS, 1.8, "--show")
        small.discover()
        small.keep()
        yield _against_bare(f"{what}, unchanged", small, rounds or ROUNDS, 1.3)
        written = asyncio.run(_written(small))
        yield Note(
            f"{what}, unchanged: {written} statements wrote ollama_models (at most {SMALL}: one a "
            "server)"
        )


def _against_bare(work: str, registry: Registry, rounds: int, bar: float, *more: str) -> Row:
    ours, bare = alternate(rounds, registry.discover, lambda: registry.fetch(*more))
    return Row(work=work, unit="ms", ours=median(_walls(ours)), floor=median(_walls(bare)), bar=bar)


def _large(small: Registry, large: Registry, rounds: int) -> Iterator[Told]:
    """Ten times the servers must take about ten times as long."""
    work = f"discover {LARGE} servers (floor: ours of {SMALL})"
    ours, tenth = alternate(rounds, large.discover, small.discover, warm_up=0)
    yield Row(work=work, unit="ms", ours=median(_walls(ours)), floor=median(_walls(tenth)), bar=11)
    most = max(ran.peak for ran in ours)
    yield Row(
        work=f"peak memory of discovering {LARGE} servers", unit="MiB", ours=most, bar=MEMORY_BAR
    )


def _walls(runs: Sequence[Ran]) -> list[float]:
    return [ran.wall for ran in runs]


async def _register(registry: Registry) -> None:
    registry.list.write_text("\n".join(registry.urls))
    async with Client(database_url=registry.database_url, environ={}) as client:
        for number, url in enumerate(registry.urls):
            await client.servers.add(name=f"server-{number}", url=url)
    registry.keep()


async def _written(registry: Registry) -> int:
    """How many statements of one more discovery wrote rows of models."""
    registry.restore()
    statements: list[str] = []

    def hear(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(
            ("INSERT INTO ollama_models", "UPDATE ollama_models", "DELETE FROM ollama_models")
        ):
            statements.append(statement)

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        async with Client(database_url=registry.database_url, environ={}) as client:
            results = await client.discover()
    finally:
        event.remove(Engine, "before_cursor_execute", hear)
    if any(result.error or result.unchanged != len(MODELS) for result in results):
        raise BenchmarkError("a discovery that should have found all unchanged did not")
    return len(statements)
