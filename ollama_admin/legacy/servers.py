"""What legacy variables say, each value with the variable that gave it, and what says nothing."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Self, TypeAlias

from ollama_admin.domain.secret import Secret
from ollama_admin.domain.values import Json
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy.envfile import Binding

FieldValue: TypeAlias = str | int | bool | tuple[str, ...] | Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """A value and the variable that gave it; those in `also` say the same. What is not `given`, but
    made up here, such as a name, is never compared; `remark` says how the value was come by.
    """

    value: FieldValue
    source: Binding
    also: tuple[Binding, ...] = ()
    given: bool = True
    remark: str | None = None

    @classmethod
    def inferred(cls, value: FieldValue, source: Binding, remark: str) -> Self:
        """A value that no variable says, but that follows from one."""
        return cls(value=value, source=source, given=False, remark=remark)

    @property
    def sources(self) -> tuple[Binding, ...]:
        return (self.source, *self.also)

    @property
    def text(self) -> str:
        if isinstance(self.value, Secret):
            return self.value.reveal()
        return str(self.value)

    def part(self, text: str) -> Self:
        """A secret that was read from a part of it."""
        return replace(self, value=Secret(text))

    def said_by(self, sources: Iterable[Binding]) -> Self:
        """The same value, which these variables say too."""
        also = dict.fromkeys(self.also) | dict.fromkeys(sources)
        also.pop(self.source, None)
        return replace(self, also=tuple(also))


class Kind(StrEnum):
    """Why it goes nowhere: ELSEWHERE concerns no server, MINOR lets the line be deleted."""

    IGNORED = "ignored"
    ELSEWHERE = "elsewhere"
    UNKNOWN = "unknown"
    MINOR = "minor"
    ERROR = "error"


class State(StrEnum):
    """Only what is NEW is written; UNCHANGED is there already, an ERROR cannot be read."""

    NEW = "new"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    IGNORED = "ignored"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEntry:
    """What becomes of a variable, or of a part of it: `field` gets what is `told`; `kind` says more
    of what goes nowhere, `shadowed_by` is the later line that sets it again.
    """

    binding: Binding
    why: str | None
    server: str | None = None
    field: str | None = None
    told: FieldValue | None = None
    state: State = State.IGNORED
    kind: Kind | None = Kind.IGNORED
    shadowed_by: Binding | None = None
    error: InvalidInput | None = None

    @property
    def value(self) -> str | int | bool | tuple[str, ...] | None:
        """What may be shown: never a secret."""
        return None if isinstance(self.told, Secret) else self.told

    @property
    def file(self) -> str | None:
        return self.binding.file

    @property
    def line(self) -> int | None:
        return self.binding.line

    @property
    def variable(self) -> str:
        return self.binding.key

    def document(self) -> dict[str, Json]:
        """The JSON object under `results`."""
        return {
            "file": self.file,
            "line": self.line,
            "variable": self.variable,
            "server": self.server,
            "field": self.field,
            "value": list(self.value) if isinstance(self.value, tuple) else self.value,
            "state": self.state.value,
            "why": self.why,
        }


def unreadable(binding: Binding, error: InvalidInput) -> PlanEntry:
    """What cannot be read; the error names the place, the reason leaves it out."""
    why = error.message
    for place in (binding.place, f"{binding.file}, line {binding.line}"):
        why = why.removeprefix(place).lstrip(": ")
    return PlanEntry(binding=binding, why=why, state=State.ERROR, kind=Kind.ERROR, error=error)
