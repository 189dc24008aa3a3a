"""`ollama-admin validate`"""

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.file_options import FileArgument, read_data
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption
from ollama_admin.cli.views.fleet_file import print_validated, validated

app = Commands()


@app.command("validate")
def validate(context: typer.Context, file: FileArgument, output: OutputOption = None) -> None:
    """Tell every mistake in a fleet file, with its line and column.

    The database is not asked: what a file may not have there, `plan` says.
    """
    shell = shell_of(context, output)
    shell.show(validated(shell.fleet_file(read_data(file))), print_validated)
