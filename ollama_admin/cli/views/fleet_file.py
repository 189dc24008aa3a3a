"""How a plan is shown, and what became of it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells, Wrong
from ollama_admin.cli.output import Output
from ollama_admin.cli.views.keys import lines_of_issued
from ollama_admin.cli.views.pulls import print_pulled
from ollama_admin.domain.fleet_file import Action, Noun

if TYPE_CHECKING:
    from ollama_admin.domain.fleet_file import Applied, FieldChange, FleetFile, Plan, Step

_NAMED = 10  # rows that a note names


def validated(file: "FleetFile") -> dict[str, Any]:
    """What a valid file is about."""
    return {
        "owner": file.owner,
        "servers": len(file.servers),
        "models": len(file.models),
        "pins": len(file.pins),
        "keys": len(file.keys),
    }


def print_validated(output: Output, facts: Mapping[str, Any]) -> None:
    """Print one sentence."""
    counts = [_count(facts[name], name) for name in ("servers", "models", "pins", "keys")]
    output.sentence(f"the file of {facts['owner']} is valid: {', '.join(counts)}")


def print_plan(output: Output, plan: "Plan") -> None:
    """Print a line for each step, then what that is together, and what is left as it is."""
    if not plan.pending:
        output.sentence("nothing to do: the fleet is as the file says")
    else:
        print_table(output, ["ACTION", "WHAT", "NAME", "ON", "CHANGE"], map(_cells, plan.pending))
        output.sentence(f"{_sum(plan)}; plan {plan.fingerprint}")
    kept = [f"{step.noun} {step.name}" for step in plan.steps if not step.is_done]
    if kept:
        output.note(
            f"kept, though the file names them no longer: {_few(kept)}; --prune removes them"
        )


def print_applied(output: Output, applied: "Applied", *, with_pulls: bool) -> None:
    """Print what was done, and the texts of new keys; without pulls, that models are missing."""
    rows = applied.plan.rows
    if rows:
        output.sentence(f"done: {_count(len(rows), 'changes')}")
    for line in lines_of_issued(applied.issued):
        output.line(line)
    if applied.issued:
        output.note("the texts of new keys are shown this once")
    if applied.plan.pulls and not with_pulls:
        missing = _count(len(applied.plan.pulls), "models")
        output.note(f"still to be pulled, as far as is known: {missing}; --pull does it")


def print_pulled_for(output: Output, applied: "Applied") -> None:
    """Print what came of the pulls."""
    if applied.pulls is not None:
        print_pulled(output, applied.pulls)


def _sum(plan: "Plan") -> str:
    counts = {
        "to add": [Action.ADD],
        "to change": [Action.CHANGE, Action.ADOPT],
        "to remove": [Action.REMOVE],
        "to pull": [Action.PULL],
    }
    words = []
    for word, actions in counts.items():
        count = sum(step.action in actions for step in plan.pending)
        if count:
            words.append(f"{count} {word}")
    words.append(f"{plan.unchanged} as they are")
    return ", ".join(words)


def _cells(step: "Step") -> Cells:
    action: str = step.action
    if step.action is Action.REMOVE:
        action = Wrong(action)
    changes = "; ".join(_change(step, change) for change in step.changes)
    return (action, step.noun, step.name, step.server, changes)


def _change(step: "Step", change: "FieldChange") -> str:
    if step.noun is Noun.MODEL:
        wanted = change.after or "any build"
        return f"{change.before or 'not there'} -> {wanted}"
    after = _value(change.after)
    if change.before is None:
        return f"{change.field} {after}"
    return f"{change.field} {_value(change.before)} -> {after}"


def _value(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return str(value).lower()
        case datetime():
            return value.isoformat()
        case Mapping():
            return ", ".join(f"{name}={text}" for name, text in value.items()) or "-"
        case list() | tuple():
            return ", ".join(map(str, value)) or "-"
    return str(value)


def _count(count: int, what: str) -> str:
    if count == 1:
        return f"1 {what.removesuffix('s')}"
    return f"{count} {what}"


def _few(names: Sequence[str]) -> str:
    text = ", ".join(names[:_NAMED])
    if len(names) > _NAMED:
        text += f" and {len(names) - _NAMED} more"
    return text
