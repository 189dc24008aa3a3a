"""What servers have in memory now, and how busy they are. Sizes are bytes, times aware UTC."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ollama_admin.domain.servers import ServerRef
from ollama_admin.domain.values import fields_of
from ollama_admin.errors import AdminError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningModel:
    """An entry of `/api/ps`. `name` and `digest` are those that loaded it; another name of the same
    weights runs there too. None is not told.
    """

    name: str
    digest: str | None = None
    size: int | None = None
    size_vram: int | None = None
    context_length: int | None = None
    expires_at: datetime | None = None

    @property
    def gpu_share(self) -> float | None:
        """The part of it that is on a GPU, from 0 to 1."""
        if not self.size or self.size_vram is None:
            return None
        return min(1.0, self.size_vram / self.size)

    def document(self) -> dict[str, Any]:
        share = self.gpu_share
        return fields_of(self) | {"gpu_share": None if share is None else round(share, 4)}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningResult:
    """One server: its models in memory, None where it does not tell; how many of our requests hold
    one of its `max_concurrent` slots, and how many wait for one.
    """

    server: ServerRef
    models: tuple[RunningModel, ...] | None = None
    in_flight: int = 0
    waiting: int = 0
    max_concurrent: int = 1
    error: AdminError | None = None
