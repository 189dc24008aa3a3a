"""One legacy server beside the row it belongs to: a verdict on each of its values."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from ollama_admin import names
from ollama_admin.domain import ApiVersion, Server
from ollama_admin.legacy.drafts import numbered
from ollama_admin.legacy.servers import Field, FieldValue, LegacyServer, Sourced


class State(StrEnum):
    """NEW is written; UNCHANGED is what the row says already; CONFLICT and IGNORED are not written."""

    NEW = "new"
    UNCHANGED = "unchanged"
    CONFLICT = "conflict"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    field: Field
    told: Sourced
    state: State
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`row` is None for a server that is not there yet; `name` is the row's, or the one it will get."""

    server: LegacyServer
    row: Server | None
    name: str
    verdicts: tuple[Verdict, ...]

    @property
    def columns(self) -> Mapping[str, FieldValue]:
        """What is to be written."""
        return {verdict.field: verdict.told.value for verdict in self.verdicts if verdict.state is State.NEW}

    @property
    def can_be_default(self) -> bool:
        """Whether the row has this URL afterwards, and is active."""
        active = self.columns.get("is_active", self.row.is_active if self.row else True)
        return bool(active) and not any(v.field in ("url", "name") and v.state in _OPEN for v in self.verdicts)


_OPEN = (State.CONFLICT, State.IGNORED)


def compare(servers: Sequence[Server], legacy: Sequence[LegacyServer], *, update: bool) -> list[Comparison]:
    """Each legacy server with the row that has its URL, else its name; `update` settles conflicts for the file."""
    rows = _rows(servers, legacy)
    owners = {names.server_key(row.name) for row in servers}
    taken = owners | {names.server_key(server.name) for server in legacy if server.fields["name"].given}
    compared = []
    for server, row in zip(legacy, rows, strict=True):
        if row is None:
            comparison = _as_new(server, owners, taken)
            taken.add(names.server_key(comparison.name))
        else:
            verdicts = tuple(_verdicts(server, row, owners, update=update))
            comparison = Comparison(server=server, row=row, name=row.name, verdicts=verdicts)
        compared.append(comparison)
    return compared


def _rows(servers: Sequence[Server], legacy: Sequence[LegacyServer]) -> list[Server | None]:
    by_url = {row.url: row for row in servers}
    rows = [by_url.get(server.url) for server in legacy]
    used = {row.id for row in rows if row}
    by_name = {names.server_key(row.name): row for row in servers if row.id not in used}
    return [row or by_name.get(names.server_key(server.name)) for row, server in zip(rows, legacy, strict=True)]


def _as_new(server: LegacyServer, owners: set[str], taken: set[str]) -> Comparison:
    told = server.fields["name"]
    name = server.name
    if told.given and names.server_key(name) in owners:
        verdicts = tuple(_waiting(server, "name", "the name belongs to a server with another URL"))
        return Comparison(server=server, row=None, name=name, verdicts=verdicts)
    if not told.given and names.server_key(name) in taken:
        name = next(free for free in numbered(name) if names.server_key(free) not in taken)
    fields = dict(server.fields)
    if not told.given:
        fields["name"] = Sourced(value=name, source=told.source, also=told.also, given=False)
    verdicts = tuple(
        Verdict(field=field, told=value, state=State.NEW, why=None if value.given else _INFERRED[field])
        for field, value in fields.items()
    )
    return Comparison(server=server, row=None, name=name, verdicts=verdicts)


_INFERRED: Mapping[Field, str] = {"name": "made from the variable's name", "api_version": "the URL ends in /v1"}


def _verdicts(server: LegacyServer, row: Server, owners: set[str], *, update: bool) -> Iterator[Verdict]:
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
        if field == "url" and _speaks_less(server, row):
            remark = "the URL ends in /v1; the server's api_version is native and stays so"
            why = f"{why}; {remark}" if why else remark
        yield Verdict(field=field, told=told, state=state, why=why)


def _waiting(server: LegacyServer, cause: Field, why: str) -> Iterator[Verdict]:
    """A conflict over which server is meant: nothing else can be said of it."""
    for field, told in server.fields.items():
        if field == cause:
            yield Verdict(field=field, told=told, state=State.CONFLICT, why=why)
        elif told.given:
            yield Verdict(field=field, told=told, state=State.IGNORED, why=f"waits until the {cause} is settled")


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


def _speaks_less(server: LegacyServer, row: Server) -> bool:
    return "api_version" in server.fields and row.api_version is ApiVersion.NATIVE


def _shown(value: FieldValue | None) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
