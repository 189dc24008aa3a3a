"""`ollama-admin serve` in a thread: the same code on a real socket, and quick to start."""

import asyncio
import gc
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
import uvicorn.server

from ollama_admin.api.protocol import DeadlineProtocol
from ollama_admin.api.serving import Options, Stop, open_door, serve
from ollama_admin.api.tls import TLSFiles
from ollama_admin.client import Client
from ollama_admin.domain.receipts import Receipt
from ollama_admin.gateway.forwarded import proxies_of
from ollama_admin.gateway.limits import Limits
from ollama_admin.ollama.connecting import Times
from ollama_admin.services.leases import LeaseTimes
from ollama_admin.settings import Settings
from tests.api.watchdog import WatchedLoop

T = TypeVar("T")

TOKEN = "canary-token-of-the-tests"
AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}
# what a server is asked in a test, the test asks
NO_LOOKS = {"OLLAMA_ADMIN_CHECK_EVERY": "off", "OLLAMA_ADMIN_DISCOVER_EVERY": "off"}
QUICK = LeaseTimes(ttl=3.0, renew=1.0, margin=0.5)
SECONDS = 30.0
# to load certificates for each client would take 40 ms
UNVERIFIED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
UNVERIFIED.check_hostname, UNVERIFIED.verify_mode = False, ssl.CERT_NONE


class _Impatient:
    """The `asyncio` of uvicorn, which looks ten times a second whether it is to end, and twice at
    the end. Here it looks fifty times: a thousand services end in a run.
    """

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / 5)


uvicorn.server.asyncio = _Impatient()


@dataclass(frozen=True)
class Heard:
    """An answer as far as it came; `is_whole` says that HTTP ended it properly."""

    status: int
    headers: httpx.Headers
    body: bytes
    is_whole: bool


class Service:
    """`url` is where it listens; `said` and `logged` are what a person would read on stderr."""

    def __init__(
        self,
        database_url: str,
        *,
        environ: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        grace: float = 5.0,
        times: Times | None = None,
        allow_hosts: tuple[str, ...] = (),
        allow_truncate: bool = False,
        tls: TLSFiles | None = None,
        otel: bool = False,
        proxies: tuple[str, ...] = (),
        loop_factory: Callable[[], asyncio.AbstractEventLoop] = WatchedLoop,
    ) -> None:
        self._loop_factory = loop_factory
        self._database_url = database_url
        self._environ = {"OLLAMA_ADMIN_API_TOKEN": TOKEN, **NO_LOOKS, **(environ or {})}
        self._options = Options(
            port=0,
            limits=limits or Limits(),
            grace=grace,
            allow_hosts=allow_hosts,
            allow_truncate=allow_truncate,
            tls=tls,
            otel=otel,
            proxies=proxies_of(proxies),
        )
        self._times = times
        self._executor = ThreadPoolExecutor(max_workers=1)
        self._listening = threading.Event()
        self._stop: Stop | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.opened: Client | None = None
        self.said: list[str] = []
        self.logged: list[str] = []
        self.url = ""

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def __enter__(self) -> Self:
        self._serving = self._executor.submit(self._run)
        self._serving.add_done_callback(lambda _: self._listening.set())
        assert self._listening.wait(SECONDS)
        if not self.url:
            self._serving.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self.ended()
        self._executor.shutdown()

    def log(self, count: int) -> list[str]:
        """The lines of its log, once there are so many: one is written after the answer was
        sent.
        """
        ends = time.monotonic() + SECONDS
        while len(self.logged) < count:
            assert time.monotonic() < ends, self.logged
            time.sleep(0.01)
        return self.logged

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of work on the loop of the service."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(SECONDS)

    def stop(self) -> None:
        """The sign to stop, as SIGTERM gives it."""
        if self._loop is not None and self._stop is not None and not self._serving.done():
            self._loop.call_soon_threadsafe(self._stop)

    def ended(self) -> None:
        self._serving.result(SECONDS)

    def ask(self, method: str, path: str, body: Any = None, **more: Any) -> httpx.Response:
        """One request with the token, on a connection of its own."""
        with self.client() as client:
            return client.request(method, path, json=body, **more)

    def heard(
        self,
        path: str,
        body: Any = None,
        method: str = "POST",
        at_first: Callable[[], None] = lambda: None,
        **more: Any,
    ) -> "Heard":
        """What a client hears of an answer that may break off; `at_first` is called when a part of
        it is there.
        """
        with self.client() as client, client.stream(method, path, json=body, **more) as answer:
            body, is_whole = b"", True
            try:
                for piece in answer.iter_raw():
                    if not body:
                        at_first()
                    body += piece
            except httpx.RemoteProtocolError:
                is_whole = False
            return Heard(answer.status_code, answer.headers, body, is_whole)

    def receipt(self, request_id: str) -> Receipt:
        """The receipt of a request, once it is written: its proof comes behind the answer."""
        assert self.opened is not None
        ends = time.monotonic() + SECONDS
        while time.monotonic() < ends:
            for receipt in self.run(self.opened.receipts.list()):
                if receipt.request_id == request_id:
                    return receipt
            time.sleep(0.02)
        raise AssertionError(f"there is no receipt of {request_id}")

    def client(self, **more: Any) -> httpx.Client:
        """A client that sends the token."""
        with_token = {"headers": AUTHORIZED, **more}
        return httpx.Client(
            base_url=self.url, verify=UNVERIFIED, trust_env=False, timeout=SECONDS, **with_token
        )

    def raw(self, data: bytes) -> bytes:
        """Everything that comes back for these bytes until the connection is closed."""
        with self.connect() as connection:
            connection.sendall(data)
            return read_all(connection)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), SECONDS)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._loop_factory) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        settings = Settings.read(self._environ, self._database_url)
        self._loop, self._stop = asyncio.get_running_loop(), Stop()
        async with Client(
            database_url=self._database_url,
            environ=self._environ,
            on_note=self._say,
            times=self._times,
            lease_times=QUICK,
        ) as client:
            self.opened = client
            with open_door(settings, self._options, self._say) as door:
                await serve(
                    client,
                    door,
                    settings,
                    self._options,
                    stop=self._stop,
                    say=self._say,
                    log=self.logged.append,
                )

    def _say(self, text: str) -> None:
        self.said.append(text)
        if text.startswith("listening on "):
            self.url = text.split()[2].rstrip(",")
            self._listening.set()


def protocols(port: int) -> list[DeadlineProtocol]:
    """The service's own ends of the connections that are open at a port."""
    made = (item for item in gc.get_objects() if isinstance(item, DeadlineProtocol))
    connected = (protocol for protocol in made if protocol.transport is not None)
    return [protocol for protocol in connected if _port_of(protocol) == port]


def accepted(port: int) -> list[socket.socket]:
    """The sockets of those ends."""
    return [protocol.transport.get_extra_info("socket") for protocol in protocols(port)]


def _port_of(protocol: DeadlineProtocol) -> int | None:
    """None for a connection that has ended."""
    end = protocol.transport.get_extra_info("socket")
    try:
        return int(end.getsockname()[1])
    except (AttributeError, OSError):  # it may end at this moment: the loop is another thread's
        return None


def read_all(connection: socket.socket) -> bytes:
    found = b""
    try:
        while chunk := connection.recv(65536):
            found += chunk
    except ConnectionResetError:
        pass
    return found


def request(method: str, path: str, body: bytes = b"", **headers: str) -> bytes:
    """A request as bytes. Keywords are headers, with - for _; an empty one is left out."""
    own = {"Host": "127.0.0.1", **AUTHORIZED}
    own |= {"Content-Type": "application/json", "Content-Length": str(len(body))} if body else {}
    own |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in own.items() if value)
    return f"{method} {path} HTTP/1.1\r\n{head}Connection: close\r\n\r\n".encode() + body


def answer_of(raw: bytes) -> tuple[int, dict[str, str], Any]:
    """Status, headers and document of a raw response."""
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(first.split()[1]), headers, json.loads(body) if body else None
