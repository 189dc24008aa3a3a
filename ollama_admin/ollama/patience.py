"""How long the parts of an answer are waited for."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """Seconds that one request waits for a part of its answer; None sets no limit of its own.

    `first_byte` is the time for the head, and once more for the first piece: some servers send the
    head at once and then load the model. `idle` is the longest pause between two pieces.
    """

    first_byte: float | None
    idle: float | None

    @property
    def silence(self) -> float | None:
        """The longest time that the connection may be silent; None where one of both has no limit
        of its own.
        """
        if self.first_byte is None or self.idle is None:
            return None
        return max(self.first_byte, self.idle)


class PieceTimer:
    """Bounds the wait for each piece of a stream, by one timer for all of them.

    `asyncio.timeout` makes a timer for each wait: for each token of an answer, that takes longer
    than to read the token. One task at a time waits; `close` when no more pieces are wanted.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._until: float | None = None  # by the loop's clock; None while nothing is waited for
        self._waiting: asyncio.Task[object] | None = None
        self._is_over = False

    async def next_of(self, pieces: AsyncIterator[T], seconds: float | None) -> T:
        """The next piece; TimeoutError when it takes longer than that, StopAsyncIteration when
        there is none. None waits as long as it takes.
        """
        if seconds is None:
            return await anext(pieces)
        self._waiting = asyncio.current_task()
        self._until = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._until:
            self._set_timer(self._until)
        try:
            return await anext(pieces)
        except asyncio.CancelledError:
            if self._is_over and self._waiting is not None and not self._waiting.uncancel():
                raise TimeoutError from None
            raise
        finally:
            self._until = self._waiting = None

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, time: float) -> None:
        self.close()
        self._timer = self._loop.call_at(time, self._end_late_wait)

    def _end_late_wait(self) -> None:
        self._timer = None
        if self._until is None or self._waiting is None:
            return
        if self._loop.time() < self._until:  # of a later wait than the one it was set for
            self._set_timer(self._until)
        else:
            self._is_over = True
            self._waiting.cancel()
