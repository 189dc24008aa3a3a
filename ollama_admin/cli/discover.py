"""`ollama-admin discover`"""

from typing import Annotated

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.options import EveryoneOption, OutputOption, ServersArgument, one_target
from ollama_admin.documents import results
from ollama_admin.domain.models import DiscoverResult
from ollama_admin.errors import InvalidInput

PARTLY = 7


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("discover")
def discover(
    context: typer.Context,
    servers: ServersArgument = None,
    everyone: EveryoneOption = False,
    timeout: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds for each call; 10 if not given.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(metavar="N", help="Servers asked at once; as many as is useful if not given."),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete the rows of vanished models.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Read what servers hold into the database. Without S, all active servers."""
    shell = shell_of(context, output)
    if servers and everyone:
        raise InvalidInput("servers and --all are both given", "leave one of them out")
    found = _run(shell, servers or [], everyone, timeout, concurrency, prune)
    failed = [result.error for result in found if result.error]
    if failed and one_target(servers, everyone):
        raise failed[0]
    if shell.output.json:
        shell.output.data(results(found, len(failed)))
    else:
        shell.tables().discovered(shell.output, found)
    if failed:
        raise typer.Exit(PARTLY)


def _run(
    shell: Shell,
    servers: list[str],
    everyone: bool,
    timeout: float | None,
    concurrency: int | None,
    prune: bool,
) -> list[DiscoverResult]:
    if shell.output.json:
        return shell.run(
            lambda client: client.discover(
                servers, all=everyone, timeout=timeout, concurrency=concurrency, prune=prune
            )
        )
    with shell.tables().DiscoverProgress(shell.output) as progress:
        return shell.run(
            lambda client: client.discover(
                servers,
                all=everyone,
                timeout=timeout,
                concurrency=concurrency,
                prune=prune,
                on_start=progress.start,
                on_result=progress.result,
            )
        )
