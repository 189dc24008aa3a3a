"""Requests go where the registry says and nowhere else: no redirect, proxy variable, cookie or file
changes that.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from ollama_admin.client import Client
from ollama_admin.errors import AdminError, InvalidInput, ServerUnreachable, UpstreamError
from ollama_admin.settings import Settings
from ollama_admin.simulator.http import RecordedRequest
from ollama_admin.simulator.model import SimulatedModel
from tests.cli.conftest import Serve
from tests.cli.running import Cli
from tests.fake_ollama import Answer, FakeOllama, redirect
from tests.fake_ollama_thread import FakeOllamaThread

# for localhost and 127.0.0.1, with its key
SELF_SIGNED = Path(__file__).parents[1] / "ollama" / "self_signed.pem"
FAR = "http://10.39.0.6:11434"  # nothing is connected to there
PROXY, CA_FILE = "OLLAMA_ADMIN_PROXY", "OLLAMA_ADMIN_CA_FILE"

KINDS: dict[str, dict[str, Any]] = {
    "basic": {"auth_type": "basic", "auth_config": {"username": "u", "password": "hunter2"}},
    "bearer": {"auth_type": "bearer", "auth_config": {"token": "hunter2"}},
    "api key": {
        "auth_type": "api_key",
        "auth_config": {"key": "hunter2"},
        "headers": {"X-A": "hunter2"},
    },
}
Asking = Callable[[Client], Awaitable[Any]]
CALLS: dict[str, tuple[str, Asking]] = {
    "check": ("/api/version", lambda client: client.servers.check(["gpu"])),
    "discover": ("/api/tags", lambda client: client.discover(["gpu"])),
    "generate": (
        "/api/generate",
        lambda client: client.generate(prompt="hi", server="gpu", model="alpha"),
    ),
}


async def error_of(client: Client, ask: Asking) -> AdminError:
    try:
        answers = await ask(client)
    except AdminError as exc:
        return exc
    error = answers[0].error
    assert isinstance(error, AdminError)
    return error


# redirects (E4)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("auth", KINDS.values(), ids=KINDS)
async def test_another_origin_that_a_redirect_names_hears_nothing(
    client: Client, fake: FakeOllama, other: FakeOllama, status: int, auth: dict[str, Any]
) -> None:
    await client.servers.add(name="gpu", url=fake.url, **auth)
    for path, ask in CALLS.values():
        fake.script_always(path, redirect(f"{other.url}{path}?token=hunter2", status))
        error = await error_of(client, ask)
        fake.clear_script()
        assert type(error) is UpstreamError
        assert error.exit_code == 6
        assert (
            error.message == f"server gpu redirects {path} to 127.0.0.1; redirects are not followed"
        )
    assert other.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", CALLS)
async def test_a_redirect_to_the_same_origin_is_not_followed_either(
    client: Client, fake: FakeOllama, status: int, call: str
) -> None:
    path, ask = CALLS[call]
    await client.servers.add(name="gpu", url=fake.url, **KINDS["bearer"])
    for location in ("/elsewhere", f"{fake.url}/elsewhere", path):  # the last one is a loop
        fake.script(path, redirect(location, status))
        assert "redirects are not followed" in (await error_of(client, ask)).message
    assert "/elsewhere" not in {request.path for request in fake.requests}
    assert len(fake.requests_to(path)) == 3


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("https://127.0.0.1:1/api/version", "127.0.0.1"),
        ("http://u:p4ss@proxy.test/login?next=p4ss#p4ss", "proxy.test"),
        ("//proxy.test/p4ss", "proxy.test"),
        ("http://[p4ss", "elsewhere"),
        ("", "elsewhere"),
        ("http://hunter2.proxy.test/", "********.proxy.test"),
    ],
)
async def test_of_a_redirect_only_the_host_is_told(
    client: Client, fake: FakeOllama, location: str, host: str
) -> None:
    await client.servers.add(name="gpu", url=fake.url, **KINDS["bearer"])
    fake.script("/api/version", redirect(location))
    error = await error_of(client, CALLS["check"][1])
    assert (
        error.message == f"server gpu redirects /api/version to {host}; redirects are not followed"
    )
    assert "p4ss" not in f"{error.message} {error.hint}"


@pytest.mark.parametrize(
    "location",
    ["javascript:p4ss", "file:///p4ss", "http://p4ss:port/", "http://a b/p4ss", "\\p4ss"],
)
async def test_a_redirect_to_what_is_no_url_is_an_error_all_the_same(
    client: Client, fake: FakeOllama, location: str
) -> None:
    await client.servers.add(name="gpu", url=fake.url, **KINDS["bearer"])
    fake.script("/api/version", redirect(location))
    error = await error_of(client, CALLS["check"][1])
    assert isinstance(error, UpstreamError)
    assert "/p4ss" not in f"{error.message} {error.hint}"
    assert len(fake.requests) == 1


def test_the_command_line_ends_with_6_and_asks_nobody_else(
    cli: Cli, serve: Serve, key: str
) -> None:
    fake, other = serve("alpha"), serve("alpha")
    fake.fakes[0].script_always("/api/version", redirect(other.url))
    options = ["--auth", "bearer", "--secret-stdin", "--no-check"]
    assert cli("server", "add", "gpu", fake.url, *options, stdin="hunter2").exit_code == 0
    for words in (
        ("server", "check", "gpu"),
        ("discover", "gpu"),
        ("generate", "hi", "-s", "gpu", "-m", "alpha"),
    ):
        assert cli.json(*words).failure == (6, "upstream_error")
    assert other.requests() == []


# cookies


async def test_a_cookie_goes_to_nobody(client: Client, other: FakeOllama) -> None:
    async with FakeOllama(SimulatedModel("alpha")) as fake:
        cookies = {"Set-Cookie": "session=hunter2; Path=/; Max-Age=9999"}
        fake.script("/api/version", Answer(200, {"version": "0.33.0"}, headers=cookies))
        await client.servers.add(name="gpu", url=fake.url)
        await client.servers.add(name="other", url=other.url)
        for _ in range(2):
            await client.servers.check()
        assert len(fake.requests) == len(other.requests) == 2
        assert not any("cookie" in request.headers for request in (*fake.requests, *other.requests))


# variables and files of other programs (E16)


@pytest.fixture
def spy(serve: Serve) -> FakeOllamaThread:
    """A proxy that nobody asked for."""
    return serve("alpha")


def check_and_generate(cli: Cli, fake: FakeOllamaThread) -> list[RecordedRequest]:
    """Ask a server in every way; all the requests arrive there."""
    options = ["--auth", "bearer", "--secret-stdin"]
    assert cli("server", "add", "gpu", fake.url, *options, stdin="hunter2").exit_code == 0
    assert cli("discover", "gpu").exit_code == 0
    assert cli("generate", "hi", "-s", "gpu", "-m", "alpha").stdout == "I am alpha"
    return fake.requests()


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
def test_proxy_variables_are_ignored(
    sqlite_cli: Cli,
    serve: Serve,
    spy: FakeOllamaThread,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
) -> None:
    for name in (
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ):
        monkeypatch.setenv(name, spy.url.replace("http", scheme, 1))
    requests = check_and_generate(sqlite_cli, serve("alpha"))
    assert {request.headers["authorization"] for request in requests} == {"Bearer hunter2"}
    assert all(request.path.startswith("/api/") for request in requests)
    assert spy.requests() == []


def test_netrc_is_not_read(
    sqlite_cli: Cli, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "machine 127.0.0.1 login u password hunter2\ndefault login u password hunter2\n"
    for name in (".netrc", "_netrc"):
        (tmp_path / "home" / name).write_text(text)
        (tmp_path / "home" / name).chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    fake = serve("alpha")
    assert sqlite_cli("server", "add", "gpu", fake.url, "--discover").exit_code == 0
    assert fake.requests()
    assert not any("authorization" in request.headers for request in fake.requests())


@pytest.mark.parametrize("value", ["/nowhere.pem", "", "/dev/null"])
def test_certificate_variables_are_ignored(
    sqlite_cli: Cli, serve: Serve, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, value)
    assert check_and_generate(sqlite_cli, serve("alpha"))


# the proxy that is asked for


@asynccontextmanager
async def client_of(environ: dict[str, str], tmp_path: Path) -> AsyncIterator[Client]:
    async with Client(database_url=f"sqlite:///{tmp_path / 'one.db'}", environ=environ) as client:
        yield client


@pytest.fixture
async def proxy() -> AsyncIterator[FakeOllama]:
    """Answers for the server at `FAR`."""
    async with FakeOllama(SimulatedModel("alpha"), prefix=FAR) as server:
        yield server


async def test_the_proxy_of_our_own_variable_is_used(proxy: FakeOllama, tmp_path: Path) -> None:
    async with client_of({PROXY: f"http://u:p4ss@127.0.0.1:{proxy.port}"}, tmp_path) as client:
        await client.servers.add(name="gpu", url=FAR, **KINDS["bearer"])
        await client.discover(["gpu"])
        reply = await client.generate(prompt="hi", server="gpu", model="alpha")
    assert reply.response == "I am alpha"
    assert {request.path for request in proxy.requests} >= {
        f"{FAR}/api/version",
        f"{FAR}/api/generate",
    }
    for request in proxy.requests:
        assert request.headers["authorization"] == "Bearer hunter2"
        assert request.headers["host"] == "10.39.0.6:11434"
        assert request.headers["proxy-authorization"].startswith("Basic ")


async def test_without_our_own_variable_no_proxy_is_used(
    proxy: FakeOllama, fake: FakeOllama, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{proxy.port}"
    async with client_of(
        {"HTTP_PROXY": url, "http_proxy": url, "ALL_PROXY": url, PROXY: ""}, tmp_path
    ) as client:
        await client.servers.add(name="gpu", url=fake.url, **KINDS["bearer"])
        (check,) = await client.servers.check()
    assert check.error is None
    assert proxy.requests == []


async def test_a_proxy_that_is_away_is_an_error_and_not_passed_by(
    fake: FakeOllama, tmp_path: Path
) -> None:
    async with client_of({PROXY: "http://u:p4ss@127.0.0.1:9"}, tmp_path) as client:
        await client.servers.add(name="gpu", url=fake.url)
        error = await error_of(client, CALLS["check"][1])
    assert isinstance(error, ServerUnreachable)
    assert "p4ss" not in f"{error.message} {error.hint}"
    assert fake.requests == []


async def test_a_proxy_hears_no_credential_of_an_https_server(
    proxy: FakeOllama, tmp_path: Path
) -> None:
    proxy.script_always("", Answer(407, "p4ss wrong"))
    async with client_of({PROXY: f"http://u:p4ss@127.0.0.1:{proxy.port}"}, tmp_path) as client:
        await client.servers.add(name="gpu", url="https://10.39.0.6", **KINDS["bearer"])
        error = await error_of(client, CALLS["check"][1])
    (request,) = proxy.requests
    assert (request.method, request.path) == ("CONNECT", "10.39.0.6:443")
    assert "authorization" not in request.headers
    assert isinstance(error, ServerUnreachable)
    assert "the proxy does not forward requests" in error.message
    assert "p4ss" not in f"{error.message} {error.hint}"


@pytest.mark.parametrize(
    "value",
    [
        "127.0.0.1:8080",
        "socks5://127.0.0.1",
        "http://",
        "http://[::1",
        "http://a:b4d@gpu:port",
        "http://a b",
        "é",
    ],
)
def test_a_proxy_that_is_no_url_is_one_clear_error(value: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Settings.read({PROXY: value}, "sqlite:///one.db")
    assert caught.value.message == "OLLAMA_ADMIN_PROXY is not an http:// or https:// URL"


# certificates


@asynccontextmanager
async def tls_server(host: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server with a certificate that nobody vouches for: its URL, and what it was asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(SELF_SIGNED)
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        body = b'{"version":"0.33.0"}'
        writer.write(
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, host, ssl=context) as server:
        yield f"https://{host}:{server.sockets[0].getsockname()[1]}", asked


@pytest.fixture
async def tls() -> AsyncIterator[tuple[str, list[bytes]]]:
    async with tls_server("127.0.0.1") as served:
        yield served


async def checked(url: str, environ: dict[str, str], tmp_path: Path) -> AdminError | None:
    async with client_of(environ, tmp_path) as client:
        await client.servers.add(name="gpu", url=url, **KINDS["bearer"])
        (check,) = await client.servers.check()
    return check.error


async def test_a_server_that_the_ca_file_vouches_for_is_asked(
    tls: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    url, asked = tls
    assert await checked(url, {CA_FILE: str(SELF_SIGNED)}, tmp_path) is None
    assert b"Authorization: Bearer hunter2" in asked[0]


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
async def test_no_other_variable_vouches_for_a_server(
    tls: tuple[str, list[bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    url, asked = tls
    monkeypatch.setenv(variable, str(SELF_SIGNED))
    error = await checked(url, {variable: str(SELF_SIGNED)}, tmp_path)
    assert isinstance(error, ServerUnreachable)
    assert "its TLS certificate was not accepted" in error.message
    assert asked == []


async def test_a_certificate_for_another_host_is_not_accepted(tmp_path: Path) -> None:
    async with tls_server("127.0.0.2") as (url, asked):
        error = await checked(url, {CA_FILE: str(SELF_SIGNED)}, tmp_path)
    assert isinstance(error, ServerUnreachable)
    assert "IP address mismatch" in error.message
    assert asked == []


PEM = SELF_SIGNED.read_text()
KEY_END = "-----END PRIVATE KEY-----\n"
BAD_FILES = {
    "empty": "",
    "text": "hunter2",
    "key alone": PEM[: PEM.index(KEY_END) + len(KEY_END)],
    "cut": PEM[:-60],
    "missing": None,
}


@pytest.mark.parametrize("text", BAD_FILES.values(), ids=BAD_FILES)
async def test_a_bad_ca_file_is_one_clear_error_and_nothing_is_asked(
    tls: tuple[str, list[bytes]], text: str | None, tmp_path: Path
) -> None:
    url, asked = tls
    bad_file = tmp_path / "ca.pem"
    if text is not None:
        bad_file.write_text(text)
    error = await checked(url, {CA_FILE: str(bad_file)}, tmp_path)
    assert isinstance(error, InvalidInput)
    assert error.message.startswith(f"the CA file {bad_file} ")
    assert error.hint == "see OLLAMA_ADMIN_CA_FILE"
    assert "hunter2" not in error.message
    assert asked == []


async def test_a_bad_ca_file_is_no_matter_for_plain_http(fake: FakeOllama, tmp_path: Path) -> None:
    assert await checked(fake.url, {CA_FILE: "/nowhere.pem"}, tmp_path) is None
