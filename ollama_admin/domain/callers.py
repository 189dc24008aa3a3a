"""Who asks: by which front door, what they may do, and who hears what they should know."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ollama_admin.domain.servers import ServerRef


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


class Watch(Protocol):
    """Hears of each request to a server."""

    def asked(self, server: ServerRef, method: str, path: str) -> Callable[[int | None], None]:
        """A request is on its way, its path without a query. What is given back is called with the
        status once the answer begins, and with None where none came; further calls mean nothing.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Comes with each request. `note` hears what the caller should know though nothing failed,
    `detail` how it was decided who answers, `watch` what is asked of servers.
    """

    way: Way
    rights: Rights
    note: Callable[[str], None] = log_note
    detail: Callable[[str], None] | None = None
    watch: Watch | None = None
