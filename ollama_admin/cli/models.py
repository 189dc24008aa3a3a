"""`ollama-admin models`"""

from typing import TYPE_CHECKING, Annotated

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import (
    CapabilityFilter,
    LabelFilter,
    OutputOption,
    ServersArgument,
    complete_model,
)
from ollama_admin.cli.ordering import LimitOption, ReverseOption, arranged, field_of
from ollama_admin.cli.views.models import (
    ABSENCE,
    GROUPS_SORTABLE,
    SORTABLE,
    group_list,
    model_list,
)
from ollama_admin.errors import InvalidInput, ServerNotFound

if TYPE_CHECKING:
    from ollama_admin.client import Client

app = Commands()


@app.command("models")
def models(
    context: typer.Context,
    servers: ServersArgument = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="GLOB",
            help="Only names that match, such as 'qwen*'.",
            autocompletion=complete_model,
        ),
    ] = None,
    label: LabelFilter = None,
    capability: CapabilityFilter = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Include vanished models and those of inactive servers.")
    ] = False,
    by_model: Annotated[
        bool, typer.Option("--by-model", help="Group by name; show whether builds differ.")
    ] = False,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            help=f"By {', '.join(SORTABLE)}; with --by-model, {', '.join(GROUPS_SORTABLE)}.",
        ),
    ] = None,
    reverse: ReverseOption = False,
    limit: LimitOption = None,
    output: OutputOption = None,
) -> None:
    """List the models that servers hold.

    This is what the last discovery found. Without --sort, in the order of full names: registry,
    namespace, model, tag.
    """
    shell, labels = shell_of(context, output), label or ()
    if servers == ["list"] and not shell.run(lambda client: _is_server(client, "list")):
        raise InvalidInput(
            "models takes servers, and there is none named 'list'", "ollama-admin models"
        )
    if by_model:
        group_field = field_of(GROUPS_SORTABLE, sort)
        is_empty = shell.show_list(
            lambda client: arranged(
                client.models.stream_by_model(
                    servers or (), labels=labels, name=name, capability=capability, all=everything
                ),
                group_field,
                reverse=reverse,
                limit=limit,
            ),
            group_list(),
        )
    else:
        field = field_of(SORTABLE, sort)
        is_empty = shell.show_list(
            lambda client: arranged(
                client.models.stream(
                    servers or (), labels=labels, name=name, capability=capability, all=everything
                ),
                field,
                reverse=reverse,
                limit=limit,
            ),
            model_list(),
        )
    if is_empty and not shell.output.json:
        shell.output.note(_absence(shell, name))


async def _is_server(client: "Client", name: str) -> bool:
    try:
        await client.servers.find(name)
    except ServerNotFound:
        return False
    return True


def _absence(shell: Shell, name: str | None) -> str:
    """What to say where nothing is listed: for a name, which ones begin so."""
    if not name or any(mark in name for mark in "*?["):
        return ABSENCE
    names = shell.run(lambda client: client.models.names(name))
    if not names:
        return ABSENCE
    begin = "1 name begins" if len(names) == 1 else f"{len(names)} names begin"
    return f"no model is called {name!a}, but {begin} with it: --name '{name}*'"
