"""The application that stands first: what belongs to the gateway is answered here, everything else
by the application behind it.
"""

import traceback
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from ollama_admin.client import Client
from ollama_admin.domain.callers import Caller, Rights, Way
from ollama_admin.domain.keys import Right, masked
from ollama_admin.errors import AdminError
from ollama_admin.gateway import cors
from ollama_admin.gateway.access import KEY, Access, refuse_query, require
from ollama_admin.gateway.errors import Failure
from ollama_admin.gateway.exchange import Exchange, Scope, new_ids
from ollama_admin.gateway.limits import ADMITTED, Limits, Rooms
from ollama_admin.gateway.listing import Listing
from ollama_admin.gateway.managing import Managing
from ollama_admin.gateway.paths import Kind, placed
from ollama_admin.gateway.refusals import Refused
from ollama_admin.gateway.relaying import Relaying
from ollama_admin.rules.access import RightsOfKeys

App = Callable[[Scope, Any, Any], Awaitable[None]]
_BUG = Failure(500, "internal_error", "this is a bug; see the server's log")
_LISTED = (Kind.ALIVE, Kind.VERSION, Kind.TAGS, Kind.PS, Kind.MODELS, Kind.SHOW, Kind.STATUS)


class Gateway:
    """`rest` answers every other path, `translate` is `Relaying`'s; `rights` are those that every
    key has at most; `log` takes a line for each request, `log_failure` what only a developer
    understands. `traces` is that of `Relaying`.
    """

    def __init__(
        self,
        client: Client,
        rest: App,
        translate: Any,
        *,
        access: Access,
        rights: Rights,
        limits: Limits,
        rooms: Rooms,
        origins: Iterable[str],
        allow_truncate: bool,
        traces: bool = False,
        log: Callable[[str], None],
        log_failure: Callable[[str], None],
    ) -> None:
        self._client = client
        self._rest = rest
        self._access = access
        self._rights = RightsOfKeys(rights)
        self._origins = cors.Origins(origins)
        self._limits = limits
        self._rooms = rooms
        self._relaying = Relaying(
            client, limits, translate, allow_truncate=allow_truncate, traces=traces
        )
        self._listing = Listing(client, limits)
        self._managing = Managing(client, limits)
        self._log = log
        self._log_failure = log_failure
        self._ids = new_ids()

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        place = placed(scope["raw_path"]) if scope["type"] == "http" else None
        if place is None:
            await self._rest(scope, receive, send)
            return
        id_, rooms, limits = next(self._ids), self._rooms, self._limits
        exchange = Exchange(id_, scope, receive, send, place, rooms, limits, self._log)
        try:
            await self._answer(exchange)
        except (AdminError, Refused) as error:
            await exchange.fail(Failure.of(error))
        except Exception:  # noqa: BLE001 (a bug: it is answered, and logged)
            self._log_failure(f"{exchange.id} {traceback.format_exc()}")
            await exchange.fail(_BUG)
        finally:
            exchange.give_back()
            self._log(exchange.line())

    async def _answer(self, exchange: Exchange) -> None:
        place, method = exchange.place, exchange.scope["method"]
        exchange.require_one_meaning()
        refuse_query(exchange.scope["query_string"])
        origin = exchange.headers.get(b"origin")
        if origin is not None:
            host = exchange.header(b"host")
            exchange.more += self._origins.headers(origin.decode("latin-1"), host)
            if method == "OPTIONS" and place.methods:
                asked = exchange.header(b"access-control-request-headers")
                exchange.more += cors.preflight(asked)
                await exchange.begin(204, ())
                await exchange.end()
                return
        kind = place.methods.get(method)
        if not place.is_open:
            await self._admit(exchange, kind)
        if kind is None or kind is Kind.NEVER:
            raise _not_served(exchange)
        if kind is Kind.RELAY:
            await self._relaying.answer(exchange)
        elif kind in _LISTED:
            await self._listing.answer(exchange, kind)
        else:
            await self._managing.answer(exchange)

    async def _admit(self, exchange: Exchange, kind: Kind | None) -> None:
        """Let in who has a key with the right to it."""
        place, scope = exchange.place, exchange.scope
        key = await self._access.key_of(scope, place.key)
        exchange.key, exchange.rights = key, self._rights.of(key)
        if kind is not None:
            await self._require(exchange, place.right(kind))
        scope[ADMITTED], scope[KEY] = True, key

    async def _require(self, exchange: Exchange, right: Right) -> None:
        """Refused without the right; of a change that is in the audit."""
        key, place = exchange.key, exchange.place
        if right is Right.MANAGE and not key.may(right):
            caller = Caller(way=Way.API, rights=exchange.rights, key=key, request_id=exchange.id)
            what = f"{exchange.scope['method']} /servers/{place.server}{place.path}"
            await self._client.for_caller(caller).audit.record("request", what, "forbidden")
        require(key, right)


def _not_served(exchange: Exchange) -> Refused:
    place = exchange.place
    if b"upgrade" in exchange.headers and place.path == "/v1/responses":
        return Refused(426, "WebSocket is not supported here: use POST")
    if not place.methods or Kind.NEVER in place.methods.values():
        return Refused(404, f"{masked(place.path)[:100]} is not served here")
    allowed = ", ".join(list(place.methods) + ["OPTIONS"])
    return Refused(405, "the path does not take this method", headers={"Allow": allowed})
