"""The one factory of HTTP clients: nothing from the environment, no redirects, every wait bounded."""

import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import Any

import httpx

from ollama_admin.errors import InvalidInput
from ollama_admin.ollama.addresses import refuse_connected_address, refuse_written_address
from ollama_admin.secret import Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds. A cold model loads for minutes and sends nothing meanwhile, hence the long `first_byte`."""

    connect: float = 5.0
    metadata: float = 10.0  # the whole of a call that generates nothing
    first_byte: float = 600.0
    idle: float = 120.0  # between two pieces of an answer


_LIMITS = httpx.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=10)


class HTTP:
    """Clients that are made when the first URL of their scheme is asked: the certificates take 40 ms to load.

    Without `any_address`, the addresses that `addresses.py` names are not connected to. A proxy looks names up itself:
    what it connects to is its own business.
    """

    def __init__(
        self,
        times: Times,
        proxy: Secret | None = None,
        ca_file: Path | None = None,
        *,
        any_address: bool = True,
    ) -> None:
        for name in ("httpx", "httpcore"):  # they log the heads of answers, which may repeat what was sent
            logging.getLogger(name).setLevel(logging.WARNING)
        self.times = times
        self._proxy = proxy
        self._ca_file = ca_file
        self._any_address = any_address
        self._extensions = {} if any_address else {"trace": refuse_connected_address}
        self._clients: dict[str, httpx.AsyncClient] = {}

    @asynccontextmanager
    async def send(
        self, method: str, url: str, headers: dict[str, str], body: Any = None
    ) -> AsyncIterator[httpx.Response]:
        """The response with its body unread; leaving the block closes what was not read, which cancels upstream."""
        if not self._any_address:
            refuse_written_address(url)
        client = self._client(url.partition("://")[0])
        encoded = {name.encode(): value.encode("latin-1") for name, value in headers.items()}  # httpx takes ASCII only
        async with client.stream(method, url, headers=encoded, json=body, extensions=self._extensions) as response:
            yield response

    async def aclose(self) -> None:
        for client in self._clients.values():
            await client.aclose()

    def _client(self, scheme: str) -> httpx.AsyncClient:
        if scheme not in self._clients:
            needs_tls = scheme == "https" or (self._proxy and self._proxy.reveal().startswith("https"))
            # a context without certificates accepts nothing, and plain http needs none
            self._clients[scheme] = httpx.AsyncClient(
                verify=_tls_context(self._ca_file) if needs_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                proxy=self._proxy.reveal() if self._proxy else None,
                trust_env=False,
                follow_redirects=False,
                limits=_LIMITS,
                timeout=httpx.Timeout(self.times.first_byte, connect=self.times.connect, pool=self.times.connect),
                headers={"Accept-Encoding": "identity", "User-Agent": "ollama-admin"},
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),  # a jar knows no ports: keep none
            )
        return self._clients[scheme]


def _tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """certifi's certificates, or those of the file that was named instead."""
    if ca_file is None:
        return httpx.create_ssl_context(trust_env=False)
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as exc:
        raise InvalidInput(f"the CA file {ca_file} cannot be read: {exc.strerror}", "see OLLAMA_ADMIN_CA_FILE") from exc
