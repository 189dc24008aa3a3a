"""Which server answers, decided on data alone."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TypeVar

from ollama_admin.domain import labels
from ollama_admin.domain.digests import digest_prefix, short
from ollama_admin.domain.models import ListedModel, Model
from ollama_admin.domain.names import ModelName
from ollama_admin.domain.pins import Pin
from ollama_admin.domain.requests import Terms
from ollama_admin.domain.servers import ApiVersion, Server, has_capability
from ollama_admin.errors import Conflict, ModelAmbiguous
from ollama_admin.rules.candidates import Demand, stored_build

AnyModel = TypeVar("AnyModel", bound=ListedModel)

VISION = "vision"  # the capability of models that take images


@dataclass(frozen=True, slots=True, kw_only=True)
class Criteria:
    """What servers are judged by. `cannot_carry` names, for each dialect that cannot express the
    request, what it cannot carry; with `needs_vision` it has images.
    """

    name: ModelName
    terms: Terms
    capability: str | None = None
    labels: Sequence[str] = ()
    demand: Demand | None = None
    cannot_carry: Mapping[ApiVersion, str]
    needs_vision: bool = False


class Obstacle(StrEnum):
    """Why a server does not answer a request for a name."""

    INACTIVE = "inactive"
    DRAINING = "draining"
    LACKS = "does not list the model"
    LABEL = "lacks the label"
    CAPABILITY = "lacks the capability"
    VISION = "its model takes no images"
    OPTION = "v1 cannot carry an option"
    AMBIGUOUS = "several of its models have that name"
    REMOTE = "the model runs at a remote host"
    NOT_DEMANDED = "another build than the demanded one"
    OTHER_BUILD = "another build than the first server's"
    REFUSED = "it may not be asked"


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
        """The build that it answers with; None where that is not known, or not one."""
        if len(self.models) != 1:
            return None
        return stored_build(self.server, self.models[0])


def named(models: Sequence[AnyModel], name: ModelName, *, is_ollama: bool) -> list[AnyModel]:
    """Those of a server's models that the name means; ids of other servers are compared byte for
    byte.
    """
    if is_ollama:
        return name.among(models)
    return [model for model in models if model.name == name.text]


def judge_servers(
    servers: Iterable[Server], models: Sequence[Model], criteria: Criteria
) -> list[Verdict]:
    """What becomes of each server, in the order default, priority, id. The first eligible one's
    digest is the build. `models` are the rows that `store.models.named` finds for the name.
    """
    rows: dict[int, list[Model]] = defaultdict(list)
    for model in models:
        rows[model.server_id].append(model)
    verdicts = [
        _judge(server, rows[server.id], criteria) for server in sorted(servers, key=preference)
    ]
    first = next((verdict for verdict in verdicts if verdict.obstacle is None), None)
    if first is None:
        return verdicts
    return [_of_one_build(verdict, first) for verdict in verdicts]


def first_choice(verdicts: Iterable[Verdict]) -> Verdict | None:
    """The first one that may answer, or that only an ambiguous name keeps from it; None for none.

    A name that means several models of the preferred server is nobody else's to answer.
    """
    for verdict in verdicts:
        if verdict.obstacle in (None, Obstacle.AMBIGUOUS):
            return verdict
    return None


def _judge(server: Server, rows: Sequence[Model], criteria: Criteria) -> Verdict:
    if server.version is None:  # not Ollama
        rows = named(rows, criteria.name, is_ollama=False)
    able = tuple(rows)
    if criteria.capability is not None:
        able = tuple(model for model in rows if _has(criteria.capability, server, model))
    obstacle, why = _first_obstacle(server, rows, able, criteria)
    return Verdict(server=server, models=able, obstacle=obstacle, why=why)


def _first_obstacle(
    server: Server, rows: Sequence[Model], able: Sequence[Model], criteria: Criteria
) -> tuple[Obstacle | None, str]:
    """What stands in the way, in the order in which it is worth telling; `able` are those of `rows`
    with the capability.
    """
    if not server.is_active:
        return Obstacle.INACTIVE, "it is inactive"
    if server.is_draining:
        return Obstacle.DRAINING, "it is draining"
    if not rows:
        return Obstacle.LACKS, "it does not list the model"
    if criteria.labels:
        lacking = labels.missing(server.labels, criteria.labels)
        if lacking is not None:
            return Obstacle.LABEL, f"it has no label {lacking}"
    if not able:
        why = f"it has it without the capability {criteria.capability!r}"
        return Obstacle.CAPABILITY, why
    if criteria.needs_vision and not any(may_see(server, model) for model in able):
        return Obstacle.VISION, "its model takes no images"
    if server.api_version in criteria.cannot_carry:
        what = criteria.cannot_carry[server.api_version]
        return Obstacle.OPTION, f"{server.api_version} cannot carry {what}"
    if len(able) > 1:
        return Obstacle.AMBIGUOUS, "several of its models have that name"
    return _obstacle_of_build(server, able[0], criteria)


def _obstacle_of_build(
    server: Server, model: Model, criteria: Criteria
) -> tuple[Obstacle | None, str]:
    demand, terms, build = criteria.demand, criteria.terms, stored_build(server, model)
    is_remote = criteria.name.is_cloud or bool(model.remote_host or model.remote_model)
    if demand and is_remote:
        why = f"the model runs at a remote host, which proves no build, but {demand} is demanded"
        return Obstacle.NOT_DEMANDED, why
    if terms.verified and (is_remote or not build):
        return Obstacle.NOT_DEMANDED, "no digest of it is stored that --verified could demand"
    if is_remote and not terms.allow_remote:
        return Obstacle.REMOTE, "the model runs at a remote host"
    if demand and not demand.allows(build):
        why = f"its build is {_digest(build)}, but {demand} is demanded"
        return Obstacle.NOT_DEMANDED, why
    return None, ""


def _of_one_build(verdict: Verdict, first: Verdict) -> Verdict:
    """Servers with another digest drop out, and one without a digest is equal to none."""
    if verdict.obstacle is not None or verdict is first:
        return verdict
    own, its = verdict.digest, first.digest
    if own and own == its:
        return verdict
    why = f"its build is {_digest(own)}, that of {first.server.name} is {_digest(its)}"
    return replace(verdict, obstacle=Obstacle.OTHER_BUILD, why=why)


def _digest(digest: str | None) -> str:
    return short(digest) if digest else "unknown"


def demanded(terms: Terms, name: ModelName, pin: Pin | None) -> Demand | None:
    """The build that the terms or a pin demand; nobody can ask for less than the pin."""
    asked = None if terms.digest is None else digest_prefix(terms.digest)
    if pin is None:
        return None if asked is None else Demand(digest=asked, by="--digest")
    pinned = f"model {name.text!r} is pinned to {short(pin.digest)}"
    hint = (
        f"ask for what is pinned, or change it: ollama-admin pin set {pin.name} or pin remove "
        f"{pin.name}"
    )
    if terms.no_verify:
        raise Conflict(f"{pinned}, and --no-verify would not look", hint)
    if asked is not None and not pin.digest.startswith(asked):
        raise Conflict(f"{pinned}, but {short(asked)} is demanded", hint)
    return Demand(digest=pin.digest, by="pin")


def preference(server: Server) -> tuple[bool, int, int]:
    """Sort key: the default first, then the higher priority, then the older row."""
    return not server.is_default, -server.priority, server.id


def may_see(server: Server, model: ListedModel) -> bool:
    """Whether a model takes images, or nothing is known of what it takes."""
    known = getattr(model, "capabilities", None)
    return not known or has_capability(server.capabilities + known, VISION)


def only_one(models: Sequence[AnyModel], server: str) -> AnyModel:
    """The one model of a server that a name means; Ollama itself would pick among several at
    random.
    """
    if len(models) > 1:
        raise ambiguous(models, server)
    return models[0]


def ambiguous(models: Sequence[ListedModel], server: str) -> ModelAmbiguous:
    """The error of a name that means several models of a server."""
    names = ", ".join(repr(model.name) for model in models)
    return ModelAmbiguous(
        f"server {server} has {len(models)} models of that name: {names}",
        "Ollama would pick one at random; rename or delete one on the server",
    )


def _has(capability: str, server: Server, model: Model) -> bool:
    able = server.capabilities + (model.capabilities or ())
    return has_capability(able, capability)
