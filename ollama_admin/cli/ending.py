"""The end of the program after a signal, which comes whatever it waits for then."""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

LEAVING = 15.0  # seconds that a command has to give back what it holds
INTERRUPTED = 130  # exit codes, as shells tell signals
TERMINATED = 143


class Ending:
    """Ends the process by force when it is still there some seconds after a signal.

    A thread may stand in a call that nothing can interrupt, such as a look-up of a name or a read
    from a network disk, and Python waits for its threads before it ends.
    """

    def __init__(self) -> None:
        self._timers: list[threading.Timer] = []

    def within(self, seconds: float, code: int) -> None:
        """End with this exit code, unless it is called off before."""
        timer = threading.Timer(seconds, os._exit, (code,))
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def call_off(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def on_interrupt(self, handler: Any) -> Any:
        """The handler of SIGINT, so that the program ends soon after it was called; one that is no
        function, as where SIGINT is ignored, stays as it is.
        """
        if not callable(handler):
            return handler
        called: Callable[[int, FrameType | None], Any] = handler

        def interrupted(number: int, frame: FrameType | None) -> None:
            self.within(LEAVING, INTERRUPTED)
            called(number, frame)

        return interrupted


def terminating() -> list[signal.Signals]:
    """The signals that end a run: a terminal that goes away, too, unless `nohup` has seen to it."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        return [signal.SIGTERM]
    return [signal.SIGTERM, signal.SIGHUP]
