"""A watch over the event loop of a service: whatever takes long there holds up everybody, and the
renewal of leases.
"""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Seconds of a processor on the machine that this was written on: other programs do not count.
LONGEST_STEP = 0.1
# Seconds that `_reference` takes there. A machine that is slower, or slowed down by its neighbours
# for a while, takes longer for both.
REFERENCE = 0.0067


class WatchedLoop(asyncio.SelectorEventLoop):
    """A loop that `watched` looks at."""


class _Collecting:
    """Seconds that the collector of garbage took: it goes through all that the tests have made."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __call__(self, phase: str, _: dict[str, Any]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.seconds += time.thread_time() - self._began


@contextmanager
def watched() -> Iterator[list[str]]:
    """What took longer than LONGEST_STEP at once on a WatchedLoop of any thread."""
    slow: list[str] = []
    run, collecting = asyncio.Handle._run, _Collecting()

    def timed(handle: asyncio.Handle) -> None:
        if not isinstance(handle._loop, WatchedLoop):
            run(handle)
            return
        began = time.thread_time() - collecting.seconds
        run(handle)
        took = time.thread_time() - collecting.seconds - began
        if took > LONGEST_STEP and took > LONGEST_STEP * _slowness():
            slow.append(f"{took:.2f} s: {handle!r:.300}")

    gc.callbacks.append(collecting)
    asyncio.Handle._run = timed  # type: ignore[method-assign]
    try:
        yield slow
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]
        gc.callbacks.remove(collecting)


def _slowness() -> float:
    """How many times longer than on that machine the same work takes, at this moment."""
    began = time.thread_time()
    _reference()
    return (time.thread_time() - began) / REFERENCE


def _reference() -> None:
    found: dict[str, int] = {}
    for number in range(50_000):
        text = f"model-{number % 1000}"
        found[text] = found.get(text, 0) + len(text)
