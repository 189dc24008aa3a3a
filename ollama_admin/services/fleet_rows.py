"""The fleet as the database has it, in the terms of a fleet file."""

import hashlib
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from ollama_admin.domain.fleet_file import STORED, Fleet, Noun, Row
from ollama_admin.domain.keys import Key
from ollama_admin.domain.names import model_key, server_key
from ollama_admin.domain.pins import Pin
from ollama_admin.domain.secret import MASK
from ollama_admin.domain.servers import OPEN_FIELDS, SECRET_FIELDS, AuthType, Server
from ollama_admin.domain.values import Json
from ollama_admin.services.fleet_reading import KEY_FIELDS
from ollama_admin.services.upstream_auth import UpstreamAuth
from ollama_admin.store import keys as store_keys
from ollama_admin.store import models as store_models
from ollama_admin.store import pins as store_pins
from ollama_admin.store import servers as store_servers
from ollama_admin.store.models import ModelEntry

FEW = 500  # servers whose models are read for themselves, not with all


def read_fleet(connection: Any, auth: UpstreamAuth, held_by: Collection[str] | None) -> Fleet:
    """All rows, and what the servers with these keys are known to list; None is every server. It
    reads the key for secrets, so call it in a thread.
    """
    servers = store_servers.all_servers(connection)
    rows = {server_key(each.name): server_row(auth.masked_row(each)) for each in servers}
    default = [server.name for server in servers if server.is_default]
    return Fleet(
        servers=rows,
        pins={model_key(each.name): pin_row(each) for each in store_pins.all_pins(connection)},
        keys={server_key(each.name): key_row(each) for each in store_keys.all_keys(connection)},
        default_server=default[0] if default else None,
        builds=_builds(connection, rows, held_by),
    )


def listed(
    connection: Any, servers: Mapping[str, Row], held_by: Collection[str] | None
) -> Iterable[ModelEntry]:
    """What servers list, as discovery left it."""
    keys = set(servers)
    if held_by is not None:
        keys &= set(held_by)
    ids = None
    if len(keys) <= FEW:
        ids = [servers[key].id for key in keys]
    if not keys:
        return
    batches = store_models.each_entry(
        connection, server_ids=ids, everything=True, capabilities=True
    )
    for batch in batches:
        for entry in batch:
            if entry.is_available and server_key(entry.server) in keys:
                yield entry


def _builds(
    connection: Any, servers: Mapping[str, Row], held_by: Collection[str] | None
) -> dict[tuple[str, str], list[str | None]]:
    builds: dict[tuple[str, str], list[str | None]] = {}
    for entry in listed(connection, servers, held_by):
        key = (server_key(entry.server), entry.name_key)
        builds.setdefault(key, []).append(entry.digest)
    return builds


def server_row(server: Server) -> Row:
    """A server whose secrets are masked."""
    values = {
        "url": server.url,
        "api_version": str(server.api_version),
        "capabilities": list(server.capabilities),
        "max_concurrent": server.max_concurrent,
        "priority": server.priority,
        "is_active": server.is_active,
        "default_model": server.default_model,
        "labels": dict(sorted(server.labels.items())),
        "auth": _auth(server),
        "headers": {name: _secret(server.headers[name]) for name in sorted(server.headers)},
        "ca_file": server.ca_file,
        "client_cert_file": server.client_cert_file,
        "client_key_file": server.client_key_file,
        "proxy": server.proxy,
    }
    return Row(
        noun=Noun.SERVER,
        name=server.name,
        key=server_key(server.name),
        values=values,
        id=server.id,
        state=server.state,
        owner=server.managed_by,
    )


def _auth(server: Server) -> dict[str, Any]:
    kind = server.auth_type
    if kind is AuthType.NONE:
        return {}
    auth = {"type": str(kind)}
    if kind in OPEN_FIELDS and OPEN_FIELDS[kind] in server.auth_config:
        auth[OPEN_FIELDS[kind]] = str(server.auth_config[OPEN_FIELDS[kind]])
    return auth | {"secret": _secret(server.auth_config.get(SECRET_FIELDS[kind]))}


def _secret(shown: Json) -> str:
    if shown in (None, MASK):
        return STORED
    return str(shown)


def pin_row(pin: Pin) -> Row:
    key = model_key(pin.name)
    return Row(
        noun=Noun.PIN,
        name=pin.name,
        key=key,
        values={"digest": pin.digest},
        id=0,
        state=_state(pin.digest, pin.updated_at),
        owner=pin.managed_by,
    )


def key_row(key: Key) -> Row:
    values = {field: getattr(key, field) for field in KEY_FIELDS}
    for field in ("can", "models", "servers", "networks"):
        values[field] = [str(item) for item in values[field]]
    return Row(
        noun=Noun.KEY,
        name=key.name,
        key=server_key(key.name),
        values=values,
        id=key.id,
        state=_state(values, key.is_active, key.public_id, key.updated_at),
        owner=key.managed_by,
        is_active=key.is_active,
    )


def _state(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]
