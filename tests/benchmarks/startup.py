"""Short commands as whole processes against the bare import of the libraries that they need."""

import asyncio
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from sys import executable

from ollama_admin.client import Client
from tests.benchmarks.fleet import simulated
from tests.benchmarks.measuring import BenchmarkError, Row, Told, alternate, median
from tests.benchmarks.processes import PROGRAM, environ, run

ROUNDS = 11
SERVERS = tuple(f"server-{number}" for number in range(10))

TYPER = "import typer"
DATABASE = "import typer, sqlalchemy"
TABLE = "import typer, sqlalchemy, rich.table"
HTTP = "import typer, sqlalchemy, httpx"
NAMES = """
import typer, sqlalchemy
with sqlalchemy.create_engine({url!r}).connect() as connection:
    names = connection.execute(sqlalchemy.text("select name from ollama_servers")).scalars().all()
print(*names)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of ours and the Python text that is its floor; what it prints must have `says` in
    it.
    """

    work: str
    words: tuple[str, ...]
    floor: str
    bar: float
    says: str
    database_url: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


def rows(rounds: int | None) -> Iterator[Told]:
    with tempfile.TemporaryDirectory() as folder, simulated(["word"]) as url:
        listed, asked = f"sqlite:///{folder}/listed.db", f"sqlite:///{folder}/asked.db"
        asyncio.run(_fill(listed, asked, url))
        for command in _commands(listed, asked):
            yield _measured(command, rounds or ROUNDS, Path(folder, "stdout"))


async def _fill(listed: str, asked: str, url: str) -> None:
    """One database of ten servers, and one whose only server was discovered."""
    async with Client(database_url=listed, environ={}) as client:
        for number, name in enumerate(SERVERS):
            await client.servers.add(name=name, url=f"http://127.0.0.1:{number + 1}")
    async with Client(database_url=asked, environ={}) as client:
        await client.servers.add(name="one", url=url)
        await client.discover()


def _commands(listed: str, asked: str) -> Iterator[Command]:
    yield Command(
        work="--version", words=("--version",), floor=TYPER, bar=1.15, says="ollama-admin"
    )
    yield Command(work="--help", words=("--help",), floor=TYPER, bar=1.35, says="discover")
    yield Command(
        work="server --help", words=("server", "--help"), floor=TYPER, bar=1.35, says="set-default"
    )
    words = ("-o", "json", "server", "list")
    yield Command(
        work="-o json server list",
        words=words,
        floor=DATABASE,
        bar=1.2,
        says=SERVERS[-1],
        database_url=listed,
    )
    words = ("server", "list")
    yield Command(
        work="server list", words=words, floor=TABLE, bar=1.2, says=SERVERS[-1], database_url=listed
    )
    words = ("generate", "--model", "alpha", "hi")
    yield Command(
        work="generate, one word", words=words, floor=HTTP, bar=1.2, says="word", database_url=asked
    )
    yield Command(
        work="shell completion of a server's name",
        words=(),
        floor=NAMES.format(url=listed),
        bar=1.3,
        says=SERVERS[-1],
        database_url=listed,
        variables={
            "_OLLAMA_ADMIN_COMPLETE": "complete_bash",
            "COMP_WORDS": "ollama-admin server show s",
            "COMP_CWORD": "3",
        },
    )


def _measured(command: Command, rounds: int, stdout: Path) -> Row:
    ours_environ, floor_environ = environ(command.database_url, **command.variables), environ()

    def ours() -> float:
        ran = run([PROGRAM, *command.words], ours_environ, stdout=stdout)
        said = stdout.read_text()
        if command.says not in said:
            raise BenchmarkError(
                f"{command.work}: {command.says!r} was to be printed, and this was: {said[:200]!r}"
            )
        return ran.cpu

    def floor() -> float:
        return run([executable, "-c", command.floor], floor_environ, stdout=stdout).cpu

    measured, bare = alternate(rounds, ours, floor)
    return Row(
        work=command.work, unit="ms CPU", ours=median(measured), floor=median(bare), bar=command.bar
    )
