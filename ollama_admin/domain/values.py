"""What several nouns are made of."""

from dataclasses import fields
from typing import Any, TypeAlias

from ollama_admin.domain.secret import Reference, Secret

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
# a credential as callers hand it in; plain text is taken as a secret
Given: TypeAlias = str | Secret | Reference


def fields_of(value: Any) -> dict[str, Any]:
    """The fields of a dataclass by name, in their order; what is in them is left as it is."""
    return {field.name: getattr(value, field.name) for field in fields(value)}
