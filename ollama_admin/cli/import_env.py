"""`ollama-admin import-env`"""

import os
from collections.abc import Awaitable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption
from ollama_admin.cli.results import end
from ollama_admin.cli.views.discover import print_discovered
from ollama_admin.cli.views.import_env import print_import
from ollama_admin.errors import InvalidInput, all_of

if TYPE_CHECKING:
    from ollama_admin.client import Client
    from ollama_admin.services.import_env import ImportResult

app = Commands()


@app.command("import-env")
def import_env(  # long because each option is a line or two
    context: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FILE", help="Files to import; .env by default.", show_default=False
        ),
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
    skip_errors: Annotated[
        bool, typer.Option("--skip-errors", help="Skip lines that cannot be read; import the rest.")
    ] = False,
    discover: Annotated[
        bool, typer.Option("--discover", help="Read the servers' models afterwards.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Import servers from legacy .env files.

    The files are never changed. Of Compose files, the "environment:" sections are read.

    Prints a line for each server, never a secret, and what was not understood; -v adds every line
    of the files. Then imports it all in one transaction, unless lines cannot be read.
    """
    shell = shell_of(context, output)
    read_environment = dict(os.environ) if environ else None

    def run(client: "Client", *, dry: bool) -> "Awaitable[ImportResult]":
        return client.import_env(
            files,
            environ=read_environment,
            dry_run=dry,
            update=update,
            skip_errors=skip_errors,
        )

    async def work(client: "Client") -> "ImportResult":
        try:
            return await run(client, dry=dry_run)
        except InvalidInput:
            planned = await run(client, dry=True)
            if not planned.errors:
                raise
            return planned  # nothing was written: what the lines that can be read would become

    imported = shell.run(work)
    is_refused = bool(imported.errors) and not (skip_errors or dry_run)
    for warning in imported.warnings:
        shell.output.note(warning)
    if is_refused and shell.output.json:
        raise all_of(imported.errors)
    shell.show(imported, partial(print_import, dry_run=dry_run, is_refused=is_refused))
    if is_refused:
        raise typer.Exit(InvalidInput.exit_code)
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
