"""Fake servers in a thread, for tests that run a loop of their own or another process.

with FakeOllamaThread(FakeOllama(SimulatedModel("alpha"))) as fakes:
    subprocess.run([..., fakes.url])
    assert fakes.requests()[0].path == "/api/version"
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self, TypeVar

from ollama_admin.simulator.http import RecordedRequest
from tests.fake_ollama import FakeOllama

T = TypeVar("T")

_TIMEOUT = 10.0


class FakeOllamaThread:
    """Runs servers in a thread with its own loop, for tests that run a loop or a process.

    Everything of a server that is not a plain read goes through `call` or `run`.
    """

    def __init__(self, *fakes: FakeOllama) -> None:
        self.fakes = fakes
        self._executor = ThreadPoolExecutor(max_workers=1)
        self._started = threading.Event()
        self._serving: Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()

    @property
    def url(self) -> str:
        return self.fakes[0].url

    def __enter__(self) -> Self:
        self._serving = self._executor.submit(lambda: asyncio.run(self._serve()))
        self._serving.add_done_callback(lambda _: self._started.set())
        self._started.wait()
        if self._loop is None:
            self._serving.result()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._executor.shutdown()
        if self._serving is not None and exc is None:
            self._serving.result()

    def requests(self, fake: FakeOllama | None = None) -> list[RecordedRequest]:
        """A copy of what a server (the first by default) has received so far."""
        return self.call(lambda: list((fake or self.fakes[0]).requests))

    def call(self, function: Callable[[], T]) -> T:
        """Calls a function, such as one that moves a tag, on the servers' loop."""

        async def called() -> T:
            return function()

        return self.run(called())

    def run(self, coroutine: Coroutine[Any, Any, T], timeout: float = _TIMEOUT) -> T:
        """Awaits on the servers' loop: `run(fake.until(...))`, `run(silence.arrived.wait())`."""
        if self._loop is None:
            raise RuntimeError("the servers are not running")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    async def _serve(self) -> None:
        async with AsyncExitStack() as stack:
            for fake in self.fakes:
                await stack.enter_async_context(fake)
            self._loop = asyncio.get_running_loop()
            self._started.set()
            await self._stop.wait()
            self._loop = None
