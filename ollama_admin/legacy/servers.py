"""What legacy variables describe: servers, and the variables that describe none."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ollama_admin.legacy.credentials import Credential
from ollama_admin.legacy.envfile import Binding

Field: TypeAlias = Literal[
    "name", "url", "api_version", "default_model", "capabilities", "max_concurrent", "priority", "is_active"
]
FieldValue: TypeAlias = str | int | bool | tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sourced:
    """A column's value and the variable that gave it; the variables in `also` say the same.

    `given` is false for a name made up here and an api_version inferred from the URL: they are never compared.
    """

    value: FieldValue
    source: Binding
    also: tuple[Binding, ...] = ()
    given: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class LegacyServer:
    """One server; `fields` always holds `name` and `url`. Credential and headers are recognised, not stored yet."""

    fields: Mapping[Field, Sourced]
    credential: Credential | None = None
    headers: Mapping[str, str] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return str(self.fields["name"].value)

    @property
    def url(self) -> str:
        return str(self.fields["url"].value)

    @property
    def is_active(self) -> bool:
        return "is_active" not in self.fields or bool(self.fields["is_active"].value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A variable, or a part of one, that goes nowhere.

    `shadowed_by` is the later line that sets it again; `minor` is a part that keeps nobody from deleting the line.
    """

    binding: Binding
    why: str
    server: str | None = None
    field: str | None = None
    unknown: bool = False
    minor: bool = False
    shadowed_by: Binding | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Legacy:
    """All that was read: each of `bindings` is a source of a server, skipped, or unrelated."""

    files: tuple[str | None, ...]
    bindings: tuple[Binding, ...]

    servers: tuple[LegacyServer, ...]
    skipped: tuple[Skipped, ...]
    unrelated: tuple[Binding, ...]
    warnings: tuple[str, ...] = ()
