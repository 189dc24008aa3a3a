"""What every command is given: how to reach the client, and where to print.

Heavy parts are loaded here, and only when a command asks for them.
"""

import contextlib
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from ollama_admin.cli.output import JSONList, Output
from ollama_admin.cli.startup import end_of_loading
from ollama_admin.errors import AdminError, InvalidInput

if TYPE_CHECKING:
    from ollama_admin.cli.ending import Ending
    from ollama_admin.cli.lists import Cells, ListView
    from ollama_admin.cli.progress import DiscoverProgress
    from ollama_admin.cli.pull_screen import PullScreen
    from ollama_admin.cli.pull_sums import PullSums
    from ollama_admin.cli.tables import ListTable
    from ollama_admin.cli.watching import Watching
    from ollama_admin.client import Client
    from ollama_admin.domain.callers import Caller
    from ollama_admin.domain.fleet_file import FleetFile
    from ollama_admin.domain.secret import Secret
    from ollama_admin.services.databases import Backup, DatabaseCopy
    from ollama_admin.settings import Settings
    from ollama_admin.store.migrations import SchemaStatus

T = TypeVar("T")


class Shell:
    """One run of the program. It travels as `obj` of the root context."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.database_url: str | None = None

    @cached_property
    def ending(self) -> "Ending":
        from ollama_admin.cli.ending import Ending

        return Ending()

    def run(self, work: Callable[["Client"], Awaitable[T]]) -> T:
        """Run async work with an open client; SIGINT, SIGTERM and SIGHUP cancel it, which
        cancels it upstream.
        """
        import asyncio

        try:
            return asyncio.run(self._run(work))
        finally:
            self.ending.call_off()

    async def _run(self, work: Callable[["Client"], Awaitable[T]]) -> T:
        import asyncio

        from ollama_admin.cli.ending import LEAVING, TERMINATED, terminating
        from ollama_admin.cli.watching import Watching
        from ollama_admin.client import Client

        end_of_loading()
        watching = Watching(self.output)
        caller = self._caller(watching)
        terminated = asyncio.Event()
        task = asyncio.current_task()

        def terminate() -> None:
            self.ending.within(LEAVING, TERMINATED)
            terminated.set()
            if task is not None:
                task.cancel()

        for sign in terminating():
            asyncio.get_running_loop().add_signal_handler(sign, terminate)
        interrupt = signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, self.ending.on_interrupt(interrupt))
        client = Client(database_url=self.database_url, on_note=caller.note, caller=caller)
        try:
            async with client, watching.shown():
                return await work(client)
        except asyncio.CancelledError:
            if terminated.is_set():
                raise typer.Exit(TERMINATED) from None
            raise
        finally:
            signal.signal(signal.SIGINT, interrupt)
            self._note_missing(client)

    def _caller(self, watch: "Watching") -> "Caller":
        """Who asks; that settings are misspelt is said before anything is asked."""
        from ollama_admin.domain.callers import OWNER, Caller, Way
        from ollama_admin.settings import unknown_variables

        note = self.output.note_once
        for text in unknown_variables(os.environ):
            note(text)
        detail = self.output.detail if self.output.verbose else None
        trace, traceparent = None, os.environ.get("TRACEPARENT")
        if traceparent:
            from ollama_admin.domain.traces import given_trace

            trace = given_trace(traceparent)
        return Caller(way=Way.CLI, rights=OWNER, note=note, detail=detail, watch=watch, trace=trace)

    def _note_missing(self, client: "Client") -> None:
        """Say where nothing was found, so that a mistyped path is seen."""
        if client.missing_file is not None:
            self.output.note_once(
                "there is no database yet: server add, import-env or migrate creates "
                f"{client.missing_file}"
            )

    def show(self, value: T, view: Callable[[Output, T], None]) -> None:
        """Print a value: as JSON where that is asked for, else as the view says."""
        if self.output.json:
            self.output.data(value)
        else:
            view(self.output, value)

    def show_done(self, value: object, sentence: str) -> None:
        """Print what was done: a value as JSON where that is asked for, else one sentence."""
        if self.output.json:
            self.output.data(value)
        else:
            self.output.sentence(sentence)

    def show_list(
        self,
        read: Callable[["Client"], AsyncGenerator[Sequence[T], None]],
        view: "ListView[T]",
    ) -> bool:
        """Print a list that comes in parts: as JSON where that is asked for, else as a table.

        Tells whether it was empty.
        """
        printer = self._list_printer(view)
        return self.run(lambda client: self._print_parts(printer, read(client)))

    def _list_printer(self, view: "ListView[T]") -> "JSONList | ListTable[T]":
        if self.output.json:
            return JSONList(self.output)
        from ollama_admin.cli.tables import ListTable

        return ListTable(self.output, view)

    async def _print_parts(
        self, printer: "JSONList | ListTable[T]", parts: AsyncGenerator[Sequence[T], None]
    ) -> bool:
        """Print a list that comes in parts, and leave nothing of it open; whether it was empty.

        A reader who has stopped holds up the writing, and with it the loop: so a signal ends the
        program by itself.
        """
        import asyncio

        from ollama_admin.cli.ending import terminating

        for sign in terminating():
            asyncio.get_running_loop().remove_signal_handler(sign)
        interrupt = self.ending.on_interrupt(signal.default_int_handler)
        signal.signal(signal.SIGINT, interrupt)
        async with contextlib.aclosing(parts):
            async for part in parts:
                printer.add(part)
        return printer.end()

    def discover_progress(self) -> "DiscoverProgress":
        """A bar on stderr that shows how many servers have answered."""
        from ollama_admin.cli.progress import DiscoverProgress

        return DiscoverProgress(self.output)

    def pull_screen(self, sums: "PullSums") -> "PullScreen":
        """Bars on stderr that show how far servers are with what they pull."""
        from ollama_admin.cli.pull_screen import PullScreen

        return PullScreen(self.output, sums)

    def run_top(
        self, read: Callable[["Client"], Awaitable[Any]], sort: str, *, reverse: bool, every: float
    ) -> None:
        """Show on a full screen what `read` tells, every so many seconds, until a person has
        enough.
        """
        from ollama_admin.cli.top_screen import TopScreen, run_screen

        screen = TopScreen(sort, reverse=reverse)
        self.run(lambda client: run_screen(self.output, screen, lambda: read(client), every))

    def serve(
        self, log: Callable[[str], None], note: Callable[[str], None], **options: Any
    ) -> None:
        """Serve until a signal ends it, as `Service` says; InvalidInput without the packages of the
        extra `server`.
        """
        try:
            from ollama_admin.cli.service import Service
        except ModuleNotFoundError as exc:
            if exc.name is None or exc.name.startswith("ollama_admin"):
                raise
            raise InvalidInput(
                f"the REST API needs packages that are not installed ({exc.name})",
                "install them from its folder: pip install '.[server]'",
            ) from exc
        service = Service(self.database_url, note, log, self.ending)
        service.run(**options)

    def pending_sql(self, *, wait: float) -> str:
        """The SQL that `upgrade_schema` would run; `wait` is seconds for the database to come
        up.
        """
        from ollama_admin.services import migrate

        return migrate.pending_sql(self.settings(), wait=wait)

    def schema_status(self, *, wait: float) -> "SchemaStatus":
        """Where the schema stands; `wait` is seconds for the database to come up."""
        from ollama_admin.services import migrate

        return migrate.status(self.settings(), wait=wait)

    def require_nothing_pending(self, *, wait: float) -> "SchemaStatus":
        """Where the schema stands; PendingMigrations when `upgrade_schema` would do something."""
        from ollama_admin.services import migrate

        return migrate.require_nothing_pending(self.settings(), wait=wait)

    def upgrade_schema(
        self,
        *,
        to: str | None,
        wait: float,
        lock_timeout: float,
        on_revision: Callable[[str], None],
    ) -> "SchemaStatus":
        """Bring the schema to a revision (default: the newest); times are in seconds."""
        from ollama_admin.services import migrate

        return migrate.upgrade(
            self.settings(),
            to=to,
            wait=wait,
            lock_timeout=lock_timeout,
            on_revision=on_revision,
            on_note=self.output.note,
        )

    def fleet_file(self, data: bytes) -> "FleetFile":
        """A fleet file, read without a database."""
        from ollama_admin.services.fleet_reading import read_file

        return read_file(data)

    def fleet_document(self, file: "FleetFile") -> dict[str, Any]:
        """A fleet file as the document of its JSON."""
        from ollama_admin.rules.fleet_text import document_of
        from ollama_admin.services.fleet_reading import DEFAULTS

        return document_of(file, DEFAULTS)

    def fleet_text(self, document: dict[str, Any]) -> str:
        """A fleet file as YAML."""
        from ollama_admin.rules.fleet_text import yaml_of

        return yaml_of(document)

    def copy_database(self, source: str, target: str) -> "DatabaseCopy":
        """Copy a database to another URL; either may be env:NAME."""
        from ollama_admin.services import databases

        output = self.output

        def show(table: str, done: int, total: int) -> None:
            if output.can_show_waiting:
                output.show_waiting(f"copying {table}: {done} of {total}")

        urls = _url_in(source), _url_in(target)
        settings = [self._settings_at(url) for url in urls]
        return databases.copy(settings[0], settings[1], show, output.note_once)

    def back_up_database(self, file: Path, *, replace: bool) -> "Backup":
        """Write the SQLite database into a file."""
        from ollama_admin.services import databases

        return databases.back_up(self.settings(), file, replace=replace, on_note=self.output.note)

    def restore_database(self, file: Path) -> "Backup":
        """Make the SQLite database what a file holds."""
        from ollama_admin.services import databases

        return databases.restore(self.settings(), file, self.output.note)

    def is_database_overwritten(self, file: Path) -> bool:
        """Whether `restore_database` would overwrite something; an error if it could not."""
        from ollama_admin.services import databases

        return databases.is_overwritten(self.settings(), file)

    def run_demo(self, *, keep: bool) -> None:
        """Play the demo; `keep` leaves its database."""
        from ollama_admin.demo import script

        script.run(self.output.line, keep=keep)

    def new_key(self) -> "Secret":
        """A key for stored secrets, which is kept nowhere."""
        from ollama_admin import vault

        return vault.new_key()

    def known_words(self, read: Callable[["Client"], Awaitable[Iterable[str]]]) -> Iterable[str]:
        """Names for shell completion, which has nowhere to print an error and must not make a
        database.
        """
        with contextlib.suppress(AdminError, OSError):
            settings = self.settings()
            if settings.is_postgresql or settings.sqlite_path.stat().st_size:
                return self.run(read)
        return []

    def can_ask(self) -> bool:
        """Whether a person is there to answer a question."""
        return sys.stdin is not None and sys.stdin.isatty() and not self.output.json

    def confirm(self, question: str) -> None:
        """Ask a person; raises typer.Abort for a no, InvalidInput where nobody is there."""
        if not self.can_ask():
            raise InvalidInput(
                "this needs a yes, and there is no terminal to ask on",
                "add --yes to go ahead without asking",
            )
        if not self.output.agreed(question):
            raise typer.Abort

    def settings(self) -> "Settings":
        """What the environment and `--database-url` say."""
        return self._settings_at(self.database_url)

    def _settings_at(self, database_url: str | None) -> "Settings":
        from ollama_admin.settings import Settings

        return Settings.read(os.environ, database_url)


def _url_in(text: str) -> str:
    """A URL, or the one in the variable that `env:NAME` names."""
    kind, _, name = text.partition(":")
    if kind != "env":
        return text
    url = os.environ.get(name)
    if not url:
        raise InvalidInput(f"the variable {name} is not set, or empty", "put a database URL there")
    return url


def shell_of(context: typer.Context, output: str | None) -> Shell:
    """The shell of a command, which prints as the command's own `--output` says."""
    shell: Shell = context.find_root().obj
    if output is not None:
        shell.output.json = output == "json"
    return shell


def new_shell(argv: list[str]) -> Shell:
    """A shell before options are read: an error in them must already know whether JSON was asked
    for.
    """
    asked = "-ojson" in argv or "--output=json" in argv
    asked = asked or any(
        word in ("-o", "--output") and value == "json" for word, value in pairwise(argv)
    )
    return Shell(Output(json=asked, stdout=sys.stdout, stderr=sys.stderr))


def print_table(
    output: Output, headings: Sequence[str], rows: Iterable["Cells"], more: Sequence[str] = ()
) -> None:
    """Print a table that is all there; of `more`, those columns for which there is room."""
    from ollama_admin.cli.tables import Table

    Table(output, headings, more).print(rows)
