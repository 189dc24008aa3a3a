"""A server while its variables are still being put together."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from ollama_admin.domain import ApiVersion
from ollama_admin.legacy import values
from ollama_admin.legacy.credentials import SECRET_ROLES, Piece, credential, extra_headers
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.layouts import AUTH_ROLES, Role
from ollama_admin.legacy.servers import Field, FieldValue, LegacyServer, Skipped, Sourced
from ollama_admin.names import SERVER_NAME_LIMIT
from ollama_admin.urls import ServerURL, Userinfo

NOT_STORED = "a secret: not stored yet"
NOT_STORED_WITHOUT = "belongs to a secret: not stored yet"
PLACEHOLDER = "a placeholder"

_AUTH_COLUMNS = {Role.SCHEME: "auth_type", Role.HEADERS: "headers"}
_SCHEMES_WITHOUT_SECRET = ("none", "session", "system_oauth", "digest", "negotiate", "ntlm")


@dataclass(slots=True, kw_only=True)
class Draft:
    """`slot` and `prefix` are those of the URL's variable; `index` is the place in a list, None outside of one."""

    url: ServerURL
    source: Binding
    prefix: str
    slot: str | None = None
    index: int | None = None
    fields: dict[Field, Sourced] = field(default_factory=dict)
    pieces: dict[Role, Piece] = field(default_factory=dict)
    skips: list[Skipped] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fields["url"] = Sourced(value=self.url.url, source=self.source)
        if self.url.v1:
            self.fields["api_version"] = Sourced(value=ApiVersion.V1.value, source=self.source, given=False)

    @property
    def unnumbered(self) -> bool:
        return self.slot is None and self.index is None

    @property
    def order(self) -> tuple[int, int]:
        """The unnumbered server first, then lists, numbers and words; lines decide within each."""
        if self.slot is None:
            return (0, 0) if self.index is None else (1, 0)
        return (2, int(self.slot)) if self.slot.isdecimal() else (3, 0)

    @property
    def holds_secret(self) -> bool:
        return not SECRET_ROLES.isdisjoint(self.pieces)

    def tell(self, role: Role, text: str, source: Binding) -> None:
        """Note what a variable, or a key of its JSON, says of this server."""
        match role:
            case Role.NAME:
                self._set("name", values.server_name(source, text), source)
            case Role.MODEL:
                self._tell_model(text, source)
            case Role.CAPABILITIES:
                self._set("capabilities", values.capabilities(source, text), source)
            case Role.MAX_CONCURRENT:
                self._set("max_concurrent", values.whole_number(source, text, 1), source)
            case Role.PRIORITY:
                self._set("priority", values.whole_number(source, text, -values.NUMBER_LIMIT), source)
            case Role.ACTIVE:
                self._set("is_active", values.switch(source, text), source)
            case _ if role in AUTH_ROLES:
                self._tell_auth(role, text, source)
            case _:
                self.skip(source, "not kept")

    def tell_userinfo(self, userinfo: Userinfo, source: Binding) -> None:
        """Note the user and password that stood in the URL."""
        for role, text in ((Role.USERNAME, userinfo.username), (Role.PASSWORD, userinfo.password)):
            if text:
                self._tell_auth(role, values.checked(source, text), source)

    def say_same(self, name: Field, source: Binding) -> None:
        """Note a variable that says again what a field already holds."""
        told = self.fields[name]
        if source != told.source and source not in told.also:
            self.fields[name] = replace(told, also=(*told.also, source))

    def skip(self, source: Binding, why: str, column: str | None = None) -> None:
        self.skips.append(Skipped(binding=source, why=why, field=column))

    def skip_keys(self, source: Binding, keys: Collection[str]) -> None:
        """Note the keys of a JSON object that say nothing we keep."""
        if keys:
            why = f"not kept: {', '.join(sorted(set(keys)))[:200]}"
            self.skips.append(Skipped(binding=source, why=why, minor=True))

    def absorb(self, other: "Draft") -> None:
        """Take over what another variable says of the same URL; what is already told counts."""
        for name, told in other.fields.items():
            if told.given:
                self._set(name, told.value, told.source)
                for again in told.also:
                    self._set(name, told.value, again)
        for role, piece in other.pieces.items():
            self._tell_auth(role, piece.value, piece.source)
        self.skips += other.skips

    def names(self) -> Iterator[str]:
        """Names after what names the server, the shortest first, without end."""
        slots = [self.slot] if self.slot else []
        slots += [str(self.index + 1)] if self.index is not None else []
        yield _name(self.prefix, "ollama", *slots)
        variable = _name(self.source.key, *([slots[-1]] if self.index is not None else []))
        yield variable
        yield from numbered(variable)

    def finished(self, name: Sourced) -> LegacyServer:
        return LegacyServer(
            fields={"name": name, **self.fields},
            credential=credential(self.pieces),
            headers=extra_headers(self.pieces),
        )

    def skipped(self, name: str) -> list[Skipped]:
        """What goes nowhere, under the server's final name; each reason once for each variable."""
        auth = [
            Skipped(binding=piece.source, why=_auth_why(role, piece), field=_AUTH_COLUMNS.get(role, "auth_config"))
            for role, piece in self.pieces.items()
        ]
        secrets = {skip.binding for skip in auth if skip.why == NOT_STORED}
        auth = [skip for skip in auth if skip.why != NOT_STORED_WITHOUT or skip.binding not in secrets]
        return [replace(skip, server=name) for skip in dict.fromkeys([*self.skips, *auth])]

    def _set(self, name: Field, value: FieldValue, source: Binding) -> None:
        told = self.fields.get(name)
        if told is None:
            self.fields[name] = Sourced(value=value, source=source)
        elif told.value == value:
            self.say_same(name, source)
        else:
            self.skip(source, f"another value counts: {_shown(told, source)}", name)

    def _tell_model(self, text: str, source: Binding) -> None:
        if values.is_model_list(text):
            self.skip(source, "a list of model names: a server has one default model", "default_model")
        elif values.is_placeholder(text):
            self.skip(source, PLACEHOLDER, "default_model")
        else:
            self._set("default_model", values.model_name(source, text), source)

    def _tell_auth(self, role: Role, text: str, source: Binding) -> None:
        column = _AUTH_COLUMNS.get(role, "auth_config")
        if values.is_placeholder(text.strip(), key=role is Role.KEY):
            self.skip(source, PLACEHOLDER, column)
        elif role not in self.pieces:
            self.pieces[role] = Piece(value=text, source=source)
        elif self.pieces[role].source != source:
            self.skip(source, f"another value counts: {self.pieces[role].source.place}", column)


def numbered(name: str) -> Iterator[str]:
    """The name with -2, -3, ... behind it."""
    number = 2
    while True:
        yield f"{name[: SERVER_NAME_LIMIT - 10]}-{number}"
        number += 1


def _name(*words: str) -> str:
    joined = "-".join(word for word in words if word).lower()
    return re.sub(r"[^a-z0-9.]+", "-", joined)[:SERVER_NAME_LIMIT].strip("-")


def _shown(told: Sourced, source: Binding) -> str:
    here = told.source.file == source.file and told.source.line is not None
    return f"{told.source.key}, line {told.source.line}" if here else told.source.place


def _auth_why(role: Role, piece: Piece) -> str:
    scheme = piece.value.strip().lower()
    if role is Role.SCHEME and scheme in _SCHEMES_WITHOUT_SECRET:
        return "no secret belongs to it" if scheme == "none" else f"{scheme} authentication is not spoken"
    return NOT_STORED if role in SECRET_ROLES else NOT_STORED_WITHOUT
