"""Makes a connection to the origin of a URL: looks the name up, tries its addresses, refuses those
that may not be connected to, goes through the proxy, and speaks TLS.
"""

import asyncio
import base64
import re
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from ollama_admin.errors import InvalidInput
from ollama_admin.ollama.addresses import refuse_address, refuse_written_address
from ollama_admin.ollama.raw_connection import Connection
from ollama_admin.ollama.raw_framing import request_head
from ollama_admin.ollama.response import (
    BadRequest,
    ConnectLate,
    HandshakeLate,
    NotConnected,
    ProxyFault,
    Sending,
)

STAGGER = 0.25  # seconds until the next address of a name is tried beside the first (RFC 8305)
_PORTS = {"http": 80, "https": 443}
_AUTHORITY = re.compile(r"(?:\[[0-9A-Za-z:.%_~-]+\]|[0-9A-Za-z._~-]+)(?::[0-9]+)?")
AddressInfo = tuple[Any, ...]  # as `getaddrinfo` gives it
Certificates = Callable[[], Awaitable[ssl.SSLContext]]


@dataclass(frozen=True, slots=True)
class Way:
    """How the connections to one origin are made: through a proxy or none, and with which
    certificates.
    """

    proxy: "Proxy | None"
    certificates: Certificates


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port of a URL; `authority` as it is written there."""

    scheme: str
    host: str
    port: int
    authority: str

    @property
    def is_tls(self) -> bool:
        return self.scheme == "https"


@dataclass(frozen=True, slots=True)
class Proxy:
    """`authorization` is a line of a head, or nothing."""

    origin: Origin
    authorization: bytes = field(repr=False)


def origin_of(url: str) -> Origin:
    """BadRequest for a URL that is more, or less, than an http:// or https:// origin."""
    scheme, _, authority = url.partition("://")
    if scheme not in _PORTS or not _AUTHORITY.fullmatch(authority):
        raise BadRequest("the URL names no http:// or https:// server")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as exc:
        raise BadRequest("the URL names no address or no port") from exc
    if port is None:
        port = _PORTS[scheme]
    return Origin(scheme, host, port, authority)


def proxy_of(url: str) -> Proxy:
    """The proxy that a URL names, with the credentials in it; InvalidInput if it names none."""
    parts = urlsplit(url)
    authorization = b""
    user, at, address = parts.netloc.rpartition("@")
    if at:
        name, _, password = user.partition(":")
        pair = f"{unquote(name)}:{unquote(password)}".encode()
        authorization = b"Proxy-Authorization: Basic %b\r\n" % base64.b64encode(pair)
    try:
        return Proxy(origin_of(f"{parts.scheme}://{address}"), authorization)
    except BadRequest as exc:
        raise InvalidInput("the URL of the proxy names no host") from exc


class Dialer:
    """Makes connections; `seconds` is the time for each step: an open socket, the proxy, TLS.
    `certificates` are those of the process, which a proxy's certificate is checked against.
    """

    def __init__(self, seconds: float, certificates: Certificates) -> None:
        self._seconds = seconds
        self._certificates = certificates

    async def connect(self, origin: Origin, way: Way, *, any_address: bool) -> Connection:
        """A connection to the origin, or to the proxy where that passes single requests on.

        Without `any_address` nothing is sent to an address that `addresses.py` names. Raises
        ConnectionFault, AddressRefused, and InvalidInput for a CA file that cannot be read.
        """
        if not any_address:
            refuse_written_address(f"{origin.scheme}://{origin.authority}")
        proxy = way.proxy
        first, certificates = origin, way.certificates
        if proxy is not None:
            first, certificates = proxy.origin, self._certificates
        connection = await self._open(first, any_address=any_address)
        try:
            if first.is_tls:
                await self._speak_tls(connection, first, certificates)
            if proxy is not None and origin.is_tls:
                await self._pass_through(connection, origin, proxy)
                await self._speak_tls(connection, origin, way.certificates)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _open(self, origin: Origin, *, any_address: bool) -> Connection:
        try:
            async with asyncio.timeout(self._seconds):
                return await _plain_connection(origin, any_address=any_address)
        except TimeoutError as exc:
            raise ConnectLate("connecting timed out") from exc

    async def _speak_tls(
        self, connection: Connection, origin: Origin, certificates: Certificates
    ) -> None:
        context = await certificates()
        try:
            async with asyncio.timeout(self._seconds):
                await _handshake(connection, context, origin.host)
        except TimeoutError as exc:
            raise HandshakeLate("the TLS handshake timed out") from exc

    async def _pass_through(self, connection: Connection, origin: Origin, proxy: Proxy) -> None:
        """Have the proxy connect to the server itself; it does not see what is sent there."""
        host = origin.host
        if ":" in host:
            host = f"[{host}]"
        target = f"{host}:{origin.port}"
        host_line = f"Host: {target}".encode()
        head = request_head("CONNECT", target, proxy.authorization, host_line, (), 0)
        try:
            async with asyncio.timeout(self._seconds):
                seconds = self._seconds
                answer = await connection.ask("CONNECT", head, b"", seconds, seconds, Sending())
        except TimeoutError as exc:
            raise ConnectLate("the proxy's answer timed out") from exc
        if not 200 <= answer.status < 300 or not connection.leave():
            raise ProxyFault("the proxy does not connect to the server")


async def _handshake(connection: Connection, context: ssl.SSLContext, host: str) -> None:
    try:
        await connection.start_tls(context, host)
    except OSError as exc:  # that of TLS is one of them
        raise NotConnected("the TLS handshake failed") from exc


async def _plain_connection(origin: Origin, *, any_address: bool) -> Connection:
    loop = asyncio.get_running_loop()
    try:
        connected = await _first_connected(await _addresses(origin))
    except (OSError, UnicodeError) as exc:  # the latter for a name with a label that is too long
        raise NotConnected("no connection was made") from exc
    try:
        if not any_address:
            refuse_address(connected.getpeername()[0])
        _, connection = await loop.create_connection(Connection, sock=connected)
    except BaseException as exc:
        connected.close()
        if isinstance(exc, OSError):
            raise NotConnected("the connection broke") from exc
        raise
    return connection


async def _addresses(origin: Origin) -> list[AddressInfo]:
    """Those of a name, in the system's order; a written address is its own one, without a wait."""
    loop = asyncio.get_running_loop()
    try:
        return list(
            socket.getaddrinfo(
                origin.host, origin.port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
            )
        )
    except socket.gaierror:
        return list(await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM))


async def _first_connected(addresses: list[AddressInfo]) -> socket.socket:
    """The socket that was connected first. Each address gets a head start before the next one, so
    that a network that swallows packets costs a moment. The error of the first address otherwise.
    """
    if len(addresses) == 1:
        return await _connect(addresses[0])
    waiting = list(addresses)
    tasks: set[asyncio.Task[socket.socket]] = set()
    faults: list[BaseException] = []
    try:
        while waiting or tasks:
            if waiting:
                tasks.add(asyncio.create_task(_connect(waiting.pop(0))))
            stagger = None
            if waiting:
                stagger = STAGGER
            done, tasks = await asyncio.wait(
                tasks, timeout=stagger, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                if (fault := task.exception()) is None:
                    tasks |= done - {task}
                    return task.result()
                faults.append(fault)
        raise faults[0]
    finally:
        for task in tasks:
            task.add_done_callback(_close_late)
            task.cancel()


def _close_late(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


async def _connect(address: AddressInfo) -> socket.socket:
    family, kind, protocol, _, socket_address = address
    made = socket.socket(family, kind, protocol)
    try:
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(made, socket_address)
    except BaseException:
        made.close()
        raise
    return made
