"""The numbers of `/metrics`: what this process and its sister processes counted, what they hold,
and what the database tells of the fleet.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ollama_admin.domain.receipts import Receipt
from ollama_admin.domain.servers import Server
from ollama_admin.errors import AdminError
from ollama_admin.services.lookout import TASK
from ollama_admin.services.recorder import Recorder
from ollama_admin.services.registry import Registry
from ollama_admin.services.shares import Shares
from ollama_admin.services.slots import Slots
from ollama_admin.services.tally import Tally, merged
from ollama_admin.services.trail import Trail
from ollama_admin.store import contention, task_leases
from ollama_admin.store import servers as store
from ollama_admin.store.database import Database

PATIENCE = 3.0  # seconds for the database, which a scrape can do without


class FleetRows(NamedTuple):
    """What the database tells. `waiting` is how many requests wait at each server by its id;
    `is_looked_at` says whether some process looks at servers in the background. It took `seconds`
    to read.
    """

    servers: Sequence[Server]
    waiting: Mapping[int, int]
    is_looked_at: bool
    seconds: float


@dataclass(kw_only=True)
class Gauges:
    """What processes have in hand: by server requests that run, slots that are kept for the next
    ones, and requests that wait; of each process together requests on their way, receipts that are
    not written yet, and those that never were. `registry_age` is seconds, of the oldest.
    """

    running: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    waiting: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    unwritten: int = 0
    lost: int = 0
    registry_age: float = 0.0

    def merge(self, other: Mapping[str, Any], *, is_over: bool) -> None:
        """Add another process's; of one that has ended only what it lost."""
        self.lost += other["lost"]
        if is_over:
            return
        self.running.update(other["running"])
        self.kept.update(other["kept"])
        self.waiting.update(other["waiting"])
        self.in_flight += other["in_flight"]
        self.unwritten += other["unwritten"]
        self.registry_age = max(self.registry_age, other["registry_age"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All numbers at one moment. `fleet` is None where the database did not answer; `looks` says
    whether servers are to be looked at in the background.
    """

    tally: Tally
    gauges: Gauges
    workers: int
    fleet: FleetRows | None
    looks: bool


class Spans(Protocol):
    """Traces of requests."""

    def end(self, receipt: Receipt, trail: Trail) -> None:
        """A request has ended, and what it proves is known. Never waits."""

    async def aclose(self) -> None: ...


class Metrics:
    """Counts from its `begin` on; `looks` is that of `Reading`."""

    def __init__(
        self, db: Database, slots: Slots, recorder: Recorder, registry: Registry, *, looks: bool
    ) -> None:
        self._db = db
        self._slots = slots
        self._recorder = recorder
        self._registry = registry
        self._looks = looks
        self._tally = Tally()
        self._shares: Shares | None = None
        self._spans: Spans | None = None

    def begin(self, folder: Path | None, spans: Spans | None = None) -> None:
        """Count receipts, and have `spans` trace each. `folder` is where the workers of a service
        write what they counted; None for the only one.
        """
        self._recorder.tally, self._spans = self._tally, spans
        if spans is not None:
            self._recorder.trace = spans.end
        if folder is not None:
            self._shares = Shares(folder, self._told)
            self._shares.start()

    async def read(self) -> Reading:
        """The numbers now; those of other workers are a second old at most."""
        fleet = await self._fleet()
        others = []
        if self._shares is not None:
            others = await self._shares.others()
        self._tally.count()
        gauges = self._gauges()
        documents = [self._tally.document()]
        for share in others:
            documents.append(share.document["tally"])
            gauges.merge(share.document["gauges"], is_over=share.is_over)
        tally = await asyncio.to_thread(merged, documents)
        workers = 1 + sum(not share.is_over for share in others)
        return Reading(tally=tally, gauges=gauges, workers=workers, fleet=fleet, looks=self._looks)

    async def aclose(self) -> None:
        if self._shares is not None:
            await self._shares.aclose()
        if self._spans is not None:
            await self._spans.aclose()

    def _told(self) -> dict[str, Any]:
        self._tally.count()
        return {"tally": self._tally.document(), "gauges": vars(self._gauges())}

    def _gauges(self) -> Gauges:
        gauges = Gauges(
            in_flight=len(self._recorder.running),
            unwritten=self._recorder.waiting,
            lost=self._recorder.lost,
            registry_age=self._registry.age,
        )
        for pool in self._slots.pools():
            name = pool.server.name
            gauges.running[name] += pool.running
            gauges.kept[name] += pool.idle
            gauges.waiting[name] += pool.waiting
        return gauges

    async def _fleet(self) -> FleetRows | None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE):
                servers, waiting, is_looked_at = await self._db.read(_rows)
        except (AdminError, TimeoutError):
            return None
        seconds = time.monotonic() - began
        return FleetRows(servers, waiting, is_looked_at, seconds)


def _rows(connection: Any) -> tuple[Sequence[Server], Mapping[int, int], bool]:
    return (
        store.all_servers(connection),
        contention.counts(connection),
        task_leases.is_held(connection, TASK),
    )
