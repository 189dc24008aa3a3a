"""Connections: how many, which one makes room for another, and how they are accepted."""

import asyncio
import resource
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

AT_ONCE = 64  # connections that are accepted in one step of the loop
RETRY = 0.1  # seconds until it is tried again whether one more can be accepted
RESERVED = 128  # descriptors for the database, files and the listening socket
PERIOD = 60.0  # seconds


class Connection(asyncio.Protocol):
    """A connection of a client. A busy one is at work for somebody who may come in. `handshake` is
    what makes it, where that waits for the client.
    """

    handshake: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        raise NotImplementedError

    def abort(self) -> None:
        """Give it up at once, with all that is not sent yet."""
        raise NotImplementedError


Connect = Callable[[Connection, socket.socket], Awaitable[None]]


class Seldom:
    """A log that takes `most` lines in PERIOD, and counts what it leaves out: for lines that a
    client can cause as often as it likes.
    """

    def __init__(self, log: Callable[[str], None], most: int = 10) -> None:
        self._log = log
        self._most = most
        self._since = time.monotonic()
        self._taken = self._left_out = 0

    def __call__(self, line: str) -> None:
        now = time.monotonic()
        if now - self._since >= PERIOD:
            if self._left_out:
                self._log(f"{self._left_out} more failures were not logged")
            self._since, self._taken, self._left_out = now, 0, 0
        if self._taken < self._most:
            self._taken += 1
            self._log(line)
        else:
            self._left_out += 1


class Connections:
    """The open connections, in the order in which they make room: those that were served last are
    at the end.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._open: dict[Connection, None] = {}

    def add(self, connection: Connection) -> None:
        self._open[connection] = None

    def discard(self, connection: Connection) -> None:
        self._open.pop(connection, None)

    def served(self, connection: Connection) -> None:
        """Put a connection at the end of the order."""
        if connection in self._open:
            self.discard(connection)
            self.add(connection)

    @property
    def is_full(self) -> bool:
        """Whether there is no room for one more, and nobody who could make some."""
        return len(self._open) >= self.most and all(item.is_busy for item in self._open)

    def make_room(self) -> None:
        """Give up the first connections that are not busy, while there are too many."""
        while len(self._open) > self.most and self.give_one_up():
            pass

    def give_one_up(self) -> bool:
        """Give up the first connection that is not busy; whether there was one."""
        for connection in self._open:
            if not connection.is_busy:
                self.discard(connection)
                connection.abort()
                return True
        return False


class Acceptor:
    """Accepts connections as long as there is room and a descriptor for them, else they wait in the
    queue of the listening socket. It stands where uvicorn has an `asyncio.Server`: that one tries
    again at once, without an end, and logs a traceback each time.
    """

    def __init__(
        self,
        listener: socket.socket,
        connections: Connections,
        make: Callable[[], Connection],
        log: Callable[[str], None],
        shake_hands: Connect | None = None,
        *,
        at_once: int = AT_ONCE,
    ) -> None:
        self._at_once = at_once
        self._listener = listener
        self._connections = connections
        self._make = make
        self._log = log
        self._shake_hands = shake_hands
        self._loop = asyncio.get_running_loop()
        self._retry: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        listener.setblocking(False)

    def start(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def close(self) -> None:
        """Accept nothing more."""
        if self._retry is not None:
            self._retry.cancel()
        self._loop.remove_reader(self._listener)
        if self._shake_hands is not None:
            for task in self._tasks:
                task.cancel()

    async def wait_closed(self) -> None:
        """As of `asyncio.Server`."""

    def _accept(self) -> None:
        for _ in range(self._at_once):
            if self._connections.is_full:
                self._pause(f"all {self._connections.most} connections are busy: new ones wait")
                return
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:  # no descriptor is left, or no memory
                self._connections.give_one_up()
                self._pause(f"a connection cannot be accepted: {exc.strerror}")
                return
            self._take(accepted)

    def _take(self, accepted: socket.socket) -> None:
        connection = self._make()
        self._connections.add(connection)
        self._connections.make_room()
        task = self._loop.create_task(self._connect(connection, accepted))
        if self._shake_hands is not None:
            connection.handshake = task
        self._tasks.add(task)
        task.add_done_callback(partial(self._after, connection, accepted))

    async def _connect(self, connection: Connection, accepted: socket.socket) -> None:
        if self._shake_hands is None:
            await self._loop.connect_accepted_socket(lambda: connection, accepted)
        else:
            await self._shake_hands(connection, accepted)

    def _after(
        self, connection: Connection, accepted: socket.socket, task: asyncio.Task[None]
    ) -> None:
        """Close what did not become a connection, also where its task was cancelled unbegun."""
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if task.cancelled() or failure is not None:
            self._connections.discard(connection)
            accepted.close()
        if failure is not None and not isinstance(failure, OSError):
            raise failure  # else the client has left, or speaks something else

    def _pause(self, why: str) -> None:
        self._log(why)
        self._loop.remove_reader(self._listener)
        self._retry = self._loop.call_later(RETRY, self.start)


def connections_within_descriptors(most: int) -> int:
    """How many connections there may be, at most `most`, after the process has taken as many
    descriptors as it may have: an answer needs a second one, to its server.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return most
    return max(1, min(most, (limit - RESERVED) // 2))
