"""`ollama-admin apply`"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.file_options import (
    FileArgument,
    ParallelOption,
    PlanOptions,
    read_data,
    takes_plan,
)
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, YesOption
from ollama_admin.cli.pulling import followed
from ollama_admin.cli.results import end
from ollama_admin.cli.views.fleet_file import print_applied, print_plan, print_pulled_for
from ollama_admin.cli.views.keys import lines_of_issued
from ollama_admin.domain.fleet_file import Applied
from ollama_admin.errors import InvalidInput

if TYPE_CHECKING:
    from ollama_admin.domain.fleet_file import Plan
    from ollama_admin.domain.keys import IssuedKey

app = Commands()


@app.command("apply")
@takes_plan
def apply(
    context: typer.Context,
    file: FileArgument,
    plan: Annotated[
        str | None,
        typer.Option(
            metavar="FINGERPRINT", help="Do exactly this plan, or nothing.", show_default=False
        ),
    ] = None,
    pull: Annotated[
        bool, typer.Option("--pull", help="Then have servers pull the models that they lack.")
    ] = False,
    parallel: ParallelOption = None,
    keys_file: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Write the texts of new keys to a new file that only you can read.",
            show_default=False,
        ),
    ] = None,
    yes: YesOption = False,
    output: OutputOption = None,
    *,
    options: PlanOptions,
) -> None:
    """Make the fleet as a file says: all rows in one transaction, or none.

    The plan is shown, and asked about without --yes; what changed meanwhile is an error, and
    nothing is done. A new key's text is shown this once, or written to --keys-file. Nothing is
    removed without --prune, and models are neither pulled without --pull nor ever deleted. Exit
    code 7: the rows are as the file says, but a model could not be pulled.
    """
    shell = shell_of(context, output)
    data, asked = read_data(file), options.arguments()
    found = shell.run(lambda client: client.fleet.file.plan(data, **asked))
    if not shell.output.json:
        print_plan(shell.output, found)
    if found.rows and not yes:
        shell.confirm(_question(found))
    _require_free(keys_file)
    fingerprint = plan or found.fingerprint
    applied = shell.run(lambda client: client.fleet.file.apply(data, plan=fingerprint, **asked))
    if keys_file is not None and applied.issued:
        _write(keys_file, applied.issued)
        shell.output.note(f"the texts of new keys are in {keys_file}")
        applied = applied.without_keys()
    _show(shell, applied, with_events=pull)
    if pull and applied.plan.pulls:
        _pull(shell, applied, parallel)


def _question(plan: "Plan") -> str:
    count = len(plan.rows)
    changes = "this 1 change" if count == 1 else f"these {count} changes"
    return f"Make {changes}?"


def _require_free(path: Path | None) -> None:
    if path is not None and path.exists():
        raise InvalidInput(f"{str(path)!a} is there already", "name a file that is not there")


def _show(shell: Shell, applied: Applied, *, with_events: bool) -> None:
    """Show what was done; as the first of several lines, where events of pulls are to follow."""
    if not shell.output.json:
        print_applied(shell.output, applied, with_pulls=with_events)
    elif with_events:
        shell.output.record(applied)
    else:
        shell.output.data(applied)


def _write(path: Path, issued: "Sequence[IssuedKey]") -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines_of_issued(issued))
    except OSError as exc:
        names = ", ".join(each.key.name for each in issued)
        raise InvalidInput(
            f"the keys are made, but {str(path)!a} cannot be written: {exc.strerror}",
            f"give them other texts with ollama-admin key rotate: {names}",
        ) from exc


def _pull(shell: Shell, applied: Applied, parallel: int | None) -> None:
    report = followed(
        shell,
        lambda client: client.fleet.file.pulling(applied, parallel=parallel),
        Applied,
    )
    if not shell.output.json:
        print_pulled_for(shell.output, report)
    end(has_failures=bool(report.failed))
