"""The options that say which servers are meant, where it may be several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from ollama_admin.cli.options import (
    CapabilityFilter,
    EveryoneOption,
    LabelFilter,
    OnOption,
    takes,
)

EveryServerOption = Annotated[bool, typer.Option("--all", help="Every server, inactive ones too.")]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class DestinationOptions(TargetOptions):
    """Which servers get something, beside those that are named: without either none does."""

    everyone: EveryServerOption = False


takes_destinations = takes("chosen", DestinationOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceOptions:
    """At which servers something is changed: none is meant unless one of these says so."""

    on: OnOption = None
    everyone: EveryServerOption = False
    label: LabelFilter = None
    capability: CapabilityFilter = None

    @property
    def names_one(self) -> bool:
        """Whether exactly one server is named: its failure is the command's own."""
        return self.on is not None and len(self.on) == 1

    def arguments(self) -> dict[str, Any]:
        """Which servers, in the terms of `Client.fleet`."""
        return {
            "servers": self.on or (),
            "all": self.everyone,
            "labels": self.label or (),
            "capability": self.capability,
        }


takes_places = takes("places", PlaceOptions)
