"""Where a request may go: the candidates that the rules leave, in order, and the build that must
answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from ollama_admin.domain import urls
from ollama_admin.domain.callers import Rights
from ollama_admin.domain.digests import short
from ollama_admin.domain.models import ListedModel, Model
from ollama_admin.domain.names import ModelName
from ollama_admin.domain.requests import Request
from ollama_admin.domain.servers import ApiVersion, Server, ServerRef, Target
from ollama_admin.errors import (
    AdminError,
    InvalidInput,
    ModelMismatch,
    ModelNotFound,
    ServerNotFound,
    UpstreamError,
)
from ollama_admin.rules import absence, candidates, routing
from ollama_admin.rules.candidates import Candidate, Demand
from ollama_admin.rules.likeness import NEAREST
from ollama_admin.rules.routing import Criteria, Obstacle, Verdict
from ollama_admin.services.catalogue import (
    catalogue,
    default_model,
    default_server,
    inactive,
    known_of,
    may_know,
    named_server,
    require_model,
)
from ollama_admin.services.servers import Connect
from ollama_admin.services.upstream_auth import Auth, UpstreamAuth, read_auth
from ollama_admin.store import models as store_models
from ollama_admin.store import pins as store_pins
from ollama_admin.store import servers as store_servers
from ollama_admin.store.database import Database
from ollama_admin.store.slots import draining

# A note names the servers that are passed over for these: somebody may not expect it.
_NOTED = (
    Obstacle.VISION,
    Obstacle.OPTION,
    Obstacle.AMBIGUOUS,
    Obstacle.REMOTE,
    Obstacle.NOT_DEMANDED,
    Obstacle.OTHER_BUILD,
)

Asking = Callable[[ServerRef], None]  # hears of a server before it is asked for its list


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who may answer. Of several `candidates`, best first, all stand for one build, and the next is
    asked if one is away; with none, `refusal` says why.

    `verdicts` are what the rules say of the servers that were looked at, in order of preference;
    `named` is the one server that the request is bound to, if it is to one.
    """

    candidates: tuple[Candidate, ...] = ()
    refusal: AdminError | None = None
    verdicts: Sequence[Verdict] = ()
    named: ServerRef | None = None

    def lines(self) -> list[str]:
        """What was decided of each server, in words."""
        lines = [
            f"server {verdict.server.name} is not asked: {verdict.why}"
            for verdict in self.verdicts
            if verdict.obstacle is not None
        ]
        for number, candidate in enumerate(self.candidates, 1):
            build = short(candidate.stored_digest) if candidate.stored_digest else "unknown"
            lines.append(f"choice {number}: server {candidate.target.ref}, build {build}")
        return lines


class Selection:
    """Reads the catalogue, and asks a server for what it does not say. Sends no prompt."""

    def __init__(self, db: Database, connect: Connect, auth: UpstreamAuth) -> None:
        self._db = db
        self._connect = connect
        self._auth = auth

    async def plan(self, request: Request, asking: Asking, *, everyone: bool = False) -> Plan:
        """Who may answer, and why no other.

        With `everyone` there is a verdict also on servers that do not list the model. Raises what
        is wrong with the request itself; what keeps every server from answering is the plan's
        `refusal`.
        """
        route = request.route
        rights = request.caller.rights
        if request.name is not None and rights.models:
            require_model(rights, request.name.text)
        if route.server_url is not None:
            url = urls.noted(route.server_url, request.caller.note)
            return await self._at_url(request, url, asking)
        if route.server is not None:
            server = await self._db.read(named_server, route.server, rights)
            return await self._on_server(request, server, asking)
        if request.name is None:
            server = await self._db.read(default_server, route)
            return await self._on_server(request, server, asking)
        return await self._among_all(request, request.name, asking, everyone=everyone)

    async def _at_url(self, request: Request, url: urls.ServerURL, asking: Asking) -> Plan:
        route, rights = request.route, request.caller.rights
        server = await self._db.read(store_servers.find_url, url.url)
        given = read_auth(route.auth_type, route.auth_config, route.headers)
        if server is None or not rights.may_ask_server(server):
            return await self._on_dynamic(request, url, given, asking)
        if given != Auth():
            raise InvalidInput(
                f"server {server.name} has this URL, and its own credentials",
                "leave the auth options out, or update it",
            )
        even_inactive = rights.inactive_by_url
        if even_inactive and not server.is_active:
            request.caller.note(
                f"server {server.name} is inactive; it is asked because its URL was given"
            )
        spoken = ApiVersion.V1 if url.v1 else None
        return await self._on_server(request, server, asking, spoken, even_inactive=even_inactive)

    async def _on_dynamic(
        self, request: Request, url: urls.ServerURL, given: Auth, asking: Asking
    ) -> Plan:
        """The server at a URL that no row has."""
        if not request.caller.rights.dynamic_servers:
            raise ServerNotFound(
                f"no server has the URL {url}", "only registered servers may be named here: add it"
            )
        name = request.name
        if name is None:
            raise InvalidInput(
                "no model is named, and a server that is not registered has no default",
                "use --model",
            )
        target = partial(self._auth.dynamic, url, given)
        pin = await self._db.read(store_pins.for_name, name)
        demand = routing.demanded(request.terms, name, pin)
        plan = await self._approved(request, name, target, None, (), demand, asking)
        return replace(plan, named=ServerRef(id=None, name=None, url=url.url))

    async def _on_server(
        self,
        request: Request,
        server: Server,
        asking: Asking,
        spoken: ApiVersion | None = None,
        *,
        even_inactive: bool = False,
    ) -> Plan:
        """The one server that is meant; `spoken` is the dialect, where its URL was given so."""
        if not server.is_active and not even_inactive:
            verdict = Verdict(server=server, obstacle=Obstacle.INACTIVE, why="it is inactive")
            return Plan(refusal=inactive(server), verdicts=(verdict,), named=server.ref)
        if server.is_draining:
            verdict = Verdict(server=server, obstacle=Obstacle.DRAINING, why="it is draining")
            refusal = draining(server.name, server.ref.word)
            return Plan(refusal=refusal, verdicts=(verdict,), named=server.ref)
        name = request.name
        if name is None:
            name = ModelName.parse(default_model(server))
            require_model(request.caller.rights, name.text)
            request.caller.note(f"using the default model of server {server.name}: {name}")
        rows, pin = await self._db.read(known_of, name, server)
        demand = routing.demanded(request.terms, name, pin)
        target = partial(self._auth.target, server, spoken)
        plan = await self._approved(request, name, target, server, rows, demand, asking)
        verdict = _verdict_on_named(server, rows, plan)
        return replace(plan, verdicts=(verdict,), named=server.ref)

    async def _among_all(
        self, request: Request, name: ModelName, asking: Asking, *, everyone: bool
    ) -> Plan:
        known = await self._db.read(catalogue, name, everyone=everyone)
        route, demand = request.route, routing.demanded(request.terms, name, known.pin)
        criteria = Criteria(
            name=name,
            terms=request.terms,
            capability=route.capability,
            labels=route.labels,
            demand=demand,
            cannot_carry=request.cannot_carry,
            needs_vision=request.needs_vision,
        )
        servers, rights = known.servers, request.caller.rights
        if rights.servers:
            servers = [server for server in servers if rights.may_ask_server(server)]
        verdicts = routing.judge_servers(servers, known.models, criteria)
        for verdict in verdicts:
            if verdict.obstacle in _NOTED:
                request.caller.note(f"server {verdict.server.name} is passed over: {verdict.why}")
        preferred = routing.first_choice(verdicts)
        if preferred is None:
            refusal = await self._nobody(criteria, verdicts, rights)
            return Plan(refusal=refusal, verdicts=verdicts)
        server = preferred.server
        is_first = f"{server.name} comes first, and may not be asked"
        if preferred.obstacle is not None:
            refusal = routing.ambiguous(preferred.models, server.name)
            return Plan(refusal=refusal, verdicts=_only(preferred, verdicts, is_first))
        target = partial(self._auth.target, server)
        plan = await self._approved(request, name, target, server, preferred.models, demand, asking)
        if plan.refusal is not None:
            refused = _refused(preferred, plan.refusal.message)
            return replace(plan, verdicts=_only(refused, verdicts, is_first))
        build = _build_of(plan.candidates[0])
        if build is None:
            why = f"nothing shows the build of {server.name}"
            return replace(plan, verdicts=_only(preferred, verdicts, why))
        return await self._with_others(request, name, plan, verdicts, build)

    async def _with_others(
        self,
        request: Request,
        name: ModelName,
        plan: Plan,
        verdicts: Sequence[Verdict],
        build: Demand,
    ) -> Plan:
        """The plan with those who are asked when the first one is away: they answer with its build,
        or not at all.
        """
        [first] = plan.candidates
        planned = [first]
        results: list[Verdict] = []
        for verdict in verdicts:
            if verdict.obstacle is not None or verdict.server == first.server:
                results.append(verdict)
                continue
            try:
                planned.append(await self._other(request, name, verdict, build))
            except AdminError as exc:  # spoils no other server
                request.caller.note(f"server {verdict.server.name} is passed over: {exc.message}")
                results.append(_refused(verdict, exc.message))
            else:
                results.append(verdict)
        return replace(plan, candidates=tuple(planned), verdicts=results)

    async def _other(
        self, request: Request, name: ModelName, verdict: Verdict, build: Demand
    ) -> Candidate:
        """A server that may stand in for the first one; raises why it may not."""
        target = await self._auth.target(verdict.server)
        other = candidates.from_row(target, verdict.server, verdict.models[0], name)
        refusal = candidates.refusal(other, request.terms, build, request.cannot_carry)
        if refusal is not None:
            raise refusal
        return replace(other, demand=build)

    async def _approved(
        self,
        request: Request,
        name: ModelName,
        target: Callable[[], Awaitable[Target]],
        server: Server | None,
        rows: Sequence[Model],
        demand: Demand | None,
        asking: Asking,
    ) -> Plan:
        """A plan of one candidate, or the reason why that one may not be asked. `target` opens its
        credentials.
        """
        try:
            candidate = await self._resolved(name, await target(), server, rows, asking)
            if request.needs_vision and server is not None and candidate.listed is not None:
                await self._require_vision(server, candidate.listed)
            demand = candidates.demand_of(candidate, request.terms, demand)
        except AdminError as exc:
            return Plan(refusal=exc)
        refusal = candidates.refusal(candidate, request.terms, demand, request.cannot_carry)
        if refusal is not None:
            return Plan(refusal=refusal)
        return Plan(candidates=(replace(candidate, demand=demand),))

    async def _resolved(
        self,
        name: ModelName,
        target: Target,
        server: Server | None,
        rows: Sequence[Model],
        asking: Asking,
    ) -> Candidate:
        """Find the server's own spelling of the name, asking it for what the catalogue lacks."""
        if server is not None and server.version is not None and rows:
            if len(rows) > 1:
                raise routing.ambiguous(rows, server.name)
            return candidates.from_row(target, server, rows[0], name)
        is_ollama, version = None, None
        if server is not None:
            is_ollama, version = server.is_ollama, server.version
        asking(target.ref)
        endpoint = self._connect(target, None)
        if is_ollama is None:
            version = await endpoint.version()
            is_ollama = version is not None
        if not is_ollama and target.api_version is ApiVersion.NATIVE:
            hint = "if it speaks the OpenAI-compatible API, end its URL in /v1"
            raise UpstreamError(f"server {target.ref} answers, but not as Ollama", hint)
        # a program that is not Ollama may answer for any name: its own list decides, each time
        listed = await endpoint.models(is_ollama=is_ollama)
        meant = routing.named(listed, name, is_ollama=is_ollama)
        if not meant and not is_ollama:
            names = [model.name for model in listed]
            raise await asyncio.to_thread(absence.not_listed, name.text, target.ref, names)
        model = routing.only_one(meant, str(target.ref)) if meant else None
        return candidates.from_list(target, server, name, model, version, is_ollama=is_ollama)

    async def _require_vision(self, server: Server, model: ListedModel) -> None:
        if not routing.may_see(server, model):
            raise await self._no_vision(model.name)

    async def _no_vision(self, asked: str) -> AdminError:
        seeing = await self._db.read(store_models.names_with, routing.VISION, NEAREST)
        return absence.no_vision(asked, seeing)

    async def _nobody(
        self, criteria: Criteria, verdicts: Sequence[Verdict], rights: Rights
    ) -> AdminError:
        """The error for a name that no active server may answer, with what comes nearest."""
        text = criteria.name.text
        by_obstacle = {verdict.obstacle: verdict for verdict in reversed(verdicts)}
        able = by_obstacle.get(Obstacle.DRAINING)
        if able is not None and able.models:
            return draining(able.server.name, able.server.ref.word)
        if Obstacle.NOT_DEMANDED in by_obstacle:
            wanted = criteria.demand or "the stored one (--verified)"
            return ModelMismatch(
                f"no active server has the build of model {text!r} that is demanded: {wanted}",
                "see which builds there are: ollama-admin models --by-model",
            )
        if Obstacle.REMOTE in by_obstacle:
            return candidates.remote_refused(text, by_obstacle[Obstacle.REMOTE].models[0])
        if Obstacle.OPTION in by_obstacle:
            verdict = by_obstacle[Obstacle.OPTION]
            lacking = criteria.cannot_carry[verdict.server.api_version]
            return candidates.not_carried(verdict.server.ref, verdict.server.api_version, lacking)
        if Obstacle.VISION in by_obstacle:
            return await self._no_vision(text)
        known = may_know(rights, await self._db.read(store_models.similar_names, text))
        limits = absence.limits(criteria.capability, criteria.labels)
        # thousands of names are compared: not on the loop, which renews leases meanwhile
        hint = await asyncio.to_thread(absence.hint, text, verdicts, known)
        return ModelNotFound(f"no active server has model {text!r}{limits}", hint)


def _build_of(first: Candidate) -> Demand | None:
    """What others must show who stand in for the first; None where nothing shows its build."""
    if first.demand is not None:
        return first.demand
    if first.is_remote or first.stored_digest is None:
        return None
    by = f"the build of server {first.target.ref}"
    return Demand(digest=first.stored_digest, by=by, implied=True)


def _refused(verdict: Verdict, why: str) -> Verdict:
    return replace(verdict, obstacle=Obstacle.REFUSED, why=why)


def _only(first: Verdict, verdicts: Sequence[Verdict], why: str) -> list[Verdict]:
    """The verdicts where nobody may stand in for the first server, and why not."""
    results: list[Verdict] = []
    for verdict in verdicts:
        if verdict.server == first.server:
            results.append(first)
        elif verdict.obstacle is None:
            results.append(_refused(verdict, why))
        else:
            results.append(verdict)
    return results


def _verdict_on_named(server: Server, rows: Sequence[Model], plan: Plan) -> Verdict:
    verdict = Verdict(server=server, models=tuple(rows))
    if plan.refusal is not None:
        return _refused(verdict, plan.refusal.message)
    [candidate] = plan.candidates
    if candidate.listed is None:
        return replace(verdict, why="it does not list the model; it is asked, and will say so")
    if not rows:
        return replace(verdict, why="its catalogue lacks the model, its own list has it")
    return verdict
