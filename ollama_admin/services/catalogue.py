"""What the database says of a name and of servers, read before any server is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ollama_admin.domain.callers import Rights
from ollama_admin.domain.labels import carries
from ollama_admin.domain.models import Model
from ollama_admin.domain.names import ModelName
from ollama_admin.domain.pins import Pin
from ollama_admin.domain.requests import Route
from ollama_admin.domain.servers import Server, has_capability
from ollama_admin.errors import InvalidInput, ModelNotFound, ServerInactive, ServerNotFound
from ollama_admin.rules import absence
from ollama_admin.store import models as store_models
from ollama_admin.store import pins as store_pins
from ollama_admin.store import servers as store_servers
from ollama_admin.store.slots import draining


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Servers, and the models and the pin of one name."""

    servers: Sequence[Server]
    models: Sequence[Model]
    pin: Pin | None


def inactive(server: Server) -> ServerInactive:
    """The error for a server that was named, but is kept out of every choice."""
    return ServerInactive(
        f"server {server.name} is inactive",
        f"enable it with: ollama-admin server enable {server.ref.word}",
    )


def named_server(connection: Any, server: int | str, rights: Rights) -> Server:
    """The row with this id or name; raises ServerNotFound, in one way also for one that may not be
    asked.
    """
    if not rights.servers:
        return store_servers.find(connection, server)
    try:
        row = store_servers.find(connection, server)
    except ServerNotFound:
        row = None
    if row is None or not rights.may_ask_server(row):
        raise ServerNotFound(f"there is no server {str(server)[:100]!a} that this key may ask")
    return row


def require_model(rights: Rights, name: str) -> None:
    """Raise ModelNotFound for a model that may not be asked, as for one that nobody has."""
    if not rights.may_ask_model(name):
        raise ModelNotFound(
            f"no active server has model {name!r} for this key",
            "see which models it may ask: GET /api/tags",
        )


def may_know(rights: Rights, names: list[str]) -> list[str]:
    """Of some names of models those that may be told."""
    if rights.servers:
        return []
    return [name for name in names if rights.may_ask_model(name)]


def default_server(connection: Any, route: Route) -> Server:
    """The server for a request that names nothing: the default one, or the first one with the
    capability and the labels of its route.
    """
    capability = route.capability
    if route.labels:
        chosen = _first_able(_labelled(connection, route), capability)
        limits = absence.limits(capability, route.labels)
        missing = f"no model is named, and there is no active server{limits}"
        hint = "see what servers have: ollama-admin server list"
    elif capability is None:
        chosen = store_servers.find_default(connection)
        missing = "no model is named, and there is no default server"
        hint = "name one with --model, or set a default: ollama-admin server set-default S"
    else:
        able = store_servers.all_servers(connection, inactive=False)
        chosen = _first_able(able, capability)
        missing = f"no model is named, and no active server has the capability {capability!r}"
        hint = "use --model"
        if any(
            has_capability(known, capability) for known in store_models.capability_sets(connection)
        ):
            hint = (
                "models have it, but no server is marked with it: name a model with --model; see "
                f"ollama-admin models --capability {capability}"
            )
    if chosen is None:
        raise InvalidInput(missing, hint)
    if not chosen.is_active:
        raise ServerInactive(
            f"the default server {chosen.name} is inactive",
            "enable it, or choose another: server set-default S",
        )
    if chosen.is_draining:
        raise draining(chosen.name, chosen.ref.word)
    return chosen


def default_model(server: Server) -> str:
    """The model that a server answers with when none is named; InvalidInput when it has none."""
    if server.default_model is None:
        raise InvalidInput(
            f"no model is named, and server {server.name} has no default model",
            "name one with --model, or set it: ollama-admin server update "
            f"{server.ref.word} --default-model M",
        )
    return server.default_model


def catalogue(connection: Any, name: ModelName, *, everyone: bool = False) -> Catalogue:
    """What the database says of a name and of the servers that list it; with `everyone`, of the
    other ones too.
    """
    if everyone:
        servers = store_servers.all_servers(connection)
    else:
        servers = store_servers.holders(connection, store_models.meanings(name))
    models, pin = store_models.named(connection, name)
    return Catalogue(servers=servers, models=models, pin=pin)


def known_of(
    connection: Any, name: ModelName, server: Server
) -> tuple[Sequence[Model], Pin | None]:
    """The rows of an Ollama server that the name means, and the name's pin."""
    if not server.is_ollama:
        return [], store_pins.for_name(connection, name)
    return store_models.named(connection, name, server.id)


def _labelled(connection: Any, route: Route) -> list[Server]:
    able = store_servers.all_servers(connection, inactive=False)
    return [server for server in able if carries(server.labels, route.labels)]


def _first_able(servers: Sequence[Server], capability: str | None) -> Server | None:
    for server in servers:
        if capability is None or has_capability(server.capabilities, capability):
            return server
    return None
