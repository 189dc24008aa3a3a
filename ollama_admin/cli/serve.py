"""`ollama-admin serve`"""

import contextlib
from datetime import UTC, datetime
from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption

app = Commands()


@app.command("serve")
def serve(
    context: typer.Context,
    host: Annotated[
        str, typer.Option("--host", metavar="H", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 takes any.")
    ] = 8421,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="H",
            help="Another name under which it is asked; may be repeated.",
            show_default=False,
        ),
    ] = None,
    grace: Annotated[
        float, typer.Option(metavar="S", help="Seconds that running answers have after SIGTERM.")
    ] = 30.0,
    allow_truncate: Annotated[
        bool, typer.Option("--allow-truncate", help="A long prompt may be cut.")
    ] = False,
    output: OutputOption = None,
) -> None:
    """Serve the REST API until SIGTERM, SIGHUP or Ctrl-C.

    Every request needs the bearer token of OLLAMA_ADMIN_API_TOKEN, or the one that is made and
    shown at the start.
    """
    shell = shell_of(context, output)

    def log(line: str) -> None:
        # nobody reads the log any more: the requests are answered all the same
        with contextlib.suppress(OSError):
            shell.output.log(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}")

    shell.serve(
        host=host,
        port=port,
        allow_hosts=allow_host or (),
        grace=grace,
        allow_truncate=allow_truncate,
        log=log,
    )
