"""Calls that pass on to one server and that no model works on: they take no slot, leave no receipt
and prove nothing.
"""

from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ollama_admin.domain.callers import Rights
from ollama_admin.domain.relayed import Headers, RelayedCall
from ollama_admin.domain.servers import Server, ServerRef
from ollama_admin.errors import ModelNotFound, UpstreamError
from ollama_admin.ollama.relaying import RelayedResponse, relayed
from ollama_admin.ollama.response import BODY_LIMIT
from ollama_admin.services.catalogue import inactive, named_server
from ollama_admin.services.plans import Planned
from ollama_admin.services.registry import Registry
from ollama_admin.services.servers import Connect
from ollama_admin.services.trail import passes_on
from ollama_admin.services.upstream_auth import UpstreamAuth
from ollama_admin.store.database import Database

KEPT = 8 * 2**20  # bytes of answers of `/api/show`, with what was asked
LARGEST = 2**20  # bytes of one of them
_Key = tuple[ServerRef, str | None, str | None, bytes]  # server, version, build, and the question


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A server's whole answer, as it sent it."""

    server: str
    status: int
    headers: Headers
    body: bytes


class Passages:
    def __init__(
        self, db: Database, registry: Registry, connect: Connect, auth: UpstreamAuth
    ) -> None:
        self._db = db
        self._registry = registry
        self._connect = connect
        self._auth = auth
        self._shown: OrderedDict[_Key, Shown] = OrderedDict()
        self._size = 0  # bytes of those

    async def show(self, call: RelayedCall, planned: Planned, keep: Callable[[int], None]) -> Shown:
        """What the preferred server shows of a model. The bytes are kept for each server, version,
        build and question: editors ask hundreds of times in a row. `keep` is told of bytes that are
        about to be kept until the call has ended.
        """
        if planned.plan.refusal is not None:
            raise planned.plan.refusal.with_traceback(None)
        candidates = list(planned.plan.candidates)
        while True:
            candidate = candidates.pop(0)
            ref = candidate.target.ref
            key = (ref, candidate.version, candidate.stored_digest, call.body)
            kept = self._shown.get(key)
            if kept is not None:
                self._shown.move_to_end(key)
                return kept
            try:
                endpoint = self._connect(candidate.target, None)
                answer = relayed(
                    endpoint, call.method, call.target, call.headers, call.body, call.model
                )
                async with answer as response:
                    shown = await _whole(str(ref), response, keep)
            except (UpstreamError, ModelNotFound) as exc:
                if not candidates or not passes_on(exc):
                    raise
                continue
            if shown.status == 200 and candidate.stored_digest is not None:
                self._keep(key, shown)
            return shown

    @asynccontextmanager
    async def to_server(
        self, server: int | str, call: RelayedCall, rights: Rights
    ) -> AsyncIterator[RelayedResponse]:
        """The answer of the server that is named. Raises ServerNotFound and ServerInactive."""
        row = await self._row(server, rights)
        if not row.is_active:
            raise inactive(row)
        endpoint = self._connect(await self._auth.target(row), None)
        answer = relayed(endpoint, call.method, call.target, call.headers, call.body, call.model)
        async with answer as response:
            yield response

    async def _row(self, server: int | str, rights: Rights) -> Server:
        async def read() -> Server:
            return await self._db.read(named_server, server, rights)

        return await self._registry.get(("server", server, rights.servers), read)

    def _keep(self, key: _Key, shown: Shown) -> None:
        size = _size(key, shown)
        if key in self._shown or size > LARGEST:
            return
        self._shown[key] = shown
        self._size += size
        while self._size > KEPT:
            self._size -= _size(*self._shown.popitem(last=False))


def _size(key: _Key, shown: Shown) -> int:
    return len(key[-1]) + len(shown.body)


async def _whole(server: str, response: RelayedResponse, keep: Callable[[int], None]) -> Shown:
    chunks, size = [response.body], 0
    if response.refusal is None:
        async for chunk in response.chunks:
            keep(len(chunk))
            chunks.append(chunk)
            size += len(chunk)
            if size > BODY_LIMIT:
                raise UpstreamError(f"what server {server} shows is longer than {BODY_LIMIT} bytes")
    body = b"".join(chunks)
    return Shown(server=server, status=response.status, headers=response.headers, body=body)
