"""Which models the simulated server has in memory, and until when."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.wire import JsonObject, ps_entry

KEEP_ALIVE = timedelta(minutes=5)
FOREVER = datetime(2318, 1, 1, tzinfo=UTC)  # about where a negative duration of Go's leads
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Loaded:
    name: str
    model: SimulatedModel
    num_ctx: int
    expires_at: datetime


class Memory:
    """The models that are loaded, by digest."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._loaded: dict[str, _Loaded] = {}

    def load(
        self, name: str, model: SimulatedModel, num_ctx: int, keep_alive: object = None
    ) -> None:
        """Load a model for as long as a request says, in Ollama's own terms. A runner keeps the
        name that loaded it, whatever name is asked for later.
        """
        if model.digest in self._loaded:
            name = self._loaded[model.digest].name
        self._loaded[model.digest] = _Loaded(
            name=name, model=model, num_ctx=num_ctx, expires_at=self._until(keep_alive)
        )

    def unload(self, digest: str) -> None:
        self._loaded.pop(digest, None)

    def entries(self, *, tells_context: bool) -> list[JsonObject]:
        """The entries of `/api/ps`, the longest expiry first."""
        now = self._clock()
        entries = []
        for one in sorted(self._loaded.values(), key=lambda one: one.expires_at, reverse=True):
            if one.expires_at <= now:
                continue
            entry = ps_entry(one.name, one.model, expires_at=one.expires_at)
            if tells_context:
                entry["context_length"] = one.num_ctx
            entries.append(entry)
        return entries

    def _until(self, keep_alive: object) -> datetime:
        seconds = _seconds(keep_alive)
        if seconds is None:
            return self._clock() + KEEP_ALIVE
        if seconds < 0:
            return FOREVER
        return self._clock() + timedelta(seconds=seconds)


def _seconds(keep_alive: object) -> float | None:
    """Seconds of a number or of a duration as Go writes it; None for anything else."""
    if isinstance(keep_alive, int | float) and not isinstance(keep_alive, bool):
        return float(keep_alive)
    if not isinstance(keep_alive, str):
        return None
    parts = _PART.findall(keep_alive)
    if not parts:
        return None
    seconds = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return -seconds if keep_alive.startswith("-") else seconds
