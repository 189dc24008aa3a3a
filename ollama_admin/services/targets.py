"""Which servers a command is about, where it may be about several: one answer for all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_admin.domain.labels import carries, spelt, wanted_labels
from ollama_admin.domain.servers import Server, has_capability
from ollama_admin.errors import InvalidInput, ServerNotFound
from ollama_admin.rules import arguments
from ollama_admin.rules.likeness import nearest_servers
from ollama_admin.store import servers as store


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """The servers that are named by name or id, or all active ones that have the capability and
    each of the labels (`gpu=a100`, or `gpu` with any value); with `all` inactive ones, too.
    """

    names: Sequence[int | str] = ()
    all: bool = False
    capability: str | None = None
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Raise InvalidInput for what contradicts itself, or is no label."""
        arguments.check(servers=self.names, capability=self.capability, labels=self.labels)
        wanted_labels(self.labels)
        for option, value in self._filters():
            if self.names and value:
                raise InvalidInput(f"servers and {option} are both given", "leave one of them out")

    @property
    def is_given(self) -> bool:
        """Whether anything says which servers; else all active ones are meant."""
        return bool(self.names) or any(value for _, value in self._filters())

    @property
    def names_one(self) -> bool:
        """Whether exactly one server is meant by its name: what fails there has failed as a
        whole.
        """
        return len(self.names) == 1

    def servers(self, connection: Any) -> list[Server]:
        """Their rows, each once: in the order of the names, else in that of choice. Raises
        ServerNotFound for a name that no row has, and where no server has what is asked for.
        """
        if self.names:
            named = [store.find(connection, server) for server in self.names]
            return list({server.id: server for server in named}.values())
        rows = store.all_servers(connection)
        matching = self.among(rows)
        meant = [server for server in matching if self.all or server.is_active]
        if not meant and (self.capability or self.labels):
            raise self._nothing(rows, matching)
        return meant

    def among(self, servers: Iterable[Server]) -> list[Server]:
        """Those with the capability and each of the labels, inactive ones too."""
        return [server for server in servers if self._fits(server)]

    def _fits(self, server: Server) -> bool:
        if self.capability is not None and not has_capability(server.capabilities, self.capability):
            return False
        return carries(server.labels, self.labels)

    def _filters(self) -> Sequence[tuple[str, object]]:
        return ("--all", self.all), ("--capability", self.capability), ("--label", self.labels)

    def _nothing(self, rows: Sequence[Server], inactive: Sequence[Server]) -> ServerNotFound:
        what = self._in_words()
        if inactive:
            names = ", ".join(server.name for server in inactive[:3])
            return ServerNotFound(
                f"no active server has {what}", f"inactive: {names}; include them with --all"
            )
        return ServerNotFound(f"no server has {what}", self._hint(rows))

    def _in_words(self) -> str:
        words = [f"label {text}" for text in self.labels]
        if self.capability:
            words.append(f"capability {self.capability!r}")
        return " and ".join(words)

    def _hint(self, rows: Sequence[Server]) -> str:
        known = _known_words(rows, self.labels, self.capability)
        near = [word for asked, words in known for word in nearest_servers(asked, words)]
        if near:
            return f"nearest: {', '.join(dict.fromkeys(near))}"
        return "see what they have with: ollama-admin server list"


def _known_words(
    rows: Sequence[Server], labels: Sequence[str], capability: str | None
) -> list[tuple[str, list[str]]]:
    """Of each word that no server has, what servers have instead."""
    own_labels = [word for row in rows for word in spelt(row.labels)]
    asked = [(text, own_labels) for text in labels if text not in own_labels]
    if capability:
        asked.append((capability, [word for row in rows for word in row.capabilities]))
    return asked
