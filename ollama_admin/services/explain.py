"""Which server would answer a request, and why no other: the rules of a choice, without a request
to anybody.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from ollama_admin.domain import urls
from ollama_admin.domain.explanations import Candidate, Chosen, Explanation
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.domain.servers import Server, ServerRef
from ollama_admin.rules import routing
from ollama_admin.rules.request_checks import check
from ollama_admin.rules.routing import Obstacle, Verdict
from ollama_admin.services.selection import (
    catalogue,
    default_server,
    demanded,
    model_for,
    refuse_ambiguous,
)
from ollama_admin.store import servers as store_servers
from ollama_admin.store.database import Database

NOT_ASKED = "another server is named"


class Explaining:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def explain(self, request: GenerateRequest) -> Explanation:
        """Judge every server as `Generation` would, by the catalogue alone; nothing is sent."""
        check(request, needs_prompt=False)
        named, dynamic = await self._named(request)
        model = model_for(request, named) if named is not None else (request.model or "")
        known = await self._db.read(catalogue, model, everyone=True)
        demand = demanded(request, model, known.pin)
        verdicts = routing.judge_servers(known.servers, known.models, model, request, demand)
        if dynamic is not None:
            others = [_candidate(verdict, eligible=False, reason=NOT_ASKED) for verdict in verdicts]
            return Explanation(
                chosen=Chosen(server=dynamic, digest=None), candidates=(_unknown(dynamic), *others)
            )
        if named is not None:
            return _of_one(named, verdicts, by_url=request.server_url is not None)
        refuse_ambiguous(verdicts)
        return _of_all(verdicts)

    async def _named(self, request: GenerateRequest) -> tuple[Server | None, ServerRef | None]:
        """The row that the request is bound to, or the place that no row has."""
        if request.server_url is not None:
            url = urls.server_url(request.server_url).url
            row = await self._db.read(store_servers.find_url, url)
            return row, None if row is not None else ServerRef(id=None, name=None, url=url)
        if request.server is not None:
            return await self._db.read(store_servers.find, request.server), None
        if request.model is None:
            return await self._db.read(default_server, request.capability), None
        return None, None


def _of_all(verdicts: Sequence[Verdict]) -> Explanation:
    eligible = [verdict for verdict in verdicts if verdict.is_eligible]
    free = [verdict for verdict in eligible if not _is_full(verdict.server)]
    chosen = next(iter(free or eligible), None)
    candidates = []
    for verdict in verdicts:
        reason: str | None = verdict.why or None
        if verdict.is_eligible and _is_full(verdict.server):
            reason = f"all its {verdict.server.max_concurrent} limit are in use"
            reason += "; the request would wait for one" if verdict is chosen else ""
        candidates.append(
            _candidate(verdict, eligible=verdict is chosen or verdict in free, reason=reason)
        )
    return Explanation(chosen=_chosen(chosen), candidates=tuple(candidates))


def _of_one(named: Server, verdicts: Sequence[Verdict], *, by_url: bool) -> Explanation:
    """Of a request that names its server: what the catalogue lacks, the server itself is asked
    for.
    """
    candidates, chosen = [], None
    for verdict in verdicts:
        if verdict.server.id != named.id:
            candidates.append(_candidate(verdict, eligible=False, reason=NOT_ASKED))
            continue
        obstacle = verdict.obstacle
        lacks = obstacle is Obstacle.LACKS
        is_asked = (
            obstacle in (None, Obstacle.OTHER_BUILD)
            or lacks
            or (by_url and obstacle is Obstacle.INACTIVE)
        )
        chosen = verdict if is_asked else None
        reason = (
            "its catalogue lacks the model: it is asked itself"
            if lacks
            else (None if is_asked else verdict.why)
        )
        if is_asked and reason is None and _is_full(named):
            reason = (
                f"all its {named.max_concurrent} limit are in use; the request would wait for one"
            )
        candidates.append(_candidate(verdict, eligible=is_asked, reason=reason))
    return Explanation(chosen=_chosen(chosen), candidates=tuple(candidates))


def _is_full(server: Server) -> bool:
    return server.slots_in_use >= server.max_concurrent


def _chosen(verdict: Verdict | None) -> Chosen | None:
    return None if verdict is None else Chosen(server=verdict.server.ref, digest=verdict.digest)


def _candidate(verdict: Verdict, *, eligible: bool, reason: str | None) -> Candidate:
    server = verdict.server
    seen = server.last_discovered_at
    return Candidate(
        server=server.ref,
        eligible=eligible,
        reason=reason,
        digest=verdict.digest,
        priority=server.priority,
        slots_in_use=server.slots_in_use,
        max_concurrent=server.max_concurrent,
        status=server.status,
        catalogue_age_s=None if seen is None else int((datetime.now(UTC) - seen).total_seconds()),
    )


def _unknown(server: ServerRef) -> Candidate:
    return Candidate(
        server=server,
        eligible=True,
        reason="it is not in the database: it is asked itself",
        digest=None,
        priority=None,
        slots_in_use=None,
        max_concurrent=None,
        status=None,
        catalogue_age_s=None,
    )
