"""What legacy variables say beside the rows there are: new, the same, in conflict, or nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from ollama_admin.domain.servers import Server
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
    """`deletable` names lines that may go once the changes are made, `deletable_now` before."""

    entries: tuple[PlanEntry, ...]
    changes: tuple[Comparison, ...]
    counts: Counts
    deletable: tuple[Spot, ...]
    deletable_now: tuple[Spot, ...]

    def count(self, state: State) -> int:
        """How many values become this."""
        return sum(entry.state is state for entry in self.entries)


def plan(
    servers: Sequence[Server], legacy: Legacy, stored: Stored, *, update: bool = False
) -> Plan:
    """What importing would do to these rows; `update` writes what otherwise is a conflict.

    A row is found by its URL, else by its name. `stored` opens a row's credentials, to be compared.
    Where no row is the default server, the first that can becomes it, one for a single purpose only
    when no other can. After the changes are made, a second plan holds nothing new.
    """
    compared = compare(servers, legacy.servers, stored, update=update)
    able = [one for one in compared if one.can_be_default]
    if able and not any(row.is_default for row in servers):
        first = min(able, key=lambda one: bool(one.server.line.purposes))
        compared[compared.index(first)] = first.as_default()
    kept = [entry for comparison in compared for entry in comparison.entries]
    entries = sorted(kept + list(legacy.skipped), key=lambda entry: legacy.order(entry.binding))
    return Plan(
        entries=tuple(entries),
        changes=tuple(c for c in compared if c.columns or c.auth or c.make_default),
        counts=_counts(entries, legacy),
        deletable=_deletable(kept, legacy, {State.NEW, State.UNCHANGED}),
        deletable_now=_deletable(kept, legacy, {State.UNCHANGED}),
    )


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
    stays |= {s.binding for s in legacy.skipped if s.kind is not Kind.MINOR and not s.shadowed_by}
    free = ({entry.binding for entry in kept} | shadows.keys()) - stays
    free = {line for line in free if line.line is not None and "OLLAMA" in line.key.upper()}
    while True:
        others = [line for line in legacy.bindings if line not in free]
        mentioned = {(line.file, name) for line in others for name in line.references}
        needed = {line for line in free if (line.file, line.key) in mentioned}
        needed |= {line for line in free if shadows.get(line, line) not in free}
        if not needed:
            return tuple((b.file, b.line, b.key) for b in legacy.bindings if b in free)
        free -= needed
