"""Which server would answer a request, and why no other: the plan of the request, shown.

Nothing is decided here. The plan is the one that answering begins with, in the order in which it
would be asked now, and where a build is demanded the list of a candidate is read as it would be
before sending. No prompt is sent.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from ollama_admin.domain.callers import Caller
from ollama_admin.domain.explanations import Chosen, ExplainedServer, Explanation
from ollama_admin.domain.requests import GenerateRequest, Request
from ollama_admin.domain.servers import Server, ServerRef
from ollama_admin.errors import ModelNotFound, UpstreamError
from ollama_admin.rules.candidates import Candidate
from ollama_admin.rules.request_checks import checked
from ollama_admin.rules.routing import Obstacle, Verdict
from ollama_admin.services import proof
from ollama_admin.services.lists import Lists
from ollama_admin.services.loads import Loads
from ollama_admin.services.selection import Plan, Selection
from ollama_admin.services.servers import Connect
from ollama_admin.services.trail import Deadline, passes_on
from ollama_admin.store import servers as store_servers
from ollama_admin.store.database import Database

Refused = dict[ServerRef, str]  # candidates that would not be asked after all, and why


class Explaining:
    def __init__(
        self,
        db: Database,
        selection: Selection,
        connect: Connect,
        lists: Lists,
        loads: Loads,
    ) -> None:
        self._db = db
        self._selection = selection
        self._connect = connect
        self._lists = lists
        self._loads = loads

    async def explain(
        self, asked: GenerateRequest, caller: Caller, affinity: bytes | None = None
    ) -> Explanation:
        """Judge every server as answering would, for the conversation with the key `affinity`.
        Raises what is wrong with the request itself, and ModelNotFound where no server lists the
        model.
        """
        silent = replace(caller, note=lambda _: None)
        if not asked.prompt and asked.messages is None:
            # without one a request only loads the model, which fewer servers can
            asked = replace(asked, prompt="as if there were one")
        request = await asyncio.to_thread(checked, asked, silent)
        deadline = Deadline.after(request.terms.timeout)
        plan = await deadline.keep(self._selection.plan(request, lambda _: None, everyone=True))
        if plan.named is None and isinstance(plan.refusal, ModelNotFound):
            _require_some_holder(plan, plan.refusal)
        preference = self._loads.preference(plan.candidates, affinity)
        plan = self._in_order(plan, affinity)
        refused: Refused = {}
        chosen = await deadline.keep(self._first_willing(request, plan, refused))
        servers = [
            _explained(verdict, chosen, refused, preference.get(verdict.server.id, ()))
            for verdict in plan.verdicts
        ]
        if plan.named is not None:
            servers += _of_dynamic(plan, refused)
            rows = await self._db.read(store_servers.all_servers)
            servers += [_not_asked(row) for row in rows if row.id != plan.named.id]
        return Explanation(chosen=_chosen(plan, chosen), candidates=tuple(servers))

    def _in_order(self, plan: Plan, affinity: bytes | None) -> Plan:
        """The plan with its candidates, and the verdicts on them, as they would be asked now."""
        order = self._loads.ordered(plan.candidates, affinity)
        by_ref = {verdict.server.ref: verdict for verdict in plan.verdicts}
        in_order = iter([by_ref[one.target.ref] for one in order if one.target.ref in by_ref])
        able = {one.target.ref for one in order}
        verdicts: list[Verdict] = []
        for verdict in plan.verdicts:
            if verdict.server.ref in able:
                verdicts.append(next(in_order))
            else:
                verdicts.append(verdict)
        return replace(plan, candidates=tuple(order), verdicts=verdicts)

    async def _first_willing(
        self, request: Request, plan: Plan, refused: Refused
    ) -> Candidate | None:
        """The candidate that would be asked: the first with a free slot, else the first one."""
        free = [candidate for candidate in plan.candidates if not _is_full(candidate.server)]
        full = [candidate for candidate in plan.candidates if _is_full(candidate.server)]
        if request.terms.wait <= 0:
            full = []
        in_order = free + full
        while in_order:
            candidate = in_order.pop(0)
            if candidate.demand is None:
                return candidate
            endpoint = self._connect(candidate.target, None)
            try:
                await proof.before_sending(candidate, request.terms, endpoint, self._lists)
            except (UpstreamError, ModelNotFound) as exc:
                ref = candidate.target.ref
                refused[ref] = exc.message
                if not passes_on(exc):
                    why = f"server {ref} comes first, and may not be asked"
                    refused.update({other.target.ref: why for other in in_order})
                    return None
            else:
                return candidate
        return None


def _require_some_holder(plan: Plan, refusal: ModelNotFound) -> None:
    """Raise the refusal where no server lists the model: there is nothing to explain."""
    for verdict in plan.verdicts:
        if verdict.models or verdict.obstacle is Obstacle.CAPABILITY:
            return
    raise refusal


def _chosen(plan: Plan, candidate: Candidate | None) -> Chosen | None:
    if candidate is None:
        return None
    ref = candidate.target.ref
    digests = [verdict.digest for verdict in plan.verdicts if verdict.server.id == ref.id]
    return Chosen(server=ref, digest=digests[0] if digests else None)


def _explained(
    verdict: Verdict, chosen: Candidate | None, refused: Refused, preference: Sequence[str]
) -> ExplainedServer:
    server = verdict.server
    is_chosen = chosen is not None and chosen.target.ref == server.ref
    is_able = verdict.obstacle is None and server.ref not in refused
    reason = refused.get(server.ref, verdict.why) or None
    if is_able and _is_full(server):
        reason = f"all its {server.max_concurrent} slots are in use"
        if is_chosen:
            reason += "; the request would wait for one"
    is_eligible = is_chosen or (is_able and not _is_full(server))
    row = _row(server, verdict.digest, reason, is_eligible=is_eligible)
    return replace(row, preference=tuple(preference))


def _not_asked(server: Server) -> ExplainedServer:
    return _row(server, None, "another server is named", is_eligible=False)


def _row(
    server: Server, digest: str | None, reason: str | None, *, is_eligible: bool
) -> ExplainedServer:
    seen = server.last_discovered_at
    age = None if seen is None else int((datetime.now(UTC) - seen).total_seconds())
    return ExplainedServer(
        server=server.ref,
        eligible=is_eligible,
        reason=reason,
        digest=digest,
        priority=server.priority,
        slots_in_use=server.slots_in_use,
        max_concurrent=server.max_concurrent,
        status=server.status,
        catalogue_age_s=age,
    )


def _of_dynamic(plan: Plan, refused: Refused) -> Sequence[ExplainedServer]:
    """The server at a URL that no row has, if the request is bound to one."""
    if plan.named is None or plan.named.id is not None:
        return ()
    reason = "it is not in the database: it is asked itself"
    if plan.refusal is not None:
        reason = plan.refusal.message
    reason = refused.get(plan.named, reason)
    is_eligible = plan.refusal is None and plan.named not in refused
    return (ExplainedServer(server=plan.named, eligible=is_eligible, reason=reason),)


def _is_full(server: Server | None) -> bool:
    return server is not None and server.slots_in_use >= server.max_concurrent
