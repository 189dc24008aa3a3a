"""`ollama-admin usage`"""

from datetime import UTC, datetime
from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption
from ollama_admin.cli.receipts import KeyFilter, SinceOption
from ollama_admin.cli.views.usage import print_csv, print_usage
from ollama_admin.domain.times import point_in_time
from ollama_admin.errors import InvalidInput

app = Commands()


@app.command("usage")
def usage(
    context: typer.Context,
    key: KeyFilter = None,
    since: SinceOption = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV, for a spreadsheet.")] = False,
    output: OutputOption = None,
) -> None:
    """Show what each key used on each day of UTC: requests, and tokens in and out.

    It is added up from receipts, of 30 days unless --since says otherwise. Estimated tokens are
    those of answers that told no counts: their pieces were counted. Requests that came without a
    key are those of commands.
    """
    shell = shell_of(context, output)
    if csv and shell.output.json:
        raise InvalidInput("CSV and JSON are both asked for", "leave one of the two out")
    start = None
    if since is not None:
        start = point_in_time(since, datetime.now(UTC))
    rows = shell.run(lambda client: client.receipts.usage(key=key, since=start))
    shell.show(rows, print_csv if csv else print_usage)
