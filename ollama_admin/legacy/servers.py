"""What legacy variables describe: servers, and the variables that describe none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

from ollama_admin.domain.secret import Secret
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy.envfile import Binding

Field: TypeAlias = Literal[
    "name",
    "url",
    "api_version",
    "default_model",
    "capabilities",
    "max_concurrent",
    "priority",
    "is_active",
]
FieldValue: TypeAlias = str | int | bool | tuple[str, ...] | Secret

# Fields of credentials: `auth_type`, `auth_config.password` and its like, `headers.NAME`.
AUTH_TYPE = "auth_type"
AUTH_CONFIG = "auth_config."
HEADERS = "headers."


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """A field's value and the variable that gave it; the variables in `also` say the same.

    `given` is false for what no variable says, such as a name made up here: it is never compared.
    `remark` says how the value was come by.
    """

    value: FieldValue
    source: Binding
    also: tuple[Binding, ...] = ()
    given: bool = True
    remark: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyServer:
    """One server: `fields` are columns, with `name` and `url` always among them, `auth` the fields
    of credentials. `has_purpose` is true for a server of, say, embeddings alone.
    """

    fields: Mapping[Field, Sourced]
    auth: Mapping[str, Sourced] = field(default_factory=dict)
    has_purpose: bool = False

    @property
    def everything(self) -> Mapping[str, Sourced]:
        """The columns, then the fields of credentials."""
        columns: dict[str, Sourced] = {str(name): value for name, value in self.fields.items()}
        return columns | dict(self.auth)

    @property
    def name(self) -> str:
        return str(self.fields["name"].value)

    @property
    def url(self) -> str:
        return str(self.fields["url"].value)

    @property
    def is_active(self) -> bool:
        return "is_active" not in self.fields or bool(self.fields["is_active"].value)


class Kind(StrEnum):
    """Why a variable goes nowhere: ELSEWHERE concerns no server, MINOR is a part that keeps nobody
    from deleting the line.
    """

    IGNORED = "ignored"
    ELSEWHERE = "elsewhere"
    UNKNOWN = "unknown"
    MINOR = "minor"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A variable, or a part of one, that goes nowhere.

    `shadowed_by` is the later line that sets it again; `error` says what cannot be read.
    """

    binding: Binding
    why: str
    server: str | None = None
    field: str | None = None
    kind: Kind = Kind.IGNORED
    shadowed_by: Binding | None = None
    error: InvalidInput | None = None


def unreadable(binding: Binding, error: InvalidInput) -> Skipped:
    """What cannot be read; the error names the place, the reason leaves it out."""
    why = error.message
    for place in (binding.place, f"{binding.file}, line {binding.line}"):
        why = why.removeprefix(place).lstrip(": ")
    return Skipped(binding=binding, why=why, kind=Kind.ERROR, error=error)


@dataclass(frozen=True, slots=True, kw_only=True)
class Legacy:
    """All that was read: each of `bindings` is a source of a server, skipped, or unrelated."""

    files: tuple[str | None, ...]
    bindings: tuple[Binding, ...]
    servers: tuple[LegacyServer, ...]
    skipped: tuple[Skipped, ...]
    unrelated: tuple[Binding, ...]
    warnings: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[InvalidInput, ...]:
        """Of the lines that cannot be read, in their order."""
        order = {file: index for index, file in enumerate(self.files)}
        found = [skip for skip in self.skipped if skip.error]
        found.sort(key=lambda skip: (order[skip.binding.file], skip.binding.line or 0))
        return tuple(skip.error for skip in found if skip.error)
