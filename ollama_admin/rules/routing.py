"""Which server answers, decided on data alone."""

import difflib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from ollama_admin.domain.digests import short
from ollama_admin.domain.models import ListedModel, Model
from ollama_admin.domain.names import is_cloud_name, model_key, short_model_name
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.domain.servers import ApiVersion, Server
from ollama_admin.errors import ModelAmbiguous, RemoteNotAllowed
from ollama_admin.rules.request_checks import v1_obstacle

AnyModel = TypeVar("AnyModel", bound=ListedModel)


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The build that must answer: a digest or the beginning of one, and what demands it, as users
    know it.
    """

    digest: str
    by: str

    def allows(self, digest: str | None) -> bool:
        return digest is not None and digest.startswith(self.digest)

    def __str__(self) -> str:
        return f"{short(self.digest)} ({self.by})"


class Obstacle(StrEnum):
    """Why a server does not answer a request for a name."""

    INACTIVE = "inactive"
    LACKS = "does not list the model"
    CAPABILITY = "lacks the capability"
    OPTION = "v1 cannot carry an option"
    AMBIGUOUS = "several of its models have that name"
    REMOTE = "the model runs at a remote host"
    NOT_DEMANDED = "another build than the demanded one"
    OTHER_BUILD = "another build than the first server's"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A server, what it lists under the name asked for, and what keeps it from answering; `why`
    says that in full.
    """

    server: Server
    models: tuple[Model, ...] = ()
    obstacle: Obstacle | None = None
    why: str = ""

    @property
    def digest(self) -> str | None:
        return self.models[0].build if len(self.models) == 1 else None

    @property
    def is_eligible(self) -> bool:
        return self.obstacle is None


def means(listed: str, asked: str, *, is_ollama: bool) -> bool:
    """Whether a listed name is the one asked for; ids of other servers are compared byte for
    byte.
    """
    return model_key(listed) == model_key(asked) if is_ollama else listed == asked


def judge_servers(
    servers: Iterable[Server],
    models: Sequence[Model],
    asked: str,
    request: GenerateRequest,
    demand: Demand | None = None,
) -> list[Verdict]:
    """What becomes of each server, in the order default, priority, id. The first eligible one's
    digest is the build.
    """
    listed: dict[int, list[Model]] = defaultdict(list)
    for model in models:
        listed[model.server_id].append(model)
    verdicts = [
        _judge(server, listed[server.id], asked, request, demand)
        for server in sorted(servers, key=preference)
    ]
    first = next((verdict for verdict in verdicts if verdict.is_eligible), None)
    return [verdict if first is None else _of_one_build(verdict, first) for verdict in verdicts]


def _judge(
    server: Server,
    models: Sequence[Model],
    asked: str,
    request: GenerateRequest,
    demand: Demand | None,
) -> Verdict:
    is_ollama = bool(server.is_ollama)
    named = [model for model in models if means(model.name, asked, is_ollama=is_ollama)]
    able = tuple(model for model in named if _is_capable(server, model, request.capability))
    obstacle, why = _first_obstacle(server, named, able, request, demand)
    return Verdict(server=server, models=able, obstacle=obstacle, why=why)


def _first_obstacle(
    server: Server,
    named: Sequence[Model],
    able: Sequence[Model],
    request: GenerateRequest,
    demand: Demand | None,
) -> tuple[Obstacle | None, str]:
    """What stands in the way, in the order in which it is worth telling; `able` are those of
    `named` with the capability.
    """
    option = v1_obstacle(request) if server.api_version is ApiVersion.V1 else None
    if not server.is_active:
        return Obstacle.INACTIVE, "it is inactive"
    if not named:
        return Obstacle.LACKS, "it does not list the model"
    if not able:
        return Obstacle.CAPABILITY, f"it has it without the capability {request.capability!r}"
    if option is not None:
        return Obstacle.OPTION, f"v1 cannot carry {option}"
    if len(able) > 1:
        return Obstacle.AMBIGUOUS, "several of its models have that name"
    [model] = able
    if demand and model.is_remote:
        why = f"the model runs at a remote host, which proves no build; demanded is {demand}"
        return Obstacle.NOT_DEMANDED, why
    if request.verified and (not model.build or model.is_remote):
        return Obstacle.NOT_DEMANDED, "no digest of it is stored that --verified could demand"
    if model.is_remote and not request.allow_remote:
        return Obstacle.REMOTE, "the model runs at a remote host"
    if demand and not demand.allows(model.build):
        why = f"its build is {_shown(model.build)}, demanded is {demand}"
        return Obstacle.NOT_DEMANDED, why
    return None, ""


def _of_one_build(verdict: Verdict, first: Verdict) -> Verdict:
    """Servers with another digest drop out, and one without a digest is equal to none."""
    if (
        not verdict.is_eligible
        or verdict is first
        or (verdict.digest and verdict.digest == first.digest)
    ):
        return verdict
    own, its = _shown(verdict.digest), _shown(first.digest)
    why = f"its build is {own}, that of {first.server.name} is {its}"
    return replace(verdict, obstacle=Obstacle.OTHER_BUILD, why=why)


def _shown(digest: str | None) -> str:
    return short(digest) if digest else "unknown"


def preference(server: Server) -> tuple[bool, int, int]:
    """Sort key: the default first, then the higher priority, then the older row."""
    return not server.is_default, -server.priority, server.id


def has_capability(capabilities: Iterable[str], wanted: str) -> bool:
    return wanted.casefold() in {capability.casefold() for capability in capabilities}


def only_one(models: Sequence[AnyModel], server: str) -> AnyModel:
    """The one model of a server that a name means; Ollama itself would pick among several at
    random.
    """
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
        raise remote_refused(name, model)


def remote_refused(name: str, model: ListedModel | None) -> RemoteNotAllowed:
    """The error of a prompt that would leave the fleet unasked."""
    host = (model and model.remote_host) or "ollama.com"
    return RemoteNotAllowed(
        f"model {name!r} runs at {host}: the prompt would leave the fleet",
        "allow it with --allow-remote",
    )


def nearest(asked: str, names: Iterable[str]) -> list[str]:
    """Up to three names that look like the one asked for."""
    by_key = {short_model_name(model_key(name)): name for name in names}
    wanted = short_model_name(model_key(asked))
    same_model = [key for key in by_key if key.rpartition(":")[0] == wanted.rpartition(":")[0]]
    close = difflib.get_close_matches(wanted, by_key, n=3, cutoff=0.7)
    return [by_key[key] for key in dict.fromkeys([*same_model, *close])][:3]


def _is_capable(server: Server, model: Model, capability: str | None) -> bool:
    return capability is None or has_capability(
        (*server.capabilities, *(model.capabilities or ())), capability
    )
