"""A registry of 10,000 servers and a million models: choosing a server, and the long lists; on both
databases.
"""

import asyncio
import logging
import shlex
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select
from typer.testing import CliRunner

from ollama_admin.cli.app import app
from ollama_admin.client import Client
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.rules.request_checks import checked
from ollama_admin.settings import DATABASE_URL
from ollama_admin.store.tables import servers
from tests.benchmarks.measuring import (
    BenchmarkError,
    Note,
    QueryPlan,
    Row,
    Told,
    median,
    percentile,
)
from tests.benchmarks.plans import explained, heard
from tests.benchmarks.processes import KILLED, PATIENCE, PROGRAM, attempt, environ
from tests.benchmarks.registry_data import EVERYWHERE, HOLDERS, Registry, build
from tests.postgres import OwnPostgresServer

SERVERS = 10_000
SMALL = 20  # servers of the registry in which the statements of the lists are heard
ROUNDS = 300  # names that are chosen for
EVERYWHERE_ROUNDS = 3
WARM_UP = 20
SECONDS = 20.0  # after which no further round of one kind is begun
MEMORY = 4 * 2**30  # bytes of address space that a list may take
BAR = 5

# each list, and what stands in its JSON once for each row
LISTS = (
    (("models", "--name", "qwen*"), "digest"),
    (("server", "list"), "url"),
    (("models", "--by-model"), "digest"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A database that is built; `small_url` is one of the same kind with little in it."""

    name: str
    url: str
    small_url: str
    registry: Registry


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Times in ms of one round: of the plan, of the plan with its slot, and of the floor."""

    plan: float
    whole: float
    floor: float


def rows(rounds: int | None) -> Iterator[Told]:
    logging.disable()
    big, small = Registry(SERVERS), Registry(SMALL)
    with tempfile.TemporaryDirectory() as folder, OwnPostgresServer(durable=True) as server:
        databases = (
            ("PostgreSQL", server.create_database(), server.create_database()),
            ("SQLite", f"sqlite:///{folder}/big.db", f"sqlite:///{folder}/small.db"),
        )
        for name, url, small_url in databases:
            began = time.monotonic()
            build(big, url)
            build(small, small_url)
            yield Note(
                f"{name}: {big.models} models of {SERVERS} servers written in "
                f"{time.monotonic() - began:.0f} s"
            )
            yield from _of(
                Place(name=name, url=url, small_url=small_url, registry=big), rounds, Path(folder)
            )


def _of(place: Place, rounds: int | None, folder: Path) -> Iterator[Told]:
    yield from _choosing(place, rounds or ROUNDS)
    for words, once in LISTS:
        yield from _listing(place, words, once, folder / "stdout")
    yield from _plans(place)


def _choosing(place: Place, rounds: int) -> Iterator[Told]:
    names = _spread(place.registry, WARM_UP + rounds)
    few = asyncio.run(_chosen(place, names))[WARM_UP:]
    floor = [one.floor for one in few]
    what = f"{place.name}: choose of {HOLDERS} holders"
    for work, ours, bar in (
        (f"{what}, the plan", [one.plan for one in few], None),
        (f"{what}, with its slot", [one.whole for one in few], BAR),
    ):
        for percent in (99, 50):
            yield Row(
                work=f"{work}, p{percent}",
                unit="ms",
                ours=percentile(ours, percent),
                floor=percentile(floor, percent),
                bar=bar if percent == 99 else None,
            )
    many = asyncio.run(_chosen(place, [EVERYWHERE] * (1 + min(rounds, EVERYWHERE_ROUNDS))))[1:]
    work = f"{place.name}: choose of {SERVERS} holders, with its slot, p50"
    yield Row(
        work=work,
        unit="ms",
        ours=median(one.whole for one in many),
        floor=median(one.floor for one in many),
    )
    yield Note(
        f"{place.name}: rounds of choosing: {len(few)} of {HOLDERS} holders, {len(many)} of "
        f"{SERVERS}"
    )


def _spread(registry: Registry, count: int) -> list[str]:
    """Names of different groups, and so of different servers, as long as there are any."""
    held = (list(registry.names(number % registry.groups)) for number in range(count))
    return [names[number % len(names)] for number, names in enumerate(held)]


async def _chosen(place: Place, names: Sequence[str]) -> list[Chosen]:
    """Choosing and its floor in turn, until all names or SECONDS are over."""
    done: list[Chosen] = []
    async with _client(place.url) as client:
        until = time.monotonic() + SECONDS
        for number, name in enumerate(names):
            plan, whole = await _choose(client, name)
            floor = await _read_row(client, 1 + number % place.registry.servers)
            done.append(Chosen(plan=plan, whole=whole, floor=floor))
            if time.monotonic() > until:
                break
    return done


async def _choose(client: Client, name: str) -> tuple[float, float]:
    """All that `generate` does before it sends the request: ms of the plan, and of the plan with
    the slot it takes.
    """
    began, dispatch = time.perf_counter(), client._dispatch()
    request = checked(GenerateRequest(prompt="hi", model=name), client._caller)
    plan = await dispatch._selection.plan(request, lambda _: None)
    planned = time.perf_counter()
    _, lease = await dispatch._slot(request, list(plan.candidates))
    if lease is None:
        raise BenchmarkError(f"no slot was given for {name}")
    taken = time.perf_counter()
    await lease.release()
    return (planned - began) * 1000, (taken - began) * 1000


async def _read_row(client: Client, number: int) -> float:
    """The floor: one row by its primary key, in a transaction of its own on a thread, as every read
    of ours.
    """

    def read(connection: Connection) -> Any:
        return connection.execute(select(servers).where(servers.c.id == number)).one()

    began = time.perf_counter()
    await client._resources.db.read(read)
    return (time.perf_counter() - began) * 1000


@asynccontextmanager
async def _client(url: str) -> AsyncIterator[Client]:
    async with Client(database_url=url, environ={}) as client:
        await client.ready()
        yield client


def _listing(place: Place, words: Sequence[str], once: str, stdout: Path) -> Iterator[Told]:
    """One list as a whole process: its time, its memory, and how many rows it printed."""
    ran = attempt([PROGRAM, "-o", "json", *words], environ(place.url), stdout=stdout, memory=MEMORY)
    work = f"{place.name}: {shlex.join(words)}"
    yield Row(work=work, unit="ms", ours=ran.wall if ran.code == 0 else None)
    yield Row(work=f"{work}, peak memory", unit="MiB", ours=ran.peak if ran.code == 0 else None)
    if ran.code == 0:
        yield Note(
            f"{work}: {_count(stdout, once)} rows, {stdout.stat().st_size / 2**20:.0f} MiB of JSON"
        )
    else:
        how = (
            f"after {PATIENCE} s"
            if ran.code == KILLED
            else f"by itself, with {ran.code} {ran.stderr[-200:]!r}"
        )
        yield Note(f"{work}: ended {how}, at {ran.peak:.0f} MiB")
    stdout.unlink()


def _count(file: Path, key: str) -> int:
    """How often a key stands in a file of JSON, whose lines are read one at a time."""
    with file.open("rb") as lines:
        return sum(line.count(b'"%b":' % key.encode()) for line in lines)


def _plans(place: Place) -> Iterator[QueryPlan]:
    """How the database runs each statement that choosing and the lists execute."""
    with heard() as statements:
        asyncio.run(_choose_once(place))
    yield from explained(place.name, place.url, f"choose of {HOLDERS} holders", statements)
    for words, _ in LISTS:
        with heard() as statements:
            result = CliRunner().invoke(
                app, ["-o", "json", *words], env={DATABASE_URL: place.small_url}
            )
        if result.exit_code != 0:
            raise BenchmarkError(
                f"{shlex.join(words)} ended with {result.exit_code}: {result.stderr}"
            )
        yield from explained(place.name, place.url, shlex.join(words), statements)


async def _choose_once(place: Place) -> None:
    async with _client(place.url) as client:
        await _choose(client, next(place.registry.names(0)))
