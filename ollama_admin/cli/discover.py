"""`ollama-admin discover`"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import EveryoneOption, OutputOption, ServersArgument
from ollama_admin.cli.results import end_with_results, names_one_server
from ollama_admin.cli.views.discover import print_discovered

if TYPE_CHECKING:
    from ollama_admin.domain.models import DiscoverResult

app = Commands()


@app.command("discover")
def discover(
    context: typer.Context,
    servers: ServersArgument = None,
    everyone: EveryoneOption = False,
    timeout: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds for each call; 10 by default.")
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(metavar="N", help="Servers to ask at once; by default as many as helps."),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete the rows of vanished models.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Read what servers hold into the database. Without S, all active ones."""
    shell = shell_of(context, output)
    one_named = names_one_server(servers, everyone)
    results = _discover(shell, servers or (), everyone, timeout, concurrency, prune)
    end_with_results(shell, results, print_discovered, is_one_named=one_named)


def _discover(
    shell: Shell,
    servers: Sequence[str],
    everyone: bool,
    timeout: float | None,
    concurrency: int | None,
    prune: bool,
) -> "Sequence[DiscoverResult]":
    """Discover, with a bar on a terminal that shows how far it has come."""
    if shell.output.json:
        return shell.run(
            lambda client: client.discover(
                servers, all=everyone, timeout=timeout, concurrency=concurrency, prune=prune
            )
        )
    with shell.discover_progress() as progress:
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
