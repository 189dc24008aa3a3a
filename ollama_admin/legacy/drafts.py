"""Servers as legacy variables describe them, and which of them a variable means."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count

from ollama_admin.domain import urls
from ollama_admin.domain.names import SERVER_NAME_LIMIT, server_key
from ollama_admin.domain.secret import Secret
from ollama_admin.domain.servers import ApiVersion
from ollama_admin.domain.urls import ServerURL, Userinfo
from ollama_admin.legacy import values
from ollama_admin.legacy.credentials import another, auth, credential, skipped
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.layouts import AUTH_ROLES, CHAT, COLUMNS, Line, Role
from ollama_admin.legacy.servers import FieldValue, Kind, PlanEntry, Sourced

_READERS: Mapping[Role, Callable[[Binding, str], FieldValue]] = {
    Role.NAME: values.server_name,
    Role.MODEL: values.model_name,
    Role.CAPABILITIES: values.capabilities,
    Role.MAX_CONCURRENT: partial(values.whole_number, least=1),
    Role.PRIORITY: partial(values.whole_number, least=-values.NUMBER_LIMIT),
    Role.ACTIVE: values.switch,
}


@dataclass(slots=True, kw_only=True)
class LegacyServer:
    """`fields` are columns, `pieces` what auth variables say by their role, `auth` the fields that
    these make. `line` is that of the URL, `index` the place in a list of them.
    """

    line: Line
    index: int | None = None
    fields: dict[str, Sourced] = field(default_factory=dict)
    pieces: dict[str, Sourced] = field(default_factory=dict)
    auth: dict[str, Sourced] = field(default_factory=dict)
    skips: list[PlanEntry] = field(default_factory=list)

    @property
    def source(self) -> Binding:
        return self.line.binding

    @property
    def everything(self) -> dict[str, Sourced]:
        """The columns, then the fields of credentials."""
        return self.fields | self.auth

    @property
    def name(self) -> str:
        return str(self.fields["name"].value)

    @property
    def url(self) -> str:
        return str(self.fields["url"].value)

    def owns(self, line: Line) -> bool:
        """Whether the name of a model says that it is this server's."""
        return line.ollama or (not self.line.ollama and self.line.place == line.place)

    def bindings(self) -> Iterator[Binding]:
        """All variables that say something of it."""
        yield from (skip.binding for skip in self.skips)
        for said in (self.fields, self.pieces):
            yield from (source for sourced in said.values() for source in sourced.sources)

    @property
    def order(self) -> tuple[int, int]:
        """The unnumbered server first, then lists, numbers and words; lines decide within each."""
        slot = self.line.slot
        if slot is None:
            return int(self.index is not None), 0
        if slot.isdecimal():
            return 2, int(slot)
        return 3, int(bool(self.line.purposes))

    def tell(self, role: Role, text: str, source: Binding, remark: str | None = None) -> None:
        """Note what a variable, or a key of its JSON, says of this server."""
        column = COLUMNS.get(role, role.value)
        is_placeholder = values.is_placeholder(text.strip(), key=role is Role.KEY)
        if role is Role.MODEL and values.is_model_list(text):
            self.skip(source, "a list of model names: a server has one default model", column)
        elif is_placeholder and (role is Role.MODEL or role in AUTH_ROLES):
            self.skip(source, values.PLACEHOLDER, column)
        elif role in _READERS:
            value = _READERS[role](source, text)
            self._add(self.fields, column, Sourced(value=value, source=source))
        elif role in AUTH_ROLES:
            self._add(self.pieces, role, Sourced(value=Secret(text), source=source, remark=remark))
        else:
            self.skip(source, "not kept")

    def tell_url(self, url: ServerURL, userinfo: Userinfo | None, parts: list[Binding]) -> None:
        """Note the URL, what gave `parts` of it, and its user and password, never one of them."""
        source = self.source
        self.fields["url"] = Sourced(value=url.url, source=source, remark=url.note).said_by(parts)
        if url.v1:
            remark = "the URL ends in /v1"
            self.fields["api_version"] = Sourced.inferred(ApiVersion.V1.value, source, remark)
        if userinfo and userinfo.username and userinfo.password:
            remark = "taken out of the URL"
            self.tell(Role.USERNAME, values.checked(source, userinfo.username), source, remark)
            self.tell(Role.PASSWORD, values.checked(source, userinfo.password), source, remark)
        elif userinfo:
            why = "the URL holds a user name or a password, but not both"
            self.skip(source, why, "auth_config")

    def skip(self, source: Binding, why: str, column: str | None = None) -> None:
        self.skips.append(PlanEntry(binding=source, why=why, field=column))

    def skip_keys(self, source: Binding, keys: Collection[str]) -> None:
        """Note the keys of a JSON object that say nothing we keep."""
        if keys:
            why = f"not kept: {', '.join(sorted(set(keys)))[:200]}"
            self.skips.append(PlanEntry(binding=source, why=why, kind=Kind.MINOR))

    def absorb(self, other: "LegacyServer") -> None:
        """Take over what is said elsewhere of the same URL; what is known already counts. The user
        of one never gets the password of the other: a credential is taken over as a whole.
        """
        for name, sourced in other.fields.items():
            if sourced.given:
                self._add(self.fields, name, sourced)
        others = other.pieces
        if credential(self.pieces) is None and credential(others) is not None:
            self.pieces, others = dict(others), self.pieces
        ours = [piece for role, piece in self.pieces.items() if role != Role.HEADERS]
        strangers = others.keys() - self.pieces.keys() - {Role.HEADERS}
        for role, piece in others.items():
            if ours and role in strangers:
                self.skips += skipped(piece, another(ours[0]), COLUMNS[role])
            else:
                self._add(self.pieces, role, piece)
        self.skips += other.skips

    def finish(self, taken: set[str]) -> list[PlanEntry]:
        """Make a name that is not taken, if none is given, and credentials; gives what is left."""
        if "name" not in self.fields:
            name = next(name for name in self._names() if server_key(name) not in taken)
            taken.add(server_key(name))
            remark = "made from the variable's name"
            self.fields["name"] = Sourced.inferred(name, self.source, remark)
        self.fields = {"name": self.fields.pop("name")} | self.fields
        for found in auth(self.pieces):
            if isinstance(found, PlanEntry):
                self.skips.append(found)
            else:
                self.auth |= [found]
        return [replace(skip, server=self.name) for skip in dict.fromkeys(self.skips)]

    def _names(self) -> Iterator[str]:
        """Names after what names the server, the shortest first, without end."""
        number = "" if self.index is None else str(self.index + 1)
        yield _name(self.line.prefix, "ollama", self.line.slot or "", number)
        yield from numbered(_name(self.source.key, number))

    def _add(self, known: dict[str, Sourced], key: str, sourced: Sourced) -> None:
        """Note a value, or that another one counts."""
        first = known.setdefault(key, sourced)
        if first.value == sourced.value:
            known[key] = first.said_by(sourced.sources)
            return
        for source in sourced.sources:
            where = first.source.place
            if known is self.fields and first.source.file == source.file and source.line:
                where = f"{first.source.key}, line {first.source.line}"
            self.skip(source, f"another value is used: {where}", COLUMNS.get(key, key))


@dataclass(slots=True)
class Fleet:
    """`lengths` counts the parts of each list of URLs, those without a server too."""

    servers: list[LegacyServer] = field(default_factory=list)
    lengths: dict[Binding, int] = field(default_factory=dict)

    def group(self, prefix: str) -> list[LegacyServer]:
        """The servers under a prefix; all of them when it has none of its own."""
        return [s for s in self.servers if s.line.prefix == prefix] or self.servers

    def unnumbered(self, prefix: str) -> LegacyServer | None:
        servers = self.group(prefix)
        return next((s for s in servers if s.line.slot is None and s.index is None), None)

    def first(self, prefix: str) -> LegacyServer | None:
        """The server that means all: the unnumbered one, else the first that has no purpose."""
        by_purpose = sorted(self.group(prefix), key=lambda server: bool(server.line.purposes))
        return self.unnumbered(prefix) or next(iter(by_purpose), None)

    def target(self, line: Line) -> LegacyServer | None:
        """The server that a variable belongs to, if there is one."""
        same = [server for server in self.servers if server.line.words == line.words]
        if line.slot is not None:
            same += [s for s in self.group(line.prefix) if s.line.slot == line.slot]
        if same:
            return same[0]
        if line.slot is None or (line.role is Role.MODEL and line.slot == CHAT):
            return self.first(line.prefix)
        if line.slot == "1":
            return self.unnumbered(line.prefix)
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
        with values.at(binding):
            url = urls.server_url(key).url
        return next((server for server in servers.values() if server.url == url), None)


def numbered(name: str) -> Iterator[str]:
    """The name, then with -2, -3, ... behind it."""
    yield name
    for number in count(2):
        yield f"{name[: SERVER_NAME_LIMIT - 10]}-{number}"


def _name(*words: str) -> str:
    joined = "-".join(word for word in words if word).lower()
    return re.sub(r"[^a-z0-9.]+", "-", joined)[:SERVER_NAME_LIMIT].strip("-")
