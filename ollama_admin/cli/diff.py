"""`ollama-admin diff`"""

from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, complete_server
from ollama_admin.cli.results import end
from ollama_admin.cli.views.builds import print_difference

app = Commands()


@app.command("diff")
def diff(
    context: typer.Context,
    left: Annotated[
        str,
        typer.Argument(
            metavar="S1",
            help="A server's id or name.",
            show_default=False,
            autocompletion=complete_server,
        ),
    ],
    right: Annotated[
        str,
        typer.Argument(
            metavar="S2",
            help="A server's id or name.",
            show_default=False,
            autocompletion=complete_server,
        ),
    ],
    output: OutputOption = None,
) -> None:
    """Show which models only one of two servers has, and whose builds differ.

    It compares what the last discovery found. The exit code is 0 if nothing differs, and 7 if
    something does.
    """
    shell = shell_of(context, output)
    difference = shell.run(lambda client: client.fleet.diff(left, right))
    shell.show(difference, print_difference)
    end(has_failures=not difference.is_none)
