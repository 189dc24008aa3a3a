"""Waits that are bounded one by one, by one timer for all of them.

`asyncio.timeout` makes a timer for each wait: for each token of an answer, that takes longer than
to read the token.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeVar

T = TypeVar("T")


class Patience:
    """For the waits of one task at a time; `close` when there will be no more of them."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._until: float | None = None  # by the loop's clock; None while nothing is waited for
        self._waiting: asyncio.Task[object] | None = None
        self._is_over = False

    async def next_of(self, items: AsyncIterator[T], seconds: float) -> T:
        """The next item; TimeoutError when it takes longer than that, StopAsyncIteration when there
        is none.
        """
        self._waiting = asyncio.current_task()
        self._until = self._loop.time() + seconds
        if self._timer is None or self._timer.when() > self._until:
            self._set_timer(self._until)
        try:
            return await anext(items)
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
        self._timer = self._loop.call_at(time, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._until is None or self._waiting is None:
            return
        if self._loop.time() < self._until:  # of a later wait than the one it was set for
            self._set_timer(self._until)
        else:
            self._is_over = True
            self._waiting.cancel()
