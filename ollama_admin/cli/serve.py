"""`ollama-admin serve`"""

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption
from ollama_admin.cli.output import Output
from ollama_admin.safe_text import safe_text

PAUSE = 0.2  # seconds between two writes of the log

app = Commands()


@app.command("serve")
def serve(
    context: typer.Context,
    host: Annotated[
        str, typer.Option("--host", metavar="H", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="Port; 0 picks a free one.")
    ] = 8421,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="H",
            help="Another host name to answer to; may be repeated.",
            show_default=False,
        ),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(
            metavar="O",
            help="Another origin whose pages may ask models, or *; may be repeated.",
            show_default=False,
        ),
    ] = None,
    grace: Annotated[
        float,
        typer.Option(metavar="S", help="Seconds to let running answers finish after SIGTERM."),
    ] = 30.0,
    workers: Annotated[
        int, typer.Option(metavar="N", min=1, help="Processes that serve, one for each processor.")
    ] = 1,
    allow_truncate: Annotated[
        bool, typer.Option("--allow-truncate", help="Let servers cut a prompt that is too long.")
    ] = False,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            "--tls-cert",
            metavar="FILE",
            help="Serve https with this certificate and its chain (PEM).",
            show_default=False,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(
            "--tls-key", metavar="FILE", help="The key of the certificate.", show_default=False
        ),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Serve the fleet at one URL, until SIGTERM, SIGHUP or Ctrl-C.

    Clients of Ollama, OpenAI and Anthropic use it as they would use one server; it also serves the
    REST API to administer the fleet. Every request needs a key: the token in
    OLLAMA_ADMIN_API_TOKEN, or else one that is made and shown at the start. A certificate renewed
    on disk is picked up within a minute.
    """
    shell = shell_of(context, output)
    log = _Log(shell.output)
    try:
        shell.serve(
            log,
            tls_cert=tls_cert,
            tls_key=tls_key,
            workers=workers,
            host=host,
            port=port,
            allow_hosts=allow_host or (),
            allow_origins=allow_origin or (),
            grace=grace,
            allow_truncate=allow_truncate,
        )
    finally:
        log.flush()


class _Log:
    """Lines of one process, written together several times a second: to write each by itself would
    take longer than to relay a request.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._lines: list[tuple[float, str]] = []

    def __call__(self, line: str) -> None:
        """Take a line of the running loop."""
        if not self._lines:
            asyncio.get_running_loop().call_later(PAUSE, self.flush)
        self._lines.append((time.time(), line))

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        shown = [f"{_stamp(int(at))} {safe_text(line)}" for at, line in lines]
        # nobody reads the log any more: the requests are answered all the same
        with contextlib.suppress(OSError):
            if shown:
                self._output.log_lines(shown)


@lru_cache(maxsize=2)
def _stamp(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ}"
