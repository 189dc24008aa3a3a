"""What a server says of the models that it has in memory."""

from typing import Any

from ollama_admin.domain.running import RunningModel
from ollama_admin.ollama import wire
from ollama_admin.ollama.endpoint import Endpoint
from ollama_admin.ollama.faults import translated

PS = "/api/ps"


async def running_models(endpoint: Endpoint) -> tuple[RunningModel, ...]:
    """The models in memory, the one that stays longest first."""
    entries = await endpoint.running()
    with translated(endpoint.target, PS):
        return tuple(_model(entry) for entry in entries)


def _model(entry: Any) -> RunningModel:
    return RunningModel(
        name=wire.optional_text(entry, "name") or wire.optional_text(entry, "model") or "",
        digest=wire.optional_text(entry, "digest"),
        size=wire.count_of(entry.get("size")),
        size_vram=wire.count_of(entry.get("size_vram")),
        context_length=wire.count_of(entry.get("context_length")),
        expires_at=wire.time_of(entry.get("expires_at")),
    )
