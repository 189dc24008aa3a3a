"""The JSON of every object, one shape for the CLI and the API. Keys are column names; secrets are never in it."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from ollama_admin.domain.generation import Reply, Stats
from ollama_admin.domain.models import DigestChange, Model
from ollama_admin.domain.pins import Pin
from ollama_admin.domain.receipts import Receipt
from ollama_admin.domain.servers import Server
from ollama_admin.errors import AdminError
from ollama_admin.secret import MASK, Secret

_SECRETS = ("password", "token", "key")
_NOT_OF_A_REPLY = ("tool_calls", "record")


def document(value: Any) -> Any:
    """What `json.dumps` takes for a domain object, or for a list of them."""
    match value:
        case Secret():
            return MASK
        case AdminError():
            return value.document()
        case datetime():
            return value.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        case list() | tuple():
            return [document(item) for item in value]
        case Mapping():
            return {str(key): document(item) for key, item in value.items()}
    return _object(value) if is_dataclass(value) else value


def results(items: Any, failed: int) -> dict[str, Any]:
    """The document of a command that can partly succeed."""
    return {"results": document(items), "failed": failed}


def _object(value: Any) -> dict[str, Any]:
    """The fields of a domain object, where its JSON is not simply these, changed."""
    match value:
        case DigestChange():
            return {"name": value.name, "from": value.before, "to": value.after}
        case Reply():
            drift = value.drift and {"from": value.drift.before, "to": value.drift.after}
            shown = _fields(value) | {"drift": drift}
            return {name: shown[name] for name in shown if name not in _NOT_OF_A_REPLY}
        case Server():
            return _fields(value) | {
                "auth_config": _masked(value.auth_config),
                "headers": {name: _shown(header) for name, header in value.headers.items()},
            }
        case Pin():
            return {name: shown for name, shown in _fields(value).items() if name != "before"}
        case Receipt():
            stats = _fields(value.stats) if value.stats else dict.fromkeys(field.name for field in fields(Stats))
            return {name: shown for name, shown in _fields(value).items() if name != "stats"} | stats
        case Model():
            return {"id": value.id, "server": value.server} | _fields(value)
    return _fields(value)


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: document(getattr(value, field.name)) for field in fields(value)}


def _masked(config: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _shown(value) if key in _SECRETS else value for key, value in config.items()}


def _shown(value: Any) -> str:
    """A reference as it was given, asterisks for anything else."""
    return str(value) if str(value).startswith(("env:", "file:")) else MASK
