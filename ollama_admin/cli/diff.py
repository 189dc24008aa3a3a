"""`ollama-admin diff`"""

from typing import Annotated

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.file_options import PlanOptions, read_data, takes_plan
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, complete_server
from ollama_admin.cli.results import end
from ollama_admin.cli.views.builds import print_difference

app = Commands()


@app.command("diff")
@takes_plan
def diff(
    context: typer.Context,
    left: Annotated[
        str,
        typer.Argument(
            metavar="S1",
            help="A server's id or name; alone, a fleet file, or - for stdin.",
            show_default=False,
            autocompletion=complete_server,
        ),
    ],
    right: Annotated[
        str | None,
        typer.Argument(
            metavar="[S2]",
            help="A server's id or name.",
            show_default=False,
            autocompletion=complete_server,
        ),
    ] = None,
    output: OutputOption = None,
    *,
    options: PlanOptions,
) -> None:
    """Show what differs between two servers, or between the fleet and a file.

    Of two servers: which models only one has, and whose builds differ, as the last discovery found
    them. With a fleet file alone: what `apply FILE` would change, as a unified diff of the fleet
    and the file. The exit code is 0 if nothing differs, and 7 if something does.
    """
    shell = shell_of(context, output)
    if right is None:
        _diff_file(shell, left, options)
        return
    if options != PlanOptions():
        raise typer.BadParameter("--prune and --adopt are for a fleet file")
    difference = shell.run(lambda client: client.fleet.diff(left, right))
    shell.show(difference, print_difference)
    end(has_failures=not difference.is_none)


def _diff_file(shell: Shell, file: str, options: PlanOptions) -> None:
    data, asked = read_data(file), options.arguments()
    text = shell.run(lambda client: client.fleet.file.diff(data, **asked))
    shell.show({"diff": text}, lambda output, _: output.text(text))
    end(has_failures=bool(text))
