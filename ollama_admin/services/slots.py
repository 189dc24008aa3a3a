"""Slots: never more than `max_concurrent` live leases of a server, over all processes and hosts of
the database.

A lease ends by itself unless it is renewed, so nothing is lost for ever with a process. A holder
that is cut off from the database may finish its answer; what has not been sent yet is not sent
under a lease that `is_trusted` no more.
"""

import asyncio
import os
import platform
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

from ollama_admin.domain.servers import Server
from ollama_admin.errors import AdminError, ServerBusy, ServerInactive, ServerNotFound
from ollama_admin.services.leases import Lease, LeaseTimes, uptime
from ollama_admin.services.queues import Queue, QueuedRequest
from ollama_admin.store import slots as store
from ollama_admin.store.database import LEASE_THREADS, Database

T = TypeVar("T")


class Slots:
    """The leases and queues of one process."""

    def __init__(
        self, db: Database, note: Callable[[str], None], times: LeaseTimes | None = None
    ) -> None:
        self._db = db
        self._note = note
        self._times = times or LeaseTimes()
        self._holder = f"{platform.node()}:{os.getpid()}"
        self._queues: dict[int, Queue] = {}
        self._leases: set[Lease] = set()
        self._none_left = asyncio.Event()
        self._renewal: asyncio.Task[None] | None = None
        self._is_away = False
        # one thread is left to renew and to release
        self._asking = asyncio.Semaphore(LEASE_THREADS - 1)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    async def first_free(
        self,
        servers: Sequence[Server],
        *,
        wait: float,
        even_inactive: bool = False,
        note: Callable[[str], None] | None = None,
    ) -> Lease:
        """A slot at the first of the servers that has a free one, else at the first that gets one
        in `wait` seconds.

        Nobody overtakes: a server that others wait for in this process counts as full. Raises
        ServerBusy, and ServerNotFound or ServerInactive when no server is left that could
        give one. `note` hears of waiting, and of what becomes of the lease.
        """
        note = note or self._note
        full: list[Server] = []
        refused: ServerNotFound | ServerInactive | None = None
        for server in servers:
            self._require_open()
            if server.id in self._queues:
                full.append(server)
                continue
            try:
                lease = await self._acquire(server, even_inactive)
            except (ServerNotFound, ServerInactive) as exc:  # changed since the caller read it
                refused = refused or exc
                continue
            if lease is not None:
                return _handed_over(lease, note)
            full.append(server)
        if not full:
            raise refused or ValueError("no server is given")
        if wait <= 0:
            raise ServerBusy(_at_limit(full), _hint(full))
        lease = await self._wait(full, wait, even_inactive, note)
        return _handed_over(lease, note)

    async def aclose(self) -> None:
        """Send everybody away, give back what is held, and wait for all that was begun."""
        self._is_closed = True
        for queue in list(self._queues.values()):
            queue.fail(_closed())
        for lease in list(self._leases):
            self._start(lease.release())
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _give_back(self, lease: Lease) -> asyncio.Task[None]:
        """Begin to release a lease; use `Lease.release`."""
        return self._start(self._release(lease))

    async def _wait(
        self,
        servers: Sequence[Server],
        wait: float,
        even_inactive: bool,
        note: Callable[[str], None],
    ) -> Lease:
        self._require_open()
        waiting = QueuedRequest(even_inactive=even_inactive)
        open_to = [server for server in servers if not self._is_full(server)]
        if not open_to:
            raise ServerBusy(
                f"{_at_limit(servers)}, and too many requests wait already", _hint(servers)
            )
        note(f"{_at_limit(servers)}; waiting up to {wait:g} s for one to end")
        for server in open_to:
            waiting.enter(self._queue(server))
        try:
            async with asyncio.timeout(wait):
                return await waiting.lease()
        except TimeoutError as exc:
            lease = waiting.taken()  # at the last moment
            if lease is not None:
                return lease
            raise ServerBusy(
                f"{_at_limit(servers)}, also after {wait:g} s", _hint(servers)
            ) from exc
        except asyncio.CancelledError:
            self._return_unseen(waiting)
            raise
        finally:
            waiting.leave()

    def _return_unseen(self, waiting: QueuedRequest) -> None:
        lease = waiting.taken()
        if lease is not None:
            self._start(lease.release())

    def _is_full(self, server: Server) -> bool:
        queue = self._queues.get(server.id)
        return queue is not None and queue.is_full

    def _queue(self, server: Server) -> Queue:
        """The queue of a server; one that was empty begins to ask."""
        if server.id not in self._queues:
            self._queues[server.id] = Queue()
            self._start(self._serve(server, self._queues[server.id]))
        return self._queues[server.id]

    async def _serve(self, server: Server, queue: Queue) -> None:
        try:
            await queue.serve(partial(self._acquire, server))
        except AdminError as exc:
            queue.fail(exc)
        finally:
            # in the same step as the last look at the queue: nobody can join in between
            del self._queues[server.id]
            queue.fail(RuntimeError(f"the queue of server {server.name} has ended"))

    async def _acquire(self, server: Server, even_inactive: bool) -> Lease | None:
        """SQL runs in a thread that cannot be cancelled: what it grants to somebody who has left
        goes back.
        """
        taking = self._start(self._take(server, even_inactive))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            self._start(self._return_taken(taking))
            raise

    async def _return_taken(self, taking: "asyncio.Task[Lease | None]") -> None:
        await asyncio.wait([taking])
        lease = None if taking.cancelled() or taking.exception() else taking.result()
        if lease is not None:
            await lease.release()

    async def _take(self, server: Server, even_inactive: bool) -> Lease | None:
        async with self._asking:
            sent = uptime()
            key = await self._db.lease(
                store.acquire,
                server.id,
                holder=self._holder,
                ttl=self._times.ttl,
                even_inactive=even_inactive,
            )
        if key is None:
            return None
        lease = Lease(server, key, sent, self._times, self._give_back, self._note)
        self._keep(lease)
        if self._is_closed:
            await lease.release()
            return None
        return lease

    def _keep(self, lease: Lease) -> None:
        self._leases.add(lease)
        self._none_left.clear()
        if self._renewal is None or self._renewal.done():
            self._renewal = self._start(self._renew_while_any())

    def _forget(self, lease: Lease) -> None:
        self._leases.discard(lease)
        if not self._leases:
            self._none_left.set()

    async def _release(self, lease: Lease) -> None:
        self._forget(lease)
        if lease.lost:
            return
        try:
            await self._db.lease(store.release, lease.key)
        except AdminError as exc:
            lease.tell(
                f"the slot at server {lease.server.name} was not given back: {exc.message}; "
                f"it becomes free by itself within {self._times.ttl:g} s"
            )
        queue = self._queues.get(lease.key.server_id)
        if queue is not None:
            queue.wake()

    async def _renew_while_any(self) -> None:
        pause = self._times.renew
        while self._leases:
            try:
                async with asyncio.timeout(pause):
                    await self._none_left.wait()
            except TimeoutError:
                began = uptime()
                await self._renew()
                # a database that stood still may have used up most of a lease's life
                left = began + self._times.renew - uptime()
                pause = max(left, self._times.renew / 10)

    async def _renew(self) -> None:
        due = [lease for lease in list(self._leases) if self._is_due(lease)]
        if not due:
            return
        sent = uptime()
        try:
            kept = await self._db.lease(store.renew, [lease.key for lease in due], self._times.ttl)
        except AdminError as exc:
            if not self._is_away:
                self._note(
                    f"slots cannot be renewed: {exc.message}; tried again every "
                    f"{self._times.renew:g} s"
                )
            self._is_away = True
            return
        self._is_away = False
        for lease in due:
            if lease.key in kept:
                lease.renewed(sent)
            elif lease in self._leases:  # else it was given back meanwhile
                self._lose(lease)

    def _is_due(self, lease: Lease) -> bool:
        if lease.is_too_old:
            self._forget(lease)
            lease.tell(
                f"the request at server {lease.server.name} has held its slot for "
                f"{self._times.longest:g} s; "
                "it is not renewed any more"
            )
            return False
        if not lease.is_owned and lease.is_over:  # abandoned by a task that is done
            self._forget(lease)
        return lease.is_owned

    def _lose(self, lease: Lease) -> None:
        lease.lost = True
        self._forget(lease)
        lease.tell(
            f"the slot at server {lease.server.name} was lost, the database was out of reach or "
            "this process stood "
            "still; the answer goes on, beside those that the server's limit allows"
        )

    def _require_open(self) -> None:
        if self._is_closed:
            raise _closed()

    def _start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """A task that `aclose` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _handed_over(lease: Lease, note: Callable[[str], None]) -> Lease:
    """The lease as the current task's; `note` hears what becomes of it."""
    lease.owner = asyncio.current_task()
    lease.note = note
    return lease


def _closed() -> RuntimeError:
    return RuntimeError("the client is closed")


def _at_limit(servers: Sequence[Server]) -> str:
    if len(servers) == 1:
        [server] = servers
        many = "request" if server.max_concurrent == 1 else "requests"
        return f"server {server.name} is at its limit of {server.max_concurrent} {many}"
    limits = ", ".join(f"{server.name} ({server.max_concurrent})" for server in servers)
    return f"all servers that could answer are at their limits: {limits}"


def _hint(servers: Sequence[Server]) -> str:
    update = f"ollama-admin server update {servers[0].id} --max-concurrent N"
    return f"wait longer with --wait, or raise it: {update}"
