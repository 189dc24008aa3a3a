"""One legacy server beside the row it belongs to: what becomes of each of its values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

from ollama_admin.domain import names, urls
from ollama_admin.domain.secret import Reference, Secret
from ollama_admin.domain.servers import ApiVersion, GivenAuth, Server
from ollama_admin.errors import AdminError
from ollama_admin.legacy.credentials import AUTH_CONFIG, AUTH_TYPE, HEADERS
from ollama_admin.legacy.drafts import LegacyServer, numbered
from ollama_admin.legacy.servers import FieldValue, PlanEntry, Sourced, State

Held: TypeAlias = str | Secret | Reference | AdminError  # an error: it cannot be read
Stored: TypeAlias = Callable[[Server], Mapping[str, Held]]  # by fields in small letters
Verdict: TypeAlias = tuple[str, Sourced, State, str | None]  # a field, its value, its state, why

_KEYS: Mapping[str, Callable[[Any], object]] = {  # what two spellings of a value have in common
    "name": names.server_key,
    "default_model": names.model_key,
    "capabilities": frozenset,
    f"{AUTH_CONFIG}header_name": str.casefold,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What is to be written, and what becomes of each variable. A new server has no `row`."""

    server: LegacyServer
    row: Server | None
    name: str
    entries: tuple[PlanEntry, ...]
    make_default: bool = False

    @property
    def columns(self) -> dict[str, FieldValue]:
        return self._new(self.server.fields)

    @property
    def auth(self) -> GivenAuth | None:
        """The credentials to be written: the type and its fields together, headers one by one."""
        auth = {field: sourced.value for field, sourced in self.server.auth.items()}
        new = self._new(auth)
        headers = _under(HEADERS, new) or None
        if all(field.startswith(HEADERS) for field in new):
            return headers and GivenAuth(headers=headers)
        config = _under(AUTH_CONFIG, auth)
        return GivenAuth(auth_type=str(auth[AUTH_TYPE]), auth_config=config, headers=headers)

    @property
    def can_be_default(self) -> bool:
        """Whether the row has this URL afterwards, and is active."""
        is_active = self.row is None or self.row.is_active
        waits = (State.CONFLICT, State.IGNORED)
        is_open = any(e.field in ("url", "name") and e.state in waits for e in self.entries)
        return bool(self.columns.get("is_active", is_active)) and not is_open

    def as_default(self) -> Self:
        """The same, of the server that becomes the default."""
        value, why = Sourced(value=True, source=self.server.source), "no server was the default"
        entries = _entries(self.name, ("is_default", value, State.NEW, why))
        return replace(self, make_default=True, entries=self.entries + tuple(entries))

    def _new(self, fields: Mapping[str, object]) -> dict[str, FieldValue]:
        """The values to be written of these fields."""
        new = [entry for entry in self.entries if entry.state is State.NEW]
        return {e.field or "": e.told for e in new if e.field in fields and e.told is not None}


def compare(
    servers: Sequence[Server], legacy: Sequence[LegacyServer], stored: Stored, *, update: bool
) -> list[Comparison]:
    """Each server with the row of its URL, else its name; `update` lets the file win conflicts."""
    by_url = {row.url: row for row in servers}
    used = {by_url[server.url].id for server in legacy if server.url in by_url}
    by_name = {names.server_key(row.name): row for row in servers if row.id not in used}
    owners = {names.server_key(row.name) for row in servers}
    taken = owners | {_key(server) for server in legacy if server.fields["name"].given}
    compared = []
    for server in legacy:
        row = by_url.get(server.url) or by_name.get(_key(server))
        name, is_given = server.name, server.fields["name"].given
        if row is not None:
            name, verdicts = row.name, _verdicts(server, row, owners, stored, update=update)
        elif is_given and _key(server) in owners:
            verdicts = _waiting(server, "name", "the name belongs to a server with another URL")
        else:
            if not is_given:
                name = next(free for free in numbered(name) if names.server_key(free) not in taken)
                taken.add(names.server_key(name))
            new = server.everything
            new["name"] = replace(new["name"], value=name)
            verdicts = ((field, said, State.NEW, said.remark) for field, said in new.items())
        entries = [entry for verdict in verdicts for entry in _entries(name, verdict)]
        compared.append(Comparison(server=server, row=row, name=name, entries=tuple(entries)))
    return compared


def _entries(server: str, verdict: Verdict) -> Iterator[PlanEntry]:
    """What becomes of a value, then of the variables that say the same."""
    field, sourced, state, why = verdict
    source, told = sourced.source, sourced.value
    entry = PlanEntry(
        binding=source, server=server, field=field, told=told, state=state, why=why, kind=None
    )
    yield entry
    again, reason = State.IGNORED, f"waits for {source.place}"
    if state in (State.NEW, State.UNCHANGED):
        again, reason = State.UNCHANGED, f"the same as {source.place}"
    yield from (replace(entry, binding=b, state=again, why=reason) for b in sourced.also)


def _key(server: LegacyServer) -> str:
    return names.server_key(server.name)


def _waiting(server: LegacyServer, cause: str, why: str) -> Iterator[Verdict]:
    """A conflict over which server is meant: nothing else can be said of it."""
    for field, sourced in server.everything.items():
        if field == cause:
            yield field, sourced, State.CONFLICT, why
        elif sourced.given:
            yield field, sourced, State.IGNORED, f"waits until the {cause} is settled"


def _verdicts(
    server: LegacyServer, row: Server, owners: set[str], stored: Stored, *, update: bool
) -> Iterator[Verdict]:
    if server.url != row.url and not update:
        yield from _waiting(server, "url", f"the server {row.name!r} has the URL {row.url}")
        return
    current: dict[str, FieldValue | Held] = {field: getattr(row, field) for field in server.fields}
    if server.auth and not _moved(server, row):
        current |= stored(row)
    kind = server.auth.get(AUTH_TYPE)
    is_other_kind = kind is not None and current.get(AUTH_TYPE, kind.value) != kind.value
    for field, sourced in server.everything.items():
        held = current.get(field.casefold())
        depends = is_other_kind and field.startswith(AUTH_CONFIG)
        state: State = State.CONFLICT
        why: str | None = f"the server has {_words(held)}"
        if depends and not update:
            state, why = State.IGNORED, f"waits until the {AUTH_TYPE} is settled"
        elif depends or held in (None, ()):
            state, why = State.NEW, None
        elif _same(field, sourced.value, held, row):
            state, why = State.UNCHANGED, None
        elif update and field == "name" and _key(server) in owners:
            why = "the name belongs to another server"
        elif update:
            state, why = State.NEW, f"replaces {_words(held)}"
        if sourced.given or (field in server.auth and state is not State.UNCHANGED):
            remarks = [why, *_remarks(field, server, row)]
            yield field, sourced, state, "; ".join(filter(None, remarks)) or None


def _same(field: str, value: FieldValue, held: FieldValue | Held | None, row: Server) -> bool:
    key = _KEYS.get(field)
    is_exact = field == "default_model" and row.api_version is not ApiVersion.NATIVE
    if key is None or is_exact:
        return value == held
    return key(value) == key(held)


def _remarks(field: str, server: LegacyServer, row: Server) -> Iterator[str | None]:
    if field in server.auth:
        yield server.auth[field].remark
    if field == "url" and "api_version" in server.fields and row.api_version is ApiVersion.NATIVE:
        yield "the URL ends in /v1; the server's api_version is native and stays so"
    if field == "url" and _moved(server, row) and (row.auth_config or row.headers):
        yield f"the credentials stored for {urls.origin(row.url)} are dropped"


def _moved(server: LegacyServer, row: Server) -> bool:
    """Whether the row gets another origin; stored credentials do not go with it."""
    return urls.origin(server.url) != urls.origin(row.url)


def _words(value: FieldValue | Held | None) -> str:
    match value:
        case Secret():
            return "another secret"
        case Reference():
            return f"the reference {value}"
        case AdminError():
            return f"a secret that cannot be read: {value.message}"
        case tuple():
            return ", ".join(value)
    return str(value)


def _under(prefix: str, fields: Mapping[str, FieldValue]) -> dict[str, str | Secret]:
    """The values of the fields with this prefix, by the rest of their names."""
    return {
        field.removeprefix(prefix): value
        for field, value in fields.items()
        if field.startswith(prefix) and isinstance(value, str | Secret)
    }
