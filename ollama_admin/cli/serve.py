"""`ollama-admin serve`"""

from pathlib import Path
from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, seconds
from ollama_admin.cli.service_log import LogFormat, ServiceLog

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
        typer.Option(
            metavar="D", parser=seconds, help="Let running answers finish after SIGTERM: 30, 5m."
        ),
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
    forwarded_allow_ips: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IP",
            help="Proxy or network whose X-Forwarded-For and -Proto are believed; may be repeated.",
            show_default=False,
        ),
    ] = None,
    otel: Annotated[
        bool,
        typer.Option(
            "--otel", help="Send traces by OTLP to where OTEL_EXPORTER_OTLP_ENDPOINT says."
        ),
    ] = False,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="How lines of the log on stderr are written.")
    ] = LogFormat.TEXT,
    output: OutputOption = None,
) -> None:
    """Serve the fleet at one URL, until SIGTERM, SIGHUP or Ctrl-C.

    Clients of Ollama, OpenAI and Anthropic use it as they would use one server; it also serves the
    REST API to administer the fleet. Every request needs a key: the token in
    OLLAMA_ADMIN_API_TOKEN, or else one that is made and shown at the start. A certificate renewed
    on disk is picked up within a minute.
    """
    shell = shell_of(context, output)
    log = ServiceLog(shell.output, log_format)
    note = shell.output.note
    if log_format is LogFormat.JSON:
        note = log.note
    try:
        shell.serve(
            log,
            note,
            needs_token=log_format is LogFormat.JSON,
            tls_cert=tls_cert,
            tls_key=tls_key,
            forwarded_allow_ips=forwarded_allow_ips or (),
            workers=workers,
            host=host,
            port=port,
            allow_hosts=allow_host or (),
            allow_origins=allow_origin or (),
            grace=grace,
            allow_truncate=allow_truncate,
            otel=otel,
        )
    finally:
        log.flush()
