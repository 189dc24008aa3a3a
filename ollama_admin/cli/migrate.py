"""`ollama-admin migrate`"""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, seconds
from ollama_admin.cli.output import Output
from ollama_admin.errors import InvalidInput

if TYPE_CHECKING:
    from ollama_admin.store.migrations import SchemaStatus

LONGEST_LOCK_TIMEOUT = 86_400


app = Commands()


@app.command("migrate")
def migrate(  # long because each option is a line
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 8 if something is pending.")
    ] = False,
    status: Annotated[
        bool, typer.Option("--status", help="Change nothing; show the schema's revision.")
    ] = False,
    sql: Annotated[
        bool, typer.Option("--sql", help="Change nothing; print the pending SQL (PostgreSQL).")
    ] = False,
    to: Annotated[
        str | None, typer.Option(metavar="REV", help="Stop at this revision.", show_default=False)
    ] = None,
    wait: Annotated[
        float,
        typer.Option(metavar="D", parser=seconds, help="Wait for the database to come up: 30, 5m."),
    ] = 0,
    lock_timeout: Annotated[
        float,
        typer.Option(metavar="D", parser=seconds, help="Wait for another migration: 60, 5m."),
    ] = 60,
    output: OutputOption = None,
) -> None:
    """Bring the database schema up to date.

    Any number of processes may run it at once. It also deletes receipts older than 90 days.
    """
    if check + status + sql > 1:
        raise InvalidInput("--check, --status and --sql cannot be combined", "keep one of them")
    _check(to, wait, lock_timeout)
    shell = shell_of(context, output)
    if sql:
        text = shell.pending_sql(wait=wait)
        shell.show({"sql": text}, _print_sql)
    elif check:
        shell.show(shell.require_nothing_pending(wait=wait), _print_revision)
    elif status:
        shell.show(shell.schema_status(wait=wait), _print_status)
    else:
        reached = shell.upgrade_schema(
            to=to, wait=wait, lock_timeout=lock_timeout, on_revision=partial(_print_applied, shell)
        )
        shell.show(reached, _print_revision)


def _check(to: str | None, wait: float, lock_timeout: float) -> None:
    """Refuse an empty revision (an unset variable in a script), and what is no time to wait, nan
    among it.
    """
    if to == "":
        raise InvalidInput(
            "the revision of --to is empty", "name one, or leave --to out to go to the newest"
        )
    if not wait >= 0:
        raise InvalidInput("--wait must be 0 seconds or more")
    if not 0 < lock_timeout <= LONGEST_LOCK_TIMEOUT:
        raise InvalidInput(
            f"--lock-timeout must be greater than 0 and at most {LONGEST_LOCK_TIMEOUT} seconds"
        )


def _print_applied(shell: Shell, revision: str) -> None:
    """Print each revision at once; with JSON there is only one document, at the end."""
    if not shell.output.json:
        shell.output.line(f"applied {revision}")


def _print_sql(output: Output, document: Mapping[str, str]) -> None:
    output.line(document["sql"].rstrip() or "-- nothing is pending")


def _print_status(output: Output, status: "SchemaStatus") -> None:
    output.line(f"current  {status.current or '-'}")
    output.line(f"head     {status.head}")
    output.line(f"pending  {', '.join(status.pending) or '-'}")


def _print_revision(output: Output, status: "SchemaStatus") -> None:
    pending = f", pending: {', '.join(status.pending)}" if status.pending else ""
    output.line(f"the schema is at {status.current}{pending}")
