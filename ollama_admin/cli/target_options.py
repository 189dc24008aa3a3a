"""The options that say which servers are meant, where it may be several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ollama_admin.cli.options import CapabilityFilter, EveryoneOption, LabelFilter, takes


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetOptions:
    everyone: EveryoneOption = False
    label: LabelFilter = None
    capability: CapabilityFilter = None

    def arguments(self, servers: Sequence[str] | None) -> dict[str, Any]:
        """Which servers, in the terms of `Client.discover` and `Targets`."""
        return {
            "servers": servers or (),
            "all": self.everyone,
            "labels": self.label or (),
            "capability": self.capability,
        }


takes_targets = takes("chosen", TargetOptions)
