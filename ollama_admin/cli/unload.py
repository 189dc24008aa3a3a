"""`ollama-admin unload`"""

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import ModelArgument, OutputOption
from ollama_admin.cli.results import end_with_results
from ollama_admin.cli.target_options import PlaceOptions, takes_places
from ollama_admin.cli.views.holdings import print_changes

app = Commands()


@app.command("unload")
@takes_places
def unload(
    context: typer.Context,
    model: ModelArgument,
    output: OutputOption = None,
    *,
    places: PlaceOptions,
) -> None:
    """Have servers let go of a model in memory. Requests that it is answering end as they would."""
    shell = shell_of(context, output)
    asked = places.arguments()
    results = shell.run(lambda client: client.fleet.unload(model, **asked))
    end_with_results(shell, results, print_changes, is_one_named=places.names_one)
