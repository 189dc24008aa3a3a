"""`ollama-admin unload`"""

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import ModelArgument, OnOption, OutputOption
from ollama_admin.cli.results import end_with_results
from ollama_admin.cli.target_options import TargetOptions, takes_targets
from ollama_admin.cli.views.holdings import print_changes

app = Commands()


@app.command("unload")
@takes_targets
def unload(
    context: typer.Context,
    model: ModelArgument,
    on: OnOption = None,
    output: OutputOption = None,
    *,
    chosen: TargetOptions,
) -> None:
    """Have servers let go of a model in memory. Requests that it is answering end as they would."""
    shell = shell_of(context, output)
    asked = chosen.arguments(on)
    results = shell.run(lambda client: client.fleet.unload(model, **asked))
    is_one_named = on is not None and len(on) == 1
    end_with_results(shell, results, print_changes, is_one_named=is_one_named)
