"""Pins: the build that a name means for the whole fleet."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ollama_admin.domain.values import fields_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A row of `ollama_pins`: the digest that a name means for the whole fleet.

    `before` is the digest that it replaced, known only when it was just set; `managed_by` the owner
    whose file set it, None for people.
    """

    name: str
    digest: str
    created_at: datetime
    updated_at: datetime
    before: str | None = None
    managed_by: str | None = None

    def document(self) -> dict[str, Any]:
        return {name: value for name, value in fields_of(self).items() if name != "before"}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPin(Pin):
    """A pin beside the catalogue: how many available models of active servers are the pinned build,
    or another.
    """

    agree: int
    differ: int
