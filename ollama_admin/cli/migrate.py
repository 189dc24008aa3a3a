"""`ollama-admin migrate`"""

from typing import Annotated

import typer

from ollama_admin.cli.context import shell_of
from ollama_admin.cli.options import OutputOption
from ollama_admin.errors import InvalidInput

LONGEST_LOCK_TIMEOUT = 86_400


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("migrate")
def migrate(  # long because each option is a line
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 8 if something is pending.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Change nothing; show where the schema stands.")
    ] = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="Change nothing; print the pending SQL (PostgreSQL).")
    ] = False,
    to: Annotated[
        str | None, typer.Option(metavar="REV", help="Stop at this revision.", show_default=False)
    ] = None,
    wait: Annotated[
        float, typer.Option(metavar="S", help="Seconds to wait for the database to come up.")
    ] = 0,
    lock_timeout: Annotated[
        float, typer.Option(metavar="S", help="Seconds to wait for another migration.")
    ] = 60,
    output: OutputOption = None,
) -> None:
    """Bring the database's schema to the newest revision.

    It may be started any number of times at once. It also deletes receipts older than 90 days.
    """
    if check + status + sql > 1:
        raise InvalidInput("--check, --status and --sql exclude each other", "give one of them")
    _check(to, wait, lock_timeout)
    shell = shell_of(context, output)
    settings, service, out = shell.settings(), shell.migrations(), shell.output
    if sql:
        text = service.pending_sql(settings, wait=wait)
        out.data({"sql": text}) if out.json else out.line(text.rstrip() or "-- nothing is pending")
        return
    if check:
        found = service.require_nothing_pending(settings, wait=wait)
    elif status:
        found = service.status(settings, wait=wait)
    else:
        say = (lambda _: None) if out.json else (lambda revision: out.line(f"applied {revision}"))
        found = service.upgrade(
            settings, to=to, wait=wait, lock_timeout=lock_timeout, on_revision=say, on_note=out.note
        )
    if out.json:
        out.data(found)
    elif status:
        out.line(f"current  {found.current or '-'}")
        out.line(f"head     {found.head}")
        out.line(f"pending  {', '.join(found.pending) or '-'}")
    else:
        pending = f", pending: {', '.join(found.pending)}" if found.pending else ""
        out.line(f"the schema is at {found.current}{pending}")


def _check(to: str | None, wait: float, lock_timeout: float) -> None:
    """Refuse an empty revision (an unset variable in a script), and what is no time to wait, nan
    among it.
    """
    if to == "":
        raise InvalidInput(
            "the revision of --to is empty", "name one, or leave --to out to go to the newest"
        )
    if not wait >= 0:
        raise InvalidInput("--wait is below 0 seconds")
    if not 0 < lock_timeout <= LONGEST_LOCK_TIMEOUT:
        raise InvalidInput(
            f"--lock-timeout is not above 0 and at most {LONGEST_LOCK_TIMEOUT} seconds"
        )
