"""What a proxy in front of `serve` says of its clients: believed of the proxies that were named,
and of nobody else.
"""

from collections.abc import Awaitable, Callable, Iterable
from ipaddress import ip_address
from typing import Any

from ollama_admin.domain.keys import Address, Network, network, unmapped
from ollama_admin.errors import InvalidInput

Scope = dict[str, Any]
App = Callable[[Scope, Any, Any], Awaitable[None]]
Headers = Iterable[tuple[bytes, bytes]]


class Forwarded:
    """The application behind it is told the client's address and scheme in place of the proxy's.

    `X-Forwarded-For` is read from its end: the last address that is no trusted proxy's is the
    client's, whatever stands before it. An entry that is no address leaves none known.
    """

    def __init__(self, app: App, proxies: tuple[Network, ...]) -> None:
        self._app = app
        self._proxies = proxies

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and self._is_trusted(_address_in(scope.get("client"))):
            scope = scope | self._told(scope)
        await self._app(scope, receive, send)

    def _told(self, scope: Scope) -> Scope:
        told: Scope = {}
        entries = _entries(scope["headers"], b"x-forwarded-for")
        if entries:
            told["client"] = self._client_of(entries)
        schemes = _entries(scope["headers"], b"x-forwarded-proto")
        if schemes and schemes[-1] in ("http", "https"):
            told["scheme"] = schemes[-1]
        return told

    def _client_of(self, entries: list[str]) -> tuple[str, int] | None:
        address = None
        for entry in reversed(entries):
            address = _address(entry)
            if not self._is_trusted(address):
                break
        if address is None:
            return None
        return str(address), 0

    def _is_trusted(self, address: Address | None) -> bool:
        return address is not None and any(address in proxy for proxy in self._proxies)


def proxies_of(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks in options that each name one or, with commas, several; InvalidInput for what
    names none.
    """
    words = [word.strip() for text in texts for word in text.split(",")]
    return tuple(_proxy(word) for word in words)


def _proxy(word: str) -> Network:
    try:
        return network(word)
    except ValueError as exc:
        raise InvalidInput(
            f"--forwarded-allow-ips {word[:100]!a} is no address and no network",
            "write 127.0.0.1 or 10.0.0.0/8",
        ) from exc


def _entries(headers: Headers, wanted: bytes) -> list[str]:
    """What a header lists, over all its lines."""
    lines = [value.decode("latin-1") for name, value in headers if name == wanted]
    return [entry.strip() for line in lines for entry in line.split(",")]


def _address(entry: str) -> Address | None:
    """The address of an entry, with a port or without."""
    if entry.startswith("["):
        entry = entry[1:].partition("]")[0]
    elif entry.count(":") == 1:
        entry = entry.partition(":")[0]
    try:
        return unmapped(ip_address(entry))
    except ValueError:
        return None


def _address_in(client: tuple[str, int] | None) -> Address | None:
    """The other end of the connection."""
    if not client:
        return None
    return _address(client[0].partition("%")[0])
