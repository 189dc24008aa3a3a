"""The servers of one scope, and which of them a variable means."""

from contextlib import suppress
from dataclasses import dataclass, field

from ollama_admin.domain import urls
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import values
from ollama_admin.legacy.drafts import LegacyServer
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.layouts import CHAT, Meaning, Role


@dataclass(slots=True)
class Fleet:
    """`lengths` counts the parts of each list of URLs, those without a server too."""

    servers: list[LegacyServer] = field(default_factory=list)
    lengths: dict[Binding, int] = field(default_factory=dict)

    def group(self, prefix: str) -> list[LegacyServer]:
        """The servers under a prefix; all of them when it has none of its own."""
        return [s for s in self.servers if s.known.prefix == prefix] or self.servers

    def unnumbered(self, prefix: str) -> LegacyServer | None:
        return next((server for server in self.group(prefix) if server.unnumbered), None)

    def first(self, prefix: str) -> LegacyServer | None:
        """The server that means all: the unnumbered one, else the first that has no purpose."""
        by_purpose = sorted(self.group(prefix), key=lambda server: server.has_purpose)
        return self.unnumbered(prefix) or next(iter(by_purpose), None)

    def target(self, known: Meaning) -> LegacyServer | None:
        """The server that a variable belongs to, if there is one."""
        same = [server for server in self.servers if server.known.words == known.words]
        if known.slot is not None:
            same += [s for s in self.group(known.prefix) if s.known.slot == known.slot]
        if same:
            return same[0]
        if known.slot is None or (known.role is Role.MODEL and known.slot == CHAT):
            return self.first(known.prefix)
        if known.slot == "1":
            return self.unnumbered(known.prefix)
        return None

    def listed(self, prefix: str) -> tuple[dict[int, LegacyServer], int]:
        """The servers of the first list under a prefix by their index, and the list's length."""
        listed = [server for server in self.group(prefix) if server.index is not None]
        if not listed:
            return {}, 0
        source = listed[0].source
        servers = {server.index or 0: server for server in listed if server.source == source}
        return servers, self.lengths[source]

    def configured(self, binding: Binding, key: str, prefix: str) -> LegacyServer | None:
        """The server that a key of Open WebUI's settings means: an index, in old files the URL."""
        servers, length = self.listed(prefix)
        single = self.unnumbered(prefix)
        if not servers and single:
            servers, length = {0: single}, 1
        if key.isdecimal() and key.isascii():
            index = int(key[:10])
            if index < length:
                return servers.get(index)
            what = f"has an entry {index}, and there are {length} servers, counted from 0"
            raise values.problem(binding, what)
        with suppress(InvalidInput):
            url = urls.server_url(key).url
            return next((server for server in servers.values() if server.url == url), None)
        return None
