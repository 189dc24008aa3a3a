"""Several processes at one listening socket, so that a service can use several processors.

They are forked from one that only looks after them: it hands on the signals to end, and replaces
a process that was killed. The processes themselves take no signal to end, for a terminal or a
service manager sends it to all of them, and twice means at once.
"""

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from ollama_admin.errors import InvalidInput

LEAST_LIFE = 1.0  # seconds between two starts of the same worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    """A process that serves. `orders` is a descriptor whose bytes are numbers of signals to obey;
    its end says that nobody looks after this process any more. `is_first` only at the start.
    """

    orders: int
    is_first: bool


class Workers:
    """`signals` end the service; `say` takes what happens to its processes."""

    def __init__(
        self, count: int, signals: Iterable[signal.Signals], say: Callable[[str], None]
    ) -> None:
        self._count = count
        self._signals = tuple(signals)
        self._say = say
        self._orders: dict[int, int] = {}  # by the number of the process
        self._is_ending = False
        self._code = 0

    def split(self) -> Worker | int:
        """In each worker: what it is. In the process that looks after them: the exit code, when all
        of them have ended. InvalidInput where there is no such thing as a fork.
        """
        if not hasattr(os, "fork"):
            raise InvalidInput("this system has one worker only", "leave --workers out")
        for sign in self._signals:
            signal.signal(sign, self._hand_on)
        for number in range(self._count):
            worker = self._fork(is_first=not number)
            if worker is not None:
                return worker
        return self._look_after()

    def _look_after(self) -> Worker | int:
        """Wait for all to end; a worker where one had to be replaced."""
        started = time.monotonic()
        while self._orders:
            process, status = os.wait()
            os.close(self._orders.pop(process))
            if self._is_ending or not os.WIFSIGNALED(status):
                self._ended(os.waitstatus_to_exitcode(status))
                continue
            self._say(
                f"worker {process} was ended by {signal.Signals(os.WTERMSIG(status)).name}; "
                "another one takes its place"
            )
            time.sleep(max(0.0, started + LEAST_LIFE - time.monotonic()))
            started = time.monotonic()
            worker = None if self._is_ending else self._fork(is_first=False)
            if worker is not None:
                return worker
        return self._code

    def _ended(self, code: int) -> None:
        """One ended by itself: as it would alone, it ends the service."""
        self._code = self._code or max(code, 0)
        if not self._is_ending:
            self._hand_on(signal.SIGTERM)

    def _hand_on(self, number: int, _: object = None) -> None:
        self._is_ending = True
        for orders in self._orders.values():
            with suppress(OSError):  # it has just ended
                os.write(orders, bytes((number,)))

    def _fork(self, *, is_first: bool) -> Worker | None:
        """The worker, in its own process."""
        read, write = os.pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        try:
            process = os.fork()
            if process:
                os.close(read)
                self._orders[process] = write
                return None
            for sign in self._signals:
                signal.signal(sign, signal.SIG_IGN)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(write)
        for orders in self._orders.values():
            os.close(orders)
        return Worker(orders=read, is_first=is_first)
