"""Calls that a model answers."""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from ollama_admin.client import Client
from ollama_admin.domain.relayed import Dialect, RelayedCall
from ollama_admin.domain.servers import ApiVersion
from ollama_admin.domain.traces import TraceContext, continued
from ollama_admin.errors import AdminError
from ollama_admin.gateway import headers
from ollama_admin.gateway.bodies import Look, decoded, is_form, look_at, read
from ollama_admin.gateway.errors import Failure
from ollama_admin.gateway.exchange import LAST_WORDS, REQUEST_ID, Exchange, Leaving
from ollama_admin.gateway.limits import LONG, Limits
from ollama_admin.gateway.refusals import Refused
from ollama_admin.rules.affinity import affinity_key
from ollama_admin.services.plans import Planned, Wish
from ollama_admin.services.relay import BYTES_OF_A_TOKEN, Refusal, ToldFailure

WISH = "ollama_admin.wish"  # in the scope of a call that is translated: its Wish
_LABEL = b"x-ollama-admin-label"
_NATIVE_ONLY = ("/api/embed", "/api/embeddings")
_TRANSLATED = ("/api/generate", "/api/chat")
_ASKING = {"/api/generate": "prompt", "/api/chat": "messages"}
_COUNT_TOKENS = "/v1/messages/count_tokens"
_MOST = ("max_tokens", "max_completion_tokens", "max_output_tokens")
RESERVED = 4096  # tokens that are reserved at most for a prompt, and for an answer
_STOPPING = Failure(503, "server_stopping", "the server is stopping; ask again")


class Relaying:
    """`translate` is the application that answers Ollama's calls from servers that speak v1. With
    `traces`, each call is a span of its own in the trace that its client began, if it did.
    """

    def __init__(
        self,
        client: Client,
        limits: Limits,
        translate: Any,
        *,
        allow_truncate: bool,
        traces: bool = False,
    ) -> None:
        self._traces = traces
        self._plans = client.plans
        self._relay = client.relay
        self._key_limits = client.key_limits
        self._limits = limits
        self._translate = translate
        self._allow_truncate = allow_truncate

    async def answer(self, exchange: Exchange) -> None:
        body = await exchange.body(self._limits.body_large)
        look = await looked_at(exchange, body)
        if not exchange.key.is_limited:
            await self._watched(exchange, body, look)
            return
        tokens = estimate(look, len(body))
        async with self._key_limits.admitted(exchange.key, tokens) as admission:
            exchange.more += headers.of_standings(admission.standings)
            await self._watched(exchange, body, look, admission.use)

    async def _watched(
        self,
        exchange: Exchange,
        body: bytes,
        look: Look,
        counted: Callable[[int], None] | None = None,
    ) -> None:
        """Answer as long as the client is there; `counted` is that of `RelayedCall`."""
        leaving = exchange.watch()
        try:
            await self._answer(exchange, body, look, leaving, counted)
        except asyncio.CancelledError:
            if not leaving.has_left:  # the time for running answers is over
                with suppress(TimeoutError):
                    async with asyncio.timeout(LAST_WORDS):
                        await exchange.fail(_STOPPING)
        finally:
            leaving.end()

    async def planned(self, exchange: Exchange, look: Look) -> Planned:
        """Who may answer; what its caller should know is noted."""
        planned = await self._plans.of(wish(exchange, look))
        for note in planned.notes:
            exchange.note(note)
        return planned

    async def _answer(
        self,
        exchange: Exchange,
        body: bytes,
        look: Look,
        leaving: Leaving,
        counted: Callable[[int], None] | None,
    ) -> None:
        planned = await self.planned(exchange, look)
        leaving.start()  # not before: from here on each request leaves a receipt
        if _needs_translation(exchange.place.path, planned):
            leaving.end()
            await self._translated(exchange, body, wish(exchange, look))
            return
        affinity = None
        if len(planned.plan.candidates) > 1:
            affinity = _affinity(exchange, look)
        trace = None
        if self._traces:
            trace = continued(exchange.id, exchange.header(b"traceparent"))
        call = call_of(
            exchange,
            body,
            look,
            affinity=affinity,
            trace=trace,
            allow_truncate=self._allow_truncate or exchange.key.allow_truncate,
            counted=counted,
        )
        try:
            await self._relay.run(call, planned, exchange)
        except Refusal as refusal:
            await _pass_on(exchange, refusal)
        except ToldFailure:  # the connection is closed without an end
            await exchange.end_event()
        except AdminError as error:
            await exchange.fail(Failure.of(error))

    async def _translated(self, exchange: Exchange, body: bytes, wished: Wish) -> None:
        """Answered by the application that speaks v1 to servers; it reads the body once more, and
        finds what paths and headers ask for in the scope.
        """
        exchange.hand_over()
        given = [pair for pair in exchange.scope["headers"] if pair[0] != b"content-type"]
        scope = exchange.scope | {
            "path": exchange.place.path,
            "headers": given + [(b"content-type", b"application/json")],
            WISH: wished,
            REQUEST_ID: exchange.id,
        }
        await self._translate(scope, exchange.replay(body), exchange.send_on, exchange.note)


async def looked_at(exchange: Exchange, body: bytes) -> Look:
    content_type, encoding = exchange.header(b"content-type"), exchange.header(b"content-encoding")
    if encoding and exchange.place.dialect is Dialect.OLLAMA:
        raise Refused(415, "the body is compressed", "Ollama's own paths accept it as it is")
    if encoding:
        body = await asyncio.to_thread(decoded, body, encoding)
        exchange.take(len(body))
    if not is_form(content_type):
        await exchange.take_for_values(body)
    if len(body) > LONG:
        return await asyncio.to_thread(look_at, body, content_type)
    return look_at(body, content_type)


async def read_of(exchange: Exchange, body: bytes) -> dict[str, Any]:
    """The JSON object of a body; Refused as `read` says."""
    await exchange.take_for_values(body)
    if len(body) > LONG:
        return await asyncio.to_thread(read, body)
    return read(body)


def wish(exchange: Exchange, look: Look) -> Wish:
    """Which model of which server is asked for: by the path, by headers, or, on Ollama's own paths,
    by the body. Refused where two of them differ.
    """
    place = exchange.place
    named = (place.server, _header(exchange, b"x-ollama-admin-server"))
    servers = [server_of(text) for text in named if text]
    server = _one_of("server", *servers, _ours(place, look))
    native_only = place.path if place.path in _NATIVE_ONLY else None
    url = _header(exchange, b"x-ollama-admin-server-url")
    digest = _header(exchange, b"x-ollama-admin-digest")
    labels = exchange.values(_LABEL)
    if place.path in _TRANSLATED:
        url = _text(_one_of("server_url", url, look.ours("server_url")))
        digest = _text(_one_of("digest", digest, look.ours("digest")))
        labels += look.labels()
    return Wish(
        model=look.model,
        server=server,
        server_url=_text(url),
        digest=_text(digest),
        native_only=native_only,
        rights=exchange.rights,
        labels=labels,
    )


def estimate(look: Look, size: int) -> int:
    """About how many tokens a call will take: a prompt by the bytes of its body, of which images
    are the most, and what the call sets as the most for an answer.
    """
    told: list[Any] = [look.document.get(name) for name in _MOST]
    options = look.document.get("options")
    if isinstance(options, dict):
        told.append(options.get("num_predict"))
    most = [number for number in told if type(number) is int and number > 0]
    return min(size // BYTES_OF_A_TOKEN, RESERVED) + min(max(most, default=0), RESERVED)


def server_of(text: str) -> int | str:
    """The id or the name of a server, as a path or a header spells it."""
    return int(text) if text.isdecimal() and len(text) < 19 else text


def call_of(
    exchange: Exchange,
    body: bytes,
    look: Look,
    *,
    affinity: bytes | None = None,
    trace: TraceContext | None = None,
    allow_truncate: bool = False,
    counted: Callable[[int], None] | None = None,
) -> RelayedCall:
    """What goes to the server."""
    path = exchange.place.path
    query = exchange.scope["query_string"].decode("latin-1")
    return RelayedCall(
        id=exchange.id,
        method=exchange.scope["method"],
        path=path,
        target=f"{path}?{query}" if query else path,
        model=look.model,
        headers=headers.to_server(exchange.scope["headers"]),
        body=body,
        asks=_asks(path, look),
        options=_options(path, look),
        allow_truncate=allow_truncate,
        affinity=affinity,
        key=exchange.key,
        client=exchange.client,
        trace=trace,
        counted=counted,
    )


def _affinity(exchange: Exchange, look: Look) -> bytes | None:
    path, given = exchange.place.path, exchange.scope["headers"]
    return affinity_key(path, given, look.document, key_id=str(exchange.key.id))


async def _pass_on(exchange: Exchange, refusal: Refusal) -> None:
    """A status of the server's own, with its document. What is none, as a proxy's page or one that
    was too long to be read whole, is put into the words of the dialect, and so is that a path is
    not known.
    """
    if exchange.place.path == _COUNT_TOKENS and refusal.status in (404, 405):
        message = "the server of this model counts no tokens"
        await exchange.fail(Failure(404, "not_found", message))
        return
    if not _is_document(refusal.body):
        error = refusal.error
        await exchange.fail(Failure(refusal.status, error.code, error.message))
        return
    shown = headers.to_client(refusal.headers)
    await exchange.document(refusal.status, refusal.body, shown)


def _is_document(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body), dict)
    except (ValueError, RecursionError):
        return False


def _asks(path: str, look: Look) -> bool:
    """Whether the call holds something to answer, by what Ollama 0.33 looks at (routes.go)."""
    asking = _ASKING.get(path)
    return asking is not None and bool(look.document.get(asking))


def _options(path: str, look: Look) -> Mapping[str, Any]:
    options = look.document.get("options") if path in _ASKING else None
    return options if isinstance(options, dict) else {}


def _needs_translation(path: str, planned: Planned) -> bool:
    if path not in _TRANSLATED or not planned.plan.candidates:
        return False
    return planned.plan.candidates[0].target.api_version is ApiVersion.V1


def _header(exchange: Exchange, name: bytes) -> str | None:
    value = exchange.headers.get(name)
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _ours(place: Any, look: Look) -> str | int | None:
    return look.ours("server") if place.path in _TRANSLATED else None


def _one_of(what: str, *given: str | int | None) -> str | int | None:
    """The value that is given; Refused where two differ."""
    values = {str(value): value for value in given if value is not None}
    if len(values) > 1:
        raise Refused(400, f"two values are given as {what}: {' and '.join(sorted(values))}")
    return next(iter(values.values()), None)


def _text(value: str | int | None) -> str | None:
    return None if value is None else str(value)
