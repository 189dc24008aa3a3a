"""What several nouns are made of."""

from typing import TypeAlias

from ollama_admin.secret import Reference, Secret

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

Given: TypeAlias = str | Secret | Reference  # a credential as callers hand it in; plain text is taken as a secret
