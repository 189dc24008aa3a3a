"""Where a request may go: the servers that the rules allow, in order, and the build that must
answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_admin.domain import names, urls
from ollama_admin.domain.callers import Policy
from ollama_admin.domain.digests import digest_prefix, short
from ollama_admin.domain.models import CONSTANT_DIGESTS, ListedModel, Model
from ollama_admin.domain.pins import Pin
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.domain.servers import ApiVersion, Server, Target
from ollama_admin.errors import (
    Conflict,
    InvalidInput,
    ModelMismatch,
    ModelNotFound,
    RemoteNotAllowed,
    SecretUnavailable,
    ServerInactive,
    ServerNotFound,
    UpstreamError,
)
from ollama_admin.rules import routing
from ollama_admin.rules.request_checks import v1_obstacle
from ollama_admin.rules.routing import Demand, Obstacle, Verdict
from ollama_admin.services.servers import Connect
from ollama_admin.services.upstream_auth import Auth, UpstreamAuth, read_auth
from ollama_admin.store import models as store_models
from ollama_admin.store import pins as store_pins
from ollama_admin.store import servers as store_servers
from ollama_admin.store.database import Database

_TOLD = (
    Obstacle.OPTION,
    Obstacle.AMBIGUOUS,
    Obstacle.REMOTE,
    Obstacle.NOT_DEMANDED,
    Obstacle.OTHER_BUILD,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A place for a request. `model` is the server's own spelling, `listed` what is known of it.

    `server` is None for a dynamic server. `listed` is a row of the catalogue, or what the server
    listed just now.
    """

    target: Target
    server: Server | None
    model: str
    listed: ListedModel | None
    version: str | None
    is_ollama: bool

    @property
    def is_remote(self) -> bool:
        return names.is_cloud_name(self.model) or (
            self.listed is not None and self.listed.is_remote
        )

    @property
    def shows_digests(self) -> bool:
        """Whether the server's list tells which build a name stands for."""
        return self.is_ollama and not (
            self.listed is not None and self.listed.family == CONSTANT_DIGESTS
        )

    @property
    def stored_digest(self) -> str | None:
        """The digest of the catalogue."""
        return self.listed.build if isinstance(self.listed, Model) and self.is_ollama else None

    @property
    def listed_now(self) -> ListedModel | None:
        """What the server's own list said a moment ago, if it was asked."""
        return None if isinstance(self.listed, Model) else self.listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """Servers, and the models and the pin of one name."""

    servers: tuple[Server, ...]
    models: tuple[Model, ...]
    pin: Pin | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`choices`, best first. With several of them, all stand for one build, and the next is asked
    if one is away.
    """

    choices: tuple[Choice, ...]
    demand: Demand | None

    def demand_on(self, choice: Choice) -> Demand | None:
        """Another server than the first answers with the first one's build, or not at all."""
        first = self.choices[0]
        if self.demand is not None or choice is first or first.stored_digest is None:
            return self.demand
        return Demand(digest=first.stored_digest, by=f"the build of server {first.target.ref}")


class Selection:
    """Reads the catalogue, and asks a server for what the catalogue does not say. Sends no
    prompt.
    """

    def __init__(
        self,
        db: Database,
        connect: Connect,
        auth: UpstreamAuth,
        note: Callable[[str], None],
        policy: Policy,
    ) -> None:
        self._db = db
        self._connect = connect
        self._auth = auth
        self._note = note
        self._policy = policy

    async def plan(self, request: GenerateRequest) -> Plan:
        """The choices that the rules leave, at least one; the errors say which rule left none."""
        if request.server_url is not None:
            return await self._at_url(request, urls.server_url(request.server_url))
        if request.server is not None:
            server = await self._db.read(store_servers.find, request.server)
            return await self._on_server(request, active(server))
        if request.model is None:
            return await self._on_server(
                request, await self._db.read(default_server, request.capability)
            )
        return await self._among_all(request, request.model)

    async def _at_url(self, request: GenerateRequest, url: urls.ServerURL) -> Plan:
        server = await self._db.read(store_servers.find_url, url.url)
        if server is None and not self._policy.dynamic_servers:
            raise ServerNotFound(
                f"no server has the URL {url}", "only registered servers may be named here: add it"
            )
        if server is None:
            target = self._auth.dynamic(url, _given_credentials(request))
            return await self._only(request, _named(request), target, None)
        if _given_credentials(request) != Auth():
            raise InvalidInput(
                f"server {server.name} has this URL, and its own credentials",
                "leave the auth options out, or update it",
            )
        if not self._policy.inactive_by_url:
            active(server)
        if not server.is_active:
            self._note(f"server {server.name} is inactive; it is asked because its URL was given")
        return await self._on_server(request, server, ApiVersion.V1 if url.v1 else None)

    async def _on_server(
        self, request: GenerateRequest, server: Server, spoken: ApiVersion | None = None
    ) -> Plan:
        model = model_for(request, server)
        if request.model is None:
            self._note(f"using the default model of server {server.name}: {model}")
        return await self._only(request, model, self._auth.target(server, spoken), server)

    async def _only(
        self, request: GenerateRequest, model: str, target: Target, server: Server | None
    ) -> Plan:
        """The one server that was asked for."""
        pin, rows = await self._db.read(_known_of, model, server)
        choice = await self._resolved(model, target, server, rows)
        demand = _with_stored(request, choice, demanded(request, model, pin))
        _refuse_what_cannot_be_asked(request, choice, demand)
        return Plan(choices=(choice,), demand=demand)

    async def _among_all(self, request: GenerateRequest, model: str) -> Plan:
        known = await self._db.read(catalogue, model)
        demand = demanded(request, model, known.pin)
        verdicts = routing.judge_servers(known.servers, known.models, model, request, demand)
        chosen = [verdict for verdict in verdicts if verdict.is_eligible]
        for verdict in verdicts:
            if verdict.obstacle in _TOLD:
                self._note(f"server {verdict.server.name} is passed over: {verdict.why}")
        refuse_ambiguous(verdicts)
        if not chosen:
            raise await self.not_found(request, model, verdicts, demand)
        first = chosen[0]
        choice = await self._resolved(
            model, self._auth.target(first.server), first.server, first.models
        )
        demand = _with_stored(request, choice, demand)
        _refuse_what_cannot_be_asked(request, choice, demand)
        # no look at the build would show that it is the same one
        others = [] if choice.is_remote else chosen[1:]
        rest = (found for other in others if (found := self._next(other)) is not None)
        return Plan(choices=(choice, *rest), demand=demand)

    def _next(self, verdict: Verdict) -> Choice | None:
        """A choice after the first; None where its credentials cannot be read, which spoils no
        other server.
        """
        try:
            return _from_row(self._auth.target(verdict.server), verdict.server, verdict.models[0])
        except SecretUnavailable as exc:
            self._note(f"server {verdict.server.name} is passed over: {exc.message}")
            return None

    async def _resolved(
        self, model: str, target: Target, server: Server | None, rows: Sequence[Model]
    ) -> Choice:
        """Find the server's own spelling of the name, asking the server for what the catalogue does
        not say.
        """
        is_ollama = server.is_ollama if server else None
        if server and is_ollama and rows:
            return _from_row(target, server, routing.only_one(rows, str(target.ref)))
        endpoint = self._connect(target, None)
        version = server.version if server else None
        if is_ollama is None:
            version = await endpoint.version()
            is_ollama = version is not None
        if not is_ollama and target.api_version is ApiVersion.NATIVE:
            hint = "if it speaks the OpenAI-compatible API, end its URL in /v1"
            raise UpstreamError(f"server {target.ref} answers, but not as Ollama", hint)
        # a program that is not Ollama may answer for any name: its own list decides, each time
        listed = await endpoint.models(is_ollama=is_ollama)
        found = [known for known in listed if routing.means(known.name, model, is_ollama=is_ollama)]
        if not found and not is_ollama:
            raise _unknown(model, target, [known.name for known in listed])
        known = routing.only_one(found, str(target.ref)) if found else None
        return Choice(
            target=target,
            server=server,
            model=known.name if known else model,
            listed=known,
            version=version,
            is_ollama=is_ollama,
        )

    async def not_found(
        self,
        request: GenerateRequest,
        asked: str,
        verdicts: Sequence[Verdict],
        demand: Demand | None,
    ) -> ModelNotFound | ModelMismatch | RemoteNotAllowed:
        """The error for a name that no active server may answer, with what comes nearest as its
        hint.
        """
        by_obstacle = {verdict.obstacle: verdict for verdict in reversed(verdicts)}
        if Obstacle.NOT_DEMANDED in by_obstacle:
            wanted = demand or "the stored one (--verified)"
            message = (
                f"no active server has the build of model {asked!r} that is demanded: {wanted}"
            )
            return ModelMismatch(
                message, "see which builds there are: ollama-admin models --by-model"
            )
        if Obstacle.REMOTE in by_obstacle:
            return routing.remote_refused(asked, by_obstacle[Obstacle.REMOTE].models[0])
        known = await self._db.read(store_models.similar_names, asked)
        with_capability = (
            f" with the capability {request.capability!r}" if request.capability else ""
        )
        hint = _hint_of_absence(asked, verdicts, known)
        return ModelNotFound(f"no active server has model {asked!r}{with_capability}", hint)


def active(server: Server) -> Server:
    """The server, or ServerInactive: it was named, but is kept out of every choice."""
    if not server.is_active:
        raise ServerInactive(
            f"server {server.name} is inactive",
            f"enable it with: ollama-admin server enable {server.id}",
        )
    return server


def default_server(connection: Any, capability: str | None) -> Server:
    """The server for a request that names nothing: the default one, or the first one with the
    capability.
    """
    if capability is None:
        chosen = store_servers.find_default(connection)
        missing = "no model is named, and there is no default server"
        hint = "name one with --model, or set a default: ollama-admin server set-default S"
    else:
        servers = store_servers.all_servers(connection, inactive=False)
        able = (s for s in servers if routing.has_capability(s.capabilities, capability))
        chosen = next(able, None)
        missing, hint = (
            f"no model is named, and no active server has the capability {capability!r}",
            "use --model",
        )
    if chosen is None:
        raise InvalidInput(missing, hint)
    if not chosen.is_active:
        raise ServerInactive(
            f"the default server {chosen.name} is inactive",
            "enable it, or choose another: server set-default S",
        )
    return chosen


def model_for(request: GenerateRequest, server: Server) -> str:
    """The name asked for, else the server's default model."""
    if request.model is not None:
        return request.model
    if server.default_model is None:
        raise InvalidInput(
            f"no model is named, and server {server.name} has no default model",
            f"name one with --model, or set it: ollama-admin server update {server.id} "
            "--default-model M",
        )
    return server.default_model


def demanded(request: GenerateRequest, model: str, pin: Pin | None) -> Demand | None:
    """The build that the request or a pin demands; a request cannot ask for less than the pin."""
    asked = None if request.digest is None else digest_prefix(request.digest)
    if pin is None:
        return None if asked is None else Demand(digest=asked, by="--digest")
    hint = (
        f"ask for what is pinned, or change it: ollama-admin pin set {pin.name} or pin remove "
        f"{pin.name}"
    )
    if request.no_verify:
        raise Conflict(
            f"model {model!r} is pinned to {short(pin.digest)}, and --no-verify would not look",
            hint,
        )
    if asked is not None and not pin.digest.startswith(asked):
        raise Conflict(
            f"model {model!r} is pinned to {short(pin.digest)}, demanded is {short(asked)}", hint
        )
    return Demand(digest=pin.digest, by="pin")


def catalogue(connection: Any, name: str, *, everyone: bool = False) -> Catalogue:
    """What the database says of a name and of the servers that list it; with `everyone`, of the
    other ones too.
    """
    if everyone:
        servers = store_servers.all_servers(connection)
    else:
        servers = store_servers.holders(connection, store_models.meanings(name))
    models, pin = store_models.named(connection, name)
    return Catalogue(servers=tuple(servers), models=tuple(models), pin=pin)


def refuse_ambiguous(verdicts: Sequence[Verdict]) -> None:
    """Raise ModelAmbiguous where the server that is preferred has several models of that name."""
    eligible = (
        verdict
        for verdict in verdicts
        if verdict.is_eligible or verdict.obstacle is Obstacle.AMBIGUOUS
    )
    first = next(eligible, None)
    if first is not None and not first.is_eligible:
        routing.only_one(first.models, first.server.name)


def _known_of(connection: Any, model: str, server: Server | None) -> tuple[Pin | None, list[Model]]:
    if server is None or not server.is_ollama:
        return store_pins.for_name(connection, model), []
    rows, pin = store_models.named(connection, model, server.id)
    return pin, rows


def _from_row(target: Target, server: Server, row: Model) -> Choice:
    return Choice(
        target=target,
        server=server,
        model=row.name,
        listed=row,
        version=server.version,
        is_ollama=bool(server.is_ollama),
    )


def _with_stored(request: GenerateRequest, choice: Choice, demand: Demand | None) -> Demand | None:
    """With `--verified` also the digest that the last discovery stored, which must be the one
    demanded otherwise.
    """
    if not request.verified:
        return demand
    stored, ref = choice.stored_digest, choice.target.ref
    if stored is None:
        use = (
            f"ollama-admin discover {ref.id}"
            if ref.id
            else "--digest, for a server not in the database"
        )
        raise ModelMismatch(
            f"no digest of model {choice.model!r} is stored for server {ref}", f"use {use}"
        )
    if demand is not None and not demand.allows(stored):
        message = (
            f"of model {choice.model!r} on server {ref} the build {short(stored)} is "
            f"stored, demanded is {demand}"
        )
        raise ModelMismatch(message, "leave --verified out, or change the pin")
    return Demand(digest=stored, by="--verified")


def _refuse_what_cannot_be_asked(
    request: GenerateRequest, choice: Choice, demand: Demand | None
) -> None:
    ref = choice.target.ref
    if demand is not None and choice.is_remote:
        raise ModelMismatch(
            f"model {choice.model!r} answers from a remote host, which proves no build: {demand}"
        )
    if demand is not None and not choice.shows_digests:
        raise ModelMismatch(
            f"server {ref} is not Ollama and shows no digests; demanded is {demand}"
        )
    routing.refuse_remote(choice.model, choice.listed, request)
    obstacle = v1_obstacle(request) if choice.target.api_version is ApiVersion.V1 else None
    if obstacle:
        command = f": ollama-admin server update {ref.id} --api-version native" if ref.id else ""
        raise InvalidInput(
            f"server {ref} is spoken to as v1, which cannot carry {obstacle}",
            f"leave it out, or if the server is Ollama speak native to it{command}",
        )


def _given_credentials(request: GenerateRequest) -> Auth:
    return read_auth(request.auth_type, request.auth_config, request.headers)


def _named(request: GenerateRequest) -> str:
    if request.model is None:
        raise InvalidInput(
            "no model is named, and a server that is not registered has no default", "use --model"
        )
    return request.model


def _hint_of_absence(asked: str, verdicts: Sequence[Verdict], known: list[str]) -> str:
    holders = [v.server.name for v in verdicts if v.obstacle is Obstacle.INACTIVE and v.models]
    near = routing.nearest(asked, known)
    if holders:
        return f"inactive servers have it: {', '.join(holders)}"
    if any(verdict.obstacle is Obstacle.CAPABILITY for verdict in verdicts):
        return "it is there, without that capability: see ollama-admin models -o json"
    if near:
        return f"nearest: {', '.join(near)}"
    if not known:
        return "no models are known yet: run ollama-admin discover"
    return (
        "see what there is: ollama-admin models; after a change on a server: ollama-admin discover"
    )


def _unknown(model: str, target: Target, listed: list[str]) -> ModelNotFound:
    near = routing.nearest(model, listed) or listed[:3]
    hint = f"it lists: {', '.join(near)}" if near else "it lists no models"
    return ModelNotFound(f"server {target.ref} does not list model {model!r}", hint)
