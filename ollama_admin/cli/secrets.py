"""`ollama-admin secrets ...`"""

from typing import TYPE_CHECKING

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption
from ollama_admin.cli.views.texts import print_fields

if TYPE_CHECKING:
    from ollama_admin.services.secrets import SecretsStatus

UNREADABLE = 5

app = Commands("Manage the key that encrypts stored secrets.")


@app.command("status")
def status(context: typer.Context, output: OutputOption = None) -> None:
    """Show where the key comes from and how many secrets it opens. No secret is shown.

    Exit 5 if one is unreadable.
    """
    shell = shell_of(context, output)
    _end(shell, shell.run(lambda client: client.secrets.status()))


@app.command("rotate")
def rotate(context: typer.Context, output: OutputOption = None) -> None:
    """Encrypt all secrets again under the newest key.

    With OLLAMA_ADMIN_SECRET_KEY, first put a new key before the old one ("NEW,OLD"), rotate, then
    drop the old one. With the key file of an SQLite database, this makes the new key.
    """
    shell = shell_of(context, output)
    _end(shell, shell.run(lambda client: client.secrets.rotate()))


@app.command("generate-key")
def generate_key(context: typer.Context, output: OutputOption = None) -> None:
    """Print a new key. Keep it where only ollama-admin can read it; nothing is stored."""
    shell = shell_of(context, output)
    key = shell.new_key().reveal()
    shell.show_done({"key": key}, key)


def _end(shell: Shell, status: "SecretsStatus") -> None:
    shell.show(status, print_fields)
    if status.unreadable:
        raise typer.Exit(UNREADABLE)
