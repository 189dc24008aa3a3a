"""`ollama-admin models`"""

from typing import Annotated, Any

import typer

from ollama_admin.cli.context import print_parts, shell_of
from ollama_admin.cli.options import CapabilityFilter, OutputOption, ServersArgument

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("models")
def models(
    context: typer.Context,
    servers: ServersArgument = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="GLOB", help="Only names like this: 'qwen*'.")
    ] = None,
    capability: CapabilityFilter = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also vanished ones and those of inactive servers.")
    ] = False,
    by_model: Annotated[
        bool, typer.Option("--by-model", help="Group by name; show whether builds differ.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """List the models that servers hold.

    This is what the last discovery found.
    """
    shell = shell_of(context, output)
    wanted = {"name": name, "capability": capability, "all": everything}
    tables = None if shell.output.json else shell.tables()

    async def work(client: Any) -> None:
        if by_model:
            printer = tables.model_groups(shell.output) if tables else shell.output.items()
            await print_parts(printer, client.models.stream_by_model(servers or (), **wanted))
        else:
            printer = tables.models(shell.output) if tables else shell.output.items()
            await print_parts(printer, client.models.stream(servers or (), **wanted))

    shell.run(work)
