"""What every command is given: how to reach the client, and where to print.

Heavy parts are loaded here, and only when a command asks for them.
"""

import contextlib
import gc
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from ollama_admin.cli.output import Output
from ollama_admin.errors import AdminError, InvalidInput

if TYPE_CHECKING:
    from types import ModuleType

    from ollama_admin.client import Client
    from ollama_admin.settings import Settings

T = TypeVar("T")

TERMINATED = 143
# new objects after which to look for garbage; at 700, as usual, it takes a tenth of `discover`
GARBAGE = 20_000


class Shell:
    """One run of the program. It travels as `obj` of the root context."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.database_url: str | None = None

    def run(self, work: Callable[["Client"], Awaitable[T]]) -> T:
        """Run async work with an open client; SIGINT and SIGTERM cancel it, which cancels it
        upstream.
        """
        import asyncio

        return asyncio.run(self._run(work))

    async def _run(self, work: Callable[["Client"], Awaitable[T]]) -> T:
        import asyncio

        from ollama_admin.client import Client
        from ollama_admin.domain.callers import Way

        _end_of_loading()
        terminated = asyncio.Event()
        task = asyncio.current_task()

        def terminate() -> None:
            terminated.set()
            if task is not None:
                task.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
        try:
            async with Client(
                database_url=self.database_url, on_note=self.output.note, way=Way.CLI
            ) as client:
                return await work(client)
        except asyncio.CancelledError:
            if terminated.is_set():
                raise typer.Exit(TERMINATED) from None
            raise

    def serve(self, options: dict[str, Any], log: Callable[[str], None]) -> None:
        """Run the REST API until a signal ends it."""
        import asyncio

        asyncio.run(self._serve(self.api(), options, log))

    async def _serve(
        self, api: "ModuleType", options: dict[str, Any], log: Callable[[str], None]
    ) -> None:
        import asyncio

        from ollama_admin.client import Client
        from ollama_admin.domain.callers import Way

        _end_of_loading()
        settings, say, stop = self.settings(), self.output.note, api.Stop()
        for sign in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(sign, stop)
        async with Client(
            database_url=self.database_url, on_note=say, way=Way.API, policy=api.policy(settings)
        ) as client:
            await api.serve(client, settings, api.Options(**options), stop=stop, say=say, log=log)

    def server_names(self, beginning: str) -> Sequence[str]:
        """For shell completion, which has nowhere to print an error and must not make a
        database.
        """
        with contextlib.suppress(AdminError, OSError):
            settings = self.settings()
            if settings.is_postgresql or settings.sqlite_path.stat().st_size:
                return self.run(lambda client: client.servers.names(beginning))
        return []

    def can_ask(self) -> bool:
        """Whether a person is there to answer a question."""
        return sys.stdin is not None and sys.stdin.isatty() and not self.output.json

    def settings(self) -> "Settings":
        from ollama_admin.settings import Settings

        return Settings.read(os.environ, self.database_url)

    def tables(self) -> "ModuleType":
        """The printer of tables, with what it brings."""
        from ollama_admin.cli import render

        return render

    def api(self) -> "ModuleType":
        """The REST API, with the packages of the extra `server`."""
        try:
            from ollama_admin.api import serving
        except ModuleNotFoundError as exc:
            if exc.name is None or exc.name.startswith("ollama_admin"):
                raise
            raise InvalidInput(
                f"the REST API needs packages that are not installed ({exc.name})",
                "pip install 'ollama-admin[server]'",
            ) from exc
        return serving

    def migrations(self) -> "ModuleType":
        from ollama_admin.services import migrate

        return migrate

    def vault(self) -> "ModuleType":
        from ollama_admin import vault

        return vault

    def demo(self) -> "ModuleType":
        from ollama_admin.demo import script

        return script


def shell_of(context: typer.Context, output: str | None) -> Shell:
    """The shell of a command, told of the command's own `--output`."""
    shell: Shell = context.find_root().obj
    if output is not None:
        shell.output.json = output == "json"
    return shell


async def print_parts(printer: Any, parts: AsyncGenerator[Sequence[Any], None]) -> None:
    """Print a list that comes in parts, and leave nothing of it open.

    A reader who has stopped holds up the writing, and with it the loop: so a signal ends the
    program by itself.
    """
    import asyncio

    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    async with contextlib.aclosing(parts):
        async for part in parts:
            printer.add(part)
    printer.end()


def new_shell(argv: list[str]) -> Shell:
    """A shell before options are read: an error in them must already know whether JSON was asked
    for.
    """
    asked = "-ojson" in argv or "--output=json" in argv
    asked = asked or any(
        word in ("-o", "--output") and value == "json" for word, value in pairwise(argv)
    )
    return Shell(Output(json=asked, stdout=sys.stdout, stderr=sys.stderr))


def _end_of_loading() -> None:
    """Look for garbage from here on, but never in what is loaded; see `__main__`."""
    gc.freeze()
    gc.set_threshold(GARBAGE)
    gc.enable()
