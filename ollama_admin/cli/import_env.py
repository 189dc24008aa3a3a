"""`ollama-admin import-env`"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption
from ollama_admin.cli.results import end
from ollama_admin.cli.views.discover import print_discovered
from ollama_admin.cli.views.import_env import print_import

app = Commands()


@app.command("import-env")
def import_env(  # long because each option is a line or two
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE", help="Files; .env if not given.", show_default=False),
    ] = None,
    environ: Annotated[
        bool, typer.Option("--environ", help="Read this process's environment instead.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and change nothing.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Let the file win where it differs.")
    ] = False,
    discover: Annotated[
        bool, typer.Option("--discover", help="Read the servers' models afterwards.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Turn the servers of legacy .env files into rows.

    The files are never changed.

    Prints what every line that mentions Ollama becomes, never a secret; then applies it in one
    transaction.
    """
    shell = shell_of(context, output)
    read_environment = dict(os.environ) if environ else None
    imported = shell.run(
        lambda client: client.import_env(
            files, environ=read_environment, dry_run=dry_run, update=update
        )
    )
    for warning in imported.warnings:
        shell.output.note(warning)
    shell.show(imported, partial(print_import, dry_run=dry_run))
    has_failures = imported.failed > 0
    if discover and imported.server_ids and not dry_run:
        has_failures = _discover(shell, imported.server_ids) or has_failures
    end(has_failures=has_failures)


def _discover(shell: Shell, server_ids: Sequence[int]) -> bool:
    """Read the models of imported servers; whether some failed."""
    results = shell.run(lambda client: client.discover(server_ids))
    errors = [result.error for result in results if result.error]
    for error in errors:
        shell.output.note(f"{error.message} (the server is kept)")
    if not shell.output.json:
        print_discovered(shell.output, results)
    return bool(errors)
