"""`ollama-admin server drain` and `resume`"""

from typing import Annotated

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.options import OutputOption, ServerArgument, seconds
from ollama_admin.cli.views import servers as views
from ollama_admin.domain.servers import Server


def drain(
    context: typer.Context,
    server: ServerArgument,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="D",
            parser=seconds,
            help="Wait so long: 30, 5m, 2h; without it for ever.",
            show_default=False,
        ),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Let a server get no new requests, and wait until none runs there.

    Requests go to other servers that hold the same build. It stays active; see resume. Ctrl-C ends
    the wait, and the server goes on draining.
    """
    shell = shell_of(context, output)
    begun: list[Server] = []

    def on_left(row: Server) -> None:
        begun.append(row)
        _say_what_is_left(shell, row)

    try:
        drained = shell.run(
            lambda client: client.servers.drain(server, timeout=timeout, on_left=on_left)
        )
    except (KeyboardInterrupt, typer.Exit):  # as a signal ends it
        if begun:
            _say_it_goes_on(shell, begun[0])
        raise
    shell.show_done(drained, views.changed_server(drained, "drained"))


def resume(context: typer.Context, server: ServerArgument, output: OutputOption = None) -> None:
    """Let a server that was drained get requests again."""
    shell = shell_of(context, output)
    resumed = shell.run(lambda client: client.servers.resume(server))
    shell.show_done(resumed, views.changed_server(resumed, "resumed"))


def _say_it_goes_on(shell: Shell, row: Server) -> None:
    shell.output.note(
        f"server {row.name} is still draining; let it answer again with: ollama-admin server "
        f"resume {row.ref.word}"
    )


def _say_what_is_left(shell: Shell, row: Server) -> None:
    if row.slots_in_use == 1:
        shell.output.note(f"1 request still runs at server {row.name}")
    elif row.slots_in_use:
        shell.output.note(f"{row.slots_in_use} requests still run at server {row.name}")
