"""Ends requests that are on their way in this process."""

from collections.abc import Callable, Collection

from ollama_admin.documents import document
from ollama_admin.domain.activity import RequestActivity
from ollama_admin.domain.callers import Rights
from ollama_admin.domain.keys import KeyRef
from ollama_admin.errors import NotFound
from ollama_admin.rules import arguments
from ollama_admin.services.activity import may_see, on_its_way
from ollama_admin.services.audit import Audit
from ollama_admin.services.trail import Trail

ACTION = "request.cancel"


class Cancelling:
    """`running` are the requests on their way in this process."""

    def __init__(
        self, running: Callable[[], Collection[Trail]], rights: Rights, audit: Audit
    ) -> None:
        self._running = running
        self._rights = rights
        self._audit = audit

    async def cancel(self, request_id: str, *, of: KeyRef | None = None) -> RequestActivity:
        """End the request with this `X-Request-Id`; gives back what was known of it. Who asked it
        gets RequestCancelled, and its receipt says `cancelled`. With `of` only a request of that
        very key is ended.

        Raises NotFound where no such request is on its way here that the caller may see.
        """
        arguments.need(request_id=request_id)
        for trail in self._running():
            request = on_its_way(trail)
            is_own = of is None or request.key == of
            if request.id == request_id and is_own and may_see(trail, self._rights):
                trail.cancel()
                await self._audit.record(ACTION, request_id, before=document(request))
                return request
        await self._audit.record(ACTION, request_id, NotFound.code)
        raise NotFound(
            f"no request {request_id[:100]!a} is on its way in this process",
            "see which are: /api/fleet/activity; one that has ended has a receipt",
        )
