"""`ollama-admin import-env`"""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.options import OutputOption

PARTLY = 7


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("import-env")
def import_env(
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
    found = shell.run(
        lambda client: client.import_env(
            files, environ=read_environment, dry_run=dry_run, update=update
        )
    )
    for warning in found.warnings:
        shell.output.note(warning)
    if shell.output.json:
        shell.output.data(found.document())
    else:
        _print(shell, found, dry_run=dry_run)
    failed = found.failed > 0
    if discover and found.server_ids and not dry_run:
        failed = _discover(shell, found.server_ids) or failed
    if failed:
        raise typer.Exit(PARTLY)


def _print(shell: Shell, found: Any, *, dry_run: bool) -> None:
    tables, out = shell.tables(), shell.output
    for entry in found.entries:
        tables.sentence(out, _described(entry))
    counts = found.counts
    out.line(
        f"variables: {counts.seen}, of which {counts.imported} for servers, {counts.conflicts} in "
        "conflict, "
        f"{counts.skipped} ignored, {counts.unknown} not understood, {counts.unrelated} not about "
        "Ollama"
    )
    if dry_run:
        out.line("nothing was changed (--dry-run)")
    else:
        out.line(f"values applied: {found.applied}")
    if found.failed:
        shell.output.note("values in conflict were not applied; let the file win with --update")
    if found.deletable:
        out.line(
            "these lines can now be deleted:"
            if not dry_run
            else "these lines could be deleted already:"
        )
        for file, line, variable in found.deletable:
            tables.sentence(out, f"  {_place(file, line)} {variable}")


def _described(entry: Any) -> str:
    value = ", ".join(entry.value) if isinstance(entry.value, tuple) else entry.value
    becomes = f" -> {entry.server}: {entry.field}" if entry.server and entry.field else ""
    shown = f" = {value}" if value is not None else ""
    why = f" ({entry.why})" if entry.why else ""
    return (
        f"{_place(entry.file, entry.line):<10} {entry.state:<10} "
        f"{entry.variable}{becomes}{shown}{why}"
    )


def _place(file: str | None, line: int | None) -> str:
    if file is None:
        return "environment"
    return file if line is None else f"{file}:{line}"


def _discover(shell: Shell, server_ids: tuple[int, ...]) -> bool:
    """Read the models of imported servers; whether some failed."""
    results = shell.run(lambda client: client.discover(server_ids))
    for result in results:
        if result.error:
            shell.output.note(f"{result.error.message} (the server is kept)")
    if not shell.output.json:
        shell.tables().discovered(shell.output, results)
    return any(result.error for result in results)
