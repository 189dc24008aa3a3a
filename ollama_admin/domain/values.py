"""What several nouns are made of."""

from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias, TypeVar, dataclass_transform

from ollama_admin.domain.secret import Reference, Secret

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
# a credential as callers hand it in; plain text is taken as a secret
Given: TypeAlias = str | Secret | Reference


T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def made_often(cls: type[T]) -> type[T]:
    """A frozen dataclass of keywords and slots, for what is made anew for each request. Only mypy
    holds that it stays as it is: Python would take four times as long to make one that it freezes.
    """
    return dataclass(slots=True, kw_only=True, unsafe_hash=True)(cls)


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, in their order; what is in them is left as it is."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
