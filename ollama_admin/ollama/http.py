"""The way of a single question to a server, by httpx: nothing from the environment, no redirects,
every wait bounded. Bytes go in, a `Response` comes out; no other module knows httpx.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

# httpx would load these at the first request, which is timed
import anyio.abc
import anyio.streams.tls
import anyio.to_thread  # noqa: F401
import httpcore  # noqa: F401
import httpx

from ollama_admin.domain.secret import Secret
from ollama_admin.domain.servers import TransportOptions
from ollama_admin.errors import AddressRefused
from ollama_admin.ollama.addresses import refuse_address, refuse_written_address
from ollama_admin.ollama.certificates import ServerContexts, tls_context
from ollama_admin.ollama.connecting import HEADERS_LIMIT, IDLE_ORIGINS, KEPT, Times
from ollama_admin.ollama.response import (
    AnswerLate,
    BadAnswer,
    BadRequest,
    ConnectionBroken,
    ConnectionFault,
    ConnectLate,
    ImproperAnswer,
    NotConnected,
    PoolFull,
    ProxyFault,
    Response,
    Sending,
    WriteLate,
)

_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=8, keepalive_expiry=KEPT)
# of every request that has no other of that name
_HEADERS = (
    (b"Accept", b"*/*"),
    (b"Accept-Encoding", b"identity"),
    (b"User-Agent", b"ollama-admin"),
)

_FOREIGN = (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError, httpx.CookieConflict)
_FAULTS: tuple[tuple[type[Exception], type[ConnectionFault]], ...] = (
    (httpx.ProxyError, ProxyFault),
    (httpx.ConnectTimeout, ConnectLate),
    (httpx.ConnectError, NotConnected),
    (httpx.PoolTimeout, PoolFull),
    (httpx.ReadTimeout, AnswerLate),
    (httpx.WriteTimeout, WriteLate),
    (httpx.RemoteProtocolError, ImproperAnswer),
    (httpx.LocalProtocolError, BadRequest),
    (httpx.NetworkError, ConnectionBroken),
)


@dataclass(slots=True)
class _Pool:
    """The connections to one origin, and how many requests use them."""

    transport: httpx.AsyncHTTPTransport
    users: int = 0
    used: float = 0.0  # by the loop's clock


@dataclass(frozen=True, slots=True)
class _Own:
    """What the connections of one server have to themselves. A context that was read anew is
    another one, and makes a pool of its own.
    """

    certificates: ssl.SSLContext
    proxy: str | None


class HTTP:
    """Connections that are kept and used again, in a pool for each origin: one pool for all of them
    looks through every connection for every request, which takes 1 ms at 100 servers and 10 at
    1,000.

    A transport has no cookies, no redirects, and nothing from the environment or `.netrc`. A proxy
    looks names up itself: what it connects to is its own business.
    """

    def __init__(
        self,
        times: Times,
        proxy: Secret | None = None,
        ca_file: Path | None = None,
    ) -> None:
        # they log the heads of answers, which may repeat what was sent
        for name in ("httpx", "httpcore"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self.times = times
        self._proxy = proxy
        self._ca_file = ca_file
        self._contexts = ServerContexts(ca_file)
        self._pools: dict[tuple[str, bool, _Own | None], _Pool] = {}

    @asynccontextmanager
    async def send(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes | None = None,
        *,
        silence: float | None = None,
        idle: float | None = None,  # noqa: ARG002 (who reads the pieces bounds the time between)
        any_address: bool,
        sending: Sending | None = None,
        transport: TransportOptions | None = None,
    ) -> AsyncIterator[Response]:
        """The response, its body unread; leaving the block cancels what was not read upstream.

        `sending` is told how far the request is, `silence` is seconds that the connection may be
        silent, None the time for a first byte. Without `any_address`, no connection is used that
        leads to an address of `addresses.py`, or was made with it. Connections are kept apart by
        `transport`. Raises ConnectionFault and BadAnswer, which `faults.translated` translates, and
        AddressRefused.
        """
        extensions = self._extensions(silence, any_address=any_address, sending=sending)
        all_headers = _with_defaults(headers)
        async with self._transport(url, any_address, transport) as connections:
            response = None
            try:
                request = httpx.Request(
                    method, url, headers=all_headers, content=body, extensions=extensions
                )
                response = await connections.handle_async_request(request)
                yield _begun(response)
            except _FOREIGN as exc:
                raise fault_of(exc) from exc
            finally:
                if response is not None:
                    await response.aclose()

    async def aclose(self) -> None:
        while self._pools:
            _, pool = self._pools.popitem()
            await pool.transport.aclose()

    @asynccontextmanager
    async def _transport(
        self, url: str, any_address: bool, options: TransportOptions | None
    ) -> AsyncIterator[httpx.AsyncHTTPTransport]:
        if not any_address:
            refuse_written_address(url)
        scheme, _, rest = url.partition("://")
        own = await self._own(url, options)
        key = (f"{scheme}://{rest.partition('/')[0]}", any_address, own)
        pool = self._pools.pop(key, None) or _Pool(self._new_transport(scheme, own))
        # put in as the last one: those that nobody has used for longest come first
        self._pools[key] = pool
        pool.users += 1
        try:
            yield pool.transport
        finally:
            pool.users -= 1
            pool.used = asyncio.get_running_loop().time()
            if len(self._pools) > 1:
                await self._close_idle()

    async def _close_idle(self) -> None:
        """Close the pools that were not used for `KEPT` seconds, and of others what is over
        `IDLE_ORIGINS`; the one that was not used for longest is the first.
        """
        old = asyncio.get_running_loop().time() - KEPT
        for key, pool in list(self._pools.items()):
            if pool.users:
                continue
            if pool.used >= old and len(self._pools) <= IDLE_ORIGINS:
                return
            if self._pools.get(key) is pool:
                del self._pools[key]
                await pool.transport.aclose()

    def _extensions(
        self, silence: float | None, *, any_address: bool, sending: Sending | None = None
    ) -> dict[str, Any]:
        connect = self.times.connect
        if silence is None:
            silence = self.times.first_byte
        waits = {"connect": connect, "pool": connect, "read": silence, "write": silence}
        if any_address and sending is None:
            return {"timeout": waits}
        return {"timeout": waits, "trace": _Steps(sending, any_address=any_address)}

    async def _own(self, url: str, transport: TransportOptions | None) -> "_Own | None":
        if transport is None:
            return None
        if not url.startswith("https:"):
            return _Own(self._no_certificates, transport.proxy)
        return _Own(await self._contexts.of(transport), transport.proxy)

    def _new_transport(self, scheme: str, own: "_Own | None") -> httpx.AsyncHTTPTransport:
        certificates, url = self._no_certificates, None
        if scheme == "https" and own is None:
            certificates = self._certificates
        if self._proxy:
            url = self._proxy.reveal()
        if own is not None:
            certificates, url = own.certificates, own.proxy or url
        proxy = None
        if url is not None:
            proxy = httpx.Proxy(url, ssl_context=self._certificates_of(url))
        return httpx.AsyncHTTPTransport(
            verify=certificates, proxy=proxy, trust_env=False, limits=_LIMITS
        )

    def _certificates_of(self, proxy: str) -> ssl.SSLContext | None:
        """What a proxy's certificate is checked against, that of no server."""
        if proxy.startswith("https"):
            return self._certificates
        return None

    @cached_property
    def _certificates(self) -> ssl.SSLContext:
        return tls_context(self._ca_file)

    @cached_property
    def _no_certificates(self) -> ssl.SSLContext:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # accepts nothing, and plain http needs none


class _Pieces:
    """The bytes of a body as they arrive."""

    def __init__(self, response: httpx.Response) -> None:
        self._pieces = response.aiter_raw()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await anext(self._pieces)
        except _FOREIGN as exc:
            raise fault_of(exc) from exc


def _begun(response: httpx.Response) -> Response:
    """The response, its body unread; BadAnswer for one with too many headers."""
    headers = response.headers.raw
    if len(headers) > HEADERS_LIMIT:
        raise BadAnswer(f"the answer has {len(headers)} headers")
    return Response(status=response.status_code, headers=headers, chunks=_Pieces(response))


def fault_of(foreign: Exception) -> Exception:
    """What one of httpx's exceptions is in our words."""
    if isinstance(foreign, httpx.DecodingError):
        return BadAnswer("the body cannot be decoded")
    kinds = (ours for theirs, ours in _FAULTS if isinstance(foreign, theirs))
    return next(kinds, ConnectionFault)()


def _with_defaults(given: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers that are sent: ours where none was given, then those that were given. No
    compression can be asked for.
    """
    headers = [pair for pair in given if pair[0].lower() != b"accept-encoding"]
    names = {name.lower() for name, _ in headers}
    return [pair for pair in _HEADERS if pair[0].lower() not in names] + headers


class _Steps:
    """For httpx's extension `trace`: called at each step of a request."""

    def __init__(self, sending: Sending | None, *, any_address: bool) -> None:
        self._sending = sending
        self._any_address = any_address

    async def __call__(self, event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete" and not self._any_address:
            await _refuse_connected_address(info["return_value"])
        if event == "http11.send_request_body.complete" and self._sending is not None:
            self._sending.is_whole = True


async def _refuse_connected_address(stream: Any) -> None:
    """Look at the address that a name led to, before anything is sent there.

    The name is looked up by the connection itself, so no other answer of the name service can come
    in between. Connections that are used again were looked at when they were made.
    """
    try:
        refuse_address(stream.get_extra_info("server_addr")[0])
    except AddressRefused:
        await stream.aclose()
        raise
