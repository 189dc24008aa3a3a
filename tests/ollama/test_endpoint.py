"""One server's HTTP API on real sockets: every way to fail has its own error, and nothing is asked
twice.
"""

import asyncio
import errno
import inspect
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import httpx
import pytest

from ollama_admin.domain.answers import StreamEvent
from ollama_admin.domain.requests import GenerateRequest
from ollama_admin.domain.servers import ApiVersion, ServerRef, Target
from ollama_admin.errors import (
    AdminError,
    ModelNotFound,
    PromptTooLong,
    RequestRefused,
    ServerBusy,
    ServerUnauthorized,
    ServerUnreachable,
    StreamInterrupted,
    UpstreamError,
)
from ollama_admin.ollama.connecting import Times
from ollama_admin.ollama.endpoint import Endpoint
from ollama_admin.ollama.faults import translated
from ollama_admin.ollama.http import HTTP, fault_of
from ollama_admin.ollama.raw_http import RawHTTP
from ollama_admin.ollama.response import (
    AnswerLate,
    BadRequest,
    ConnectionBroken,
    ConnectionClosed,
    ConnectionFault,
    ConnectLate,
    HandshakeLate,
    ImproperAnswer,
    NotConnected,
    OwnFileFault,
    PoolFull,
    ProxyFault,
    Sending,
    WriteLate,
)
from ollama_admin.simulator.http import Connection, RecordedRequest, encode_chunk
from tests.fake_ollama import (
    Answer,
    Drip,
    Ending,
    FakeOllama,
    Fault,
    Raw,
    Recording,
    Silence,
    SimulatedModel,
    redirect,
)

TIMES = Times(connect=2, metadata=5, first_byte=5, idle=5)
HASTY = Times(connect=0.3, metadata=0.3, first_byte=0.3, idle=0.3)
ASKED = GenerateRequest(prompt="hi")
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b'{"model":"alpha","response":"x","done":false}\n'
DONE = b'{"model":"alpha","response":"","done":true,"done_reason":"stop"}\n'
GPU = Target(ref=ServerRef(id=1, name="gpu", url="http://gpu:11434"), api_version=ApiVersion.NATIVE)
SELF_SIGNED = Path(__file__).parent / "self_signed.pem"
TRANSPORT: ContextVar[type[HTTP | RawHTTP]] = ContextVar("transport")


@pytest.fixture(params=[HTTP, RawHTTP], autouse=True)
def transport(request: pytest.FixtureRequest) -> Iterator[type[HTTP | RawHTTP]]:
    """What holds of one way to a server holds of the other one."""
    token = TRANSPORT.set(request.param)
    yield request.param
    TRANSPORT.reset(token)


@pytest.fixture
async def fake() -> AsyncIterator[FakeOllama]:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        yield fake


@asynccontextmanager
async def endpoint(
    url: str, times: Times = TIMES, api_version: ApiVersion = ApiVersion.NATIVE, **target: Any
) -> AsyncIterator[Endpoint]:
    http = TRANSPORT.get()(times)
    ref = ServerRef(id=1, name="gpu", url=url)
    try:
        yield Endpoint(http, Target(ref=ref, api_version=api_version, **target), any_address=True)
    finally:
        await http.aclose()


async def generated(asked: Endpoint, model: str = "alpha") -> list[StreamEvent]:
    return [event async for event in asked.generate(ASKED, model)]


Calling = Callable[[Endpoint], Awaitable[Any]]
CALLS: dict[str, tuple[str, Calling]] = {
    "version": ("/api/version", lambda asked: asked.version()),
    "models": ("/api/tags", lambda asked: asked.models(is_ollama=True)),
    "v1 models": ("/v1/models", lambda asked: asked.models(is_ollama=False)),
    "show": ("/api/show", lambda asked: asked.show("alpha")),
    "context": ("/api/ps", lambda asked: asked.running_context("alpha")),
    "generate": ("/api/generate", generated),
}
every_call = pytest.mark.parametrize(("path", "calling"), CALLS.values(), ids=CALLS)


async def failure(
    fake: FakeOllama, path: str, calling: Calling, fault: Fault, times: Times = TIMES
) -> AdminError:
    """The error that a call meets, which is asked once and ends in time."""
    fake.script_always(path, fault)
    async with endpoint(fake.url, times) as asked:
        with pytest.raises(AdminError) as caught:
            await calling(asked)
    assert len(fake.requests) == 1
    return caught.value


# What a server says


async def test_a_server_tells_its_version_models_and_builds(fake: FakeOllama) -> None:
    async with endpoint(fake.url) as asked:
        assert await asked.version() == "0.33.0"
        (model,) = await asked.models(is_ollama=True)
        assert (model.name, model.digest) == ("alpha:latest", SimulatedModel("alpha").digest)
        (named,) = await asked.models(is_ollama=False)
        assert (named.name, named.digest) == ("alpha:latest", None)
        assert (await asked.show("alpha")).capabilities == ("completion",)
        assert await asked.running_context("alpha:latest") is None
        events = await generated(asked)
        assert await asked.running_context("alpha:latest") == 2048
    assert "".join(event.response for event in events) == "I am alpha"
    assert [event.done for event in events] == [False, False, False, True]


async def test_a_prefix_of_the_url_is_kept() -> None:
    async with (
        FakeOllama(SimulatedModel("alpha"), prefix="/ollama/eu") as fake,
        endpoint(fake.url) as asked,
    ):
        assert await asked.version() == "0.33.0"
        assert await asked.models(is_ollama=True)
    assert [request.path for request in fake.requests] == [
        "/ollama/eu/api/version",
        "/ollama/eu/api/tags",
    ]


async def test_no_compression_is_asked_for_and_nothing_of_the_user_is_told(
    fake: FakeOllama,
) -> None:
    async with endpoint(fake.url) as asked:
        await generated(asked)
    (request,) = fake.requests
    assert request.headers["accept-encoding"] == "identity"
    assert request.headers["user-agent"] == "ollama-admin"
    assert set(request.headers) <= {
        *(
            "host",
            "accept",
            "accept-encoding",
            "connection",
            "user-agent",
            "content-length",
            "content-type",
        ),
    }


async def test_the_environment_has_no_say(
    fake: FakeOllama, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with FakeOllama() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.pem"))
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login u password p\n")
        monkeypatch.setenv("NETRC", str(netrc))
        async with endpoint(fake.url) as asked:
            assert await asked.version() == "0.33.0"
        assert proxy.requests == []
    assert "authorization" not in fake.requests[0].headers


async def test_a_connection_that_the_server_closed_meanwhile_is_made_anew(fake: FakeOllama) -> None:
    body = b'{"version":"0.33.0"}'
    fake.script(
        "/api/version", Raw((OK + b"Content-Length: %d\r\n\r\n" % len(body) + body,), Ending.FIN)
    )
    async with endpoint(fake.url) as asked:
        assert await asked.version() == "0.33.0"
        assert await asked.version() == "0.33.0"


# No connection


@pytest.fixture
def closed_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
    return port


@every_call
async def test_a_refused_connection_is_named_with_its_place(
    path: str, calling: Calling, closed_port: int
) -> None:
    async with endpoint(f"http://127.0.0.1:{closed_port}") as asked:
        with pytest.raises(ServerUnreachable) as caught:
            await calling(asked)
    assert (
        caught.value.message
        == f"server gpu (http://127.0.0.1:{closed_port}) cannot be reached: connection refused"
    )
    assert caught.value.hint is not None
    assert "host.docker.internal" in caught.value.hint


async def test_an_unknown_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    async with endpoint("http://gpu.invalid:11434") as asked:
        with pytest.raises(ServerUnreachable) as caught:
            await asked.version()
    assert (
        caught.value.message
        == "server gpu (http://gpu.invalid:11434) cannot be reached: its host name is not known"
    )
    assert caught.value.hint == (
        "check the spelling of the host name, and that this machine can resolve it"
    )


async def test_a_url_without_a_port_gets_the_hint_that_ollama_has_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    async with endpoint("http://gpu.invalid/prefix") as asked:
        with pytest.raises(ServerUnreachable) as caught:
            await asked.version()
    assert caught.value.hint == (
        "the URL means port 80; Ollama listens on 11434: "
        "ollama-admin server update gpu --url http://gpu.invalid:11434/prefix"
    )


async def test_https_to_a_port_that_speaks_http_is_told(fake: FakeOllama) -> None:
    async with endpoint(fake.url.replace("http:", "https:"), Times(connect=0.3)) as asked:
        with pytest.raises(ServerUnreachable) as caught:
            await asked.version()
    assert "the TLS handshake failed; does the port speak https?" in caught.value.message
    assert caught.value.hint == (
        f"if that port speaks plain http: ollama-admin server update gpu --url {fake.url}"
    )


@pytest.mark.parametrize(
    "said",
    [
        "Client sent an HTTP request to an HTTPS server.\n",
        "<center>The plain HTTP request was sent to HTTPS port</center>",
    ],
)
async def test_http_to_a_port_that_speaks_https_is_told(fake: FakeOllama, said: str) -> None:
    fake.script_always("/api/tags", Answer(400, said))
    async with endpoint(fake.url) as asked:
        with pytest.raises(UpstreamError) as caught:
            await asked.models(is_ollama=True)
    url = fake.url.replace("http:", "https:")
    assert caught.value.hint == (
        f"that port speaks https: ollama-admin server update gpu --url {url}"
    )


async def test_a_silent_server_on_this_machine_is_not_told_to_be_started(fake: FakeOllama) -> None:
    fake.script_always("/api/version", Silence())
    async with endpoint(fake.url, Times(metadata=0.2)) as asked:
        with pytest.raises(ServerUnreachable) as caught:
            await asked.version()
    assert (caught.value.hint or "").startswith("something listens there but stays silent")


@pytest.mark.parametrize(
    ("challenge", "options"),
    [
        ('Basic realm="ollama"', "--auth basic --username YOU"),
        ("bearer", "--auth bearer"),
        ("Digest x", "--auth basic --username YOU, --auth bearer or --auth api_key"),
    ],
)
async def test_what_a_proxy_asks_for_is_in_the_hint(
    fake: FakeOllama, challenge: str, options: str
) -> None:
    fake.script_always("/api/version", Answer(401, "", headers={"WWW-Authenticate": challenge}))
    async with endpoint(fake.url) as asked:
        with pytest.raises(ServerUnauthorized) as caught:
            await asked.version()
    assert caught.value.hint == (
        "a proxy in front of it wants credentials: ollama-admin server update gpu " + options
    )


@asynccontextmanager
async def tls_server(served: list[bytes], answer: bytes = b"") -> AsyncIterator[int]:
    """Speaks TLS with a certificate that nobody vouches for, and keeps what it is sent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(await reader.read(65_536))
        writer.write(answer)
        writer.close()

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(SELF_SIGNED)
    server = await asyncio.start_server(serve, "127.0.0.1", ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_certificate_that_nobody_vouches_for_is_not_accepted() -> None:
    served: list[bytes] = []
    async with tls_server(served) as port, endpoint(f"https://127.0.0.1:{port}") as asked:
        with pytest.raises(ServerUnreachable) as caught:
            await asked.version()
    assert "its TLS certificate was not accepted (self-signed certificate)" in caught.value.message
    assert not any(served)


@pytest.fixture
def trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the test's certificate were a known authority's."""
    monkeypatch.setattr(certifi, "where", lambda: str(SELF_SIGNED))


@pytest.mark.usefixtures("trusted")
async def test_https_is_spoken_to_a_server_that_is_vouched_for() -> None:
    body = b'{"version":"0.33.0"}'
    served: list[bytes] = []
    answer = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    async with tls_server(served, answer) as port, endpoint(f"https://localhost:{port}") as asked:
        assert await asked.version() == "0.33.0"
    assert served[0].startswith(b"GET /api/version HTTP/1.1\r\n")


@pytest.mark.usefixtures("trusted")
async def test_https_that_breaks_after_the_handshake_is_not_called_a_failed_handshake() -> None:
    async with tls_server([]) as port, endpoint(f"https://localhost:{port}") as asked:
        with pytest.raises(ServerUnreachable) as caught:
            await asked.version()
    assert "the answer is not valid HTTP, or the connection was closed" in caught.value.message


def test_bytes_that_are_waited_for_over_https_are_no_reason() -> None:
    foreign = httpx.ReadTimeout("")
    foreign.__context__ = ssl.SSLWantReadError(
        ssl.SSL_ERROR_WANT_READ, "The operation did not complete"
    )
    with (
        pytest.raises(ServerUnreachable, match="timed out waiting for data"),
        translated(GPU, "/x"),
    ):
        raise fault_of(foreign) from foreign


async def test_http_to_a_port_that_speaks_https_is_unreachable() -> None:
    async with tls_server([]) as port, endpoint(f"http://127.0.0.1:{port}") as asked:
        with pytest.raises(ServerUnreachable):
            await asked.version()


@every_call
@pytest.mark.parametrize("ending", [Ending.FIN, Ending.RESET])
async def test_a_server_that_hangs_up_without_a_word_is_unreachable(
    fake: FakeOllama, path: str, calling: Calling, ending: Ending
) -> None:
    error = await failure(fake, path, calling, Raw((), ending))
    assert type(error) is ServerUnreachable


# No answer in time


@every_call
async def test_a_server_that_accepts_and_never_answers_is_given_up(
    fake: FakeOllama, path: str, calling: Calling
) -> None:
    error = await failure(fake, path, calling, Silence(), HASTY)
    assert type(error) is ServerUnreachable
    assert "0.3 s" in error.message or "timed out" in error.message


@every_call
async def test_a_head_that_drips_is_given_up(fake: FakeOllama, path: str, calling: Calling) -> None:
    drip = Drip(OK + b"X: " + b"x" * 10_000, every=0.01)
    error = await failure(fake, path, calling, drip, HASTY)
    assert type(error) is ServerUnreachable
    assert "timed out after 0.3 s without an answer" in error.message


@dataclass(frozen=True, slots=True)
class Flood(Fault):
    """The same bytes, as long as the client stays."""

    unit: bytes
    head: bytes = b""

    async def play(self, fake: FakeOllama, client: Connection, request: RecordedRequest) -> None:
        await client.write(self.head)
        while True:
            await client.write(self.unit)
            await asyncio.sleep(0)


@every_call
async def test_a_flood_of_interim_answers_is_given_up(
    fake: FakeOllama, path: str, calling: Calling
) -> None:
    error = await failure(fake, path, calling, Flood(b"HTTP/1.1 102 Processing\r\n\r\n"), HASTY)
    assert type(error) is ServerUnreachable
    assert ("timed out after 0.3 s without an answer" in error.message) is (TRANSPORT.get() is HTTP)


@pytest.mark.parametrize("name", [name for name in CALLS if name != "generate"])
async def test_a_body_that_drips_is_given_up(fake: FakeOllama, name: str) -> None:
    path, calling = CALLS[name]
    drip = Drip(OK + b"\r\n[" + b" " * 10_000, every=0.01)
    error = await failure(fake, path, calling, drip, HASTY)
    assert type(error) is ServerUnreachable
    assert "timed out after 0.3 s without an answer" in error.message


async def test_a_refusal_that_drips_is_given_up(fake: FakeOllama) -> None:
    drip = Drip(b"HTTP/1.1 500 No\r\n\r\n" + b"x" * 10_000, every=0.01)
    times = Times(metadata=0.3, first_byte=30, idle=30)
    error = await failure(fake, "/api/generate", generated, drip, times)
    assert error.message.endswith("answered 500 to /api/generate")


REFUSAL = b"HTTP/1.1 500 No\r\n\r\n"
AWAY = b"HTTP/1.1 503 No\r\nContent-Length: 9\r\n\r\n"
METADATA = [name for name in CALLS if name != "generate"]
PASSED_ON: dict[str, tuple[Fault, list[str]]] = {
    "hangs up": (Raw(()), METADATA),
    "resets": (Raw((), Ending.RESET), METADATA),
    "no HTTP": (Raw((b"SSH-2.0-OpenSSH_9.6\r\n",)), METADATA),
    "silent": (Silence(), METADATA),
    "breaks off before a record": (Raw((CHUNKED,)), METADATA),
    "a refusal without an end": (Raw((REFUSAL + b"x",), Ending.KEEP), METADATA),
    "a 503 without an end": (Raw((AWAY + b"x",), Ending.KEEP), list(CALLS)),
    "a 503 that breaks off": (Raw((AWAY + b"x",), Ending.RESET), list(CALLS)),
    "no piece after the head": (Raw((CHUNKED,), Ending.KEEP), METADATA),
    "400": (Answer(400, {"error": "no"}), []),
    "401": (Answer(401), []),
    "404": (Answer(404, {"error": "no"}), []),
    "429": (Answer(429), []),
    "500": (Answer(500), []),
    "500 without a runner": (
        Answer(500, {"error": "llama-server process has terminated: exit status 1"}),
        list(CALLS),
    ),
    "400 that says so": (Answer(400, {"error": "process has terminated"}), []),
    "502": (Answer(502), list(CALLS)),
    "503": (Answer(503), list(CALLS)),
    "504": (Answer(504), list(CALLS)),
    "redirect": (redirect("http://far.example/"), []),
    "compressed": (Answer(200, b"x", headers={"Content-Encoding": "gzip"}), []),
    "junk": (Answer(200, "<html>"), []),
}


ENDLESS = ("silent", "a refusal without an end", "a 503 without an end", "no piece after the head")


@pytest.mark.parametrize("fault", PASSED_ON)
async def test_a_request_is_passed_on_only_where_the_model_cannot_be_at_work_on_it(
    fake: FakeOllama, fault: str
) -> None:
    played, expected = PASSED_ON[fault]
    times = Times(metadata=30, first_byte=30)  # for what is answered, however slow the machine is
    if fault in ENDLESS:
        times = Times(metadata=0.1, first_byte=0.5)
    passed_on = []
    for name, (path, calling) in CALLS.items():
        fake.script_always(path, played)
        async with endpoint(fake.url, times) as asked:
            try:
                await calling(asked)
            except AdminError as error:
                if getattr(error, "may_pass_on", False):
                    passed_on.append(name)
    assert passed_on == expected


async def test_a_metadata_call_takes_the_time_that_it_is_given(fake: FakeOllama) -> None:
    fake.script_always("/api/version", Silence())
    http = TRANSPORT.get()(TIMES)
    target = Target(ref=ServerRef(id=None, name=None, url=fake.url), api_version=ApiVersion.NATIVE)
    with pytest.raises(ServerUnreachable) as caught:
        await Endpoint(http, target, timeout=0.2, any_address=True).version()
    await http.aclose()
    assert (
        f"server {fake.url} cannot be reached: timed out after 0.2 s without an answer"
        == caught.value.message
    )


async def test_a_model_may_load_longer_than_pieces_may_pause(fake: FakeOllama) -> None:
    times = Times(connect=1, metadata=0.05, first_byte=10, idle=0.05)
    release = asyncio.Event()
    fake.script(
        "/api/generate", Raw((CHUNKED, release, encode_chunk(PIECE + DONE) + encode_chunk(b"")))
    )
    async with endpoint(fake.url, times) as asked:
        answer = asyncio.create_task(generated(asked))
        await fake.until(lambda: len(fake.requests) == 1)
        done, _ = await asyncio.wait({answer}, timeout=0.3)
        assert not done
        release.set()
        assert [event.done for event in await answer] == [False, True]


async def test_a_pause_in_the_answer_is_an_interruption(fake: FakeOllama) -> None:
    fake.script("/api/generate", Raw((CHUNKED + encode_chunk(PIECE),), Ending.KEEP))
    async with endpoint(fake.url, Times(idle=0.2)) as asked:
        events = asked.generate(ASKED, "alpha")
        assert (await anext(events)).response == "x"
        with pytest.raises(StreamInterrupted) as caught:
            await anext(events)
    assert caught.value.message == (
        "server gpu broke off in the middle of the answer, after 1 characters: timed out "
        "after 0.2 s without data"
    )
    assert "timed out after 0.2 s without data" in str(caught.value.__cause__)


# Refusals


async def test_an_unknown_model_is_named_with_its_server(fake: FakeOllama) -> None:
    for recording, path, calling in (
        ("error-missing-model", "/api/generate", lambda asked: generated(asked, "nope")),
        ("show-missing", "/api/show", lambda asked: asked.show("nope")),
    ):
        fake.script(path, Recording.load(recording))
        async with endpoint(fake.url) as asked:
            with pytest.raises(ModelNotFound) as caught:
                await calling(asked)
        assert caught.value.message == "server gpu has no model 'nope'"
        assert caught.value.hint == "read again what it holds with: ollama-admin discover gpu"
    assert len(fake.requests) == 2


async def test_an_unknown_model_of_a_v1_server_is_named(fake: FakeOllama) -> None:
    fake.script("/v1/chat/completions", Recording.load("v1-missing-model"))
    async with endpoint(fake.url, api_version=ApiVersion.V1) as asked:
        with pytest.raises(ModelNotFound, match="server gpu has no model 'nope'"):
            await generated(asked, "nope")


@pytest.mark.parametrize("name", ["generate", "show", "models", "v1 models", "context"])
@pytest.mark.parametrize("recording", ["error-not-found", "error-method"])
async def test_a_path_that_a_server_does_not_know_is_no_missing_model(
    fake: FakeOllama, name: str, recording: str
) -> None:
    path, calling = CALLS[name]
    error = await failure(fake, path, calling, Recording.load(recording))
    assert type(error) is UpstreamError
    assert error.message == f"server gpu does not know {path} ({Recording.load(recording).status})"
    assert error.hint == "it may speak v1 (--api-version v1), or the path in its URL is wrong"


@every_call
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Retry-After": "1"},
        {"Retry-After": "99999999999"},
        {"Retry-After": "-1"},
        {"Retry-After": "Fri, 31 Dec"},
    ],
    ids=str,
)
@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_busy_and_not_asked_again(
    fake: FakeOllama, path: str, calling: Calling, status: int, headers: dict[str, str]
) -> None:
    error = await failure(fake, path, calling, Answer(status, {"error": "later"}, headers=headers))
    assert type(error) is ServerBusy
    assert error.message == f"server gpu is busy ({status}): later"
    assert fake.requests_to(path) == fake.requests_to(path)[-1:]


async def test_a_full_queue_is_a_busy_server(fake: FakeOllama) -> None:
    error = await failure(fake, "/api/generate", generated, Recording.load("error-busy"))
    assert type(error) is ServerBusy
    assert "maximum pending requests exceeded" in error.message


@every_call
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (
            Answer(
                401,
                "<h1>401</h1>",
                headers={"WWW-Authenticate": 'Basic realm="\x1b]0;http://evil"'},
            ),
            "(401)",
        ),
        (Answer(401, {"error": "unauthorized"}), "(401): unauthorized"),
        (Answer(403, "<html>denied</html>"), "(403)"),
        (Recording.load("error-host"), "(403)"),
    ],
    ids=["401 with a realm", "401 with a text", "403 of a proxy", "403 for the host"],
)
async def test_a_server_that_wants_credentials_says_so(
    fake: FakeOllama, path: str, calling: Calling, answer: Fault, said: str
) -> None:
    error = await failure(fake, path, calling, answer)
    assert type(error) is ServerUnauthorized
    assert error.message == f"server gpu refused the request {said}"
    assert "evil" not in f"{error.message}{error.hint}"


async def test_a_403_that_ollama_explains_is_shown(fake: FakeOllama) -> None:
    error = await failure(fake, "/api/generate", generated, Recording.load("error-cloud-name"))
    assert type(error) is UpstreamError
    assert "answered 403 to /api/generate: ollama cloud is disabled" in error.message


@pytest.mark.parametrize("recording", ["error-too-long", "cut-generate-refused"])
async def test_a_prompt_that_does_not_fit_is_told_with_both_numbers(
    fake: FakeOllama, recording: str
) -> None:
    error = await failure(fake, "/api/generate", generated, Recording.load(recording))
    assert type(error) is PromptTooLong
    assert error.message == (
        "the prompt does not fit into the model's context on server gpu: 42023 tokens, the context "
        "has 2048"
    )
    assert error.hint is not None
    assert "--option num_ctx=N" in error.hint


async def test_a_prompt_that_does_not_fit_is_told_without_numbers_where_there_are_none(
    fake: FakeOllama,
) -> None:
    text = (
        "the prompt is longer than the context length currently available to the model; try again"
    )
    error = await failure(fake, "/api/generate", generated, Answer(400, {"error": text}))
    assert type(error) is PromptTooLong
    assert error.message == "the prompt does not fit into the model's context on server gpu"


@pytest.mark.parametrize(
    "recording",
    [
        "error-bad-format",
        "error-bad-json",
        "error-bad-name",
        "error-bad-option",
        "error-embedding-model",
        "error-empty-body",
        "error-image-to-text-model",
        "error-no-thinking",
        "error-raw-and-system",
        "error-suffix",
        "error-tools",
        "error-wrong-type",
        "old-error-no-thinking",
    ],
)
async def test_another_refusal_is_shown_in_the_servers_words(
    fake: FakeOllama, recording: str
) -> None:
    played = Recording.load(recording)
    error = await failure(fake, "/api/generate", generated, played)
    assert type(error) is (RequestRefused if played.status == 400 else UpstreamError)
    assert error.message.startswith(f"server gpu answered {played.status} to /api/generate: ")
    assert '{"error"' not in error.message


@every_call
@pytest.mark.parametrize(
    "answer",
    [
        Answer(500, "<html><body>Internal Server Error</body></html>"),
        Answer(500, b"\x00\xff\xfe" * 1000),
        Answer(500, b"\x1b[31m" * 100),
        Answer(502, ""),
        Answer(500, b"[" * 60_000),
        Answer(418, '{"error": "\\ud800"}'),
        Answer(204),
        Answer(206, {"models": []}),
    ],
    ids=lambda answer: repr(answer)[:40],
)
async def test_an_answer_of_another_kind_is_an_upstream_error_of_one_line(
    fake: FakeOllama, path: str, calling: Calling, answer: Fault
) -> None:
    error = await failure(fake, path, calling, answer)
    assert type(error) is UpstreamError
    assert len(error.message) < 600
    assert error.message.isprintable()


async def test_a_long_text_of_an_error_is_shortened(fake: FakeOllama) -> None:
    error = await failure(
        fake, "/api/generate", generated, Answer(500, {"error": "token hunter2 " * 2000})
    )
    assert type(error) is UpstreamError
    assert len(error.message) < 600


@dataclass(frozen=True, slots=True)
class HugeRefusal(Fault):
    """An error of ten megabytes; what was not read is counted."""

    written: list[int]

    async def play(self, fake: FakeOllama, client: Connection, request: RecordedRequest) -> None:
        await client.write(b"HTTP/1.1 500 No\r\nContent-Length: 10485760\r\n\r\n")
        for _ in range(160):
            await client.write(b"x" * 65_536)
            self.written.append(65_536)


@every_call
async def test_of_a_huge_refusal_only_the_beginning_is_read(
    fake: FakeOllama, path: str, calling: Calling
) -> None:
    huge = HugeRefusal([])
    error = await failure(fake, path, calling, huge)
    assert type(error) is UpstreamError
    assert f"answered 500 to {path}" in error.message
    await asyncio.wait_for(fake.client_left.wait(), 5)
    assert len(fake.abandoned) == 1


# Redirects


@every_call
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_error_and_nobody_is_asked_again(
    fake: FakeOllama, path: str, calling: Calling, status: int
) -> None:
    async with FakeOllama(SimulatedModel("alpha")) as other:
        error = await failure(fake, path, calling, redirect(f"{other.url}{path}", status))
        assert other.requests == []
    assert type(error) is UpstreamError
    assert error.message == f"server gpu redirects {path} to 127.0.0.1; redirects are not followed"


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("/api/v2/version", "elsewhere"),
        ("https://user:hunter2@far.example:9/x?token=hunter2", "far.example"),
        ("http://[bad", "elsewhere"),
        ("//[", "elsewhere"),
        ("http://far.example:99999/", "far.example"),
        ("", "elsewhere"),
    ],
)
async def test_a_redirect_shows_at_most_the_host_it_names(
    fake: FakeOllama, location: str, shown: str
) -> None:
    error = await failure(fake, *CALLS["version"], redirect(location))
    assert type(error) is UpstreamError
    assert (
        error.message == f"server gpu redirects /api/version to {shown}; redirects are not followed"
    )


async def test_a_loop_of_redirects_is_asked_once(fake: FakeOllama) -> None:
    error = await failure(fake, *CALLS["models"], redirect(f"{fake.url}/api/tags"))
    assert "redirects are not followed" in error.message


# Not Ollama


@pytest.mark.parametrize(
    "answer",
    [
        Answer(404, "404 page not found"),
        Answer(405),
        Answer(400, {"error": "x"}),
        Answer(501),
        Answer(200, "<html>Welcome to this hotel</html>"),
        Answer(200, b""),
        Answer(200, []),
        Answer(200, {"version": 3}),
        Answer(200, {"version": {"major": 1}}),
        Answer(200, b"null"),
        Answer(200, b"\xff\xfe"),
    ],
    ids=repr,
)
async def test_what_answers_without_a_version_is_not_ollama(
    fake: FakeOllama, answer: Answer
) -> None:
    fake.script("/api/version", answer)
    async with endpoint(fake.url) as asked:
        assert await asked.version() is None


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ("Welcome to this hotel", "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
        (b"null", "the answer is null, not an object"),
        ([], "the answer is a list, not an object"),
        ({}, "models is null, not a list"),
        ({"models": {}}, "models is an object, not a list"),
        ({"models": [{"name": "a"}, {"digest": "b"}]}, "models[1].name is not a name"),
        ({"models": [{"name": "a", "digest": "b"}]}, "models[0].digest is not a sha256 digest"),
        (
            {"models": [{"name": "a", "details": {"family": 1}}]},
            "models[0].details.family is a number",
        ),
        (b'{"models":[],"models":[]}', "cannot be read as JSON"),
        (b"[" * 200_000, "nested too deep"),
        (b'{"models":[' + b"{}," * 200_000 + b"0]}", "holds more than 300000 values"),
    ],
)
async def test_a_listing_of_another_shape_is_an_error_that_names_the_place(
    fake: FakeOllama, body: object, path: str
) -> None:
    error = await failure(fake, *CALLS["models"], Answer(200, body))
    assert type(error) is UpstreamError
    assert error.message.startswith("server gpu, /api/tags: ")
    assert path in error.message
    assert error.hint == "is it an Ollama server?"


async def test_a_body_without_an_end_is_not_read_for_ever(fake: FakeOllama) -> None:
    chunk = encode_chunk(b" " * 65_536)
    error = await failure(fake, *CALLS["models"], Flood(chunk, head=CHUNKED), Times(metadata=30))
    assert type(error) is UpstreamError
    assert "the answer is longer than 8 MiB" in error.message


async def test_a_line_without_an_end_is_not_read_for_ever(fake: FakeOllama) -> None:
    chunk = encode_chunk(b" " * 65_536)
    error = await failure(fake, *CALLS["generate"], Flood(chunk, head=CHUNKED), Times(idle=30))
    assert type(error) is UpstreamError
    assert "a line of the answer is longer than 4 MiB" in error.message


@every_call
@pytest.mark.parametrize(
    "encoding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-unknown", "identity, gzip"]
)
async def test_a_compressed_answer_is_refused_unread(
    fake: FakeOllama, path: str, calling: Calling, encoding: str
) -> None:
    head = OK + b"Transfer-Encoding: chunked\r\nContent-Encoding: %s\r\n\r\n" % encoding.encode()
    error = await failure(fake, path, calling, Flood(encode_chunk(b"\x00" * 1000), head=head))
    assert type(error) is UpstreamError
    assert "the answer is compressed, which was not asked for" in error.message


async def test_an_answer_that_says_that_it_is_not_compressed_is_read(fake: FakeOllama) -> None:
    fake.script(
        "/api/version", Answer(200, {"version": "1.2.3"}, headers={"Content-Encoding": "Identity"})
    )
    async with endpoint(fake.url) as asked:
        assert await asked.version() == "1.2.3"


# Bytes that are not HTTP

LISTING = b'{"models":[]}'
BAD_BYTES: dict[str, bytes] = {
    "not HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "binary": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "HTTP/0.9": LISTING,
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2 frames": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18,
    "no status": b"HTTP/1.1\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "status of words": b"HTTP/1.1 OK 200\r\n\r\n",
    "switching protocols": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    "head without an end": OK + b"Content-Length: 5\r\n",
    "header without a colon": OK + b"nonsense\r\n\r\n" + LISTING,
    "header with NUL": OK + b"X: a\x00b\r\n\r\n" + LISTING,
    "header name with a space": OK + b"Content Length: 13\r\n\r\n" + LISTING,
    "1 MiB header": OK + b"X: " + b"x" * 2**20 + b"\r\n\r\n" + LISTING,
    "1 MiB header line by line": OK + b"X: y\r\n" * 2**17 + b"\r\n" + LISTING,
    "Content-Length too big": OK + b"Content-Length: 99\r\n\r\n" + LISTING,
    "Content-Length too small": OK + b"Content-Length: 5\r\n\r\n" + LISTING,
    "Content-Length of words": OK + b"Content-Length: many\r\n\r\n" + LISTING,
    "Content-Length below zero": OK + b"Content-Length: -1\r\n\r\n" + LISTING,
    "5,000 headers": OK
    + b"".join(b"X-%d: y\r\n" % number for number in range(5000))
    + b"Content-Length: 13\r\n\r\n"
    + LISTING,
    "two Content-Lengths in one": OK + b"Content-Length: 13, 12\r\n\r\n" + LISTING,
    "two Content-Lengths": OK + b"Content-Length: 13\r\nContent-Length: 12\r\n\r\n" + LISTING,
    "unknown Transfer-Encoding": OK
    + b"Transfer-Encoding: gzip, chunked\r\n\r\n"
    + encode_chunk(LISTING),
    "chunk size of words": OK
    + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"
    + LISTING
    + b"\r\n0\r\n\r\n",
    "chunk size below zero": OK
    + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n"
    + LISTING
    + b"\r\n0\r\n\r\n",
    "huge chunk size": OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 30 + b"\r\n" + LISTING,
    "chunk longer than it says": OK
    + b"Transfer-Encoding: chunked\r\n\r\n5\r\n"
    + LISTING
    + b"\r\n0\r\n\r\n",
    "chunk without an end": OK + b"Transfer-Encoding: chunked\r\n\r\nff\r\n" + LISTING,
    "chunks without an end": OK + b"Transfer-Encoding: chunked\r\n\r\n" + encode_chunk(LISTING),
}


@pytest.mark.parametrize("ending", [Ending.FIN, Ending.RESET])
@pytest.mark.parametrize("name", BAD_BYTES)
async def test_bytes_that_are_not_proper_http_are_never_an_answer(
    fake: FakeOllama, name: str, ending: Ending
) -> None:
    error = await failure(fake, *CALLS["models"], Raw((BAD_BYTES[name],), ending))
    assert type(error) in (ServerUnreachable, UpstreamError)
    assert error.message.isprintable()
    fake.requests.clear()
    error = await failure(
        fake, *CALLS["generate"], Raw((BAD_BYTES[name].replace(LISTING, DONE[:13]),), ending)
    )
    assert type(error) in (ServerUnreachable, UpstreamError)


async def test_chunks_win_over_a_length_or_both_are_refused(fake: FakeOllama) -> None:
    head = OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
    fake.script("/api/tags", Raw((head + encode_chunk(LISTING) + encode_chunk(b""),)))
    async with endpoint(fake.url) as asked:
        if TRANSPORT.get() is HTTP:
            assert await asked.models(is_ollama=True) == []
            return
        with pytest.raises(ServerUnreachable, match="the answer is not valid HTTP"):
            await asked.models(is_ollama=True)


# Streams


async def events_of(fake: FakeOllama, body: bytes) -> tuple[list[str], AdminError | None]:
    """The text of the records of an answer, and the error that ended it."""
    fake.script("/api/generate", Raw((OK + b"\r\n" + body,)))
    texts: list[str] = []
    async with endpoint(fake.url) as asked:
        try:
            async for event in asked.generate(ASKED, "alpha"):
                texts.append(event.response)  # noqa: PERF401 (those before the error count)
        except AdminError as error:
            return texts, error
    return texts, None


async def test_what_cannot_be_read_before_any_record_is_no_answer(fake: FakeOllama) -> None:
    texts, error = await events_of(fake, b"<html>Welcome to this hotel</html>")
    assert texts == []
    assert type(error) is UpstreamError


@pytest.mark.parametrize(
    "junk", [b"<html>", b'{"response":"\xff"}', b'{"model":"al', b"[]", b'{"response":7}']
)
async def test_what_cannot_be_read_after_a_record_is_an_interruption(
    fake: FakeOllama, junk: bytes
) -> None:
    texts, error = await events_of(fake, PIECE + junk)
    assert texts == ["x"]
    assert type(error) is StreamInterrupted
    assert "server gpu, /api/generate: " in error.message


async def test_leaving_a_stream_cancels_it_at_the_server(fake: FakeOllama) -> None:
    fake.script("/api/generate", Flood(encode_chunk(PIECE), head=CHUNKED))
    async with endpoint(fake.url) as asked:
        events = asked.generate(ASKED, "alpha")
        assert (await anext(events)).response == "x"
        await events.aclose()
        await asyncio.wait_for(fake.client_left.wait(), 1)
    assert [request.path for request in fake.abandoned] == ["/api/generate"]


# Exceptions of the HTTP library


def public_exceptions() -> Iterator[type[Exception]]:
    """Every exception class that httpx shows, and all below them."""
    seen: set[type[Exception]] = set()
    waiting = [
        value
        for name in httpx.__all__
        if inspect.isclass(value := getattr(httpx, name)) and issubclass(value, Exception)
    ]
    while waiting:
        kind = waiting.pop()
        if kind not in seen:
            seen.add(kind)
            waiting += kind.__subclasses__()
            yield kind


def made(kind: type[Exception]) -> Exception:
    given = {
        "message": "secret text of the library",
        "request": httpx.Request("GET", "http://u:hunter2@gpu"),
        "response": httpx.Response(500),
    }
    wanted = inspect.signature(kind).parameters
    return kind(**{name: value for name, value in given.items() if name in wanted})


@pytest.mark.parametrize("kind", sorted(public_exceptions(), key=lambda kind: kind.__name__))
def test_every_exception_of_the_http_library_becomes_ours_with_a_reason_of_its_own(
    kind: type[Exception],
) -> None:
    foreign = made(kind)
    with pytest.raises(UpstreamError) as caught, translated(GPU, "/api/tags"):
        raise fault_of(foreign) from foreign
    assert caught.value.__cause__ is not None
    assert caught.value.__cause__.__cause__ is foreign
    assert "gpu" in caught.value.message
    assert "hunter2" not in caught.value.message
    assert "secret text" not in caught.value.message


@pytest.mark.parametrize(
    "kind",
    [
        kind
        for kind in (*httpx.TimeoutException.__subclasses__(), *httpx.NetworkError.__subclasses__())
        if kind is not httpx.ConnectError  # its reason is the system's own
    ],
)
def test_every_failure_of_the_network_has_a_reason_of_its_own(kind: type[Exception]) -> None:
    with pytest.raises(ServerUnreachable) as caught, translated(GPU, "/api/tags"):
        raise fault_of(made(kind))
    assert not caught.value.message.endswith("the request failed")


SAME = {
    NotConnected: httpx.ConnectError,
    ConnectLate: httpx.ConnectTimeout,
    ProxyFault: httpx.ProxyError,
    WriteLate: httpx.WriteTimeout,
    AnswerLate: httpx.ReadTimeout,
    ImproperAnswer: httpx.RemoteProtocolError,
    ConnectionClosed: httpx.RemoteProtocolError,
    ConnectionBroken: httpx.ReadError,
    BadRequest: httpx.LocalProtocolError,
    PoolFull: httpx.PoolTimeout,
}


@pytest.mark.parametrize("is_whole", [False, True])
@pytest.mark.parametrize("kind", SAME, ids=lambda kind: kind.__name__)
def test_both_ways_to_a_server_fail_in_the_same_words(
    kind: type[ConnectionFault], is_whole: bool
) -> None:
    errors = []
    for foreign in (kind("x"), fault_of(made(SAME[kind]))):
        foreign.__cause__ = None
        if kind is NotConnected:
            foreign.__cause__ = OSError(errno.ECONNREFUSED, "x")
        with (
            pytest.raises(ServerUnreachable) as caught,
            translated(GPU, "/x", Sending(is_whole=is_whole)),
        ):
            raise foreign
        errors.append((caught.value.message, caught.value.hint, caught.value.may_pass_on))
    assert errors[0] == errors[1]
    assert errors[0][2] is not is_whole


def test_every_fault_of_a_connection_has_a_like_in_httpx() -> None:
    kinds = {ConnectionFault}
    while below := {kind for one in kinds for kind in one.__subclasses__()} - kinds:
        kinds |= below
    # httpx has the same exception for a handshake that takes too long, with a cause below it
    assert kinds - {ConnectionFault, HandshakeLate, OwnFileFault} == SAME.keys()


def test_the_systems_own_reason_is_shown_where_there_is_one() -> None:
    for reason in (
        OSError(errno.EHOSTUNREACH, "x"),
        ExceptionGroup(
            "all attempts failed",
            [OSError(errno.EHOSTUNREACH, "x"), OSError(errno.ECONNREFUSED, "x")],
        ),
    ):
        foreign = httpx.ConnectError("All connection attempts failed")
        foreign.__cause__ = reason
        with (
            pytest.raises(ServerUnreachable, match="cannot be reached: no route to host"),
            translated(GPU, "/x"),
        ):
            raise fault_of(foreign) from foreign


def test_errors_that_are_no_faults_of_the_server_pass() -> None:
    with pytest.raises(ZeroDivisionError), translated(GPU, "/x"):
        raise ZeroDivisionError
