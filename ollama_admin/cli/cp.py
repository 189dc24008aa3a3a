"""`ollama-admin cp`"""

from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, complete_model
from ollama_admin.cli.results import end_with_results
from ollama_admin.cli.target_options import PlaceOptions, takes_places
from ollama_admin.cli.views.holdings import print_changes

app = Commands()


@app.command("cp")
@takes_places
def cp(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SRC",
            help="The model.",
            show_default=False,
            autocompletion=complete_model,
        ),
    ],
    destination: Annotated[
        str, typer.Argument(metavar="DST", help="Its second name.", show_default=False)
    ],
    output: OutputOption = None,
    *,
    places: PlaceOptions,
) -> None:
    """Give a model a second name on servers. A name that stands for another build is refused."""
    shell = shell_of(context, output)
    asked = places.arguments()
    results = shell.run(lambda client: client.fleet.copy(source, destination, **asked))
    end_with_results(shell, results, print_changes, is_one_named=places.names_one)
