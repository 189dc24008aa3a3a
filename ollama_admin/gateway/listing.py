"""Calls that ask what there is: answered for the whole fleet, or by the server that is named."""

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from ollama_admin.client import Client
from ollama_admin.domain.models import Model
from ollama_admin.domain.names import model_key
from ollama_admin.gateway.bodies import Look
from ollama_admin.gateway.errors import Failure
from ollama_admin.gateway.exchange import Exchange
from ollama_admin.gateway.headers import of_server, to_client
from ollama_admin.gateway.limits import Limits
from ollama_admin.gateway.passing import pass_to_server
from ollama_admin.gateway.paths import Kind
from ollama_admin.gateway.refusals import Refused
from ollama_admin.gateway.relaying import call_of, read_of, wish

PAGES = b"/ui/"
_OWNER = "library"  # as Ollama 0.33 says of every model


class Listing:
    def __init__(self, client: Client, limits: Limits) -> None:
        self._merged = client.merged
        self._passages = client.passages
        self._plans = client.plans
        self._limits = limits

    async def answer(self, exchange: Exchange, kind: Kind) -> None:
        if exchange.place.server is not None and kind is not Kind.SHOW:
            _require_all_models(exchange)
            call = call_of(exchange, b"", Look(""))
            await pass_to_server(exchange, self._passages, exchange.place.server, call)
            return
        match kind:
            case Kind.ALIVE:
                await _alive(exchange)
            case Kind.VERSION:
                await self._version(exchange)
            case Kind.TAGS:
                await _json(exchange, {"models": await self._merged.tags(exchange.rights)})
            case Kind.PS:
                await _json(exchange, {"models": await self._merged.running(exchange.rights)})
            case Kind.MODELS:
                await self._models(exchange)
            case Kind.SHOW:
                await self._show(exchange)
            case _:
                disabled = not exchange.rights.remote
                await _json(exchange, {"cloud": {"disabled": disabled, "source": "ollama-admin"}})

    async def _version(self, exchange: Exchange) -> None:
        version = await self._merged.version()
        if version is None:
            raise Refused(
                503, "no Ollama server is known yet", "add one with: ollama-admin server add"
            )
        await _json(exchange, {"version": version})

    async def _models(self, exchange: Exchange) -> None:
        models = await self._merged.models(exchange.rights)
        wanted = exchange.place.model
        if wanted is None:
            data = await asyncio.to_thread(lambda: [_as_openai(model) for model in models])
            await _json(exchange, {"object": "list", "data": data})
            return
        found = await asyncio.to_thread(_named, models, wanted)
        if found is None:
            message = f"no active server has model {wanted!r}"
            await exchange.fail(Failure(404, "model_not_found", message))
            return
        await _json(exchange, _as_openai(found))

    async def _show(self, exchange: Exchange) -> None:
        body = await exchange.body(self._limits.body)
        document = await read_of(exchange, body)
        model = document.get("model") or document.get("name")
        if not isinstance(model, str):
            raise Refused(400, "model is required", 'name it in the body: "model": "..."')
        look = Look(model)
        planned = await self._plans.of(wish(exchange, look))
        call = call_of(exchange, body, look)
        shown = await self._passages.show(call, planned, exchange.keep)
        shown_headers = to_client(shown.headers) + [of_server(shown.server)]
        await exchange.document(shown.status, shown.body, shown_headers)


async def _alive(exchange: Exchange) -> None:
    """What Ollama says; a browser is led to the pages."""
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"vary", b"accept")]
    if b"text/html" in exchange.headers.get(b"accept", b"") and exchange.place.key is None:
        await exchange.document(303, b"", headers + [(b"location", PAGES)])
        return
    await exchange.document(200, b"Ollama is running", headers)


def _require_all_models(exchange: Exchange) -> None:
    """Refused for a key that may ask some models: a server's own list names all that it has."""
    if exchange.rights.models:
        raise Refused(
            403,
            f"key {exchange.key.name} may ask some models only, and the server would list all",
            "ask without /servers/NAME for what it may ask",
        )


def _named(models: Sequence[Model], wanted: str) -> Model | None:
    key = model_key(wanted)
    named = (model for model in models if wanted == model.name or key == model_key(model.name))
    return next(named, None)


def _as_openai(model: Model) -> dict[str, Any]:
    created = 0 if model.modified_at is None else int(model.modified_at.timestamp())
    return {"id": model.name, "object": "model", "created": created, "owned_by": _OWNER}


async def _json(exchange: Exchange, content: Any) -> None:
    body = await asyncio.to_thread(_text, content)
    headers = [(b"content-type", b"application/json; charset=utf-8")]
    await exchange.document(200, body, headers)


def _text(content: Any) -> bytes:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
