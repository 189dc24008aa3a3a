"""What `ollama-admin serve` adds to a call that it relays, beside nginx in its place, and nothing
between.
"""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import psycopg

from ollama_admin.settings import Settings
from ollama_admin.store.migrations import upgrade
from tests.benchmarks.dashboards import open_pages
from tests.benchmarks.load import Load, Target, requests, streams
from tests.benchmarks.measuring import BenchmarkError, Note, Row, Told, percentile
from tests.benchmarks.streams import register, resident, served
from tests.benchmarks.upstream import (
    DELAY,
    PACED,
    PIECES,
    WIDE,
    WIDE_PIECES,
    WIDE_SIZE,
    quick_upstream,
)
from tests.postgres import OwnPostgresServer, free_port

PROCESSORS = os.cpu_count() or 1
ROUNDS = 3
SECONDS = 2.0  # of one round
CONNECTIONS = 32
SLOTS = 64
STREAMS = 300
WIDE_STREAMS = 8
PAGES = 10  # in browsers
LONG_SECONDS, LONG_REQUESTS = 60.0, 100_000  # at most so long, and so many, for the memory
PACE = 0.04  # seconds between two requests of one connection, where commits are counted
FEW, MANY = 4, 16  # connections for that: 100 and 400 requests a second

# The most that is allowed; `README.md` says where each comes from.
EACH, ADDED, FIRST, BYTES, MEMORY, GROWTH, CPU, COMMITS = 1 / 0.3, 4, 3, 2, 90, 1.1, 20, 1.5
OPEN = 1.1

_NGINX = """
worker_processes {workers}; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
  access_log off; client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;
  fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;
  keepalive_requests 100000000;
  upstream up {{ server {upstream}; keepalive 64; keepalive_requests 100000000; }}
  server {{ listen 127.0.0.1:{port} backlog=1000; location / {{
    proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection "";
    proxy_buffering off; }} }}
}}
"""


def rows(rounds: int | None) -> Iterator[Told]:
    """Raises BenchmarkError at the end where nginx is missing: what is held against it was not
    measured then.
    """
    rounds = rounds or ROUNDS
    with tempfile.TemporaryDirectory() as folder, quick_upstream() as upstream:
        direct = Target(url=upstream)
        database = f"sqlite:///{folder}/bench.db"
        upgrade(Settings.read({}, database))
        with _nginx(folder, upstream) as nginx, served(database) as (url, token, process):
            register(url, token, upstream, SLOTS)
            ours = Target(url=url, token=token)
            requests(ours, CONNECTIONS, seconds=1)
            yield from _answers(rounds, ours, nginx, direct)
            yield from _pages(rounds, ours)
            yield from _workers(rounds, database, nginx)
            yield from _memory(ours, process)
            _allow(ours, STREAMS + 10)
            yield from _streams(ours, direct, process)
            yield from _bytes(rounds, ours, nginx, direct)
        yield from _commits(upstream)
    if nginx is None:
        raise BenchmarkError("nginx is not installed: install it (apt-get install nginx)")


def _answers(rounds: int, ours: Target, nginx: Target | None, direct: Target) -> Iterator[Told]:
    targets = {"ours": ours, "nginx": nginx, "direct": direct}
    each: dict[str, list[float]] = {name: [] for name in targets}
    p50: dict[str, list[float]] = {name: [] for name in targets}
    for _ in range(rounds):
        for name, target in targets.items():
            if target is not None:
                each[name].append(requests(target, CONNECTIONS, seconds=SECONDS).each * 1e6)
                alone = requests(target, 1, seconds=SECONDS / 2)
                p50[name].append(percentile(alone.times, 50) * 1000)
    many, one = ({name: _median(of) for name, of in some.items() if of} for some in (each, p50))
    if nginx is not None:
        yield Row(
            work=f"serve: a short answer of {CONNECTIONS} at once (nginx)",
            unit="us",
            ours=many["ours"],
            floor=many["nginx"],
            bar=round(EACH, 2),
        )
        yield Row(
            work="serve: a short answer alone, added to p50 (nginx)",
            unit="ms",
            ours=one["ours"] - one["direct"],
            floor=one["nginx"] - one["direct"],
            bar=ADDED,
        )
    yield Note(f"serve, requests/s of {CONNECTIONS} at once: {_rates(many)}")
    alone_text = ", ".join(f"{name} {value:.3f} ms" for name, value in one.items())
    yield Note(f"serve, p50 of one alone: {alone_text}")


def _pages(rounds: int, ours: Target) -> Iterator[Told]:
    """The same while pages are open, which change once a second."""
    alone: list[float] = []
    beside: list[float] = []
    for _ in range(rounds):
        alone.append(requests(ours, CONNECTIONS, seconds=SECONDS).each * 1e6)
        with open_pages(ours, PAGES):
            beside.append(requests(ours, CONNECTIONS, seconds=SECONDS).each * 1e6)
    yield Row(
        work=f"serve: a short answer of {CONNECTIONS} at once, {PAGES} pages open (none)",
        unit="us",
        ours=statistics.median(beside),
        floor=statistics.median(alone),
        bar=OPEN,
    )


def _workers(rounds: int, database: str, nginx: Target | None) -> Iterator[Told]:
    """The same with a worker for each processor, while those are shared with the rest."""
    with served(database, "--workers", str(PROCESSORS)) as (url, token, _):
        ours = Target(url=url, token=token)
        requests(ours, CONNECTIONS, seconds=1)
        each: dict[str, list[float]] = {"ours": [], "nginx": []}
        for _ in range(rounds):
            for name, target in (("ours", ours), ("nginx", nginx)):
                if target is not None:
                    each[name].append(requests(target, CONNECTIONS, seconds=SECONDS).each * 1e6)
    many = {name: _median(of) for name, of in each.items() if of}
    if nginx is not None:
        yield Row(
            work=f"serve --workers {PROCESSORS}: a short answer of {CONNECTIONS} at once (nginx)",
            unit="us",
            ours=many["ours"],
            floor=many["nginx"],
            bar=round(EACH, 2),
        )
    yield Note(f"serve --workers {PROCESSORS}, requests/s: {_rates(many)}")


def _streams(ours: Target, direct: Target, process: int) -> Iterator[Told]:
    streams(ours, PACED, 4)
    used = _cpu(process)
    through = streams(ours, PACED, STREAMS)
    used = _cpu(process) - used
    floor = streams(direct, PACED, STREAMS)
    what = f"serve: {STREAMS} streams of {1 / DELAY:.0f} pieces/s"
    yield Row(
        work=f"{what}, first piece p99",
        unit="ms",
        ours=percentile([one.first for one in through], 99) * 1000,
        floor=percentile([one.first for one in floor], 99) * 1000,
        bar=FIRST,
    )
    pieces = STREAMS * PIECES
    yield Row(work=f"{what}, CPU of 1000 pieces", unit="ms", ours=used * 1e6 / pieces, bar=CPU)
    whole = percentile([one.whole for one in through], 99), percentile([o.whole for o in floor], 99)
    yield Note(
        f"{what}: all {STREAMS} complete, {pieces} pieces; the whole p99 {whole[0]:.2f} s, "
        f"direct {whole[1]:.2f} s"
    )


def _bytes(rounds: int, ours: Target, nginx: Target | None, direct: Target) -> Iterator[Told]:
    targets = {"ours": ours, "nginx": nginx, "direct": direct}
    taken: dict[str, list[float]] = {name: [] for name in targets}
    for _ in range(rounds):
        for name, target in targets.items():
            if target is not None:
                taken[name].append(_seconds_of(lambda to=target: streams(to, WIDE, WIDE_STREAMS)))
    size = WIDE_STREAMS * WIDE_PIECES * WIDE_SIZE / 2**20
    middle = {name: _median(of) for name, of in taken.items() if of}
    if nginx is not None:
        yield Row(
            work=f"serve: {size:.0f} MiB in pieces of 64 KB, {WIDE_STREAMS} streams (nginx)",
            unit="ms",
            ours=middle["ours"] * 1000,
            floor=middle["nginx"] * 1000,
            bar=BYTES,
        )
    rates = ", ".join(f"{name} {size / value:.0f}" for name, value in middle.items())
    yield Note(f"serve, MiB/s in pieces of 64 KB: {rates}")


def _memory(ours: Target, process: int) -> Iterator[Told]:
    """The first third is a warm-up: it fills what is kept of the last answers."""
    begun = requests(ours, CONNECTIONS, seconds=LONG_SECONDS / 3, most=LONG_REQUESTS // 3)
    before = resident(process) / 1024
    more = requests(
        ours, CONNECTIONS, seconds=LONG_SECONDS * 2 / 3, most=LONG_REQUESTS - len(begun.times)
    )
    after = resident(process) / 1024
    count = len(begun.times) + len(more.times)
    yield Row(work="serve: memory after the long run", unit="MiB", ours=after, bar=MEMORY)
    yield Row(
        work="serve: memory after the long run (after a third of it)",
        unit="MiB",
        ours=after,
        floor=before,
        bar=GROWTH,
    )
    yield Note(f"serve, the long run: {count} requests in {begun.seconds + more.seconds:.0f} s")


def _commits(upstream: str) -> Iterator[Told]:
    """Transactions of the database while few and while many requests come."""
    with OwnPostgresServer(durable=True) as database:
        upgrade(Settings.read({}, database.url))
        with served(database.url) as (url, token, _):
            register(url, token, upstream, SLOTS)
            ours = Target(url=url, token=token)
            requests(ours, FEW, seconds=1, pause=PACE)
            few, few_rate = _commits_of(database.url, ours, FEW)
            many, many_rate = _commits_of(database.url, ours, MANY)
    yield Row(
        work="serve: transactions/s at 400 requests/s (at 100)",
        unit="/s",
        ours=many,
        floor=few,
        bar=COMMITS,
    )
    yield Note(
        f"serve, PostgreSQL: {few:.1f} transactions/s at {few_rate:.0f} requests/s, {many:.1f} at "
        f"{many_rate:.0f}"
    )


def _commits_of(database: str, ours: Target, connections: int) -> tuple[float, float]:
    """Transactions and requests for each second."""
    before = _committed(database)
    began = time.perf_counter()
    load: Load = requests(ours, connections, seconds=4.0, pause=PACE)
    after = _committed(database)
    seconds = time.perf_counter() - began
    return (after - before) / seconds, len(load.times) / load.seconds


def _committed(database: str) -> int:
    """Transactions so far; a process of PostgreSQL tells its own once a second at most."""
    time.sleep(1.5)
    query = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
    with psycopg.connect(database.replace("+psycopg", "")) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def _nginx(folder: str, upstream: str) -> Iterator[Target | None]:
    """nginx before the upstream; None where it is not installed."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    program, port = shutil.which("nginx", path=path), free_port()
    if program is None:
        yield None
        return
    Path(folder).chmod(0o755)  # its worker is another user
    file = Path(folder, "nginx.conf")
    host = upstream.removeprefix("http://")
    file.write_text(_NGINX.format(folder=folder, upstream=host, port=port, workers=PROCESSORS))
    with subprocess.Popen([program, "-c", str(file)], stderr=subprocess.DEVNULL) as process:
        try:
            target = Target(url=f"http://127.0.0.1:{port}")
            _wait_for(target)
            yield target
        finally:
            process.terminate()


def _wait_for(target: Target) -> None:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        with suppress(httpx.HTTPError):
            httpx.get(f"{target.url}/api/version", trust_env=False).raise_for_status()
            return
        time.sleep(0.05)
    raise BenchmarkError("nginx did not answer")


def _allow(ours: Target, count: int) -> None:
    """Raise the limit of the server, and wait until that is in force everywhere."""
    headers = {"Authorization": f"Bearer {ours.token}"}
    with httpx.Client(base_url=ours.url, headers=headers, trust_env=False) as client:
        client.patch("/api/servers/1", json={"max_concurrent": count}).raise_for_status()
    time.sleep(1.5)


def _cpu(process: int) -> float:
    """Seconds, of user and system, that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _seconds_of(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _rates(many: dict[str, float]) -> str:
    return ", ".join(f"{name} {1e6 / value:.0f}" for name, value in many.items())


def _median(values: list[float]) -> float:
    return statistics.median(values)
