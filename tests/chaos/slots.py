"""What the chaos tests of slots are made of: workers in processes, the server that counts, the one
who watches.
"""

import asyncio
import os
import random
import signal
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollama_admin.client import Client
from tests.slot_rows import SlotRows, eventually, uptime

LIMIT = 4
REQUEST = 0.03  # seconds that a request takes
BETWEEN_KILLS = 0.5  # seconds
SAYS = "one two three"  # in as many tokens
LAST = 2  # of them, from 0


class Counter:
    """A server that counts the requests that run at it, and remembers what must not have been."""

    def __init__(self) -> None:
        self.running: dict[int, int] = {}  # token, by slot
        self.peak = 0
        self.served = 0
        self.wrong: list[str] = []
        self.waits: list[tuple[int, float]] = []  # process and seconds, for each request
        self.pause: asyncio.Event | None = None  # instead of the usual time, requests wait for it
        self.paused: set[int] = set()  # the processes whose requests do
        self._tokens: defaultdict[int, int] = defaultdict(int)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if line:
            slot, token, process, waited = line.split()
            self.waits.append((int(process), float(waited)))
            self._begin(int(slot), int(token))
            await self._take_time(reader, int(process))
            self._end(int(slot), int(token))
            writer.write(b"done\n")
        writer.close()

    def _begin(self, slot: int, token: int) -> None:
        if slot in self.running:
            self.wrong.append(f"slot {slot} serves two: tokens {self.running[slot]} and {token}")
        if token < self._tokens[slot]:
            self.wrong.append(f"slot {slot}: token {token} after {self._tokens[slot]}")
        self._tokens[slot] = token
        self.running[slot] = token
        self.peak = max(self.peak, len(self.running))

    async def _take_time(self, reader: asyncio.StreamReader, process: int) -> None:
        if self.pause is not None:
            self.paused.add(process)
            await _either(self.pause.wait(), reader.read())
            self.paused.discard(process)
            return
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(REQUEST):
                await reader.read()  # its end: the client was killed

    def _end(self, slot: int, token: int) -> None:
        self.served += 1
        if self.running.get(slot) == token:
            del self.running[slot]


async def _either(*work: Coroutine[Any, Any, Any]) -> None:
    """Until one of them is done."""
    tasks = [asyncio.ensure_future(each) for each in work]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Running:
    """Counts the answers that are being made: from before their first token until before their
    last, or their end.
    """

    def __init__(self) -> None:
        self.peak = 0
        self.ended = 0
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, index: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        if index == 0:
            self._tasks = {other for other in self._tasks if not other.done()} | {task}
            self.peak = max(self.peak, len(self._tasks))
        if index == LAST:
            self._tasks.discard(task)
            self.ended += 1


class Workers:
    """Processes that take slots; `errors` is what they had to say."""

    def __init__(self, program: asyncio.subprocess.Process, log: Path) -> None:
        self._program = program
        self._log = log
        self.pids: list[int] = []

    @property
    def errors(self) -> str:
        return self._log.read_text(encoding="utf-8")

    async def start(self) -> int:
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        self._program.stdin.write(b"one\n")
        self.pids.append(int(await self._program.stdout.readline()))
        return self.pids[-1]

    def kill(self, pid: int) -> None:
        self.pids.remove(pid)
        with suppress(ProcessLookupError):  # it gave up while the database was away
            os.kill(pid, signal.SIGKILL)


@asynccontextmanager
async def counting() -> AsyncIterator[tuple[Counter, int]]:
    """The counting server and its port."""
    counter = Counter()
    server = await asyncio.start_server(counter.answer, "127.0.0.1", 0, backlog=500)
    async with server:
        yield counter, server.sockets[0].getsockname()[1]


@asynccontextmanager
async def working(
    url: str, port: int, *, tasks: int, ttl: float, folder: Path
) -> AsyncIterator[Workers]:
    log = folder / "workers.log"
    with log.open("wb") as errors:
        program = await asyncio.create_subprocess_exec(
            *(
                sys.executable,
                str(Path(__file__).with_name("workers.py")),
                url,
                str(port),
                str(tasks),
                str(ttl),
            ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
        try:
            yield Workers(program, log)
        finally:
            assert program.stdin is not None
            program.stdin.close()
            await program.wait()


class Watcher:
    """Looks at the rows all the time."""

    def __init__(self, rows: SlotRows) -> None:
        self._rows = rows
        self._tokens: defaultdict[int, int] = defaultdict(int)
        self.peak = 0
        self.wrong: list[str] = []
        self.is_over = False

    async def watch(self) -> None:
        while not self.is_over:
            seen = await asyncio.to_thread(self._rows.all)
            live = [row for row in seen if row.is_live]
            if len(live) > LIMIT:
                self.wrong.append(f"{len(live)} live leases: {live}")
            for row in seen:
                if row.token < self._tokens[row.slot]:
                    self.wrong.append(
                        f"slot {row.slot}: token {row.token} after {self._tokens[row.slot]}"
                    )
                self._tokens[row.slot] = row.token
            self.peak = max(self.peak, len(live))


@asynccontextmanager
async def watching(rows: SlotRows) -> AsyncIterator[Watcher]:
    watcher = Watcher(rows)
    task = asyncio.create_task(watcher.watch())
    try:
        yield watcher
    finally:
        watcher.is_over = (
            True  # a look is not cancelled: its thread would go on with the connection
        )
        await task


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """So many processes with so many tasks each, of which one is killed every half second, for so
    many seconds.
    """

    processes: int
    tasks: int
    seconds: float
    ttl: float


async def weather(storm: Storm, url: str, rows_url: str, folder: Path) -> None:
    """Let the storm pass over the database at `url` and assert what must hold; `rows_url` leads to
    its rows.
    """
    async with Client(database_url=url, environ={}) as client:
        await client.servers.add(name="gpu", url="http://gpu", max_concurrent=LIMIT)
    rows = SlotRows(rows_url)
    try:
        async with counting() as (counter, port), watching(rows) as watcher:
            async with working(
                url, port, tasks=storm.tasks, ttl=storm.ttl, folder=folder
            ) as workers:
                killed = await _rage(storm, workers, counter)
                for pid in list(workers.pids):
                    workers.kill(pid)
                assert workers.errors == ""
            await eventually(lambda: rows.live() == 0)  # what was left behind comes back by itself
    finally:
        rows.close()
    assert [*watcher.wrong, *counter.wrong] == [], (watcher.wrong, counter.wrong)
    assert watcher.peak == LIMIT, watcher.peak
    assert counter.peak <= LIMIT, counter.peak  # orphans may have held the others
    assert counter.served > killed > 0, (counter.served, killed)


async def _rage(storm: Storm, workers: Workers, counter: Counter) -> int:
    """How many were killed."""
    killed = 0
    for _ in range(storm.processes):
        await workers.start()
    await eventually(lambda: counter.served > 0)
    end = uptime() + storm.seconds
    while uptime() < end:
        await asyncio.sleep(BETWEEN_KILLS)
        workers.kill(random.choice(workers.pids))
        killed += 1
        await workers.start()
        served = counter.served
        await eventually(lambda served=served: counter.served > served)  # it goes on
    return killed
