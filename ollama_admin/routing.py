"""Which server answers, decided on data alone."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ollama_admin.domain import ApiVersion, GenerateRequest, ListedModel, Model, Server
from ollama_admin.errors import ModelAmbiguous, RemoteNotAllowed
from ollama_admin.names import is_cloud_name, model_key, short_model_name
from ollama_admin.requests import v1_obstacle


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An active server and what it lists under the name asked for: one model, or several that are equal to Ollama."""

    server: Server
    models: tuple[Model, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Candidates, best first, and a note for each server that was left out because of the request."""

    candidates: tuple[Candidate, ...]
    notes: tuple[str, ...]


def means(listed: str, asked: str, *, is_ollama: bool) -> bool:
    """Whether a listed name is the one asked for; ids of other servers are compared byte for byte."""
    return model_key(listed) == model_key(asked) if is_ollama else listed == asked


def rank(servers: Iterable[Server], models: Sequence[Model], asked: str, request: GenerateRequest) -> Ranking:
    """The active servers that list the model, in the order default, priority, id."""
    candidates, notes = [], []
    for server in sorted(servers, key=preference):
        listed = tuple(
            model
            for model in models
            if model.server_id == server.id
            and means(model.name, asked, is_ollama=bool(server.is_ollama))
            and _is_capable(server, model, request.capability)
        )
        if not listed or not server.is_active:
            continue
        obstacle = v1_obstacle(request) if server.api_version is ApiVersion.V1 else None
        if obstacle:
            notes.append(f"server {server.name} is passed over: v1 cannot carry {obstacle}")
        else:
            candidates.append(Candidate(server=server, models=listed))
    return Ranking(candidates=tuple(candidates), notes=tuple(notes))


def preference(server: Server) -> tuple[bool, int, int]:
    """Sort key: the default first, then the higher priority, then the older row."""
    return not server.is_default, -server.priority, server.id


def has_capability(capabilities: Iterable[str], wanted: str) -> bool:
    return wanted.casefold() in {capability.casefold() for capability in capabilities}


def only_one(models: Sequence[ListedModel], server: str) -> ListedModel:
    """The one model of a server that a name means; Ollama itself would pick among several at random."""
    if len(models) > 1:
        names = ", ".join(repr(model.name) for model in models)
        raise ModelAmbiguous(
            f"server {server} has {len(models)} models of that name: {names}",
            "Ollama would pick one at random; rename or delete one on the server",
        )
    return models[0]


def refuse_remote(name: str, model: ListedModel | None, request: GenerateRequest) -> None:
    """Raise RemoteNotAllowed for a prompt that would leave the fleet unasked."""
    if request.allow_remote:
        return
    if is_cloud_name(name) or (model is not None and model.is_remote):
        host = (model and model.remote_host) or "ollama.com"
        raise RemoteNotAllowed(
            f"model {name!r} runs at {host}: the prompt would leave the fleet", "allow it with --allow-remote"
        )


def nearest(asked: str, names: Iterable[str]) -> list[str]:
    """Up to three names that look like the one asked for."""
    by_key = {short_model_name(model_key(name)): name for name in names}
    wanted = short_model_name(model_key(asked))
    same_model = [key for key in by_key if key.rpartition(":")[0] == wanted.rpartition(":")[0]]
    close = difflib.get_close_matches(wanted, by_key, n=3, cutoff=0.7)
    return [by_key[key] for key in dict.fromkeys([*same_model, *close])][:3]


def _is_capable(server: Server, model: Model, capability: str | None) -> bool:
    return capability is None or has_capability((*server.capabilities, *(model.capabilities or ())), capability)
