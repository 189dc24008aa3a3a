"""Slots: never more than `max_concurrent` live leases of a server, over all processes and hosts of
the database.

A process keeps a slot after a request, so that the next one need not ask the database, and gives it
back when it was idle for a while, or when a request of another process has waited longer than its
own. What is held ends by itself unless it is renewed, so nothing is lost for ever with a process. A
holder that is cut off from the database may finish its answer; what has not been sent yet is not
sent under a lease that `is_trusted` no more. Nothing is granted without the database.
"""

import asyncio
import os
import platform
import secrets
from collections.abc import Collection, Coroutine, Sequence
from typing import Any, TypeVar

from ollama_admin.domain.servers import Server
from ollama_admin.errors import (
    AdminError,
    DatabaseUnavailable,
    ServerBusy,
    ServerInactive,
    ServerNotFound,
)
from ollama_admin.services.grants import AWAY, Grants
from ollama_admin.services.heartbeat import Heartbeat
from ollama_admin.services.leases import Held, Lease, LeaseTimes, uptime
from ollama_admin.services.pools import Note, Pool
from ollama_admin.services.queues import Queue, QueuedRequest
from ollama_admin.store import slots as store
from ollama_admin.store.database import Database

T = TypeVar("T")


class Slots:
    """What one process holds, and its queues."""

    def __init__(self, db: Database, note: Note, times: LeaseTimes | None = None) -> None:
        self._db = db
        self._note = note
        self._times = times or LeaseTimes()
        # two containers may have the same name and number
        self._holder = f"{platform.node()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._pools: dict[int, Pool] = {}
        self._grants = Grants(db, self._holder, self._times, self._start, self._adopt, self._free)
        self._heartbeat = Heartbeat(
            db, self._holder, self._times, self._pools, self._start, self._dispense, note
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closed = False

    def in_flight(self, server_id: int) -> int:
        """How many requests of this process run there."""
        pool = self._pools.get(server_id)
        return 0 if pool is None else pool.running

    def waiting(self, server_id: int) -> int:
        """How many requests of this process wait for a slot there."""
        pool = self._pools.get(server_id)
        return 0 if pool is None else pool.waiting

    def kept(self, server_id: int) -> int:
        """Slots of a server that this process holds for no request."""
        pool = self._pools.get(server_id)
        return 0 if pool is None else pool.idle

    def pools(self) -> Collection[Pool]:
        """What is held and waited for at each server that was asked for a slot."""
        return self._pools.values()

    async def first_free(
        self,
        servers: Sequence[Server],
        *,
        wait: float,
        even_inactive: bool = False,
        note: Note | None = None,
        key: str | None = None,
        weight: int = 1,
    ) -> Lease:
        """A slot at the first of the servers that has a free one, else at the first that gets one
        in `wait` seconds. Where a kept one is free, nothing is awaited.

        Nobody overtakes: where others wait, a server counts as full. Turns go by key and weight,
        and within a key in order. Raises ServerBusy, ServerNotFound and ServerInactive.
        """
        note = note or self._note
        full: list[Server] = []
        refused: ServerNotFound | ServerInactive | None = None
        for server in servers:
            self._require_open()
            pool = self._pool(server)
            lease = pool.kept()
            if lease is None and not _is_taken(pool, wait):
                try:
                    lease = await self._new(pool, wait, even_inactive)
                except (ServerNotFound, ServerInactive) as exc:  # changed since the caller read it
                    refused = refused or exc
                    continue
            if lease is not None:
                break
            full.append(server)
        else:
            if not full:
                raise refused or ValueError("no server is given")
            waiting = QueuedRequest(even_inactive=even_inactive, key=key, weight=weight)
            lease = await self._wait(waiting, full, wait, note)
        lease.owner = asyncio.current_task()
        lease.note = note
        return lease

    async def _new(self, pool: Pool, wait: float, even_inactive: bool) -> Lease | None:
        """A slot from the database, or one that became free meanwhile; None when none is. A request
        that may wait does so for a database that is away, too.
        """
        try:
            lease = await self._grants.one(pool, even_inactive=even_inactive)
        except DatabaseUnavailable as exc:
            pool.away = exc
            lease = pool.kept()
            may_wait = wait > 0 and (self._db.can_be_away or pool.may_become_free)
            if lease is None and not may_wait:
                raise
        return lease or pool.kept()

    async def aclose(self) -> None:
        """Send everybody away, give back what is held, and wait for all that was begun."""
        self._is_closed = self._grants.is_closed = True
        self._heartbeat.stop()
        for pool in list(self._pools.values()):
            if pool.queue is not None:
                pool.queue.fail(_closed())
            for held in list(pool.held):
                if held.lease is not None:
                    self._start(held.lease.release())
        self._dispense(longest=0)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _pool(self, server: Server) -> Pool:
        pool = self._pools.get(server.id)
        if pool is None:
            pool = self._pools[server.id] = Pool(server, self._ended)
        pool.server = server
        return pool

    # a slot becomes free

    def _ended(self, lease: Lease) -> "asyncio.Task[None] | None":
        """A request has ended; use `Lease.release`."""
        held = lease.held
        pool = self._pools[held.key.server_id]
        held.lease = None
        pool.running -= 1
        if held.lost:
            return None
        return self._free(pool, held)

    def _free(self, pool: Pool, held: Held) -> "asyncio.Task[None] | None":
        """Hand a slot on, keep it, or begin to give it back."""
        is_ours = not (held.is_leaving or self._is_closed) and held in pool.held
        if is_ours and uptime() < held.trusted_until:
            if pool.yields():
                return self._start(self._give_back([held], wakes=False))
            if pool.hand_on(held):
                self._heartbeat.stir()
                return None
        if is_ours and pool.is_active and self._times.keep:
            pool.keep(held)
            self._heartbeat.stir()
            return None
        return self._start(self._give_back([held]))

    def _adopt(self, pool: Pool, some: Sequence[Held]) -> None:
        for held in some:
            pool.add(held)
            self._heartbeat.start()

    def _dispense(self, *, longest: float) -> None:
        """Give back what was kept for `longest` seconds, and what others wait for."""
        going = [held for pool in self._pools.values() for held in pool.dispensable(longest)]
        if going:
            self._start(self._give_back(going))

    async def _give_back(self, some: Sequence[Held], *, wakes: bool = True) -> None:
        is_sent = False

        def release(connection: Any) -> None:
            nonlocal is_sent
            is_sent = True
            store.release(connection, [held.key for held in some], holder=self._holder)

        try:
            await self._db.lease(release)
        except AdminError as exc:
            if not is_sent and not self._is_closed:
                self._keep_on(some)
                return
            self._tell_unreturned(some, exc)
        pools = {self._pools[held.key.server_id] for held in some}
        for held in some:
            self._pools[held.key.server_id].drop(held)
        self._heartbeat.end_if_idle()
        for pool in pools:
            if wakes and pool.queue is not None:
                pool.queue.wake()

    def _keep_on(self, some: Sequence[Held]) -> None:
        """The database was not even asked: they are still ours."""
        for held in some:
            pool = self._pools[held.key.server_id]
            if held in pool.held:
                pool.keep(held)
                pool.hand_on_kept()
        self._heartbeat.stir()

    def _tell_unreturned(self, some: Sequence[Held], error: AdminError) -> None:
        for name in sorted({self._pools[held.key.server_id].server.name for held in some}):
            self._note(
                f"the slot at server {name} could not be released: {error.message}; "
                f"it frees itself within {self._times.ttl:g} s"
            )

    # waiting

    async def _wait(
        self, waiting: QueuedRequest, servers: Sequence[Server], wait: float, note: Note
    ) -> Lease:
        self._require_open()
        if wait <= 0:
            raise self._busy(servers)
        open_to = [server for server in servers if not self._is_full(server)]
        if not open_to:
            raise self._busy(servers, ", and too many requests are waiting already")
        note(self._reason_to_wait(open_to, servers, wait))
        for server in open_to:
            waiting.enter(self._queue(server))
        try:
            async with asyncio.timeout(wait):
                return await waiting.lease()
        except TimeoutError as exc:
            lease = waiting.taken()  # at the last moment
            if lease is not None:
                return lease
            raise self._busy(servers, f"; timed out after {wait:g} s") from exc
        except asyncio.CancelledError:
            lease = waiting.taken()
            if lease is not None:
                self._start(lease.release())
            raise
        finally:
            waiting.leave()

    def _reason_to_wait(
        self, open_to: Sequence[Server], servers: Sequence[Server], wait: float
    ) -> str:
        away = self._away(servers)
        if away is not None:
            patience = min(wait, AWAY)
            return f"{away.message}; waiting up to {patience:g} s for it to come back"
        behind = _behind(min(self.waiting(server.id) for server in open_to))
        return f"{_at_limit(servers)}; waiting up to {wait:g} s for a slot{behind}"

    def _busy(self, servers: Sequence[Server], how: str = "") -> ServerBusy | DatabaseUnavailable:
        away = self._away(servers)
        if away is not None:
            return away
        return ServerBusy(_at_limit(servers) + how, _hint(servers))

    def _away(self, servers: Sequence[Server]) -> DatabaseUnavailable | None:
        """Why the database does not answer; None when it does."""
        reasons = (self._pool(server).away for server in servers)
        return next((reason for reason in reasons if reason is not None), None)

    def _is_full(self, server: Server) -> bool:
        queue = self._pool(server).queue
        return queue is not None and queue.is_full

    def _queue(self, server: Server) -> Queue:
        """The queue of a server; one that was empty begins to ask."""
        pool = self._pool(server)
        if pool.queue is None:
            pool.queue = Queue()
            self._start(self._serve(pool, pool.queue))
        return pool.queue

    async def _serve(self, pool: Pool, queue: Queue) -> None:
        try:
            await self._grants.serve(pool, queue)
        except AdminError as exc:
            queue.fail(exc)
        finally:
            # in the same step as the last look at the queue: nobody can join in between
            pool.queue = None
            queue.fail(RuntimeError(f"the queue of server {pool.server.name} has ended"))
        await self._grants.stop_telling(pool, queue)

    def _require_open(self) -> None:
        if self._is_closed:
            raise _closed()

    def _start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """A task that `aclose` waits for."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _is_taken(pool: Pool, wait: float) -> bool:
    """Whether it is not worth while to ask the database for a slot."""
    return bool(pool.queue) or (wait > 0 and pool.was_full_just_now)


def _closed() -> RuntimeError:
    return RuntimeError("the client is closed")


def _at_limit(servers: Sequence[Server]) -> str:
    if len(servers) == 1:
        [server] = servers
        many = "request" if server.max_concurrent == 1 else "requests"
        return f"server {server.name} is at its limit of {server.max_concurrent} {many}"
    limits = ", ".join(f"{server.name} ({server.max_concurrent})" for server in servers)
    return f"all servers that could answer are at their limits: {limits}"


def _behind(count: int) -> str:
    if not count:
        return ""
    return f", behind {count} other {'request' if count == 1 else 'requests'}"


def _hint(servers: Sequence[Server]) -> str:
    update = f"ollama-admin server update {servers[0].ref.word} --max-concurrent N"
    return f"wait longer with --wait, or raise it: {update}"
