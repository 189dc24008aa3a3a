"""`ollama-admin demo`"""

from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands

app = Commands()


@app.command("demo")
def demo(
    context: typer.Context,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the database, and say how to use it.")
    ] = False,
) -> None:
    """Try it all out on two simulated servers.

    Each command is printed before it runs, in a temporary database.
    """
    shell_of(context, None).run_demo(keep=keep)
