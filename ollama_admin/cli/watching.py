"""What is waited for: a line on a terminal while a server takes its time, and with `-v` a line for
each request.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from ollama_admin.cli.output import Output
from ollama_admin.domain.servers import ServerRef

PATIENCE = 2.0  # seconds of waiting until somebody is told for what
TICK = 0.5  # seconds between two looks


@dataclass(eq=False, slots=True)
class _Asked:
    """A request whose answer has not begun; `started` is of the monotonic clock."""

    server: ServerRef
    started: float


class Watching:
    """Hears of each request to a server, as `domain/callers.py` says of a watch."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._waiting: list[_Asked] = []  # the one that waits for longest is the first

    def asked(self, server: ServerRef, method: str, path: str) -> Callable[[int | None], None]:
        """A request is on its way; call what is given back once its answer begins or it fails."""
        asked = _Asked(server, time.monotonic())
        self._waiting.append(asked)

        def answered(status: int | None) -> None:
            if asked not in self._waiting:
                return
            self._waiting.remove(asked)
            self._output.erase_waiting()
            ms = round((time.monotonic() - asked.started) * 1000)
            came = "no answer" if status is None else str(status)
            self._output.detail(f"{method} {server.url}{path}: {came}, {ms} ms")

        return answered

    @asynccontextmanager
    async def shown(self) -> AsyncIterator[None]:
        """Show on a terminal what is waited for while the block runs."""
        if not self._output.can_show_waiting:
            yield
            return
        task = asyncio.create_task(self._show())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            self._output.erase_waiting()

    async def _show(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            if self._waiting:
                first = self._waiting[0]
                seconds = time.monotonic() - first.started
                if seconds >= PATIENCE:
                    self._output.show_waiting(self._sentence(first.server, seconds))

    def _sentence(self, server: ServerRef, seconds: float) -> str:
        others = ""
        if len(self._waiting) > 1:
            others = f" and {len(self._waiting) - 1} more"
        return f"waiting for {server}{others}: {seconds:.0f} s"
