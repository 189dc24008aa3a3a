"""`ollama-admin pin ...`"""

from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, complete_model, complete_pin, complete_server
from ollama_admin.cli.ordering import (
    LimitOption,
    ReverseOption,
    field_of,
    require_limit,
    sorted_by,
)
from ollama_admin.cli.views.pins import SORTABLE, pinned, print_pins
from ollama_admin.domain.digests import short

app = Commands("Fix which build a model name means, on every server.")

NameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A model's name.", show_default=False, autocompletion=complete_model
    ),
]
PinnedNameArgument = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="A model's name.", show_default=False, autocompletion=complete_pin
    ),
]


@app.command("set")
def set_pin(
    context: typer.Context,
    name: NameArgument,
    digest: Annotated[
        str | None,
        typer.Option(
            metavar="D", help="Digest of the build; 12 digits are enough if a server has had it."
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="S", help="Take the build that this server has.", autocompletion=complete_server
        ),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Pin a name to a build. No other build of that name answers from then on.

    Without --digest and --server, pins the build that all active servers with this name hold. If
    they differ, nothing is pinned, and the error shows which server holds what. An existing pin is
    replaced.
    """
    shell = shell_of(context, output)
    pin = shell.run(lambda client: client.pins.set(name, digest=digest, server=server))
    shell.show_done(pin, pinned(pin))


@app.command("list")
def list_pins(
    context: typer.Context,
    sort: Annotated[
        str | None, typer.Option(metavar="FIELD", help=f"By {', '.join(SORTABLE)}.")
    ] = None,
    reverse: ReverseOption = False,
    limit: LimitOption = None,
    output: OutputOption = None,
) -> None:
    """List pins, and on how many active servers the name is this build or another one."""
    shell = shell_of(context, output)
    field = field_of(SORTABLE, sort)
    require_limit(limit)
    pins = shell.run(lambda client: client.pins.list())
    shell.show(sorted_by(pins, field, reverse=reverse)[:limit], print_pins)


@app.command("remove")
def remove(context: typer.Context, name: PinnedNameArgument, output: OutputOption = None) -> None:
    """Remove a pin. Any build of that name may answer again."""
    shell = shell_of(context, output)
    pin = shell.run(lambda client: client.pins.remove(name))
    shell.show_done(
        {"removed": {"name": pin.name, "digest": pin.digest}},
        f"removed the pin of {pin.name} to {short(pin.digest)}",
    )
