"""`ollama-admin ps`"""

import asyncio
import os
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, ServersArgument
from ollama_admin.cli.results import end_with_results
from ollama_admin.cli.target_options import TargetOptions, takes_targets
from ollama_admin.cli.views.running import print_running, print_screen
from ollama_admin.documents import results as results_document

if TYPE_CHECKING:
    from ollama_admin.client import Client

app = Commands()

EVERY = 2.0  # seconds between two looks
KEPT_FREE = 2  # lines of a screen: the headings, and the cursor's
CLEAR = "\x1b[H\x1b[2J"


@app.command("ps")
@takes_targets
def ps(
    context: typer.Context,
    servers: ServersArgument = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Show it again every two seconds, until Ctrl-C.")
    ] = False,
    output: OutputOption = None,
    *,
    chosen: TargetOptions,
) -> None:
    """Show what runs where, and how busy servers are.

    Without S, of all active servers. USED is how many of a server's slots our requests hold.
    """
    shell = shell_of(context, output)
    asked = chosen.arguments(servers)
    if watch:
        shell.run(lambda client: _watched(shell, client, asked))
    results = shell.run(lambda client: client.fleet.ps(**asked))
    is_one_named = servers is not None and len(servers) == 1
    end_with_results(shell, results, print_running, is_one_named=is_one_named)


async def _watched(shell: Shell, client: "Client", asked: dict[str, Any]) -> None:
    """Show it again and again; with JSON, a line each time."""
    output = shell.output
    clears = output.stdout.isatty() and os.environ.get("TERM") != "dumb"
    while True:
        results = await client.fleet.ps(**asked)
        if output.json:
            output.record(results_document(results, sum(bool(result.error) for result in results)))
        else:
            if clears:
                output.stdout.write(CLEAR)
                lines = os.get_terminal_size(output.stdout.fileno()).lines
                print_screen(output, results, max(1, lines - KEPT_FREE))
            else:
                print_running(output, results)
            output.stdout.flush()
        await asyncio.sleep(EVERY)
