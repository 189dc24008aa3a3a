"""`ollama-admin sync`"""

from typing import TYPE_CHECKING, Annotated

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import OutputOption, YesOption, complete_model, complete_server
from ollama_admin.cli.pulling import followed
from ollama_admin.cli.results import end
from ollama_admin.cli.target_options import DestinationOptions, takes_destinations
from ollama_admin.cli.views.sync import print_synced, removals
from ollama_admin.domain.sync import SyncReport

if TYPE_CHECKING:
    from ollama_admin.domain.sync import SyncPlan

app = Commands()


@app.command("sync")
@takes_destinations
def sync(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="S",
            help="The server that has what the others are to have.",
            autocompletion=complete_server,
        ),
    ],
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="S",
            help="A server, by id or name; may be repeated.",
            show_default=False,
            autocompletion=complete_server,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="GLOB",
            help="Only names that match, such as 'qwen*'.",
            autocompletion=complete_model,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")
    ] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also delete what only the other servers have.")
    ] = False,
    parallel: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Pulls at once; by default as many as helps."),
    ] = None,
    yes: YesOption = False,
    output: OutputOption = None,
    *,
    chosen: DestinationOptions,
) -> None:
    """Have servers pull what another one holds.

    Servers are asked what they hold now, and pull what they lack or have in another build. Where a
    registry has moved on, the build of the other server cannot be had again: that is said, and what
    came stays. Nothing is deleted without --prune, which asks before. Exit code 7: something
    failed.
    """
    shell = shell_of(context, output)
    asked = chosen.arguments(to)
    plan = shell.run(lambda client: client.fleet.sync_plan(source, model=model, **asked))
    if dry_run:
        report = plan.report(prune=prune)
        shell.show(report, print_synced)
    else:
        if prune and plan.extra:
            plan.require_prunable()
            if not yes:
                _confirm(shell, plan)
        report = followed(
            shell,
            lambda client: client.fleet.syncing(plan, prune=prune, parallel=parallel),
            SyncReport,
        )
        if not shell.output.json:
            print_synced(shell.output, report)
    end(has_failures=bool(report.failed))


def _confirm(shell: Shell, plan: "SyncPlan") -> None:
    """Ask before something is deleted, and say what."""
    for sentence in removals(plan):
        shell.output.note(sentence)
    count = "1 model" if len(plan.extra) == 1 else f"{len(plan.extra)} models"
    shell.confirm(f"Delete {count} that {plan.source.name} does not have?")
