"""The process of `serve`, or its processes. Loads what only a service needs."""

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ollama_admin.api.serving import Door, Options, Stop, open_door, serve
from ollama_admin.api.tls import tls_files
from ollama_admin.api.workers import Worker, Workers
from ollama_admin.cli.ending import INTERRUPTED, TERMINATED, Ending, terminating
from ollama_admin.cli.startup import end_of_loading, end_of_making
from ollama_admin.client import Client
from ollama_admin.errors import InvalidInput
from ollama_admin.gateway.forwarded import proxies_of
from ollama_admin.settings import API_TOKEN, Settings

try:
    import uvloop

    _fast_loop: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
except ModuleNotFoundError:
    _fast_loop = None

LEAVING = 20.0  # seconds after its grace that a service has to give back what it holds


class Service:
    """`note` takes what its operator should know, `log` a line of each request."""

    def __init__(
        self,
        database_url: str | None,
        note: Callable[[str], None],
        log: Callable[[str], None],
        ending: Ending,
    ) -> None:
        self._database_url = database_url
        self._settings = Settings.read(os.environ, database_url)
        self._note = note
        self._log = log
        self._ending = ending
        self._shares: Path | None = None

    def run(
        self,
        *,
        tls_cert: Path | None,
        tls_key: Path | None,
        forwarded_allow_ips: Sequence[str],
        needs_token: bool,
        **options: Any,
    ) -> None:
        """Serve until a signal ends it; `options` are those of `Options`. InvalidInput where a
        token is needed and none is set: one that is made would stand in the log.
        """
        if needs_token and self._settings.api_token is None:
            raise InvalidInput(
                "a log of JSON lines would keep the token that is made at the start",
                f"choose one with {API_TOKEN}",
            )
        proxies = proxies_of(forwarded_allow_ips)
        chosen = Options(tls=tls_files(tls_cert, tls_key), proxies=proxies, **options)
        if _fast_loop is None:
            self._note("uvloop is not installed: serving on asyncio's own loop, which is slower")
        with open_door(self._settings, chosen, self._note) as door:
            worker = self._worker(chosen.workers)
            try:
                with asyncio.Runner(loop_factory=_fast_loop) as runner:
                    runner.run(self._serve(door, chosen, worker))
            finally:
                self._ending.call_off()

    def _worker(self, count: int) -> Worker | None:
        """One of so many, None for the only one. The process that looks after them ends here."""
        if count == 1:
            return None
        self._shares = self._folder()
        split = Workers(count, [signal.SIGINT] + terminating(), self._note).split()
        if isinstance(split, int):
            if self._shares is not None:
                shutil.rmtree(self._shares, ignore_errors=True)
            sys.exit(split)
        return split

    def _folder(self) -> Path | None:
        """Where workers tell each other what they counted; None where nothing can be written."""
        try:
            return Path(tempfile.mkdtemp(prefix="ollama-admin-"))
        except OSError as exc:
            self._note(
                "/metrics will tell the numbers of one worker each time: there is no folder for "
                f"temporary files ({exc.strerror}); name one with TMPDIR"
            )
            return None

    async def _serve(self, door: Door, options: Options, worker: Worker | None) -> None:
        end_of_loading()
        stop = Stop()

        def leave(code: int) -> None:
            at_the_latest = LEAVING
            if not stop.asked.is_set():
                at_the_latest += options.grace
            self._ending.within(at_the_latest, code)
            stop()

        if worker is None:
            _obey_signals(leave)
        else:
            _obey_orders(worker.orders, leave)
        async with Client(database_url=self._database_url, on_note=self._note) as client:
            await serve(
                client,
                door,
                self._settings,
                options,
                stop=stop,
                say=self._note,
                log=self._log,
                when_made=end_of_making,
                introduces=worker is None or worker.is_first,
                shares=self._shares,
            )


def _obey_signals(leave: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, leave, INTERRUPTED)
    for sign in terminating():
        loop.add_signal_handler(sign, leave, TERMINATED)


def _obey_orders(orders: int, leave: Callable[[int], None]) -> None:
    """As `Worker.orders` says."""
    loop = asyncio.get_running_loop()

    def obey() -> None:
        numbers = os.read(orders, 16)
        for number in numbers:
            leave(INTERRUPTED if number == signal.SIGINT else TERMINATED)
        if not numbers:
            loop.remove_reader(orders)
            leave(TERMINATED)

    loop.add_reader(orders, obey)
