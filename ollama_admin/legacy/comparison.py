"""One legacy server beside the row it belongs to: a verdict on each of its values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeAlias

from ollama_admin.domain import names, urls
from ollama_admin.domain.secret import Reference, Secret
from ollama_admin.domain.servers import ApiVersion, Server
from ollama_admin.errors import AdminError
from ollama_admin.legacy.drafts import numbered
from ollama_admin.legacy.servers import (
    AUTH_CONFIG,
    AUTH_TYPE,
    HEADERS,
    Field,
    FieldValue,
    LegacyServer,
    Sourced,
)

Held: TypeAlias = str | Secret | Reference | AdminError  # the error of a secret that cannot be read
# what a row's credentials are, by fields in small letters
Stored: TypeAlias = Callable[[Server], Mapping[str, Held]]


class State(StrEnum):
    """NEW is written; UNCHANGED is what the row says already; CONFLICT and IGNORED are not
    written.
    """

    NEW = "new"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    field: str
    told: Sourced
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
    def columns(self) -> Mapping[str, FieldValue]:
        """What is to be written, but for credentials."""
        return {
            field: told.value for field, told in self.server.fields.items() if field in self._new
        }

    @property
    def auth(self) -> NewAuth | None:
        """The credentials to be written: the auth type and its fields together, headers one by
        one.
        """
        told = self.server.auth
        config = {field: value for field, value in told.items() if not field.startswith(HEADERS)}
        headers = _under(
            HEADERS, {field: value for field, value in told.items() if field in self._new}
        )
        if self._new.isdisjoint(config):
            return NewAuth(headers=headers) if headers else None
        kind = str(config.pop(AUTH_TYPE).value)
        return NewAuth(
            auth_type=kind, auth_config=_under(AUTH_CONFIG, config), headers=headers or None
        )

    @property
    def _new(self) -> set[str]:
        return {verdict.field for verdict in self.verdicts if verdict.state is State.NEW}

    @property
    def can_be_default(self) -> bool:
        """Whether the row has this URL afterwards, and is active."""
        active = self.columns.get("is_active", self.row.is_active if self.row else True)
        return bool(active) and not any(
            v.field in ("url", "name") and v.state in _OPEN for v in self.verdicts
        )


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
    told = server.fields["name"]
    name = server.name
    if told.given and names.server_key(name) in owners:
        verdicts = tuple(_waiting(server, "name", "the name belongs to a server with another URL"))
        return Comparison(server=server, row=None, name=name, verdicts=verdicts)
    if not told.given and names.server_key(name) in taken:
        name = next(free for free in numbered(name) if names.server_key(free) not in taken)
    server = replace(server, fields={**server.fields, "name": replace(told, value=name)})
    verdicts = tuple(
        Verdict(field=field, told=told, state=State.NEW, why=told.remark)
        for field, told in server.told.items()
    )
    return Comparison(server=server, row=None, name=name, verdicts=verdicts)


def _verdicts(
    server: LegacyServer, row: Server, owners: set[str], stored: Stored, *, update: bool
) -> Iterator[Verdict]:
    if server.url != row.url and not update:
        yield from _waiting(server, "url", f"the server {row.name!r} has the URL {row.url}")
        return
    for field, told in server.fields.items():
        if not told.given:
            continue
        state, why = _judge(field, told.value, row)
        if state is State.CONFLICT and update:
            state, why = State.NEW, f"replaces {_shown(_current(row, field))}"
        if field == "name" and state is State.NEW and names.server_key(server.name) in owners:
            state, why = State.CONFLICT, "the name belongs to another server"
        if field == "url":
            why = _joined(why, *_url_remarks(server, row))
        yield Verdict(field=field, told=told, state=state, why=why)
    held = stored(row) if server.auth and not _moved(server, row) else {}
    yield from _auth_verdicts(server, held, update=update)


def _waiting(server: LegacyServer, cause: Field, why: str) -> Iterator[Verdict]:
    """A conflict over which server is meant: nothing else can be said of it."""
    for field, told in server.told.items():
        if field == cause:
            yield Verdict(field=field, told=told, state=State.CONFLICT, why=why)
        elif told.given:
            yield Verdict(
                field=field,
                told=told,
                state=State.IGNORED,
                why=f"waits until the {cause} is settled",
            )


def _judge(field: Field, value: FieldValue, row: Server) -> tuple[State, str | None]:
    current = _current(row, field)
    if current in (None, ()):
        return State.NEW, None
    if _same(field, value, current, row):
        return State.UNCHANGED, None
    return State.CONFLICT, f"the server has {_shown(current)}"


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


def _url_remarks(server: LegacyServer, row: Server) -> Iterator[str]:
    if "api_version" in server.fields and row.api_version is ApiVersion.NATIVE:
        yield "the URL ends in /v1; the server's api_version is native and stays so"
    if _moved(server, row) and (row.auth_config or row.headers):
        yield f"the credentials stored for {urls.origin(row.url)} are dropped"


def _moved(server: LegacyServer, row: Server) -> bool:
    """Whether the row gets another origin; stored credentials do not go with it."""
    return urls.origin(server.url) != urls.origin(row.url)


def _auth_verdicts(
    server: LegacyServer, held: Mapping[str, Held], *, update: bool
) -> Iterator[Verdict]:
    other_type = (
        AUTH_TYPE in held
        and AUTH_TYPE in server.auth
        and held[AUTH_TYPE] != server.auth[AUTH_TYPE].value
    )
    for field, told in server.auth.items():
        current = held.get(field.casefold())
        state, why = State.NEW, None
        if field.startswith(AUTH_CONFIG) and other_type:
            if not update:
                state, why = State.IGNORED, f"waits until the {AUTH_TYPE} is settled"
        elif current is not None and _equal(field, told.value, current):
            state = State.UNCHANGED
        elif current is not None:
            state, why = State.CONFLICT, f"the server has {_named(current)}"
            if update:
                state, why = State.NEW, f"replaces {_named(current)}"
        if told.given or state is not State.UNCHANGED:
            yield Verdict(field=field, told=told, state=state, why=_joined(why, told.remark))


def _equal(field: str, told: FieldValue, current: Held) -> bool:
    if field == f"{AUTH_CONFIG}header_name":
        return str(told).casefold() == str(current).casefold()
    return current == told


def _joined(*remarks: str | None) -> str | None:
    return "; ".join(filter(None, remarks)) or None


def _named(held: Held) -> str:
    match held:
        case Secret():
            return "another secret"
        case Reference():
            return f"the reference {held}"
        case AdminError():
            return f"a secret that cannot be read: {held.message}"
        case str():
            return held


def _under(prefix: str, fields: Mapping[str, Sourced]) -> dict[str, str | Secret]:
    """The values of the fields with this prefix, by the rest of their names."""
    return {
        field.removeprefix(prefix): told.value
        for field, told in fields.items()
        if field.startswith(prefix) and isinstance(told.value, str | Secret)
    }


def _shown(value: FieldValue | None) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
