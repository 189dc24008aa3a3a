"""A server as legacy variables describe it, while they are put together and after."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace

from ollama_admin.domain.names import SERVER_NAME_LIMIT
from ollama_admin.domain.secret import Secret
from ollama_admin.domain.servers import ApiVersion
from ollama_admin.domain.urls import ServerURL, Userinfo
from ollama_admin.legacy import forms, values
from ollama_admin.legacy.credentials import SECRET_ROLES, auth_fields, credential, skipped_column
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.layouts import AUTH_ROLES, Meaning, Role
from ollama_admin.legacy.servers import FieldValue, Kind, PlanEntry, Sourced

MODEL_LIST = "a list of model names: a server has one default model"


@dataclass(slots=True, kw_only=True)
class LegacyServer:
    """`fields` are columns, `pieces` what the auth variables say, `auth` the fields of credentials
    once they are put together.

    `known` is what the name of the URL's variable tells; `index` is the position in a list, None
    outside of one.
    """

    read_url: ServerURL
    source: Binding
    known: Meaning
    index: int | None = None
    fields: dict[str, Sourced] = field(default_factory=dict)
    pieces: dict[Role, Sourced] = field(default_factory=dict)
    auth: dict[str, Sourced] = field(default_factory=dict)
    skips: list[PlanEntry] = field(default_factory=list)

    def __post_init__(self) -> None:
        url = self.read_url
        self.fields["url"] = Sourced(value=url.url, source=self.source, remark=url.note)
        if url.v1:
            value, remark = ApiVersion.V1.value, "the URL ends in /v1"
            inferred = Sourced(value=value, source=self.source, given=False, remark=remark)
            self.fields["api_version"] = inferred

    @property
    def everything(self) -> dict[str, Sourced]:
        """The columns, then the fields of credentials."""
        return self.fields | self.auth

    @property
    def name(self) -> str:
        return str(self.fields["name"].value)

    @property
    def url(self) -> str:
        return self.read_url.url

    @property
    def is_active(self) -> bool:
        return "is_active" not in self.fields or bool(self.fields["is_active"].value)

    @property
    def unnumbered(self) -> bool:
        return self.known.slot is None and self.index is None

    @property
    def has_purpose(self) -> bool:
        return bool(self.known.purposes)

    @property
    def holds_secret(self) -> bool:
        return not SECRET_ROLES.isdisjoint(self.pieces)

    @property
    def order(self) -> tuple[int, int]:
        """The unnumbered server first, then lists, numbers and words; lines decide within each."""
        slot = self.known.slot
        if slot is None:
            return int(self.index is not None), 0
        if slot.isdecimal():
            return 2, int(slot)
        return 3, int(self.has_purpose)

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
                least = -values.NUMBER_LIMIT
                self._set("priority", values.whole_number(source, text, least), source)
            case Role.ACTIVE:
                self._set("is_active", values.switch(source, text), source)
            case _ if role in AUTH_ROLES:
                self._tell_auth(role, Sourced(value=Secret(text), source=source))
            case _:
                self.skip(source, "not kept")

    def tell_userinfo(self, userinfo: Userinfo, source: Binding) -> None:
        """Note the user and password that stood in the URL; one without the other is not completed
        from elsewhere.
        """
        if not (userinfo.username and userinfo.password):
            why = "the URL holds a user name or a password, but not both"
            self.skip(source, why, "auth_config")
            return
        for role, text in ((Role.USERNAME, userinfo.username), (Role.PASSWORD, userinfo.password)):
            value = Secret(values.checked(source, text))
            self._tell_auth(
                role, Sourced(value=value, source=source, remark="taken out of the URL")
            )

    def skip(self, source: Binding, why: str, column: str | None = None) -> None:
        self.skips.append(PlanEntry(binding=source, why=why, field=column))

    def skip_keys(self, source: Binding, keys: Collection[str]) -> None:
        """Note the keys of a JSON object that say nothing we keep."""
        if keys:
            why = f"not kept: {', '.join(sorted(set(keys)))[:200]}"
            self.skips.append(PlanEntry(binding=source, why=why, kind=Kind.MINOR))

    def absorb(self, other: "LegacyServer") -> None:
        """Take over what another variable says of the same URL; what is already known counts."""
        for name, sourced in other.fields.items():
            for source in sourced.sources:
                if sourced.given:
                    self._set(name, sourced.value, source)
        self._absorb_auth(other.pieces)
        self.skips += other.skips

    def names(self) -> Iterator[str]:
        """Names after what names the server, the shortest first, without end."""
        number = ""
        if self.index is not None:
            number = str(self.index + 1)
        yield _name(self.known.prefix, "ollama", self.known.slot or "", number)
        variable = _name(self.source.key, number)
        yield variable
        yield from numbered(variable)

    def finish(self, name: Sourced) -> list[PlanEntry]:
        """Put the credentials together; gives what goes nowhere, each reason once for each
        variable.
        """
        self.fields = {"name": name} | self.fields
        self.auth, skipped = auth_fields(self.pieces)
        return [replace(skip, server=self.name) for skip in dict.fromkeys(self.skips + skipped)]

    def _set(self, name: str, value: FieldValue, source: Binding) -> None:
        known = self.fields.get(name)
        if known is None:
            self.fields[name] = Sourced(value=value, source=source)
        elif known.value == value:
            self.fields[name] = known.said_by([source])
        else:
            self.skip(source, f"another value counts: {_where(known.source, source)}", name)

    def say_url(self, sources: list[Binding]) -> None:
        """Note the variables that gave a part of the URL."""
        self.fields["url"] = self.fields["url"].said_by(sources)

    def _tell_model(self, text: str, source: Binding) -> None:
        if forms.is_model_list(text):
            self.skip(source, MODEL_LIST, "default_model")
        elif forms.is_placeholder(text):
            self.skip(source, forms.PLACEHOLDER, "default_model")
        else:
            self._set("default_model", values.model_name(source, text), source)

    def _tell_auth(self, role: Role, piece: Sourced) -> None:
        known = self.pieces.get(role)
        if forms.is_placeholder(piece.text.strip(), key=role is Role.KEY):
            self.skip(piece.source, forms.PLACEHOLDER, skipped_column(role))
        elif known is None:
            self.pieces[role] = piece
        elif known.value == piece.value:
            self.pieces[role] = known.said_by(piece.sources)
        else:
            self._skip_piece(role, piece, f"another value counts: {known.source.place}")

    def _absorb_auth(self, others: dict[Role, Sourced]) -> None:
        """Take over a credential as a whole: the user of one variable never gets the password of
        another server.
        """
        ours = self.pieces
        if credential(ours) is None and credential(others) is not None:
            ours, others = others, ours
        self.pieces = dict(ours)
        first = next((piece for role, piece in ours.items() if role is not Role.HEADERS), None)
        for role, piece in others.items():
            if role in ours or role is Role.HEADERS or first is None:
                self._tell_auth(role, piece)
            else:
                self._skip_piece(role, piece, f"another credential counts: {first.source.place}")

    def _skip_piece(self, role: Role, piece: Sourced, why: str) -> None:
        for source in piece.sources:
            self.skip(source, why, skipped_column(role))


def numbered(name: str) -> Iterator[str]:
    """The name with -2, -3, ... behind it."""
    number = 2
    while True:
        yield f"{name[: SERVER_NAME_LIMIT - 10]}-{number}"
        number += 1


def _name(*words: str) -> str:
    joined = "-".join(word for word in words if word).lower()
    return re.sub(r"[^a-z0-9.]+", "-", joined)[:SERVER_NAME_LIMIT].strip("-")


def _where(binding: Binding, beside: Binding) -> str:
    """Where a variable stands; its file is left out where it is that of `beside`."""
    if binding.file == beside.file and binding.line is not None:
        return f"{binding.key}, line {binding.line}"
    return binding.place
