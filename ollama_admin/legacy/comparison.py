"""One legacy server beside the row it belongs to: a verdict on each of its values."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from ollama_admin.domain import names, urls
from ollama_admin.domain.secret import Reference, Secret
from ollama_admin.domain.servers import ApiVersion, Server
from ollama_admin.errors import AdminError
from ollama_admin.legacy.drafts import LegacyServer, numbered
from ollama_admin.legacy.servers import AUTH_CONFIG, AUTH_TYPE, HEADERS, FieldValue, Sourced, State

# the error of a secret that cannot be read
Held: TypeAlias = str | Secret | Reference | AdminError
# what a row's credentials are, by fields in small letters
Stored: TypeAlias = Callable[[Server], Mapping[str, Held]]


@dataclass(frozen=True, slots=True)
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
    """What is to be written, and what becomes of each value. `row` is None for a server that is
    not there yet; `name` is the row's, or the one it will get.
    """

    server: LegacyServer
    row: Server | None
    name: str
    verdicts: tuple[Verdict, ...]
    make_default: bool = False

    @property
    def server_id(self) -> int | None:
        """The row to change; None for a new one."""
        if self.row is None:
            return None
        return self.row.id

    def new(self, *, auth: bool) -> dict[str, Sourced]:
        """The values to be written: those of credentials, or of other columns."""
        new = [verdict for verdict in self.verdicts if verdict.state is State.NEW]
        return {v.field: v.sourced for v in new if (v.field in self.server.auth) is auth}

    @property
    def columns(self) -> dict[str, FieldValue]:
        return {field: sourced.value for field, sourced in self.new(auth=False).items()}

    @property
    def auth(self) -> NewAuth | None:
        """The credentials to be written: the auth type and its fields together, headers one by
        one.
        """
        new = self.new(auth=True)
        headers = _under(HEADERS, new) or None
        if all(field.startswith(HEADERS) for field in new):
            return headers and NewAuth(headers=headers)
        auth = self.server.auth
        config = _under(AUTH_CONFIG, auth)
        return NewAuth(auth_type=auth[AUTH_TYPE].text, auth_config=config, headers=headers)

    @property
    def can_be_default(self) -> bool:
        """Whether the row has this URL afterwards, and is active."""
        is_active = self.row is None or self.row.is_active
        waits = (State.CONFLICT, State.IGNORED)
        is_open = any(v.field in ("url", "name") and v.state in waits for v in self.verdicts)
        return bool(self.columns.get("is_active", is_active)) and not is_open


def compare(
    servers: Sequence[Server], legacy: Sequence[LegacyServer], stored: Stored, *, update: bool
) -> list[Comparison]:
    """Each legacy server with the row that has its URL, else its name; `update` settles conflicts
    for the file.
    """
    by_url = {row.url: row for row in servers}
    used = {by_url[server.url].id for server in legacy if server.url in by_url}
    by_name = {names.server_key(row.name): row for row in servers if row.id not in used}
    owners = {names.server_key(row.name) for row in servers}
    taken = owners | {_key(server) for server in legacy if server.fields["name"].given}
    compared = []
    for server in legacy:
        row = by_url.get(server.url) or by_name.get(_key(server))
        name, verdicts = server.name, _as_new(server, server.name)
        if row is not None:
            name, verdicts = row.name, _verdicts(server, row, owners, stored, update=update)
        elif server.fields["name"].given and _key(server) in owners:
            verdicts = _waiting(server, "name", "the name belongs to a server with another URL")
        elif not server.fields["name"].given:
            name = _free(name, taken)
            taken.add(names.server_key(name))
            verdicts = _as_new(server, name)
        compared.append(Comparison(server=server, row=row, name=name, verdicts=tuple(verdicts)))
    return compared


def _key(server: LegacyServer) -> str:
    return names.server_key(server.name)


def _free(name: str, taken: set[str]) -> str:
    if names.server_key(name) not in taken:
        return name
    return next(free for free in numbered(name) if names.server_key(free) not in taken)


def _as_new(server: LegacyServer, name: str) -> Iterator[Verdict]:
    named = {"name": replace(server.fields["name"], value=name)}
    for field, sourced in (server.everything | named).items():
        yield Verdict(field, sourced, State.NEW, sourced.remark)


def _waiting(server: LegacyServer, cause: str, why: str) -> Iterator[Verdict]:
    """A conflict over which server is meant: nothing else can be said of it."""
    for field, sourced in server.everything.items():
        if field == cause:
            yield Verdict(field, sourced, State.CONFLICT, why)
        elif sourced.given:
            yield Verdict(field, sourced, State.IGNORED, f"waits until the {cause} is settled")


def _verdicts(
    server: LegacyServer, row: Server, owners: set[str], stored: Stored, *, update: bool
) -> Iterator[Verdict]:
    if server.url != row.url and not update:
        yield from _waiting(server, "url", f"the server {row.name!r} has the URL {row.url}")
        return
    for field, sourced in server.fields.items():
        if not sourced.given:
            continue
        current: FieldValue | None = getattr(row, field)
        state = State.CONFLICT
        why: str | None = f"the server has {_words(current)}"
        if current in (None, ()):
            state, why = State.NEW, None
        elif _same(field, sourced.value, current, row):
            state, why = State.UNCHANGED, None
        elif update:
            state, why = State.NEW, f"replaces {_words(current)}"
        if field == "name" and state is State.NEW and _key(server) in owners:
            state, why = State.CONFLICT, "the name belongs to another server"
        if field == "url":
            why = _joined([why, *_remarks(server, row)])
        yield Verdict(field, sourced, state, why)
    current_auth: Mapping[str, Held] = {}
    if server.auth and not _moved(server, row):
        current_auth = stored(row)
    yield from _auth_verdicts(server.auth, current_auth, update=update)


def _same(field: str, value: FieldValue, current: FieldValue | None, row: Server) -> bool:
    if isinstance(value, tuple) and isinstance(current, tuple):
        return set(value) == set(current)
    if field == "name":
        return names.server_key(str(value)) == names.server_key(str(current))
    if field == "default_model" and row.api_version is ApiVersion.NATIVE:
        return names.model_key(str(value)) == names.model_key(str(current))
    return value == current


def _remarks(server: LegacyServer, row: Server) -> Iterator[str]:
    if "api_version" in server.fields and row.api_version is ApiVersion.NATIVE:
        yield "the URL ends in /v1; the server's api_version is native and stays so"
    if _moved(server, row) and (row.auth_config or row.headers):
        yield f"the credentials stored for {urls.origin(row.url)} are dropped"


def _moved(server: LegacyServer, row: Server) -> bool:
    """Whether the row gets another origin; stored credentials do not go with it."""
    return urls.origin(server.url) != urls.origin(row.url)


def _auth_verdicts(
    auth: Mapping[str, Sourced], stored: Mapping[str, Held], *, update: bool
) -> Iterator[Verdict]:
    other_type = AUTH_TYPE in auth and stored.get(AUTH_TYPE) not in (None, auth[AUTH_TYPE].value)
    for field, sourced in auth.items():
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
            yield Verdict(field, sourced, state, _joined([why, sourced.remark]))


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
