"""The fleet written out: as a fleet file, or as the settings of another program."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ollama_admin.domain.digests import digest_prefix
from ollama_admin.domain.fleet_file import STORED, Fleet, FleetFile, Row, WantedModel
from ollama_admin.domain.names import server_key
from ollama_admin.errors import InvalidInput, NotFound
from ollama_admin.rules.fleet_settings import Served, Tool, ordered, settings_for
from ollama_admin.services.fleet_reading import model_name
from ollama_admin.services.fleet_rows import listed, read_fleet
from ollama_admin.services.upstream_auth import UpstreamAuth

NEW_OWNER = "fleet"  # of a file with what people made

Note = Callable[[str], None]


def file_of(connection: Any, auth: UpstreamAuth, owner: str | None, note: Note) -> FleetFile:
    """The rows of one owner, or with None those of people, as a file. Its owner is then a name that
    no row has yet.
    """
    fleet = read_fleet(connection, auth, ())
    servers, pins, keys = (_of(owner, rows) for rows in (fleet.servers, fleet.pins, fleet.keys))
    if owner is not None and not (servers or pins or keys):
        raise NotFound(f"no row belongs to the file of {owner!r}", _owners_hint(fleet))
    _note_others(fleet, owner, note)
    own = {row.key: row for row in servers}
    default = fleet.default_server
    if default is not None and server_key(default) not in own:
        default = None
    return FleetFile(
        owner=owner or _free_owner(fleet),
        servers=servers,
        models=_models(connection, own, note),
        pins=[row for row in pins if _is_digest(row.values["digest"])],
        keys=keys,
        default_server=default,
    )


def _of(owner: str | None, rows: Mapping[str, Row]) -> list[Row]:
    own = [row for row in rows.values() if row.owner == owner and row.is_active]
    return sorted(own, key=lambda row: row.key)


def _rows(fleet: Fleet) -> Iterable[Row]:
    yield from fleet.servers.values()
    yield from fleet.pins.values()
    yield from fleet.keys.values()


def _owners(fleet: Fleet) -> list[str]:
    return sorted({row.owner for row in _rows(fleet) if row.owner is not None})


def _owners_hint(fleet: Fleet) -> str:
    owners = _owners(fleet)
    if owners:
        return f"owners: {', '.join(owners)}"
    return "what people made is written without --owner"


def _note_others(fleet: Fleet, owner: str | None, note: Note) -> None:
    others = [name for name in _owners(fleet) if name != owner]
    if owner is None and others:
        note(f"left out is what files made, of these owners: {', '.join(others)}; see --owner")
    secrets = [row.name for row in fleet.servers.values() if row.owner == owner and _keeps(row)]
    if secrets:
        note(
            f"the secrets of {', '.join(secrets[:10])} are in this database alone: the file says "
            f"'{STORED}' of them"
        )


def _keeps(row: Row) -> bool:
    """Whether a server has a secret that no reference names."""
    secrets = [row.values["auth"].get("secret")]
    secrets += row.values["headers"].values()
    return STORED in secrets


def _free_owner(fleet: Fleet) -> str:
    owners, name, number = _owners(fleet), NEW_OWNER, 2
    while name in owners:
        name, number = f"{NEW_OWNER}-{number}", number + 1
    return name


def _models(connection: Any, servers: Mapping[str, Row], note: Note) -> list[WantedModel]:
    models, left_out = [], 0
    for entry in listed(connection, servers, None):
        if not _is_model(entry.name):
            left_out += 1
            continue
        digest = entry.digest
        if digest is not None and not _is_digest(digest):
            digest = None
        models.append(WantedModel(server=entry.server, model=entry.name, digest=digest))
    if left_out:
        note(f"left out are models whose names no server can be told to pull: {left_out}")
    return models


def _is_model(name: str) -> bool:
    try:
        return model_name(name) == name
    except InvalidInput:
        return False


def _is_digest(digest: str) -> bool:
    try:
        return digest_prefix(digest) == digest
    except InvalidInput:
        return False


def settings_of(connection: Any, auth: UpstreamAuth, tool: Tool | str, note: Note) -> str:
    """The active servers as the settings of a program. InvalidInput for one that is not known."""
    try:
        tool = Tool(tool)
    except ValueError as exc:
        raise InvalidInput(
            f"there are no settings for {tool[:100]!a}", f"there are: {', '.join(Tool)}"
        ) from exc
    settings = settings_for(tool, _served(connection, auth))
    if settings.without_credentials:
        note(
            f"left out are the credentials of {', '.join(settings.without_credentials)}: give them "
            f"to {tool} yourself"
        )
    return settings.text


def _served(connection: Any, auth: UpstreamAuth) -> list[Served]:
    fleet = read_fleet(connection, auth, ())
    active = {key: row for key, row in fleet.servers.items() if row.values["is_active"]}
    models: dict[str, dict[str, tuple[str, ...]]] = {key: {} for key in active}
    for entry in listed(connection, active, None):
        models[server_key(entry.server)][entry.name] = entry.capabilities or ()
    return ordered(Served(row=row, models=models[key]) for key, row in active.items())
