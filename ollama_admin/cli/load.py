"""`ollama-admin load`"""

from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import ModelArgument, OutputOption
from ollama_admin.cli.results import end_with_results
from ollama_admin.cli.target_options import PlaceOptions, takes_places
from ollama_admin.cli.views.holdings import print_changes
from ollama_admin.domain.times import keep_alive_of

app = Commands()


@app.command("load")
@takes_places
def load(
    context: typer.Context,
    model: ModelArgument,
    keep_alive: Annotated[
        str | None,
        typer.Option(metavar="D", help="How long it stays: 30, 5m, 1d, -1 for ever."),
    ] = None,
    output: OutputOption = None,
    *,
    places: PlaceOptions,
) -> None:
    """Have servers load a model into memory.

    So the first answer does not wait for it. No prompt is sent, and nothing is pulled.
    """
    shell = shell_of(context, output)
    asked = places.arguments() | {"keep_alive": keep_alive_of(keep_alive)}
    results = shell.run(lambda client: client.fleet.load(model, **asked))
    end_with_results(shell, results, print_changes, is_one_named=places.names_one)
