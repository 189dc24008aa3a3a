"""The REST API as a process: where it listens, which requests it accepts, and how it stops."""

import asyncio
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from ollama_admin.api.app import create_app
from ollama_admin.api.connections import (
    AT_ONCE,
    Acceptor,
    Connect,
    Connections,
    Seldom,
    connections_within_descriptors,
)
from ollama_admin.api.guard import Guard
from ollama_admin.api.protocol import DeadlineProtocol
from ollama_admin.api.tls import Certificate, Handshake, TLSFiles
from ollama_admin.client import Client
from ollama_admin.domain.callers import Caller, Rights, Way
from ollama_admin.domain.keys import Network
from ollama_admin.domain.secret import Secret
from ollama_admin.errors import AdminError, InvalidInput
from ollama_admin.gateway.access import Access
from ollama_admin.gateway.app import App, Gateway
from ollama_admin.gateway.forwarded import Forwarded
from ollama_admin.gateway.limits import Limits, Rooms

# the client loads it when it is first used, which would hold up the loop for a quarter of a second
from ollama_admin.ollama import endpoint as _endpoint  # noqa: F401
from ollama_admin.services.metrics import Spans
from ollama_admin.settings import API_TOKEN, DYNAMIC_SERVERS, Settings
from ollama_admin.web.app import Pages

LOOPBACK = ("localhost", "127.0.0.1", "::1")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 (recognised, not used)
SHORT_TOKEN = 16  # characters
BACKLOG = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`grace` is seconds that running answers have after the sign to stop; `allow_truncate` is that
    of `create_app`; `workers` are processes at the same listening socket, `proxies` those whose
    `X-Forwarded-For` and `-Proto` are believed. With `otel`, traces are sent.
    """

    host: str = "127.0.0.1"
    port: int = 8421
    allow_hosts: Sequence[str] = ()
    allow_origins: Sequence[str] = ()
    grace: float = 30.0
    allow_truncate: bool = False
    tls: TLSFiles | None = None
    workers: int = 1
    proxies: tuple[Network, ...] = ()
    limits: Limits = field(default_factory=Limits)
    otel: bool = False

    @property
    def hosts(self) -> frozenset[str]:
        """The names under which it may be asked."""
        bound = () if self.host in EVERYWHERE else (self.host,)
        return frozenset(
            host.lower().strip("[]") for host in chain(LOOPBACK, bound, self.allow_hosts)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where clients come in and with what: what all processes of one service have in common."""

    listener: socket.socket
    token: Secret


class Stop:
    """The sign to stop. Given twice, running answers are not waited for any more."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.insists = asyncio.Event()

    def __call__(self) -> None:
        if self.asked.is_set():
            self.insists.set()
        self.asked.set()


def rights(settings: Settings) -> Rights:
    """What those who ask the API may do, who need not own this machine."""
    return Rights(
        dynamic_servers=settings.dynamic_servers, inactive_by_url=False, any_address=False
    )


def listen(options: Options) -> socket.socket:
    """A socket at the place that the options name; InvalidInput when there is none to have."""
    if options.grace < 0:
        raise InvalidInput("the grace must be 0 seconds or more")
    try:
        found = socket.getaddrinfo(
            options.host, options.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, address = found[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except (OSError, OverflowError, UnicodeError) as exc:
        reason = getattr(exc, "strerror", None) or "there is no such address"
        message = f"cannot listen on {options.host} port {options.port}: {reason}"
        raise InvalidInput(message, "choose another address with --host and --port") from exc
    # Accepted sockets inherit it. asyncio sets it only where a socket names its protocol, and these
    # do not: the second part of an answer then waits up to 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@contextmanager
def open_door(settings: Settings, options: Options, say: Callable[[str], None]) -> Iterator[Door]:
    """Listen, and say which token is asked for. InvalidInput for options that cannot be."""
    _handshake(options, say)
    _require_otel(options)
    with listen(options) as listener:
        yield Door(listener=listener, token=_token(settings, say))


async def serve(
    client: Client,
    door: Door,
    settings: Settings,
    options: Options,
    *,
    stop: Stop,
    say: Callable[[str], None],
    log: Callable[[str], None],
    when_made: Callable[[], None] = lambda: None,
    introduces: bool = True,
    shares: Path | None = None,
) -> None:
    """Answer until `stop`, then let running answers come to their ends. `when_made` is called once,
    when all is made and no request has come yet; with `introduces`, how clients come in is said.
    `shares` is the folder in which workers tell each other what they counted.
    """
    client.fleet.metrics.begin(shares, _spans(options, log))
    if shares is not None:
        client.fleet.meet(shares)
    application: App = _application(client, door.token, settings, options, stop, log)
    if options.proxies:
        application = Forwarded(application, options.proxies)
    server = _Server(_config(application, options), door.listener, options, log)
    when_made()
    beside = [asyncio.create_task(_end(server, stop)), asyncio.create_task(client.lookout.run())]
    if introduces:
        _introduce(door, settings, options, say)
        beside.append(asyncio.create_task(_say_whether_ready(client, say)))
    try:
        await server.serve([door.listener])
    finally:
        for task in beside:
            task.cancel()
        await asyncio.wait(beside)
        await _last_words(server)


def _rest(client: Client, settings: Settings, options: Options) -> FastAPI:
    return create_app(
        client,
        options.limits,
        rights(settings),
        allow_truncate=options.allow_truncate,
        traces=options.otel,
    )


def _application(
    client: Client,
    token: Secret,
    settings: Settings,
    options: Options,
    stop: Stop,
    log: Callable[[str], None],
) -> Gateway:
    """The gateway, and behind it the REST API and the pages with their guard."""
    limits, log_failure = options.limits, Seldom(log)
    rooms = Rooms.of(limits)
    access = Access(token, client.keyring, options.hosts)
    pages = Pages(
        client,
        _rest(client, settings, options),
        access=access,
        rights=rights(settings),
        limits=limits,
        closing=stop.asked,
    )
    room = rooms.bodies
    guard = Guard(pages, access=access, limits=limits, room=room, log=log, log_failure=log_failure)
    caller = Caller(way=Way.API, rights=rights(settings), note=log)
    return Gateway(
        client.for_caller(caller),
        guard,
        guard.admitted,
        access=access,
        rights=caller.rights,
        limits=limits,
        rooms=rooms,
        origins=options.allow_origins,
        allow_truncate=options.allow_truncate,
        traces=options.otel,
        log=log,
        log_failure=log_failure,
    )


class _Server(uvicorn.Server):
    """uvicorn's server, with connections that are counted."""

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        options: Options,
        log: Callable[[str], None],
    ) -> None:
        super().__init__(config)
        self._limits = limits = options.limits
        self._connections = Connections(connections_within_descriptors(limits.connections))
        seldom = Seldom(log)
        asyncio.get_running_loop().set_exception_handler(
            lambda _, context: seldom(f"failure in the background: {_described(context)}")
        )
        shake_hands = _handshake(options, log)
        at_once = AT_ONCE if options.workers == 1 else 1  # or one of them would take all
        self._acceptor = Acceptor(
            listener, self._connections, self._protocol, seldom, shake_hands, at_once=at_once
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:  # noqa: ARG002
        self.servers = [self._acceptor]  # type: ignore[list-item]
        self._acceptor.start()
        self.started = True

    def _protocol(self) -> DeadlineProtocol:
        return DeadlineProtocol(
            config=self.config,
            server_state=self.server_state,
            app_state={},
            limits=self._limits,
            open_connections=self._connections,
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """The signals are the caller's: uvicorn would raise them again at its end, and the exit
        code would be -15.
        """
        yield


def _spans(options: Options, log: Callable[[str], None]) -> Spans | None:
    """What sends traces; None where nobody asks for them, and then its packages are not loaded."""
    if not options.otel:
        return None
    from ollama_admin.api.traces import Traces

    return Traces(Seldom(log))


def _require_otel(options: Options) -> None:
    """Raise InvalidInput where traces are asked for, and cannot be made."""
    if not options.otel:
        return
    try:
        from ollama_admin.api import traces  # noqa: F401
    except ModuleNotFoundError as exc:
        raise InvalidInput(
            f"traces need packages that are not installed ({exc.name})",
            "install them from its folder: pip install '.[server,otel]'",
        ) from exc


def _handshake(options: Options, log: Callable[[str], None]) -> Connect | None:
    """What makes connections of accepted sockets with TLS; None without."""
    if options.tls is None:
        return None
    limits = options.limits
    return Handshake(Certificate(options.tls, log), limits.handshake_time, limits.write_idle)


def _described(context: dict[str, Any]) -> str:
    """What the loop tells of a failure that nobody awaits."""
    return f"{context['message']} ({context.get('exception')!r:.500})"


def _config(application: App, options: Options) -> uvicorn.Config:
    return uvicorn.Config(
        application,
        http=DeadlineProtocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # failures of requests are in the guard's log
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=options.grace,  # type: ignore[arg-type]
    )


async def _end(server: uvicorn.Server, stop: Stop) -> None:
    await stop.asked.wait()
    server.should_exit = True
    await stop.insists.wait()
    server.force_exit = True


async def _last_words(server: uvicorn.Server) -> None:
    """Answers whose time is over tell their clients so, and give back their slots."""
    tasks = list(server.server_state.tasks)
    if server.force_exit:  # else uvicorn has done so: a second time would disturb their cleaning up
        for task in tasks:
            task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=5)
    await asyncio.sleep(0)  # the loop sends the last words
    connections = server.server_state.connections
    for connection in list(connections):
        if isinstance(connection, DeadlineProtocol) and connection.may_be_unread:
            connection.abort()
    for _ in range(100):  # a loop of uvloop cannot be closed before they have ended
        if not connections:
            return
        await asyncio.sleep(0.01)


def _token(settings: Settings, say: Callable[[str], None]) -> Secret:
    if settings.api_token is None:
        made = Secret(secrets.token_urlsafe(32))
        say(f"the token of this run, shown once: {made.reveal()} (set {API_TOKEN} to choose one)")
        return made
    say(f"the token is the one in {API_TOKEN}")
    if len(settings.api_token.reveal()) < SHORT_TOKEN:
        say(f"the token has fewer than {SHORT_TOKEN} characters: it can be guessed")
    return settings.api_token


def _introduce(
    door: Door, settings: Settings, options: Options, say: Callable[[str], None]
) -> None:
    host, port = door.listener.getsockname()[:2]
    if ":" in host:
        host = f"[{host}]"
    url = f"{'http' if options.tls is None else 'https'}://{host}:{port}"
    say(
        "every request needs the token as its key; those to the REST API also need one of these "
        f"host names: {', '.join(sorted(options.hosts))}"
    )
    say("link-local, multicast, unspecified and metadata addresses are never connected to")
    if settings.dynamic_servers:
        say(
            f"requests may name URLs that are not registered; {DYNAMIC_SERVERS}=registered refuses "
            "them"
        )
    else:
        say("requests may name registered servers only")
    if host.strip("[]") not in LOOPBACK and options.tls is None:
        say(
            "other machines can reach it, and it does not speak TLS: give it a certificate with "
            "--tls-cert and --tls-key, or put a proxy that speaks TLS in front of it"
        )
    say(f"clients of Ollama: OLLAMA_HOST={url}/k/KEY, or {url} with the key as a bearer token")
    say(f"clients of OpenAI: {url}/v1, of Anthropic: {url}, with the key as their API key")
    say(f"people with a browser: {url}/ui/, with a key to sign in")
    say(f"listening on {url}, documentation at {url}/docs")


async def _say_whether_ready(client: Client, say: Callable[[str], None]) -> None:
    try:
        await client.ready()
    except AdminError as exc:
        hint = f" ({exc.hint})" if exc.hint else ""
        say(f"not ready: {exc.message}{hint}; every request is refused until it is")
