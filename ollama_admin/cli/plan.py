"""`ollama-admin plan`"""

from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.file_options import FileArgument, PlanOptions, read_data, takes_plan
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption
from ollama_admin.cli.views.fleet_file import print_plan

PENDING = 8

app = Commands()


@app.command("plan")
@takes_plan
def plan(
    context: typer.Context,
    file: FileArgument,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit 8 when something is to be done.")
    ] = False,
    output: OutputOption = None,
    *,
    options: PlanOptions,
) -> None:
    """Show what `apply` would do so that the fleet is as a file says.

    Nothing is changed, and no server is asked: models are those that the last discovery found. The
    fingerprint is for `apply --plan`, which then does exactly this or nothing. Exit code 4: the
    file names rows of people or of other owners, which it may not change.
    """
    shell = shell_of(context, output)
    data, asked = read_data(file), options.arguments()
    found = shell.run(lambda client: client.fleet.file.plan(data, **asked))
    shell.show(found, print_plan)
    if exit_code and found.pending:
        raise typer.Exit(PENDING)
