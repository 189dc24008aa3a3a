"""The JSON of every object, one shape for the CLI and the API. Keys are column names; secrets are
never in it.
"""

from collections.abc import Mapping
from dataclasses import is_dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from ollama_admin.domain.secret import MASK, Secret
from ollama_admin.domain.values import fields_of


def document(value: Any) -> Any:
    """What `json.dumps` takes for a domain object, or for a list of them.

    A class whose JSON is not simply its fields says in a method `document` what it is.
    """
    match value:
        case str() | int() | float() | None:
            return value
        case Secret():
            return MASK
        case PurePath():
            return str(value)
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        case list() | tuple():
            return [document(item) for item in value]
        case Mapping():
            return {str(key): document(item) for key, item in value.items()}
    if hasattr(value, "document"):
        return document(value.document())
    if is_dataclass(value):
        return document(fields_of(value))
    return value


def results(items: Any, failed: int) -> dict[str, Any]:
    """The document of a command that can partly succeed."""
    return {"results": document(items), "failed": failed}
