"""Plans of the names that were asked lately, kept until the registry changes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from ollama_admin.domain.callers import Caller, Rights
from ollama_admin.domain.names import ModelName
from ollama_admin.domain.relayed import RelayedCall
from ollama_admin.domain.requests import Request, Route, Terms
from ollama_admin.domain.servers import ApiVersion, ServerRef
from ollama_admin.rules.request_checks import check_route, check_terms
from ollama_admin.services.registry import Registry
from ollama_admin.services.selection import Plan, Selection


class Wish(NamedTuple):
    """Which model of which server is asked for, in terms that can be looked up. `native_only`
    names a path that only Ollama itself serves; `rights` are those of who asks, None for the
    client's own.
    """

    model: str
    server: int | str | None = None
    server_url: str | None = None
    digest: str | None = None
    native_only: str | None = None
    rights: Rights | None = None
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """A plan, with the request that it is for and what its caller should know."""

    request: Request
    plan: Plan
    notes: tuple[str, ...]

    def request_of(self, call: RelayedCall, note: Callable[[str], None]) -> Request:
        """The request as one call of a client, who hears its notes."""
        asked = self.request
        caller = Caller(
            way=asked.caller.way,
            rights=asked.caller.rights,
            note=note,
            key=call.key,
            client=call.client,
            trace=call.trace,
        )
        return Request(
            name=asked.name,
            route=asked.route,
            terms=asked.terms,
            caller=caller,
            id=call.id,
            affinity=call.affinity,
            cannot_carry=asked.cannot_carry,
        )


class _AskedError(Exception):
    """A server was asked for this plan: it says how things are now, and is not kept."""

    def __init__(self, planned: Planned) -> None:
        super().__init__()
        self.planned = planned


class Plans:
    def __init__(self, registry: Registry, selection: Selection, caller: Caller) -> None:
        self._registry = registry
        self._selection = selection
        self._caller = caller

    async def of(self, wish: Wish) -> Planned:
        """Who may answer, from memory where that is possible. Raises what is wrong with the wish
        itself.
        """
        kept: Planned | None = self._registry.peek(wish)
        if kept is not None:
            return kept
        try:
            return await self._registry.get(wish, lambda: self._made(wish))
        except _AskedError as asked:
            return asked.planned

    async def _made(self, wish: Wish) -> Planned:
        notes: list[str] = []
        asked: list[ServerRef] = []
        rights = wish.rights or self._caller.rights
        caller = replace(self._caller, rights=rights, note=notes.append)
        request = self._request(wish, caller)
        plan = await self._selection.plan(request, asked.append)
        planned = Planned(request=request, plan=plan, notes=tuple(notes))
        if asked:
            raise _AskedError(planned)
        return planned

    @staticmethod
    def _request(wish: Wish, caller: Caller) -> Request:
        route = Route(
            model=wish.model,
            server=wish.server,
            server_url=wish.server_url,
            labels=wish.labels,
        )
        terms = Terms(digest=wish.digest, allow_remote=caller.rights.remote)
        check_route(route)
        check_terms(terms)
        cannot_carry: Mapping[ApiVersion, str] = {}
        if wish.native_only is not None:
            cannot_carry = {ApiVersion.V1: wish.native_only}
        return Request(
            name=ModelName.parse(wish.model),
            route=route,
            terms=terms,
            caller=caller,
            cannot_carry=cannot_carry,
        )
