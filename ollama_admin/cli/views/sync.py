"""How it is shown what servers lack of another one, and what became of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells, Wrong
from ollama_admin.cli.output import Output
from ollama_admin.cli.views.servers import note_errors
from ollama_admin.domain.digests import short
from ollama_admin.domain.sync import SyncAction

if TYPE_CHECKING:
    from ollama_admin.domain.sync import SyncPlan, SyncReport, SyncResult

_DONE = {SyncAction.PULL: "pulled", SyncAction.REMOVE: "removed"}
_PLANNED = {
    SyncAction.PULL: "to pull",
    SyncAction.REMOVE: "to remove",
    SyncAction.KEEP: "kept: --prune deletes it",
}


def print_synced(output: Output, report: "SyncReport") -> None:
    """Print a line for each model at each server, then how many are the same, and what failed."""
    if report.results:
        headings = ["SERVER", "MODEL", "BEFORE", "BUILD", "NOTE"]
        print_table(output, headings, map(_cells, report.results))
    same = "1 model is" if report.same == 1 else f"{report.same} models are"
    output.note(f"{same} already as {report.source} has them")
    if report.skipped:
        output.note(f"not pulled, as they run elsewhere or tell no digest: {_names(report)}")
    note_errors(output, report.results)


def removals(plan: "SyncPlan") -> Iterator[str]:
    """What `--prune` would delete, a sentence for each server."""
    names: dict[str, list[str]] = {}
    for step in plan.extra:
        names.setdefault(step.server.name, []).append(step.model)
    for server, models in names.items():
        yield f"only {server} has {', '.join(models)}"


def _cells(result: "SyncResult") -> Cells:
    note = _PLANNED.get(result.action, "")
    if result.is_done:
        note = _DONE[result.action]
    if result.error is not None:
        note = Wrong(result.error.code)
    name, before, digest = result.server.name, short(result.before), short(result.digest)
    return (name, result.model, before, digest, note)


def _names(report: "SyncReport") -> str:
    return ", ".join(report.skipped)
