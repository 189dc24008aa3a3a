"""The fast way to a server, for what `serve` relays and what many servers are asked: what `HTTP`
promises, over sockets of its own. A request costs about as much here as its two system calls.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from types import TracebackType

from ollama_admin.domain.secret import Secret
from ollama_admin.domain.servers import TransportOptions
from ollama_admin.ollama.certificates import ServerContexts, tls_context
from ollama_admin.ollama.connecting import IDLE_ORIGINS, KEPT, Times
from ollama_admin.ollama.raw_connection import Connection, RawResponse
from ollama_admin.ollama.raw_dialing import Dialer, Way, origin_of, proxy_of
from ollama_admin.ollama.raw_framing import request_head, target_of
from ollama_admin.ollama.response import ConnectionBroken, ConnectionClosed, Sending

KEPT_CONNECTIONS = 64  # of one origin, and of one kind of caller
# A kept connection that is closed within that time has most likely crossed with the request, which
# the server never read. Later, the server may have been at work on it.
STALE = 2.0  # seconds
_SWEEP = 1.0  # seconds between two looks for connections that were idle for too long
Key = tuple[str, bool, TransportOptions | None]


class RawHTTP:
    """Connections that are kept and used again, for each origin. Takes what `HTTP` takes and
    promises what it does: nothing from the environment, no redirects, every wait bounded.

    How many requests run at once is for the caller to bound.
    """

    def __init__(
        self, times: Times, proxy: Secret | None = None, ca_file: Path | None = None
    ) -> None:
        self.times = times
        self._ca_file = ca_file
        own_proxy = None
        if proxy:
            own_proxy = proxy_of(proxy.reveal())
        self._way = Way(own_proxy, self._certificates)
        self._contexts = ServerContexts(ca_file)
        self._dialer = Dialer(times.connect, self._certificates)
        self._context: asyncio.Task[ssl.SSLContext] | None = None
        self._pools: dict[Key, _Pool] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    def send(
        self,
        method: str,
        url: str,
        headers: Sequence[tuple[bytes, bytes]] = (),
        body: bytes | None = None,
        *,
        silence: float | None = None,
        idle: float | None = None,
        any_address: bool,
        sending: Sending | None = None,
        transport: TransportOptions | None = None,
    ) -> "_Exchange":
        """The response with its body unread, as a context manager; leaving the block before the end
        of the body closes the connection, which cancels upstream.

        The path goes out as it is written. `Content-Length` is set here, the transfer is never
        encoded, compression never asked for. `sending` is told how far the request is. `silence` is
        how many seconds the connection may be silent, None the time for a first byte; `idle` is how
        many between two pieces of a body, None as many. Without `any_address`, the addresses that
        `addresses.py` names are not connected to, and no connection is used that was made with it.

        `transport` is the server's own; connections are kept apart by it.

        A request goes out once, but for one case: the server closed a kept connection as the
        request was written, and sent no byte. Raises ConnectionFault and BadAnswer, which
        `faults.translated` translates, and AddressRefused.
        """
        if silence is None:
            silence = self.times.first_byte
        if sending is None:
            sending = Sending()
        if idle is None:
            idle = silence
        request = (method, url, headers, body or b"")
        return _Exchange(self, request, (silence, idle), (any_address, transport), sending)

    async def aclose(self) -> None:
        """Close the connections that are idle; those in use follow when their block is left."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for pool in self._pools.values():
            pool.close()
        self._pools.clear()

    def _pool(
        self, url: str, any_address: bool, transport: TransportOptions | None
    ) -> tuple["_Pool", str]:
        """The pool of the URL's origin, and the path."""
        scheme, separator, rest = url.partition("://")
        authority, slash, path = rest.partition("/")
        key = (f"{scheme}{separator}{authority}", any_address, transport)
        pool = self._pools.pop(key, None) or _Pool(key, self._way_of(transport))
        # put in as the last one: those that nobody has used for longest come first
        self._pools[key] = pool
        return pool, slash + path

    async def _connection(self, pool: "_Pool") -> Connection:
        return await self._dialer.connect(pool.origin, pool.way, any_address=pool.any_address)

    def _way_of(self, transport: TransportOptions | None) -> Way:
        if transport is None:
            return self._way
        proxy = self._way.proxy
        if transport.proxy is not None:
            proxy = proxy_of(transport.proxy)
        return Way(proxy, partial(self._contexts.of, transport))

    def _leave(self, pool: "_Pool", connection: Connection | None) -> None:
        """Keep the connection if its answer was received to the end, and the pool if it has one."""
        pool.users -= 1
        if connection is not None and connection.leave():
            self._keep(pool, connection)
        if not pool.users and not pool.idle:
            self._pools.pop(pool.key, None)

    def _keep(self, pool: "_Pool", connection: Connection) -> None:
        if self._is_closed:
            connection.close()
            return
        pool.keep(connection, monotonic())
        if self._sweep is None:
            self._sweep = asyncio.get_running_loop().call_later(_SWEEP, self._close_idle)
        if len(self._pools) > IDLE_ORIGINS:
            self._close_origins()

    def _close_origins(self) -> None:
        """Of the origins that nobody uses, those over `IDLE_ORIGINS`; the first one was not used
        for longest.
        """
        for key, pool in list(self._pools.items()):
            if len(self._pools) <= IDLE_ORIGINS:
                return
            if not pool.users:
                del self._pools[key]
                pool.close()

    def _close_idle(self) -> None:
        self._sweep = None
        loop = asyncio.get_running_loop()
        for key, pool in list(self._pools.items()):
            pool.close_older(monotonic() - KEPT)
            if not pool.users and not pool.idle:
                del self._pools[key]
        if any(pool.idle for pool in self._pools.values()):
            self._sweep = loop.call_later(_SWEEP, self._close_idle)

    async def _certificates(self) -> ssl.SSLContext:
        """Read once, in a thread, and by nobody who speaks no TLS."""
        if self._context is None:
            self._context = asyncio.create_task(asyncio.to_thread(_context, self._ca_file))
        try:
            return await asyncio.shield(self._context)
        except Exception:
            self._context = None  # the file may be mended
            raise


class _Pool:
    """The idle connections to one origin, the latest last, and what each request there repeats."""

    __slots__ = ("any_address", "fixed", "host", "idle", "key", "origin", "prefix", "users", "way")

    def __init__(self, key: Key, way: Way) -> None:
        self.key = key
        self.way = way
        url, self.any_address, _ = key
        self.origin = origin = origin_of(url)
        self.idle: deque[Connection] = deque()
        self.users = 0
        self.host = b"Host: " + origin.authority.encode()
        self.prefix, self.fixed = "", b""
        if way.proxy is not None and not origin.is_tls:
            self.prefix = f"{origin.scheme}://{origin.authority}"
            self.fixed = way.proxy.authorization

    def take(self) -> Connection | None:
        """A connection that is open and was not idle for too long."""
        old = monotonic() - KEPT
        while self.idle:
            connection = self.idle.pop()
            if connection.is_open and connection.idle_since >= old:
                return connection
            connection.close()
        return None

    def keep(self, connection: Connection, now: float) -> None:
        connection.idle_since = now
        self.idle.append(connection)
        if len(self.idle) > KEPT_CONNECTIONS:
            self.idle.popleft().close()

    def close_older(self, time: float) -> None:
        while self.idle and (self.idle[0].idle_since < time or not self.idle[0].is_open):
            self.idle.popleft().close()

    def close(self) -> None:
        while self.idle:
            self.idle.pop().close()


class _Exchange:
    """One request and its answer, as an asynchronous context manager."""

    __slots__ = (
        "_connection",
        "_http",
        "_idle",
        "_kind",
        "_pool",
        "_request",
        "_sending",
        "_silence",
    )

    def __init__(
        self,
        http: RawHTTP,
        request: tuple[str, str, Sequence[tuple[bytes, bytes]], bytes],
        silences: tuple[float, float],
        kind: tuple[bool, TransportOptions | None],
        sending: Sending,
    ) -> None:
        self._http = http
        self._request = request
        self._silence, self._idle = silences
        self._kind = kind
        self._sending = sending
        self._pool: _Pool | None = None
        self._connection: Connection | None = None

    async def __aenter__(self) -> RawResponse:
        method, url, headers, body = self._request
        any_address, transport = self._kind
        pool, path = self._http._pool(url, any_address, transport)
        self._pool = pool
        pool.users += 1
        try:
            target = pool.prefix + target_of(path or "/")
            head = request_head(method, target, pool.fixed, pool.host, headers, len(body))
            return await self._ask(pool, method, head, body)
        except BaseException:
            self._end(pool)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._pool is not None:
            self._end(self._pool)

    async def _ask(self, pool: _Pool, method: str, head: bytes, body: bytes) -> RawResponse:
        """The answer on a kept connection, or else on a new one."""
        kept = pool.take()
        if kept is not None:
            self._connection = kept
            started = monotonic()
            try:
                return await self._asked(kept, method, head, body)
            except (ConnectionClosed, ConnectionBroken):
                elapsed = monotonic() - started
                if kept.has_answered or elapsed > STALE:
                    raise
                self._sending.is_whole = False
                self._connection = None
        self._connection = new = await self._http._connection(pool)
        return await self._asked(new, method, head, body)

    async def _asked(
        self, connection: Connection, method: str, head: bytes, body: bytes
    ) -> RawResponse:
        return await connection.ask(method, head, body, self._silence, self._idle, self._sending)

    def _end(self, pool: _Pool) -> None:
        connection, self._connection = self._connection, None
        self._http._leave(pool, connection)


def _context(ca_file: Path | None) -> ssl.SSLContext:
    context = tls_context(ca_file)
    context.set_alpn_protocols(["http/1.1"])
    return context
