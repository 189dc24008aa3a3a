"""`ollama-admin discover`"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, ServersArgument, seconds
from ollama_admin.cli.results import end_with_results
from ollama_admin.cli.target_options import TargetOptions, takes_targets
from ollama_admin.cli.views.discover import print_discovered

if TYPE_CHECKING:
    from ollama_admin.domain.models import DiscoverResult

app = Commands()


@app.command("discover")
@takes_targets
def discover(
    context: typer.Context,
    servers: ServersArgument = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="D", parser=seconds, help="For each call: 30, 1m; 10 seconds by default."
        ),
    ] = None,
    concurrency: Annotated[
        int | None,
        typer.Option(metavar="N", help="Servers to ask at once; by default as many as helps."),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete the rows of vanished models.")
    ] = False,
    output: OutputOption = None,
    *,
    chosen: TargetOptions,
) -> None:
    """Read what servers hold into the database. Without S, all active ones."""
    shell = shell_of(context, output)
    asked = chosen.arguments(servers)
    asked |= {"timeout": timeout, "concurrency": concurrency, "prune": prune}
    results = _discover(shell, asked)
    is_one_named = servers is not None and len(servers) == 1
    end_with_results(shell, results, print_discovered, is_one_named=is_one_named)


def _discover(shell: Shell, asked: dict[str, Any]) -> "Sequence[DiscoverResult]":
    """Discover, with a bar on a terminal that shows how far it has come."""
    if shell.output.json:
        return shell.run(lambda client: client.discover(**asked))
    with shell.discover_progress() as progress:
        return shell.run(
            lambda client: client.discover(
                **asked, on_start=progress.start, on_result=progress.result
            )
        )
