"""Calls that change what a server holds: only for the one that is named in the path."""

import asyncio
import json
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from typing import Any

from ollama_admin.client import Client
from ollama_admin.domain.audit import OK
from ollama_admin.domain.callers import Caller, Way
from ollama_admin.domain.names import model_key
from ollama_admin.domain.relayed import RelayedCall
from ollama_admin.errors import AdminError
from ollama_admin.gateway.bodies import Look
from ollama_admin.gateway.exchange import Exchange
from ollama_admin.gateway.limits import Limits
from ollama_admin.gateway.passing import pass_to_server
from ollama_admin.gateway.refusals import Refused
from ollama_admin.gateway.relaying import call_of, read_of, server_of

_BLOBS = "/api/blobs/"
_NAMES = ("model", "name", "source", "destination", "from")  # fields that name a model
_SUCCESS = {"status": "success"}


class Managing:
    def __init__(self, client: Client, limits: Limits) -> None:
        self._client = client
        self._merged = client.merged
        self._passages = client.passages
        self._limits = limits
        self._tasks: set[asyncio.Task[Any]] = set()

    async def answer(self, exchange: Exchange) -> None:
        path = exchange.place.path
        most = self._limits.body_large if path.startswith(_BLOBS) else self._limits.body
        body = await exchange.body(most)
        model = ""
        if not path.startswith(_BLOBS):
            document = await read_of(exchange, body)
            _require_models(exchange, document)
            model = _model_of(document)
        server = exchange.place.server
        if server is None:
            await self._of_no_server(exchange, model)
            return
        await self._of_server(exchange, server, call_of(exchange, body, Look(model)))

    async def _of_no_server(self, exchange: Exchange, model: str) -> None:
        """Nobody is asked; a model that is there already is said to be there, as Ollama does."""
        path = exchange.place.path
        if path == "/api/pull" and await self._is_there(exchange, model):
            body = json.dumps(_SUCCESS).encode() + b"\n"
            await exchange.document(200, body, [(b"content-type", b"application/x-ndjson")])
            return
        raise Refused(
            403,
            f"{path} changes a server, and the call names none: nothing is pulled, copied or "
            "removed by itself",
            f"put the server before the path: /servers/NAME{path}",
        )

    async def _is_there(self, exchange: Exchange, model: str) -> bool:
        key = model_key(model)
        models = await self._merged.models(exchange.rights)
        return any(model_key(known.name) == key for known in models)

    async def _of_server(self, exchange: Exchange, server: str, call: RelayedCall) -> None:
        try:
            await pass_to_server(exchange, self._passages, server, call)
        finally:
            self._discover(server_of(server))
            self._begin(self._recorded(exchange, server, call))

    async def _recorded(self, exchange: Exchange, server: str, call: RelayedCall) -> None:
        """Write into the audit what became of it."""
        caller = Caller(
            way=Way.API, rights=exchange.rights, key=exchange.key, request_id=exchange.id
        )
        outcome = OK if exchange.status < 400 else f"status {exchange.status}"
        if call.method != "HEAD":
            verb = call.path.removeprefix("/api/").partition("/")[0]
            subject = f"model {call.model} on server {server}"
            await self._client.for_caller(caller).audit.record(f"model.{verb}", subject, outcome)

    def _discover(self, server: int | str) -> None:
        """Read again what the server holds, while the client goes on."""
        self._begin(self._discovered(server))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _discovered(self, server: int | str) -> None:
        with suppress(AdminError):  # it is unknown, or away: whoever asks it next is told
            await self._client.discover([server])


def _require_models(exchange: Exchange, document: Mapping[str, Any]) -> None:
    """Refused for a model that the key may not ask."""
    for name in _NAMES:
        model = document.get(name)
        if isinstance(model, str) and not exchange.rights.may_ask_model(model):
            raise Refused(403, f"key {exchange.key.name} has no right to this model")


def _model_of(document: Mapping[str, Any]) -> str:
    for name in ("model", "name", "destination"):
        model = document.get(name)
        if isinstance(model, str) and model:
            return model
    return ""
