"""`ollama-admin usage`"""

from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.receipts import KeyFilter, ModelFilter, ServerFilter
from ollama_admin.cli.views.usage import print_csv, print_usage
from ollama_admin.domain.receipts import GROUPS
from ollama_admin.domain.times import point_in_time
from ollama_admin.errors import InvalidInput

app = Commands()


class UsageFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


@app.command("usage")
def usage(
    context: typer.Context,
    key: KeyFilter = None,
    model: ModelFilter = None,
    server: ServerFilter = None,
    since: Annotated[
        str | None,
        typer.Option(metavar="T", help="From that day on: 2026-01-31, or 90d; 30d by default."),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="GROUP", help=f"For each {', '.join(GROUPS)} instead.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for a spreadsheet.")] = False,
    output: Annotated[
        UsageFormat | None,
        typer.Option("-o", "--output", help="Output format: table, json or csv."),
    ] = None,
) -> None:
    """Show what each key used on each day of UTC: requests, and tokens in and out.

    Whole days count, and stay when receipts are deleted. Estimated tokens are those of answers that
    told no counts: their pieces were counted. Requests that came without a key are those of
    commands. P50 and P95: half of the requests, and 95 % of them, had their first token within this
    time.
    """
    shell = shell_of(context, output)
    is_csv = csv or output is UsageFormat.CSV
    if csv and shell.output.json:
        raise InvalidInput("CSV and JSON are both asked for", "leave one of the two out")
    start = None
    if since is not None:
        start = point_in_time(since, datetime.now(UTC))
    rows = shell.run(
        lambda client: client.receipts.usage(
            key=key, model=model, server=server, since=start, by=by
        )
    )
    shell.show(rows, partial(print_csv if is_csv else print_usage, by=by))
