"""Reads the variables that stand together, in one file or one environment, into servers.

A variable is about an Ollama server when its name says so, when its value is the URL of one, or
when a variable beside it names Ollama. What of it cannot be kept is listed with the reason.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import layouts, lists, values
from ollama_admin.legacy.drafts import Fleet, LegacyServer
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.layouts import AUTH_ROLES, SECRET_ROLES, Line, Role
from ollama_admin.legacy.servers import Kind, PlanEntry, unreadable

PROVIDER = "names Ollama as the program of the lines beside it"
MENTION = "mentions the URL of an Ollama server, but is none: see `server add`"
NO_SERVER = "there is no server to which it could belong"
NOT_ALONE = "one of several models: name it with --model"
NOT_COUNTED = "is only used where no Ollama variable names a model"

_OF_KUBERNETES = re.compile(
    r".*_(?:PORT=(?:tcp|udp)://.*|"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_[0-9]+_(?:TCP|UDP)(?:_\w+)?)"
    r"=(?:(?:TCP|UDP)(?:://.*)?|[0-9.]+|[0-9A-F:]*:[0-9A-F:]*))",
    re.IGNORECASE | re.DOTALL,
)
_PARTS = (Role.PORT, Role.TLS)  # of a URL, which may stand apart from it


class Scope(Fleet):
    """What was read. `providers` says beside which variables the program is Ollama, or is not."""

    def __init__(self, bindings: list[Binding]) -> None:
        super().__init__()
        self.skipped: list[PlanEntry] = []
        self.unrelated: list[Binding] = []
        self.providers: dict[tuple[str, str | None], bool] = {}
        lines = [line for line in self._lines(bindings) if not self._is_provider(line)]
        parts = {(line.role, line.place): line for line in lines}
        others = []
        for line in lines:
            if not self._is_url(line):
                others.append(line)
            elif self._is_usable(line):
                self._try(line.binding, self._add_servers, line, parts)
        self.servers.sort(key=lambda server: server.order)
        attached = [line for line in others if self._is_related(line) and self._is_usable(line)]
        attached.sort(key=lambda line: line.rank)
        plain = [line for line in attached if self._is_plain_model(line)]
        for line in attached:
            if line not in plain:
                self._try(line.binding, self._attach, line)
        self._attach_plain(plain)
        roles = {role for server in self.servers for role in server.pieces}
        roles.update(line.role for line in attached if line.role)
        self.has_secrets = not SECRET_ROLES.isdisjoint(roles)
        used = {skip.binding for skip in self.skipped}.union(self.unrelated)
        used.update(binding for server in self.servers for binding in server.bindings())
        for line in lines:
            if line.binding not in used:
                self._skip(line.binding, "says nothing that is kept")

    def _skip(
        self, binding: Binding, why: str, column: str | None = None, kind: Kind = Kind.IGNORED
    ) -> None:
        self.skipped.append(PlanEntry(binding=binding, why=why, field=column, kind=kind))

    def _try(self, binding: Binding, step: Callable[..., Any], *given: Any) -> bool:
        """Take a step; what cannot be read is listed and stops nothing else."""
        try:
            step(*given)
        except InvalidInput as exc:
            self.skipped.append(unreadable(binding, exc))
            return False
        return True

    def _lines(self, bindings: list[Binding]) -> Iterator[Line]:
        """The variables as they count in the end, without those that are no values at all."""
        last = {binding.key.upper(): binding for binding in bindings}
        for binding in bindings:
            value = binding.value or ""
            line = layouts.recognise(binding)
            winner = last[binding.key.upper()]
            is_about = line.ollama or values.mentions_ollama(value)
            if binding.error is not None:
                self.skipped.append(unreadable(binding, binding.error))
            elif winner is not binding and not is_about:
                self.unrelated.append(binding)
            elif winner is not binding:
                why = f"{'unset' if winner.is_unset else 'set'} again: {winner.place} is used"
                self.skipped.append(PlanEntry(binding=binding, why=why, shadowed_by=winner))
            elif is_about and binding.is_unset:
                self._skip(binding, "unset", kind=Kind.ELSEWHERE)
            elif is_about and _OF_KUBERNETES.fullmatch(f"{binding.key}={value}"):
                self._skip(binding, "made by Kubernetes for a service", "url", Kind.ELSEWHERE)
            else:
                yield line

    def _is_provider(self, line: Line) -> bool:
        """Whether it names Ollama as the program of the lines beside it; another one is noted."""
        is_ollama = line.text.lower() in ("ollama", "ollama_chat")
        if line.ollama or line.is_host or not (line.role is Role.PROVIDER or is_ollama):
            return False
        place = line.place
        if line.role is not Role.PROVIDER:
            key = "_".join(layouts.words_of(line.binding.key)[:-1])
            place = layouts.recognise(replace(line.binding, key=key)).place
        self.providers[place] = is_ollama
        if is_ollama:
            self._skip(line.binding, PROVIDER, kind=Kind.ELSEWHERE)
        return is_ollama

    def _is_url(self, line: Line) -> bool:
        text = line.text
        if line.why or line.role not in (Role.URL, Role.MODEL, Role.NAME, Role.PROVIDER, None):
            return False
        items: list[lists.Item] = []
        with suppress(InvalidInput):
            items = lists.items(line.binding, values.unquoted(text))
        if any(values.is_ollama(item.url) for item in items):
            return True
        if line.role is not Role.URL:
            return False
        if line.odd and items:
            is_address = any(values.is_address(item.url) for item in items)
            return is_address or values.no_server(text) is not None
        is_named = line.ollama or (line.is_host and text.lower() == "ollama")
        return is_named or (bool(text) and self._is_of_ollama(line))

    def _is_of_ollama(self, line: Line) -> bool:
        """Whether its name, or a variable beside it, says that the program is Ollama."""
        return line.ollama or self.providers.get(line.place, False)

    def _is_related(self, line: Line) -> bool:
        """Whether a variable is about a server; else it is listed, or counted, and done with."""
        binding = line.binding
        mentions = values.mentions_ollama(line.text) and line.role not in SECRET_ROLES
        if line.why and (line.ollama or (mentions and line.why == layouts.NOT_ASKED)):
            self._skip(binding, line.why, kind=Kind.ELSEWHERE)
        elif line.ollama and line.role in (None, Role.URL, Role.PROVIDER):
            self._skip(binding, layouts.not_understood(binding.key), kind=Kind.UNKNOWN)
        elif line.ollama or self._is_beside_own(line) or self._is_model(line):
            return True
        elif mentions:
            self._skip(binding, MENTION)
        else:
            self.unrelated.append(binding)
        return False

    def _is_beside_own(self, line: Line) -> bool:
        """Whether it stands beside the URL of a server of its prefix, both without OLLAMA."""
        if line.role is None or not any(line.place):
            return False
        places = [server.line.place for server in self.servers if not server.line.ollama]
        return line.place in places or bool(line.prefix and line.prefix in dict(places))

    def _is_model(self, line: Line) -> bool:
        """Whether a variable without OLLAMA names one of its models."""
        if line.role not in (Role.MODEL, None) or not values.is_model_name(line.text):
            return False
        if line.role is None or values.is_model_of_ollama(line.text):
            return values.is_model_of_ollama(line.text)
        if line.place in self.providers:
            return self.providers[line.place]
        is_local = all(layouts.is_slot(w) or w in layouts.LOCAL_MODELS for w in line.words)
        return bool(self.servers) and not line.binding.unfilled and is_local

    def _is_plain_model(self, line: Line) -> bool:
        """Whether it names a model without OLLAMA, without a server beside it, for no purpose."""
        server = self.target(line)
        is_own = line.ollama or (server is not None and server.owns(line))
        if line.role is not Role.MODEL or is_own:
            return False
        is_plain = not set(line.words) - layouts.LOCAL_MODELS - {"OLLAMA", "CHAT"}
        return is_plain or (line.slot is None and self._is_of_ollama(line))

    def _is_usable(self, line: Line) -> bool:
        """Whether a value can be used; else the variable is skipped."""
        binding, text = line.binding, line.text.strip()
        if binding.unfilled:
            needed = ", ".join(f"${{{name}}}" for name in binding.unfilled)
            self._skip(binding, f"needs {needed}, which no line before it sets")
        elif binding.value is None:
            self._skip(binding, "no value: written without =")
        elif not text:
            self._skip(binding, "no value")
        elif line.role in AUTH_ROLES and values.is_placeholder(text, key=line.role is Role.KEY):
            self._skip(binding, values.PLACEHOLDER)
        else:
            many = line.many or line.role in (Role.URL, Role.CONFIGS, Role.HEADERS)
            return self._try(binding, values.checked, binding, line.text, many)
        return False

    def _add_servers(self, line: Line, parts: dict[Any, Line]) -> None:
        """Add the server that a variable names, or each of its list."""
        binding, text = line.binding, values.unquoted(line.text)
        why = values.no_server(text)
        if why:
            self._skip(binding, why, "url")
        elif line.many or lists.is_list(text):
            items = lists.items(binding, text)
            self.lengths[binding] = max(((item.index or 0) + 1 for item in items), default=0)
            for item in items:
                if self._is_of_ollama(line) or values.is_ollama(item.url):
                    self._try(binding, self._add_server, line, item, [])
                else:
                    why = f"{values.shown_address(item.url)} is not known as an Ollama server"
                    self._skip(binding, why, "url")
        else:
            beside = [parts.get((role, line.place)) for role in _PARTS]
            self._add_server(line, lists.Item(url=text), list(filter(None, beside)))

    def _add_server(self, line: Line, item: lists.Item, beside: list[Line]) -> None:
        """Add a server; `beside` are the lines with its port and its scheme."""
        binding = line.binding
        why = values.no_server(item.url)
        if why:
            self._skip(binding, why, "url")
            return
        port, https = None, None
        if Role.PORT in item.values:
            port = values.whole_number(binding, item.values[Role.PORT], 1, 65535)
        for other in beside:
            if other.role is Role.PORT:
                port = values.whole_number(other.binding, other.text, 1, 65535)
            else:
                https = values.https(other.binding, other.text)
        whole = values.complete(binding, item.url, port, https)
        used = [o.binding for o in beside if whole != item.url or o.role is Role.TLS]
        url, userinfo = values.server_url(binding, whole)
        server = LegacyServer(line=line, index=item.index)
        server.tell_url(url, userinfo, used)
        server.skip_keys(binding, item.unused)
        self.servers.append(server)
        self._tell(server, item.values, binding)

    def _tell(self, server: LegacyServer, texts: lists.Texts, binding: Binding) -> None:
        for role, text in texts.items():
            if role is not Role.PORT:
                self._try(binding, server.tell, role, text, binding)

    def _attach(self, line: Line) -> None:
        """Give a value to the server that its name means, or say why it goes nowhere."""
        binding, role, slot = line.binding, line.role, line.slot
        server = self.target(line)
        is_own = server.owns(line) if server else (slot or "").isdecimal()
        is_number = role in (Role.MAX_CONCURRENT, Role.PRIORITY)
        is_special = not is_own or not line.purposes.isdisjoint(layouts.NEVER_DEFAULT)
        if role in _PARTS:
            if not any(binding in server.fields["url"].also for server in self.servers):
                self._skip(binding, f"no URL without a {role} to which it could belong", "url")
        elif role is Role.CONFIGS:
            self._attach_configs(line)
        elif line.many or (is_number and not slot and "," in line.text):
            self._attach_parallel(line)
        elif role in (Role.MODEL, None) and self.servers and is_special:
            purpose = slot or line.prefix.lower()
            why = f"a model for one purpose ({purpose}): name it with --model"
            self._skip(binding, why, "default_model")
        elif server is None and line.odd and self.servers:
            self._skip(binding, layouts.not_understood(binding.key), kind=Kind.UNKNOWN)
        elif server is None and slot and self.servers:
            called = "has the number" if slot.isdecimal() else "is called"
            self._skip(binding, f"no server {called} {slot}")
        elif server is None:
            self._skip(binding, NO_SERVER)
        elif role is Role.ACTIVE and slot is None:
            self._skip(binding, "a switch of the program, not of a server", kind=Kind.ELSEWHERE)
        else:
            self._tell(server, {role or Role.MODEL: line.text}, binding)

    def _attach_plain(self, lines: list[Line]) -> None:
        """A model without OLLAMA and for no purpose is the default model if it is the only one."""
        server = self.first("")
        names_one = len({line.text for line in lines}) == 1
        is_open = server is not None and "default_model" not in server.fields
        for line in lines:
            if server is None:
                self._skip(line.binding, NO_SERVER)
            elif not names_one:
                self._skip(line.binding, NOT_ALONE, "default_model")
            elif not is_open:
                self._skip(line.binding, NOT_COUNTED, "default_model")
            else:
                self._tell(server, {Role.MODEL: line.text}, line.binding)

    def _attach_parallel(self, line: Line) -> None:
        servers, length = self.listed(line.prefix)
        binding, role = line.binding, line.role or Role.NAME
        parts = lists.parallel_texts(line.text)
        if line.text.startswith("["):
            parts = values.json_texts(binding, line.text)
        if not servers:
            self._skip(binding, "there is no list of servers to which it could belong")
        elif len(parts) != length:
            source = next(iter(servers.values())).source
            what = f"has {len(parts)} entries, and {source.key} has {length} servers"
            hint = "give each server one entry, in the same order"
            raise values.problem(binding, what, hint)
        for index, server in servers.items():
            if parts[index]:
                self._tell(server, {role: parts[index]}, binding)

    def _attach_configs(self, line: Line) -> None:
        """Open WebUI's settings of each URL, by its index in the list, in old files by itself."""
        for key, config in lists.objects(line.binding, line.text):
            server = self.configured(line.binding, key, line.prefix)
            if server is not None:
                texts, unused = lists.json_fields(line.binding, config)
                server.skip_keys(line.binding, unused)
                self._tell(server, texts, line.binding)
