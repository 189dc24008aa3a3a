"""`ollama-admin top`"""

import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ollama_admin.cli.activity_cells import ORDERS, Doc
from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, seconds
from ollama_admin.cli.ordering import ReverseOption
from ollama_admin.cli.views.activity import print_activity
from ollama_admin.documents import document
from ollama_admin.errors import InvalidInput

if TYPE_CHECKING:
    from ollama_admin.client import Client
    from ollama_admin.domain.secret import Secret

app = Commands()

TOKEN = "OLLAMA_ADMIN_API_TOKEN"  # noqa: S105 (the name of a variable)


@app.command("top")
def top(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="Print it once, and end.")] = False,
    url: Annotated[
        str | None,
        typer.Option(
            "--url",
            metavar="URL",
            help=f"Ask the serve at this URL, with the key in {TOKEN}.",
        ),
    ] = None,
    every: Annotated[
        float,
        typer.Option(
            "--every", metavar="D", parser=seconds, help="Time between two looks: 1, 30, 5m."
        ),
    ] = 1.0,
    sort: Annotated[
        str, typer.Option(metavar="FIELD", help=f"Sort by {', '.join(ORDERS)}.")
    ] = "name",
    reverse: ReverseOption = False,
    output: OutputOption = None,
) -> None:
    """Watch what servers are doing: health, load, speed, models in memory.

    Requests in flight and waiting are counted over all processes that share the database; speed is
    that of answers that ended in the last minute. Which requests are on their way is known inside
    `serve` alone: `--url` asks it. Keys: q quits, s sorts by the next field, r reverses, j and k
    scroll.

    In a pipe, and with -o json, it is printed once.
    """
    shell = shell_of(context, output)
    if sort not in ORDERS:
        raise InvalidInput(f"cannot sort by {sort!a}", f"choose from: {', '.join(ORDERS)}")
    if not 0.1 <= every <= 3600:
        raise InvalidInput("--every takes 0.1 to 3600 seconds")
    token = None if url is None else _token(shell)
    if once or shell.output.json or not _has_screen(shell):
        activity = shell.run(lambda client: _read(client, url, token, wait=True))
        shell.show(
            activity, lambda output, value: print_activity(output, value, sort, reverse=reverse)
        )
        return
    shell.run_top(
        lambda client: _read(client, url, token, wait=False), sort, reverse=reverse, every=every
    )


async def _read(client: "Client", url: str | None, token: "Secret | None", *, wait: bool) -> Doc:
    if url is not None and token is not None:
        return await client.fleet.activity_at(url, token)
    activity: dict[str, Any] = document(await client.fleet.activity(wait=wait))
    return activity


def _token(shell: Shell) -> "Secret":
    token = shell.settings().api_token
    if token is None:
        raise InvalidInput(f"--url needs a key, and {TOKEN} is not set", f"put a key into {TOKEN}")
    return token


def _has_screen(shell: Shell) -> bool:
    """Whether there is a terminal that can be drawn on, and keys can be pressed."""
    if sys.stdin is None or not sys.stdin.isatty() or os.environ.get("TERM") in (None, "", "dumb"):
        return False
    return shell.output.stdout.isatty()
