"""Who asks: by which front door, what they may do, and who hears what they should know."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class Way(StrEnum):
    """The front door by which a request came in, as receipts call it."""

    CLI = "cli"
    API = "api"
    PYTHON = "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """What a caller may do.

    `dynamic_servers`: name the URL of a server that no row has. `inactive_by_url`: reach an
    inactive row by its URL. `any_address`: have link-local, multicast, unspecified and metadata
    addresses connected to.
    """

    dynamic_servers: bool
    inactive_by_url: bool
    any_address: bool


# of one who owns this machine, and could do without us whatever we would refuse
OWNER = Rights(dynamic_servers=True, inactive_by_url=True, any_address=True)


def log_note(text: str) -> None:
    """Tell the logger `ollama_admin`, where nobody else listens."""
    logging.getLogger("ollama_admin").warning(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Comes with each request. `note` hears what the caller should know though nothing failed."""

    way: Way
    rights: Rights
    note: Callable[[str], None] = log_note
