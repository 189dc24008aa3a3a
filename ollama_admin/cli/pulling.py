"""`ollama-admin pull`, and how any command follows pulls."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import ModelArgument, OutputOption
from ollama_admin.cli.pull_sums import Event, PullLines, PullRecords, PullSums
from ollama_admin.cli.results import end
from ollama_admin.cli.target_options import PlaceOptions, takes_places
from ollama_admin.cli.views.pulls import print_pulled
from ollama_admin.domain.pulls import PullReport
from ollama_admin.errors import ModelMismatch

if TYPE_CHECKING:
    from ollama_admin.cli.pull_screen import PullScreen
    from ollama_admin.client import Client

app = Commands()

Report = TypeVar("Report")


@app.command("pull")
@takes_places
def pull(
    context: typer.Context,
    model: ModelArgument,
    digest: Annotated[
        str | None,
        typer.Option(
            metavar="D",
            help="The build that has to come; by default the pinned one, if there is a pin.",
        ),
    ] = None,
    parallel: Annotated[
        int | None,
        typer.Option(metavar="N", help="Servers that pull at once; by default all."),
    ] = None,
    output: OutputOption = None,
    *,
    places: PlaceOptions,
) -> None:
    """Have servers pull a model, and compare their builds.

    Ctrl-C stops asking; the same command goes on where it stopped. A server that has the demanded
    build already pulls nothing. Exit code 7: something failed, or the builds differ.
    """
    shell = shell_of(context, output)
    asked = places.arguments() | {"digest": digest, "parallel": parallel}
    report = followed(shell, lambda client: client.fleet.pulling(model, **asked), PullReport)
    end_with_pulls(shell, report, is_one_named=places.names_one)


def followed(
    shell: Shell, start: "Callable[[Client], AsyncGenerator[Event, None]]", last: type[Report]
) -> Report:
    """The report of pulls, which is their last event. They are shown while they run: with bars on a
    terminal, else in a line from time to time, and as lines of JSON where that is asked for. When
    the run is cancelled, it is said what is not finished.
    """
    sums = PullSums()
    display = _display(shell, sums)

    async def work(client: "Client") -> Report:
        try:
            async with aclosing(start(client)) as events:
                async for event in events:
                    sums.tell(event)
                    display.tell(event)
        finally:
            display.stop()
        if not isinstance(event, last):
            raise TypeError("the last event of pulls is their report")
        return event

    try:
        return shell.run(work)
    except (KeyboardInterrupt, typer.Exit):  # as a signal ends it
        unfinished = sums.unfinished
        if unfinished is not None:
            shell.output.note(unfinished)
        raise


def end_with_pulls(shell: Shell, report: PullReport, *, is_one_named: bool) -> None:
    """Print what came of pulls, and exit 7 unless all came and each model is one build. Where one
    server was named, its failure is raised as the command's own, but not another build than the one
    that was demanded.
    """
    errors = [result.error for result in report.results if result.error]
    if errors and is_one_named and not isinstance(errors[0], ModelMismatch):
        raise errors[0]
    if not shell.output.json:
        print_pulled(shell.output, report)
    end(has_failures=not report.is_whole)


def _display(shell: Shell, sums: PullSums) -> "PullRecords | PullLines | PullScreen":
    if shell.output.json:
        return PullRecords(shell.output)
    if shell.output.can_show_waiting:
        return shell.pull_screen(sums)
    return PullLines(shell.output, sums)
