"""`ollama-admin receipts ...`"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import (
    OutputOption,
    YesOption,
    complete_key,
    complete_model,
    complete_server,
)
from ollama_admin.cli.ordering import (
    LimitOption,
    ReverseOption,
    field_of,
    require_limit,
    sorted_by,
)
from ollama_admin.cli.views.receipts import (
    SUMS_SORTABLE,
    print_receipt,
    print_receipt_sums,
    print_receipts,
)
from ollama_admin.domain.receipts import GROUPS, SORTS
from ollama_admin.domain.times import point_in_time
from ollama_admin.errors import InvalidInput

if TYPE_CHECKING:
    from ollama_admin.client import Client

LIMIT = 50

app = Commands(
    """Show what became of requests, one by one or added up.

    A receipt holds times, tokens, server, digest and outcome, never the prompt or the answer.
    Receipts are kept for 90 days; OLLAMA_ADMIN_RECEIPTS=off writes none.
    """
)

ServerFilter = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="S",
        help="Only for this server, by id or name, even if removed.",
        autocompletion=complete_server,
    ),
]
ModelFilter = Annotated[
    str | None,
    typer.Option(
        "--model", metavar="M", help="Only for this model.", autocompletion=complete_model
    ),
]
KeyFilter = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="K",
        help="Only of this key, by id or name; also a removed one.",
        autocompletion=complete_key,
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="T",
        help="Only since then: 2026-01-31, 2026-01-31T12:00Z, or 90d, 24h, 30m.",
    ),
]


BeforeOption = Annotated[
    str | None,
    typer.Option("--before", metavar="T", help="Older than this, written as in --since."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Say how many there are, and delete none.")
]


@app.command("list")
def list_receipts(
    context: typer.Context,
    server: ServerFilter = None,
    model: ModelFilter = None,
    key: KeyFilter = None,
    since: SinceOption = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Only those that ended with an error.")
    ] = False,
    sort: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help=f"Highest first: {', '.join(SORTS)}."),
    ] = None,
    limit: Annotated[
        int, typer.Option("-L", "--limit", metavar="N", help="Show at most N.")
    ] = LIMIT,
    output: OutputOption = None,
) -> None:
    """List receipts, the newest first."""
    shell = shell_of(context, output)
    start = past_time(since)
    rows = shell.run(
        lambda client: client.receipts.list(
            server=server,
            model=model,
            key=key,
            since=start,
            failed=failed,
            limit=limit,
            sort=sort,
        )
    )
    shell.show(rows, partial(print_receipts, limit=limit, is_sorted=sort is not None))


@app.command("show")
def show(
    context: typer.Context,
    receipt: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="A receipt's id, or an answer's X-Request-Id.", show_default=False
        ),
    ],
    output: OutputOption = None,
) -> None:
    """Show everything about a receipt. `receipts list` shows their ids."""
    shell = shell_of(context, output)
    shell.show(shell.run(lambda client: client.receipts.show(receipt)), print_receipt)


@app.command("stats")
def stats(
    context: typer.Context,
    server: ServerFilter = None,
    model: ModelFilter = None,
    key: KeyFilter = None,
    since: SinceOption = None,
    by: Annotated[
        str | None, typer.Option(metavar="GROUP", help=f"For each {', '.join(GROUPS)} instead.")
    ] = None,
    sort: Annotated[
        str | None, typer.Option(metavar="FIELD", help=f"By {', '.join(SUMS_SORTABLE)}.")
    ] = None,
    reverse: ReverseOption = False,
    limit: LimitOption = None,
    output: OutputOption = None,
) -> None:
    """Add receipts up, for each model on each server.

    Tokens per second: all tokens over all the time they took. P50 and P95: half of the requests,
    and 95 % of them, had their first token within this time.
    """
    shell = shell_of(context, output)
    start, field = past_time(since), field_of(SUMS_SORTABLE, sort)
    require_limit(limit)
    sums = shell.run(
        lambda client: client.receipts.stats(
            server=server, model=model, key=key, since=start, by=by
        )
    )
    shell.show(sorted_by(sums, field, reverse=reverse)[:limit], partial(print_receipt_sums, by=by))


@app.command("prune")
def prune(
    context: typer.Context,
    before: BeforeOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    output: OutputOption = None,
) -> None:
    """Delete receipts older than 90 days, or than --before. `migrate` deletes the former, too."""
    end = past_time(before)
    delete_old(
        shell_of(context, output),
        ("receipt", "receipts"),
        lambda client: client.receipts.count_before(end),
        lambda client: client.receipts.prune(before=end),
        f"Delete all receipts older than {before or '90d'} from the database?",
        dry_run=dry_run,
        yes=yes,
    )


def delete_old(
    shell: Shell,
    nouns: tuple[str, str],
    count_old: Callable[["Client"], Awaitable[int]],
    prune: Callable[["Client"], Awaitable[int]],
    question: str,
    *,
    dry_run: bool,
    yes: bool,
) -> None:
    """Delete rows by `prune` after a yes, or tell how many it would be. `nouns` are what one is
    called, and several.
    """
    one, several = nouns
    if dry_run:
        old = shell.run(count_old)
        noun = one if old == 1 else several
        shell.show_done({"pruned": 0, "would_prune": old}, f"{old} {noun} would be deleted")
        return
    if not yes:
        shell.confirm(question)
    count = shell.run(prune)
    shell.show_done({"pruned": count}, f"deleted {count} {one if count == 1 else several}")


def past_time(text: str | None) -> datetime | None:
    """The time that an option names; InvalidInput for one in the future."""
    if text is None:
        return None
    now = datetime.now(UTC)
    time = point_in_time(text, now)
    if time > now:
        raise InvalidInput(f"the time {text!a} is in the future")
    return time
