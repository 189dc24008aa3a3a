"""Who asks: by which front door, what they may do, and who hears what they should know."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from ollama_admin.domain import labels
from ollama_admin.domain.keys import Key
from ollama_admin.domain.names import matches_model, matches_server
from ollama_admin.domain.servers import Server, ServerRef
from ollama_admin.domain.values import made_often

if TYPE_CHECKING:
    from ollama_admin.domain.traces import TraceContext


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
    addresses connected to. `remote`: have prompts leave the fleet where a request does not say
    so itself. `models` and `servers` are names and globs of those that may be asked; none is all.
    Beside names and globs, `servers` has `label:gpu=a100`, for those that carry that label now.
    """

    dynamic_servers: bool
    inactive_by_url: bool
    any_address: bool
    remote: bool = False
    models: tuple[str, ...] = ()
    servers: tuple[str, ...] = ()

    def may_ask_model(self, name: str) -> bool:
        return not self.models or any(matches_model(name, glob) for glob in self.models)

    def may_ask_server(self, server: Server) -> bool:
        return not self.servers or any(_means(word, server) for word in self.servers)


# of one who owns this machine, and could do without us whatever we would refuse
OWNER = Rights(dynamic_servers=True, inactive_by_url=True, any_address=True)


def log_note(text: str) -> None:
    """Tell the logger `ollama_admin`, where nobody else listens."""
    logging.getLogger("ollama_admin").warning(text)


def _means(word: str, server: Server) -> bool:
    label = labels.label_of_right(word)
    if label is None:
        return matches_server(server.name, word)
    return labels.carries(server.labels, (label,))


class Watch(Protocol):
    """Hears of each request to a server."""

    def asked(self, server: ServerRef, method: str, path: str) -> Callable[[int | None], None]:
        """A request is on its way, its path without a query. What is given back is called with the
        status once the answer begins, and with None where none came; further calls mean nothing.
        """


@made_often
class Caller:
    """Comes with each request. `note` hears what the caller should know though nothing failed,
    `detail` how it was decided who answers, `watch` what is asked of servers. `key` is the one that
    came with a request over HTTP, `client` what its program calls itself, and `request_id` is told
    in its answer. `trace` is passed on to the server.
    """

    way: Way
    rights: Rights
    note: Callable[[str], None] = log_note
    detail: Callable[[str], None] | None = None
    watch: Watch | None = None
    key: Key | None = None
    client: str | None = None
    request_id: str | None = None
    trace: "TraceContext | None" = None
