"""Which models servers have in memory now, as far as this process knows: what a request prefers.

It is read in the background while requests come. No request waits for it, and none fails by it.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ollama_admin.domain.names import ModelName
from ollama_admin.domain.servers import Server, Target
from ollama_admin.errors import AdminError
from ollama_admin.rules import balance
from ollama_admin.rules.balance import Load
from ollama_admin.rules.candidates import Candidate
from ollama_admin.services.health import HealthBook
from ollama_admin.services.servers import Connect
from ollama_admin.services.tasks import WorkLimit

EVERY = 5.0  # seconds between two reads of a server, while requests come
LONGEST = 60.0  # seconds until a server that fails again and again is tried once more
KEPT = 300.0  # seconds that a read tells anything: Ollama's own `keep_alive` by default
TIMEOUT = 2.0  # seconds for a read

Clock = Callable[[], float]


@dataclass(slots=True)
class _Server:
    """What is known of one server, and when a request could last go there. `loaded` are the keys of
    names, and digests, at the time `read`; `due` is when it is read again, and `failures` are the
    reads in a row that failed.
    """

    asked: float
    loaded: frozenset[str] | None = None
    read: float = 0.0
    due: float = 0.0
    failures: int = 0
    task: asyncio.Task[None] | None = None


class Loads:
    """The loads of servers, for one process. `connect` is the way to a server, `health` knows which
    of them failed, and `clock` gives monotonic seconds. A server is read after `every` seconds, and
    never with 0.
    """

    def __init__(
        self,
        connect: Connect,
        health: HealthBook,
        clock: Clock = time.monotonic,
        *,
        every: float = EVERY,
    ) -> None:
        self._every = every
        self.health = health
        self._connect = connect
        self._clock = clock
        self._servers: dict[int, _Server] = {}
        self._running: Counter[tuple[int, str]] = Counter()
        self.in_flight: Counter[int] = Counter()  # requests of this process, by server id
        self._limit = WorkLimit()
        self._is_closed = False

    def load(
        self, server: Server, name: ModelName, in_flight: int, digest: str | None = None
    ) -> Load:
        """What is known of a server for a model. It is loaded, too, where its build runs under
        another name, and while we have a request for it there.
        """
        return Load(
            loaded=self._is_loaded(server.id, name.key, digest),
            in_flight=in_flight,
            limit=server.max_concurrent,
            asked_last=self.health.is_asked_last(server),
        )

    def of(
        self, candidates: Sequence[Candidate], in_flight: Mapping[int, int] | None = None
    ) -> Mapping[int, Load]:
        """The loads of the candidates by server id. `in_flight` is how many requests run at each,
        by id; without it that is what the rows say, or what we have there if that is more.
        """
        loads: dict[int, Load] = {}
        for candidate in candidates:
            server = candidate.server
            if server is None:
                continue
            count = max(server.slots_in_use, self.in_flight[server.id])
            if in_flight is not None:
                count = in_flight.get(server.id, 0)
            digest = candidate.stored_digest
            loads[server.id] = self.load(server, candidate.name, count, digest)
        return loads

    def ordered(
        self,
        candidates: Sequence[Candidate],
        affinity: bytes | None,
        in_flight: Mapping[int, int] | None = None,
    ) -> Sequence[Candidate]:
        """The candidates of a plan in the order in which they are asked now; `in_flight` is that of
        `of`. What is demanded of each stays: who was not the first of the plan must show its build.
        """
        if len(candidates) < 2:
            return candidates
        return balance.ordered(candidates, self.of(candidates, in_flight), affinity)

    def preference(
        self, candidates: Sequence[Candidate], affinity: bytes | None
    ) -> Mapping[int, Sequence[str]]:
        """What the order goes by, in words, by server id; nothing of a server without an equal."""
        return balance.merits(candidates, self.of(candidates), affinity)

    def asked(self, candidates: Sequence[Candidate]) -> None:
        """Hear of a request: begin to read the servers that it may go to, those that were not read
        in the last seconds. Needs a running loop; never waits and never raises.

        Nothing is read where there is nothing to choose from, nor for the first request in a while:
        it does not wait, and a command makes no other.
        """
        if len(candidates) < 2 or self._is_closed or not self._every:
            return
        now = self._clock()
        for candidate in candidates:
            server = candidate.server
            if server is None or server.is_ollama is False:
                continue
            known = self._servers.setdefault(server.id, _Server(asked=-KEPT))
            is_asked_lately = now - known.asked < KEPT
            known.asked = now
            if is_asked_lately and known.task is None and now >= known.due:
                reading = self._read(known, candidate.target)
                known.task = asyncio.get_running_loop().create_task(reading)

    @contextmanager
    def running(self, candidate: Candidate) -> Iterator[None]:
        """For the time of a request to a server: it has the model loaded, or is about to."""
        server = candidate.server
        if server is None:
            yield
            return
        key = (server.id, candidate.name.key)
        self._running[key] += 1
        self.in_flight[server.id] += 1
        try:
            yield
        finally:
            self.in_flight[server.id] -= 1
            self._running[key] -= 1
            if not self._running[key]:
                del self._running[key]

    async def aclose(self) -> None:
        """End what is being read."""
        self._is_closed = True
        tasks = [known.task for known in self._servers.values() if known.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _is_loaded(self, server_id: int, key: str, digest: str | None) -> bool | None:
        if (server_id, key) in self._running:
            return True
        known = self._servers.get(server_id)
        if known is None or known.loaded is None or self._clock() - known.read > KEPT:
            return None
        return key in known.loaded or digest in known.loaded

    async def _read(self, known: _Server, target: Target) -> None:
        """Read a server once. One that fails is unknown; that it fails is told by the requests that
        go there, and no note is made of it here.
        """
        try:
            async with self._limit.take():
                loaded = await self._connect(target, TIMEOUT).loaded()
        except AdminError:
            known.loaded = None
            known.failures += 1
        else:
            known.loaded, known.failures = loaded, 0
        finally:
            known.task = None
            known.read = self._clock()
            known.due = known.read + min(
                max(LONGEST, self._every), self._every * 2 ** min(known.failures, 10)
            )
