"""Rows of servers and models, as the store reads them: only what a test is about is given."""

from datetime import UTC, datetime
from typing import Any

from ollama_admin.domain.models import Model
from ollama_admin.domain.servers import ApiVersion, AuthType, Server, ServerStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLLAMA: dict[str, Any] = {"version": "0.33.0", "last_seen_at": NOW}
NOT_OLLAMA: dict[str, Any] = {"version": None, "last_seen_at": NOW}
NEVER_CHECKED: dict[str, Any] = {"version": None, "last_seen_at": None}


def server(id_: int, **columns: Any) -> Server:
    usual: dict[str, Any] = {
        "id": id_,
        "name": f"s{id_}",
        "url": f"http://h{id_}",
        "api_version": ApiVersion.NATIVE,
        "capabilities": (),
        "max_concurrent": 1,
        "priority": 0,
        "is_default": False,
        "is_active": True,
        "default_model": None,
        "auth_type": AuthType.NONE,
        "auth_config": {},
        "headers": {},
        "status": ServerStatus.UNKNOWN,
        "last_error": None,
        "last_discovered_at": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    return Server(**(usual | OLLAMA | columns))


def model(server_id: int, name: str = "alpha:latest", **columns: Any) -> Model:
    usual: dict[str, Any] = {
        "id": server_id,
        "server_id": server_id,
        "server": f"s{server_id}",
        "name": name,
        "digest": "a" * 64,
        "context_length": None,
        "embedding_length": None,
        "capabilities": None,
        "is_available": True,
        "first_seen_at": NOW,
        "last_seen_at": NOW,
        "digest_changed_at": None,
    }
    return Model(**(usual | columns))
