"""Compares what legacy variables say with the rows there are: what is new, the same, in conflict, or goes nowhere."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from ollama_admin import names
from ollama_admin.domain import ApiVersion, Json, Server
from ollama_admin.legacy.drafts import numbered
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.servers import Field, FieldValue, Legacy, LegacyServer, Skipped, Sourced


class State(StrEnum):
    """NEW is written; UNCHANGED is what the row says already; CONFLICT and IGNORED are not written."""

    NEW = "new"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEntry:
    """One line of the plan: what becomes of a variable, or of a part of it. `value` is never a secret."""

    file: str | None
    line: int | None
    variable: str
    server: str | None
    field: str | None
    value: FieldValue | None
    state: State
    why: str | None
    source: Binding = field(repr=False)

    def document(self) -> dict[str, Json]:
        """The JSON object under `results`."""
        value = list[Json](self.value) if isinstance(self.value, tuple) else self.value
        return {
            "file": self.file,
            "line": self.line,
            "variable": self.variable,
            "server": self.server,
            "field": self.field,
            "value": value,
            "state": self.state.value,
            "why": self.why,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Columns to write: of a new row when `server_id` is None. `name` is the row's name afterwards."""

    server_id: int | None
    name: str
    columns: Mapping[Field, FieldValue]
    make_default: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Each variable that was seen, once: `seen` is the sum of the others."""

    seen: int
    imported: int
    conflicts: int
    skipped: int
    unknown: int
    unrelated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    entries: tuple[PlanEntry, ...]
    changes: tuple[Change, ...]
    counts: Counts
    warnings: tuple[str, ...]
    legacy: Legacy = field(repr=False)

    @property
    def failed(self) -> int:
        return sum(entry.state is State.CONFLICT for entry in self.entries)

    @property
    def new(self) -> int:
        return sum(entry.state is State.NEW for entry in self.entries)

    def deletable(self, *, applied: bool) -> tuple[tuple[str, int, str], ...]:
        """File, line and variable of what the database now says in full; `applied`: the changes were made.

        A line that another remaining line mentions as `${...}` stays, and so does one that an earlier, overruled line
        would replace.
        """
        settled = {State.NEW, State.UNCHANGED} if applied else {State.UNCHANGED}
        free = _free(self, settled)
        spots = [(b.file, b.line, b.key) for b in free if b.file is not None and b.line is not None]
        return tuple(sorted(dict.fromkeys(spots), key=self._file_order))

    def _file_order(self, spot: tuple[str, int, str]) -> tuple[int, int]:
        files = list(dict.fromkeys(entry.file for entry in self.entries))
        return files.index(spot[0]), spot[1]


def plan(servers: Sequence[Server], legacy: Legacy, *, update: bool = False) -> Plan:
    """What importing would do to these rows; `update` writes the values that otherwise are conflicts.

    A row is found by its URL, else by its name. A second plan after the first was applied holds nothing new.
    """
    rows = _matches(servers, legacy.servers)
    taken = _taken_names(servers, legacy.servers, rows)
    entries: list[PlanEntry] = []
    changes: list[Change] = []
    for server, row in zip(legacy.servers, rows, strict=True):
        comparison = _Comparison(server, row, taken, update=update)
        entries += comparison.entries()
        changes.append(comparison.change())
    if not any(row.is_default for row in servers):
        _choose_default(legacy.servers, rows, changes, entries)
    entries += [_ignored(skip) for skip in legacy.skipped]
    return Plan(
        entries=tuple(sorted(entries, key=_order(legacy))),
        changes=tuple(change for change in changes if change.columns or change.make_default),
        counts=_counts(entries, legacy),
        warnings=legacy.warnings,
        legacy=legacy,
    )
