"""The one factory of HTTP clients: nothing from the environment, no redirects, every wait bounded."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds. A cold model loads for minutes and sends nothing meanwhile, hence the long `first_byte`."""

    connect: float = 5.0
    metadata: float = 10.0  # the whole of a call that generates nothing
    first_byte: float = 600.0
    idle: float = 120.0  # between two pieces of an answer


_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=10)


class HTTP:
    """Clients that are made when the first URL of their scheme is asked: the certificates take 40 ms to load."""

    def __init__(self, times: Times) -> None:
        self.times = times
        self._clients: dict[str, httpx.AsyncClient] = {}

    @asynccontextmanager
    async def send(
        self, method: str, url: str, headers: dict[str, str], body: Any = None
    ) -> AsyncIterator[httpx.Response]:
        """The response with its body unread; leaving the block closes what was not read, which cancels upstream."""
        client = self._client(url.partition("://")[0])
        async with client.stream(method, url, headers=headers, json=body) as response:
            yield response

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    def _client(self, scheme: str) -> httpx.AsyncClient:
        if scheme not in self._clients:
            # a context without certificates accepts nothing, and plain http needs none
            empty = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            self._clients[scheme] = httpx.AsyncClient(
                verify=httpx.create_ssl_context(trust_env=False) if scheme == "https" else empty,
                trust_env=False,
                follow_redirects=False,
                limits=_LIMITS,
                timeout=httpx.Timeout(self.times.first_byte, connect=self.times.connect, pool=self.times.connect),
                headers={"Accept-Encoding": "identity", "User-Agent": "ollama-admin"},
            )
        return self._clients[scheme]
