"""One legacy server beside the row it belongs to: a verdict on each of its values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from ollama_admin.domain import names, urls
from ollama_admin.domain.secret import Reference, Secret
from ollama_admin.domain.servers import ApiVersion, Server
from ollama_admin.errors import AdminError
from ollama_admin.legacy.drafts import LegacyServer, numbered
from ollama_admin.legacy.servers import (
    AUTH_CONFIG,
    AUTH_TYPE,
    HEADERS,
    Field,
    FieldValue,
    Sourced,
)

# the error of a secret that cannot be read
Held: TypeAlias = str | Secret | Reference | AdminError
# what a row's credentials are, by fields in small letters
Stored: TypeAlias = Callable[[Server], Mapping[str, Held]]


class State(StrEnum):
    """NEW is written; UNCHANGED is what the row says already; CONFLICT and IGNORED are not
    written, nor is an ERROR, which cannot be read.
    """

    NEW = "new"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    IGNORED = "ignored"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What becomes of one value of a legacy server; `sourced` says where it stands."""

    field: str
    sourced: Sourced
    state: State
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAuth:
    """Credentials to write, in the columns' terms; None stays as it is."""

    auth_type: str | None = None
    auth_config: Mapping[str, str | Secret] | None = None
    headers: Mapping[str, str | Secret] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`row` is None for a server that is not there yet; `name` is the row's, or the one it will
    get.
    """

    server: LegacyServer
    row: Server | None
    name: str
    verdicts: tuple[Verdict, ...]

    @property
    def row_id(self) -> int | None:
        if self.row is None:
            return None
        return self.row.id

    @property
    def _new(self) -> Mapping[str, Sourced]:
        return {v.field: v.sourced for v in self.verdicts if v.state is State.NEW}

    @property
    def columns(self) -> Mapping[str, FieldValue]:
        """What is to be written, but for credentials."""
        auth = self.server.auth
        return {field: new.value for field, new in self._new.items() if field not in auth}

    @property
    def auth(self) -> NewAuth | None:
        """The credentials to be written: the auth type and its fields together, headers one by
        one.
        """
        auth = self.server.auth
        new = {field: sourced for field, sourced in self._new.items() if field in auth}
        headers = _under(HEADERS, new) or None
        if any(not field.startswith(HEADERS) for field in new):
            kind, config = str(auth[AUTH_TYPE].value), _under(AUTH_CONFIG, auth)
            return NewAuth(auth_type=kind, auth_config=config, headers=headers)
        if headers is None:
            return None
        return NewAuth(headers=headers)

    @property
    def can_be_default(self) -> bool:
        """Whether the row has this URL afterwards, and is active."""
        is_active = self.row is None or self.row.is_active
        if not self.columns.get("is_active", is_active):
            return False
        open_fields = {verdict.field for verdict in self.verdicts if verdict.state in _OPEN}
        return open_fields.isdisjoint(("url", "name"))


_OPEN = (State.CONFLICT, State.IGNORED)


def compare(
    servers: Sequence[Server], legacy: Sequence[LegacyServer], stored: Stored, *, update: bool
) -> list[Comparison]:
    """Each legacy server with the row that has its URL, else its name; `update` settles conflicts
    for the file.
    """
    rows = _rows(servers, legacy)
    owners = {names.server_key(row.name) for row in servers}
    taken = owners | {
        names.server_key(server.name) for server in legacy if server.fields["name"].given
    }
    compared = []
    for server, row in zip(legacy, rows, strict=True):
        if row is None:
            comparison = _as_new(server, owners, taken)
            taken.add(names.server_key(comparison.name))
        else:
            verdicts = tuple(_verdicts(server, row, owners, stored, update=update))
            comparison = Comparison(server=server, row=row, name=row.name, verdicts=verdicts)
        compared.append(comparison)
    return compared


def _rows(servers: Sequence[Server], legacy: Sequence[LegacyServer]) -> list[Server | None]:
    by_url = {row.url: row for row in servers}
    rows = [by_url.get(server.url) for server in legacy]
    used = {row.id for row in rows if row}
    by_name = {names.server_key(row.name): row for row in servers if row.id not in used}
    return [
        row or by_name.get(names.server_key(server.name))
        for row, server in zip(rows, legacy, strict=True)
    ]


def _as_new(server: LegacyServer, owners: set[str], taken: set[str]) -> Comparison:
    name, is_given = server.name, server.fields["name"].given
    if is_given and names.server_key(name) in owners:
        verdicts = tuple(_waiting(server, "name", "the name belongs to a server with another URL"))
        return Comparison(server=server, row=None, name=name, verdicts=verdicts)
    if not is_given and names.server_key(name) in taken:
        name = next(free for free in numbered(name) if names.server_key(free) not in taken)
    values = dict(server.everything) | {"name": replace(server.fields["name"], value=name)}
    verdicts = tuple(
        Verdict(field=field, sourced=sourced, state=State.NEW, why=sourced.remark)
        for field, sourced in values.items()
    )
    return Comparison(server=server, row=None, name=name, verdicts=verdicts)


def _verdicts(
    server: LegacyServer, row: Server, owners: set[str], stored: Stored, *, update: bool
) -> Iterator[Verdict]:
    if server.url != row.url and not update:
        yield from _waiting(server, "url", f"the server {row.name!r} has the URL {row.url}")
        return
    for field, sourced in server.fields.items():
        if not sourced.given:
            continue
        state, why = _compare_field(field, sourced.value, row)
        if state is State.CONFLICT and update:
            state, why = State.NEW, f"replaces {_words(_current(row, field))}"
        if field == "name" and state is State.NEW and names.server_key(server.name) in owners:
            state, why = State.CONFLICT, "the name belongs to another server"
        if field == "url":
            why = _joined([why, _api_version_remark(server, row), _dropping_remark(server, row)])
        yield Verdict(field=field, sourced=sourced, state=state, why=why)
    current: Mapping[str, Held] = {}
    if server.auth and not _moved(server, row):
        current = stored(row)
    yield from _auth_verdicts(server, current, update=update)


def _waiting(server: LegacyServer, cause: Field, why: str) -> Iterator[Verdict]:
    """A conflict over which server is meant: nothing else can be said of it."""
    waits = f"waits until the {cause} is settled"
    for field, sourced in server.everything.items():
        if field == cause:
            yield Verdict(field=field, sourced=sourced, state=State.CONFLICT, why=why)
        elif sourced.given:
            yield Verdict(field=field, sourced=sourced, state=State.IGNORED, why=waits)


def _compare_field(field: Field, value: FieldValue, row: Server) -> tuple[State, str | None]:
    current = _current(row, field)
    if current in (None, ()):
        return State.NEW, None
    if _same(field, value, current, row):
        return State.UNCHANGED, None
    return State.CONFLICT, f"the server has {_words(current)}"


def _current(row: Server, field: Field) -> FieldValue | None:
    current: FieldValue | None = getattr(row, field)
    return current


def _same(field: Field, value: FieldValue, current: FieldValue | None, row: Server) -> bool:
    if isinstance(value, tuple) and isinstance(current, tuple):
        return set(value) == set(current)
    if field == "name":
        return names.server_key(str(value)) == names.server_key(str(current))
    if field == "default_model" and row.api_version is ApiVersion.NATIVE:
        return names.model_key(str(value)) == names.model_key(str(current))
    return value == current


def _api_version_remark(server: LegacyServer, row: Server) -> str | None:
    if "api_version" in server.fields and row.api_version is ApiVersion.NATIVE:
        return "the URL ends in /v1; the server's api_version is native and stays so"
    return None


def _dropping_remark(server: LegacyServer, row: Server) -> str | None:
    if _moved(server, row) and (row.auth_config or row.headers):
        return f"the credentials stored for {urls.origin(row.url)} are dropped"
    return None


def _moved(server: LegacyServer, row: Server) -> bool:
    """Whether the row gets another origin; stored credentials do not go with it."""
    return urls.origin(server.url) != urls.origin(row.url)


def _auth_verdicts(
    server: LegacyServer, stored: Mapping[str, Held], *, update: bool
) -> Iterator[Verdict]:
    other_type = (
        AUTH_TYPE in stored
        and AUTH_TYPE in server.auth
        and stored[AUTH_TYPE] != server.auth[AUTH_TYPE].value
    )
    for field, sourced in server.auth.items():
        current = stored.get(field.casefold())
        state, why = State.NEW, None
        if field.startswith(AUTH_CONFIG) and other_type:
            if not update:
                state, why = State.IGNORED, f"waits until the {AUTH_TYPE} is settled"
        elif current is not None and _equal(field, sourced.value, current):
            state = State.UNCHANGED
        elif current is not None and update:
            why = f"replaces {_named(current)}"
        elif current is not None:
            state, why = State.CONFLICT, f"the server has {_named(current)}"
        if sourced.given or state is not State.UNCHANGED:
            why = _joined([why, sourced.remark])
            yield Verdict(field=field, sourced=sourced, state=state, why=why)


def _equal(field: str, value: FieldValue, current: Held) -> bool:
    if field == f"{AUTH_CONFIG}header_name":
        return str(value).casefold() == str(current).casefold()
    return current == value


def _joined(remarks: Sequence[str | None]) -> str | None:
    return "; ".join(filter(None, remarks)) or None


def _named(value: Held) -> str:
    match value:
        case Secret():
            return "another secret"
        case Reference():
            return f"the reference {value}"
        case AdminError():
            return f"a secret that cannot be read: {value.message}"
        case str():
            return value


def _under(prefix: str, fields: Mapping[str, Sourced]) -> dict[str, str | Secret]:
    """The values of the fields with this prefix, by the rest of their names."""
    return {
        field.removeprefix(prefix): sourced.value
        for field, sourced in fields.items()
        if field.startswith(prefix) and isinstance(sourced.value, str | Secret)
    }


def _words(value: FieldValue | None) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return str(value)
