"""`ollama-admin receipts ...`"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.options import OutputOption, complete_server
from ollama_admin.domain.answers import Stats
from ollama_admin.domain.digests import short
from ollama_admin.domain.receipts import Receipt, ReceiptStats
from ollama_admin.domain.servers import ServerRef
from ollama_admin.domain.times import point_in_time

LIMIT = 50

app = typer.Typer(add_completion=False, rich_markup_mode=None)

ServerFilter = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="S",
        help="Only of this server, by id or name; also a removed one.",
        autocompletion=complete_server,
    ),
]
ModelFilter = Annotated[
    str | None, typer.Option("--model", metavar="M", help="Only of this model.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="T", help="Not older: 2026-01-31, 2026-01-31T12:00Z, or 90d, 24h, 30m."
    ),
]


@app.callback(invoke_without_command=True)
def receipts(context: typer.Context, output: OutputOption = None) -> None:
    """Show what became of the requests: a line for each, or sums. Alone it is `receipts list`.

    A receipt has times, tokens, server, digest and outcome, never the prompt or the answer. They
    are kept for 90 days; OLLAMA_ADMIN_RECEIPTS=off writes none.
    """
    shell_of(context, output)
    if context.invoked_subcommand is None:
        list_receipts(context)


@app.command("list")
def list_receipts(
    context: typer.Context,
    server: ServerFilter = None,
    model: ModelFilter = None,
    since: SinceOption = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only those that ended with an error.")
    ] = False,
    limit: Annotated[int, typer.Option(metavar="N", help="How many.")] = LIMIT,
    output: OutputOption = None,
) -> None:
    """List receipts, the newest first."""
    shell = shell_of(context, output)
    start = _time(since)
    found = shell.run(
        lambda client: client.receipts.list(
            server=server, model=model, since=start, failed=failed, limit=limit
        )
    )
    if shell.output.json:
        shell.output.data(found)
    else:
        _print(shell, found, limit)


@app.command("stats")
def stats(
    context: typer.Context,
    server: ServerFilter = None,
    model: ModelFilter = None,
    since: SinceOption = None,
    output: OutputOption = None,
) -> None:
    """Add receipts up, for each model on each server.

    Tokens per second are all tokens over all the time they took. P50 and P95: half, and 95 of 100,
    of the requests had their first token within this time.
    """
    shell = shell_of(context, output)
    start = _time(since)
    found = shell.run(lambda client: client.receipts.stats(server=server, model=model, since=start))
    if shell.output.json:
        shell.output.data(found)
    else:
        _print_stats(shell, found)


@app.command("prune")
def prune(
    context: typer.Context,
    before: Annotated[
        str | None,
        typer.Option(metavar="T", help="Older than this: as in --since; 90d if not given."),
    ] = None,
    output: OutputOption = None,
) -> None:
    """Delete old receipts. `migrate` does it, too."""
    shell = shell_of(context, output)
    end = _time(before)
    count = shell.run(lambda client: client.receipts.prune(before=end))
    if shell.output.json:
        shell.output.data({"pruned": count})
    else:
        shell.output.line(f"deleted {count} receipt{'' if count == 1 else 's'}")


def _time(text: str | None) -> datetime | None:
    return None if text is None else point_in_time(text, datetime.now(UTC))


def _print(shell: Shell, found: Sequence[Receipt], limit: int) -> None:
    if not found:
        shell.output.note("no such receipts")
        return
    tables = shell.tables()
    rows = [
        (
            tables.age(receipt.created_at),
            receipt.model or receipt.asked_model,
            _server(receipt.server),
            receipt.outcome,
            receipt.proof,
            *_told(receipt.stats),
            str(receipt.attempts),
            short(receipt.digest),
            receipt.way,
        )
        for receipt in found
    ]
    headings = ["WHEN", "MODEL", "SERVER", "OUTCOME", "PROOF", "TOTAL"]
    tables.table(
        shell.output,
        headings,
        rows,
        ["FIRST", "PROMPT", "OUTPUT", "TOK/S", "TRIES", "DIGEST", "WAY"],
    )
    if len(found) == limit:
        shell.output.note(f"these are the newest {limit}; more with --limit N")


def _print_stats(shell: Shell, found: Sequence[ReceiptStats]) -> None:
    if not found:
        shell.output.note("no such receipts")
        return
    rows = [
        (
            stats.model,
            _server(stats.server),
            str(stats.count),
            str(stats.failures),
            _number(stats.tokens_per_second),
            _seconds(stats.time_to_first_token_p50_ms),
            _seconds(stats.time_to_first_token_p95_ms),
            _number(stats.prompt_tokens),
            _number(stats.output_tokens),
        )
        for stats in found
    ]
    headings = ["MODEL", "SERVER", "COUNT", "FAILED", "TOK/S", "FIRST P50", "FIRST P95"]
    shell.tables().table(shell.output, headings, rows, ["PROMPT", "OUTPUT"])


def _server(server: ServerRef | None) -> str | None:
    return None if server is None else str(server)


def _told(stats: Stats | None) -> tuple[str | None, ...]:
    if stats is None:
        return (None,) * 5
    times = (stats.total_ms, stats.time_to_first_token_ms)
    numbers = (stats.prompt_tokens, stats.output_tokens, stats.tokens_per_second)
    return (*map(_seconds, times), *map(_number, numbers))


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.1f}" if isinstance(value, float) else str(value)


def _seconds(ms: int | None) -> str | None:
    return None if ms is None else f"{ms / 1000:.2f} s" if ms < 10_000 else f"{ms / 1000:.0f} s"
