"""How a row of `ollama_servers` is read: another program may have written it."""

from typing import Any

from sqlalchemy import Row

from ollama_admin.domain.servers import ApiVersion, AuthType, Server, ServerRef, ServerStatus
from ollama_admin.store import readers


def _labels(value: Any) -> dict[str, str]:
    labels = readers.json_object(value)
    return {key: readers.text(labels[key]) for key in sorted(labels)}


READERS: readers.Readers = {
    "name": readers.text,
    "url": readers.url,
    "api_version": ApiVersion,
    "capabilities": readers.texts,
    "max_concurrent": readers.number,
    "priority": readers.number,
    "default_model": readers.optional(readers.text),
    "auth_type": AuthType,
    "auth_config": readers.json_object,
    "headers": readers.json_object,
    "status": ServerStatus,
    "version": readers.optional(readers.text),
    "last_error": readers.optional(readers.text),
    "labels": _labels,
    "latency_ms": readers.optional(readers.number),
    "failures": readers.number,
    "ca_file": readers.optional(readers.text),
    "client_cert_file": readers.optional(readers.text),
    "client_key_file": readers.optional(readers.text),
    "proxy": readers.optional(readers.text),
}


def ref(row: Row[Any, Any, Any]) -> ServerRef:
    return ServerRef(id=row.id, name=_printable(row.name), url=_printable(row.url))


def _printable(value: Any) -> str:
    """A text; of what SQLite let in past its checks, how Python writes it."""
    return value if isinstance(value, str) else ascii(value)


def server(row: Row[Any]) -> Server:
    values = readers.read_values(zip(row._fields, row, strict=True), READERS)
    del values["name_key"]
    return Server(**values)
