"""`ollama-admin rm`"""

from typing import TYPE_CHECKING

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import ModelArgument, OutputOption, YesOption
from ollama_admin.cli.results import end_with_results
from ollama_admin.cli.target_options import PlaceOptions, takes_places
from ollama_admin.cli.views.holdings import print_changes

if TYPE_CHECKING:
    from ollama_admin.domain.holdings import Removal

app = Commands()

NAMED = 5  # servers that a question names


@app.command("rm")
@takes_places
def rm(
    context: typer.Context,
    model: ModelArgument,
    yes: YesOption = False,
    output: OutputOption = None,
    *,
    places: PlaceOptions,
) -> None:
    """Delete a model on servers.

    It asks before, and says which pins and default models would break. A model in memory is let go
    of first.
    """
    shell = shell_of(context, output)
    asked = places.arguments()
    removal = shell.run(lambda client: client.fleet.removal(model, **asked))
    for sentence in removal.breaks:
        shell.output.note(sentence)
    if not yes:  # asked between two runs: inside one, Ctrl-C would wait for the answer
        shell.confirm(_question(removal))
    results = shell.run(lambda client: client.fleet.remove(model, **asked))
    end_with_results(shell, results, print_changes, is_one_named=places.names_one)


def _question(removal: "Removal") -> str:
    names = [str(server) for server in removal.servers]
    where = f"on {', '.join(names[:NAMED])}"
    if len(names) > NAMED:
        where += f" and {len(names) - NAMED} more servers"
    return f"Delete model {removal.model!a} {where}?"
