"""How changes are shown."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells, Wrong
from ollama_admin.cli.output import Output
from ollama_admin.cli.views.texts import age

if TYPE_CHECKING:
    from ollama_admin.domain.audit import AuditEntry

_SELDOM = ("updated_at", "created_at", "last_used_at", "slots_in_use")


def print_entries(output: Output, entries: "Sequence[AuditEntry]", limit: int) -> None:
    """Print a line for each change; where there are `limit` of them, say that there may be more."""
    if not entries:
        output.note("no such changes")
        return
    headings = ["ID", "WHEN", "WHO", "ACTION", "SUBJECT", "OUTCOME"]
    print_table(output, headings, map(_cells, entries), ["WAY", "CHANGED"])
    if len(entries) == limit:
        output.note(f"these are the newest {limit}; more with --limit N")


def _cells(entry: "AuditEntry") -> Cells:
    outcome = entry.outcome
    if outcome != "ok":
        outcome = Wrong(outcome)
    return (
        str(entry.id),
        age(entry.created_at),
        entry.who,
        entry.action,
        entry.subject,
        outcome,
        entry.way,
        ", ".join(_changed(entry.before, entry.after)),
    )


def _changed(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> Iterator[str]:
    """The names of the fields that differ, where both are known."""
    if before is None or after is None:
        return
    for name, value in after.items():
        if name not in _SELDOM and before.get(name) != value:
            yield name
