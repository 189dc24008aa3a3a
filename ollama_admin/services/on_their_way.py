"""The requests that are on their way in this process, and in the other workers of its service: what
is known of them, and how they are ended.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from typing import Any

from ollama_admin.documents import document
from ollama_admin.domain.activity import RequestActivity
from ollama_admin.domain.callers import OWNER, Rights
from ollama_admin.domain.keys import KeyRef
from ollama_admin.domain.servers import ServerRef
from ollama_admin.errors import NotFound
from ollama_admin.rules import arguments
from ollama_admin.services.activity import may_see, on_its_way
from ollama_admin.services.audit import Audit
from ollama_admin.services.neighbours import Message, Neighbours
from ollama_admin.services.trail import Trail

ACTION = "request.cancel"
MOST = 200  # requests that one worker tells another one of

Running = Callable[[], Collection[Trail]]


class OnTheirWay:
    """`running` are those of this process; `neighbours` None where it is the only one."""

    def __init__(
        self, running: Running, neighbours: Neighbours | None, rights: Rights, audit: Audit
    ) -> None:
        self._running = running
        self._neighbours = neighbours
        self._rights = rights
        self._audit = audit

    async def elsewhere(self) -> list[RequestActivity]:
        """Those of the other workers that the caller may see."""
        requests: list[RequestActivity] = []
        for answer in await self._ask({}):
            requests += [_read(told) for told in answer["requests"]]
        return requests

    async def cancel(self, request_id: str, *, of: KeyRef | None = None) -> RequestActivity:
        """End the request with this `X-Request-Id`; gives back what was known of it. Who asked it
        gets RequestCancelled, and its receipt says `cancelled`. With `of` only a request of that
        very key is ended.

        Raises NotFound where no such request is on its way that the caller may see.
        """
        arguments.need(request_id=request_id)
        request = _end(self._running(), request_id, of, self._rights)
        if request is None:
            owner = None if of is None else [of.id, of.name]
            for answer in await self._ask({"cancel": request_id, "of": owner}):
                if answer["ended"] is not None:
                    request = _read(answer["ended"])
        if request is None:
            await self._audit.record(ACTION, request_id, NotFound.code)
            raise NotFound(
                f"no request {request_id[:100]!a} is on its way here",
                "see which are: /api/fleet/activity; one that has ended has a receipt",
            )
        await self._audit.record(ACTION, request_id, before=document(request))
        return request

    async def _ask(self, question: Message) -> list[Message]:
        if self._neighbours is None:
            return []
        seen = {"models": self._rights.models, "servers": self._rights.servers}
        return await self._neighbours.ask(question | seen)


def answer_to(running: Running) -> Callable[[Message], Message]:
    """What a worker tells another one that asks."""

    def answer(question: Message) -> Message:
        models, servers = tuple(question["models"]), tuple(question["servers"])
        rights = replace(OWNER, models=models, servers=servers)
        if "cancel" not in question:
            seen = [trail for trail in running() if may_see(trail, rights)]
            return {"requests": [document(on_its_way(trail)) for trail in seen[:MOST]]}
        of = None
        if question["of"] is not None:
            of = KeyRef(id=question["of"][0], name=question["of"][1])
        return {"ended": document(_end(running(), question["cancel"], of, rights))}

    return answer


def _end(
    running: Collection[Trail], request_id: str, of: KeyRef | None, rights: Rights
) -> RequestActivity | None:
    """End a request of this process; None where it is none, or one that may not be seen."""
    for trail in running:
        request = on_its_way(trail)
        is_own = of is None or request.key == of
        if request.id == request_id and is_own and may_see(trail, rights):
            trail.cancel()
            return request
    return None


def _read(told: dict[str, Any]) -> RequestActivity:
    """A request as another worker told of it."""
    server, key = told["server"], told["key"]
    values = told | {
        "started_at": datetime.fromisoformat(told["started_at"]),
        "server": None if server is None else ServerRef(**server),
        "key": None if key is None else KeyRef(**key),
    }
    return RequestActivity(**values)
