"""The fast way to a server through TLS and through proxies, on real sockets."""

import asyncio
import base64
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ollama_admin.domain.secret import Secret
from ollama_admin.errors import InvalidInput
from ollama_admin.ollama.connecting import Times
from ollama_admin.ollama.raw_http import RawHTTP
from ollama_admin.ollama.response import (
    ConnectionClosed,
    ConnectLate,
    HandshakeLate,
    ImproperAnswer,
    NotConnected,
    ProxyFault,
)
from tests.ollama.raw_server import Client, RawServer, listening, ok, raw_server

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
TIMES = Times(connect=5, metadata=5, first_byte=20, idle=20)
FAR = "gpu.test:11434"  # only a proxy knows that name
SHORT = 0.5  # seconds


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that vouches for itself, for localhost, 127.0.0.1 and gpu.test, with its
    key.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    names = [
        x509.DNSName("localhost"),
        x509.DNSName("gpu.test"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return file


@pytest.fixture
def context(pem: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pem)
    return made


@asynccontextmanager
async def opened(
    proxy: str | None = None, ca_file: Path | None = None, times: Times = TIMES
) -> AsyncIterator[RawHTTP]:
    http = RawHTTP(times, Secret(proxy) if proxy else None, ca_file)
    try:
        yield http
    finally:
        await http.aclose()


async def body_of(http: RawHTTP, url: str, body: bytes = b"") -> bytes:
    async with http.send("POST", url, (), body, any_address=False) as response:
        return b"".join([piece async for piece in response.chunks])


def https(server: RawServer, host: str = "localhost") -> str:
    return f"https://{host}:{server.port}/x"


# TLS


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_a_server_that_the_ca_file_vouches_for_is_asked(
    pem: Path, context: ssl.SSLContext, host: str
) -> None:
    async with raw_server(ok(b"hi"), context=context) as server, opened(ca_file=pem) as http:
        for _ in range(3):
            assert await body_of(http, https(server, host), bytes(1_000_000)) == b"hi"
        assert server.connections == 1


async def test_a_body_through_tls_is_held_back_by_a_slow_reader_too(
    pem: Path, context: ssl.SSLContext
) -> None:
    body = bytes(range(256)) * 20_000
    async with raw_server(ok(body), context=context) as server, opened(ca_file=pem) as http:
        async with http.send("GET", https(server), any_address=False) as response:
            received = b""
            async for piece in response.chunks:
                received += piece
                await asyncio.sleep(0)
        assert received == body
        assert await body_of(http, https(server)) == body
        assert server.connections == 1


async def test_the_name_is_told_to_the_server_and_no_other_protocol_is_spoken(
    pem: Path, context: ssl.SSLContext
) -> None:
    names = []
    context.sni_callback = lambda _connection, name, _context: names.append(name)
    context.set_alpn_protocols(["h2", "http/1.1"])
    protocols = []

    async def answer(client: Client) -> None:
        protocols.append(client.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        await client.send(ok())

    async with raw_server(answer, context=context) as server, opened(ca_file=pem) as http:
        await body_of(http, https(server))
    assert (names, protocols) == (["localhost"], ["http/1.1"])


async def test_a_server_that_nobody_vouches_for_is_sent_nothing(
    pem: Path, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.setenv(name, str(pem))
    async with raw_server(ok(), context=context) as server, opened() as http:
        with pytest.raises(NotConnected) as caught:
            await body_of(http, https(server))
    assert isinstance(caught.value.__cause__, ssl.SSLCertVerificationError)
    assert server.requests == []


async def test_a_certificate_of_another_host_is_not_accepted(
    pem: Path, context: ssl.SSLContext
) -> None:
    async with raw_server(ok(), context=context) as server, opened(ca_file=pem) as http:
        with pytest.raises(NotConnected) as caught:
            await body_of(http, https(server, "127.0.0.2").replace("127.0.0.2", "ip6-localhost"))
    assert caught.value.__cause__ is not None
    assert server.requests == []


async def test_a_port_that_says_nothing_speaks_no_tls() -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100_000)
        await reader.read()
        writer.close()

    async with listening(listen) as port, opened(times=Times(connect=SHORT)) as http:
        with pytest.raises(HandshakeLate):
            await body_of(http, f"https://127.0.0.1:{port}/")


async def test_a_bad_ca_file_is_an_error_until_it_is_mended(
    pem: Path, context: ssl.SSLContext, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    async with raw_server(ok(b"hi"), context=context) as server, opened(ca_file=file) as http:
        plain = raw_server(ok(b"plain"))
        async with plain as other:
            assert await body_of(http, other.url) == b"plain"
        with pytest.raises(InvalidInput, match="cannot be read"):
            await body_of(http, https(server))
        file.write_bytes(pem.read_bytes())
        assert await body_of(http, https(server)) == b"hi"


async def test_many_connections_at_once_read_the_certificates_once(
    pem: Path, context: ssl.SSLContext
) -> None:
    async with raw_server(ok(), context=context) as server, opened(ca_file=pem) as http:
        await asyncio.gather(*[body_of(http, https(server)) for _ in range(10)])
        first = http._context
        await body_of(http, https(server))
        assert http._context is first


# proxies

BASIC = base64.b64encode(b"us er:p4:s\xc3\xa9")


async def tunnel(client: Client, port: int, answer: bytes) -> None:
    """Pass everything on to a port here."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await client.send(answer)

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
        target.close()

    try:
        await asyncio.gather(copy(client.reader, writer), copy(reader, client.writer))
    finally:
        writer.close()
    client.close()


async def test_a_proxy_is_sent_the_whole_url_and_its_credentials() -> None:
    async with raw_server(ok(b"hi")) as proxy:
        url = f"http://us%20er:p4%3As%C3%A9@127.0.0.1:{proxy.port}"
        async with opened(url) as http:
            for _ in range(2):
                assert await body_of(http, f"http://{FAR}/x?y=1") == b"hi"
    assert proxy.connections == 1
    (_, request) = proxy.requests[0]
    assert request.startswith(b"POST http://gpu.test:11434/x?y=1 HTTP/1.1\r\n")
    assert b"\r\nHost: gpu.test:11434\r\n" in request
    assert b"\r\nProxy-Authorization: Basic %b\r\n" % BASIC in request


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 200 Connection established\r\n\r\n", b"HTTP/1.0 200 OK\r\nX: y\r\n\r\n"]
)
@pytest.mark.parametrize("is_tls", [False, True], ids=["http proxy", "https proxy"])
async def test_a_proxy_passes_tls_through_and_sees_nothing_of_it(
    pem: Path, context: ssl.SSLContext, answer: bytes, is_tls: bool
) -> None:
    async with raw_server(ok(b"hi"), context=context) as server:

        async def connect(client: Client) -> None:
            await tunnel(client, server.port, answer)

        async with raw_server(connect, context=context if is_tls else None) as proxy:
            url = f"http{'s' if is_tls else ''}://us%20er:p4%3As%C3%A9@localhost:{proxy.port}"
            async with opened(url, pem) as http:
                for _ in range(2):
                    assert await body_of(http, "https://gpu.test/x", bytes(500_000)) == b"hi"
        [(_, asked)] = proxy.requests
        assert asked.startswith(b"CONNECT gpu.test:443 HTTP/1.1\r\nHost: gpu.test:443\r\n")
        assert b"\r\nProxy-Authorization: Basic %b\r\n" % BASIC in asked
        assert b"Content-Length" not in asked
        assert server.connections == 1
        assert b"Proxy-Authorization" not in server.requests[0][1]


async def test_a_request_through_an_https_proxy_is_sent_to_it_through_tls(
    pem: Path, context: ssl.SSLContext
) -> None:
    async with (
        raw_server(ok(b"hi"), context=context) as proxy,
        opened(f"https://localhost:{proxy.port}", pem) as http,
    ):
        assert await body_of(http, f"http://{FAR}/x") == b"hi"
    assert proxy.requests[0][1].startswith(b"POST http://gpu.test:11434/x HTTP/1.1\r\n")


@pytest.mark.parametrize("status", [b"407 No", b"502 Bad", b"302 Found", b"403 No"])
async def test_a_proxy_that_does_not_connect_is_an_error(status: bytes) -> None:
    async with raw_server(ok(b"p4ss", status=status)) as proxy:
        async with opened(f"http://u:p4ss@127.0.0.1:{proxy.port}") as http:
            with pytest.raises(ProxyFault):
                await body_of(http, "https://gpu.test/x")
        await proxy.until(lambda: proxy.closed == [1])
    [(_, asked)] = proxy.requests
    assert asked.startswith(b"CONNECT")


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n", ImproperAnswer),
        (b"SOCKS\r\n\r\n", ImproperAnswer),
        (b"", ConnectLate),
    ],
)
async def test_a_proxy_that_says_something_else_is_an_error(
    answer: bytes, fault: type[Exception]
) -> None:
    async with raw_server(answer) as proxy:
        times = TIMES if answer else Times(connect=SHORT)
        async with opened(f"http://127.0.0.1:{proxy.port}", times=times) as http:
            with pytest.raises(fault):
                await body_of(http, "https://gpu.test/x")
        await proxy.until(lambda: proxy.closed == [1])


async def test_a_proxy_that_hangs_up_is_an_error() -> None:
    async def close(client: Client) -> None:
        client.close()

    async with raw_server(close) as proxy, opened(f"http://127.0.0.1:{proxy.port}") as http:
        with pytest.raises(ConnectionClosed):
            await body_of(http, "https://gpu.test/x")


async def test_a_proxy_that_is_away_is_not_passed_by() -> None:
    async with raw_server(ok()) as server, opened("http://127.0.0.1:9") as http:
        with pytest.raises(NotConnected):
            await body_of(http, server.url)
    assert server.connections == 0


async def test_no_variable_names_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with raw_server(ok(b"proxy")) as proxy, raw_server(ok(b"server")) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with opened() as http:
            assert await body_of(http, server.url) == b"server"
    assert proxy.connections == 0


def test_the_credentials_of_a_proxy_are_in_no_text_about_it() -> None:
    http = RawHTTP(TIMES, Secret("http://u:p4ss@proxy.test:3128"))
    assert "p4ss" not in repr(http._way)
    assert base64.b64encode(b"u:p4ss").decode() not in repr(http._way)
    with pytest.raises(InvalidInput) as caught:
        RawHTTP(TIMES, Secret("http://u:p4ss@pro!xy"))
    assert "p4ss" not in str(caught.value)
