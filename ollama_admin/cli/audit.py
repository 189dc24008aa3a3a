"""`ollama-admin audit ...`"""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, YesOption
from ollama_admin.cli.receipts import (
    BeforeOption,
    DryRunOption,
    SinceOption,
    delete_old,
    past_time,
)
from ollama_admin.cli.views.audit import print_entries
from ollama_admin.domain.times import point_in_time

LIMIT = 50

app = Commands(
    """Show who changed what: servers, pins, keys, secrets, receipts.

    Each change has a row, by whatever way it came, and so has one that was refused. Secrets are
    never in it.
    """
)


@app.command("list")
def list_entries(
    context: typer.Context,
    since: SinceOption = None,
    who: Annotated[
        str | None, typer.Option(metavar="W", help="Only by this key, or user@host.")
    ] = None,
    action: Annotated[
        str | None, typer.Option(metavar="A", help="Only this: key, key.rotate, server.update.")
    ] = None,
    refused: Annotated[bool, typer.Option("--refused", help="Only what was refused.")] = False,
    limit: Annotated[int, typer.Option("-L", "--limit", metavar="N", help="How many.")] = LIMIT,
    output: OutputOption = None,
) -> None:
    """List changes, the newest first. With -o json each has what it was before and after."""
    shell = shell_of(context, output)
    start = None
    if since is not None:
        start = point_in_time(since, datetime.now(UTC))
    entries = shell.run(
        lambda client: client.audit.list(
            since=start, who=who, action=action, refused=refused, limit=limit
        )
    )
    shell.show(entries, partial(print_entries, limit=limit))


@app.command("prune")
def prune(
    context: typer.Context,
    before: BeforeOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Delete entries older than a year, or than --before. That leaves an entry, too."""
    end = past_time(before)
    delete_old(
        shell_of(context, output),
        ("entry", "entries"),
        lambda client: client.audit.count_before(end),
        lambda client: client.audit.prune(before=end),
        f"Delete all entries older than {before or '365d'} from the audit?",
        dry_run=dry_run,
        yes=yes,
    )
