"""`ollama-admin outdated`"""

from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, complete_model
from ollama_admin.cli.results import end_with_results
from ollama_admin.cli.views.builds import print_outdated
from ollama_admin.domain.names import is_glob

app = Commands()


@app.command("outdated")
def outdated(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            help="Names, or globs such as 'qwen*'.",
            show_default=False,
            autocompletion=complete_model,
        ),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(
            "--registry",
            metavar="URL",
            help="Ask this one in place of ollama.com's; names of other registries are left out.",
        ),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Include what is current, not at its registry or not asked."),
    ] = False,
    output: OutputOption = None,
) -> None:
    """Show which installed models their registries have newer builds of.

    The registry that a model's name says is asked for the digest of its manifest (ollama.com's
    where it says none, hf.co, or another), and that is compared with what the last discovery found
    on active servers. Nothing is pulled.

    Names of models leave the fleet for this, never a prompt, and by no other command.
    """
    shell = shell_of(context, output)
    names = models or []
    results = shell.run(
        lambda client: client.fleet.outdated(names, registry=registry, all=everything)
    )
    is_one_named = len(names) == 1 and not is_glob(names[0])
    end_with_results(shell, results, print_outdated, is_one_named=is_one_named)
