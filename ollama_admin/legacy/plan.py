"""Compares what legacy variables say with the rows there are: what is new, the same, in conflict,
or goes nowhere.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ollama_admin.domain.servers import Server
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy.comparison import Comparison, Stored, compare
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.reader import Legacy
from ollama_admin.legacy.servers import Kind, PlanEntry, State

# what a line counts as, that which counts most first
_RANKED = ("errors", "conflicts", "imported", "unknown", "skipped")
_COUNTED = {
    State.ERROR: "errors",
    State.CONFLICT: "conflicts",
    State.NEW: "imported",
    State.UNCHANGED: "imported",
    Kind.UNKNOWN: "unknown",
}
Spot: TypeAlias = tuple[str | None, int | None, str]  # file, line, variable


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Each variable that was seen, once: `seen` is the sum of the others."""

    seen: int = 0
    imported: int = 0
    conflicts: int = 0
    errors: int = 0
    skipped: int = 0
    unknown: int = 0
    unrelated: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`deletable` names the lines that may go once the changes are made, `deletable_now` those that
    may go already; `errors` are of the lines that cannot be read.
    """

    entries: tuple[PlanEntry, ...]
    changes: tuple[Comparison, ...]
    counts: Counts
    deletable: tuple[Spot, ...]
    deletable_now: tuple[Spot, ...]
    warnings: tuple[str, ...]
    errors: tuple[InvalidInput, ...]

    @property
    def new(self) -> int:
        return sum(entry.state is State.NEW for entry in self.entries)

    @property
    def conflicts(self) -> int:
        return sum(entry.state is State.CONFLICT for entry in self.entries)


def plan(
    servers: Sequence[Server], legacy: Legacy, stored: Stored, *, update: bool = False
) -> Plan:
    """What importing would do to these rows; `update` writes the values that otherwise are
    conflicts.

    A row is found by its URL, else by its name. `stored` opens a row's credentials, to be compared.
    After the changes are made, a second plan holds nothing new.
    """
    compared = compare(servers, legacy.servers, stored, update=update)
    default = _new_default(servers, compared)
    if default is not None:
        compared[default] = compared[default].as_default()
    kept = [entry for comparison in compared for entry in comparison.entries]
    entries = kept + list(legacy.skipped)
    entries.sort(key=lambda entry: legacy.order(entry.binding))
    return Plan(
        entries=tuple(entries),
        changes=tuple(c for c in compared if c.columns or c.auth or c.make_default),
        counts=_counts(entries, legacy),
        deletable=_deletable(kept, legacy, {State.NEW, State.UNCHANGED}),
        deletable_now=_deletable(kept, legacy, {State.UNCHANGED}),
        warnings=legacy.warnings,
        errors=legacy.errors,
    )


def _new_default(servers: Sequence[Server], compared: Sequence[Comparison]) -> int | None:
    """The index of the server that becomes the default where no row is it already: the first that
    can, one for a single purpose only when no other can.
    """
    if any(row.is_default for row in servers):
        return None
    able = [index for index, one in enumerate(compared) if one.can_be_default]
    general = [index for index in able if not compared[index].server.has_purpose]
    return next(iter(general + able), None)


def _counts(entries: Sequence[PlanEntry], legacy: Legacy) -> Counts:
    what: dict[Binding, list[str]] = {}
    for entry in entries:
        counted = _COUNTED.get(entry.kind or entry.state, "skipped")
        what.setdefault(entry.binding, []).append(counted)
    kinds = Counter(min(words, key=_RANKED.index) for words in what.values())
    return Counts(seen=len(legacy.bindings), unrelated=len(legacy.unrelated), **kinds)


def _deletable(kept: Sequence[PlanEntry], legacy: Legacy, settled: set[State]) -> tuple[Spot, ...]:
    """The lines of which the database says all that we keep, in the order of the files.

    An overruled line goes with the one that overrules it, for it would count again. A line stays as
    long as one that stays mentions it as `${...}`.
    """
    shadows = {skip.binding: skip.shadowed_by for skip in legacy.skipped if skip.shadowed_by}
    stays = {entry.binding for entry in kept if entry.state not in settled}
    stays |= {
        skip.binding for skip in legacy.skipped if not (skip.kind is Kind.MINOR or skip.shadowed_by)
    }
    free = ({entry.binding for entry in kept} | shadows.keys()) - stays
    free = {line for line in free if line.line is not None and "OLLAMA" in line.key.upper()}
    while True:
        needed = {line for line in free if shadows.get(line, line) not in free}
        needed |= free & _mentioned(legacy, free)
        if not needed:
            return tuple((b.file, b.line, b.key) for b in legacy.bindings if b in free)
        free -= needed


def _mentioned(legacy: Legacy, free: set[Binding]) -> set[Binding]:
    """The lines that the others mention as `${...}`."""
    others = [line for line in legacy.bindings if line not in free]
    mentioned = {(line.file, name) for line in others for name in line.references}
    return {line for line in legacy.bindings if (line.file, line.key) in mentioned}
