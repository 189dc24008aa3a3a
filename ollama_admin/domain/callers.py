"""The front doors that requests come in by, and what each of them lets them do."""

from dataclasses import dataclass
from enum import StrEnum


class Way(StrEnum):
    """By which front door a request came in."""

    CLI = "cli"
    API = "api"
    PYTHON = "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a front door lets requests do: everything, where the one who asks owns this machine.

    `dynamic_servers`: name the URL of a server that no row has. `inactive_by_url`: reach an
    inactive row by its URL. `any_address`: connect to link-local, multicast, unspecified and
    metadata addresses.
    """

    dynamic_servers: bool = True
    inactive_by_url: bool = True
    any_address: bool = True
