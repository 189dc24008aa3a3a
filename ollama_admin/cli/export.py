"""`ollama-admin export`"""

from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption

app = Commands()


@app.command("export")
def export(
    context: typer.Context,
    owner: Annotated[
        str | None,
        typer.Option(
            metavar="O",
            help="What this owner's file made; by default what people made.",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="TOOL",
            help="The active servers as settings of litellm, openwebui, olla or env.",
            show_default=False,
        ),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Write the fleet as a file, or as another tool's settings.

    For such a file `plan` finds nothing to do. No secret is written: a reference stays one, and a
    secret that only the database has is `stored`, which means that it stays. env is for
    `import-env` and programs with such variables.
    """
    shell = shell_of(context, output)
    if to is not None:
        if owner is not None:
            raise typer.BadParameter("--owner and --to do not go together")
        text = shell.run(lambda client: client.fleet.file.export_to(to))
        shell.show({"tool": to, "settings": text}, lambda output, _: output.text(text))
        return
    file = shell.run(lambda client: client.fleet.file.export(owner))
    document = shell.fleet_document(file)
    shell.show(document, lambda output, value: output.text(shell.fleet_text(value)))
