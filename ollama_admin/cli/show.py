"""`ollama-admin show`"""

from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import ModelArgument, OutputOption, complete_server
from ollama_admin.cli.views.shown import print_shown

app = Commands()


@app.command("show")
def show(
    context: typer.Context,
    model: ModelArgument,
    server: Annotated[
        str | None,
        typer.Option(
            "-s",
            "--server",
            metavar="S",
            help="The server that tells of it; by default the first one that has it.",
            show_default=False,
            autocompletion=complete_server,
        ),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Show a model: what it is, and on which servers.

    Beside what it can do, its template, options and licence: which servers hold which build, and
    where it is in memory.
    """
    shell = shell_of(context, output)
    shell.show(shell.run(lambda client: client.fleet.show(model, server)), print_shown)
