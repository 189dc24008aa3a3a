"""Servers with certificates and proxies of their own: nothing goes to one that does not fit."""

import ssl
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ollama_admin.client import Client
from ollama_admin.domain.servers import ServerStatus, TransportOptions
from ollama_admin.errors import InvalidInput, ServerUnreachable
from ollama_admin.ollama.connecting import Times
from ollama_admin.ollama.http import HTTP
from ollama_admin.ollama.raw_http import RawHTTP
from ollama_admin.ollama.response import ConnectionFault, OwnFileFault
from tests.certificates import Authority, Issued, serving
from tests.ollama.raw_server import RawServer, ok, raw_server

TIMES = Times(connect=5, metadata=5, first_byte=20, idle=20)
VERSION = ok(b'{"version": "0.33.0"}', b"Content-Type: application/json")

Way = HTTP | RawHTTP


@pytest.fixture(scope="module")
def north(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("north"), "north")


@pytest.fixture(scope="module")
def south(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("south"), "south")


@pytest.fixture(scope="module")
def server_files(north: Authority) -> Issued:
    return north.issue("server")


@pytest.fixture(scope="module")
def client_files(south: Authority) -> Issued:
    return south.issue("client")


@pytest.fixture
def context(server_files: Issued) -> ssl.SSLContext:
    return serving(server_files)


@pytest.fixture
def mutual(server_files: Issued, south: Authority) -> ssl.SSLContext:
    """A server that asks for a certificate of the authority in the south."""
    return serving(server_files, clients_of=south)


@pytest.fixture(params=[HTTP, RawHTTP], ids=["httpx", "sockets"])
async def http(request: pytest.FixtureRequest) -> AsyncIterator[Way]:
    way = request.param(TIMES)
    yield way
    await way.aclose()


async def ask(http: Way, server: RawServer, transport: TransportOptions | None) -> bytes:
    url = f"https://localhost:{server.port}/x"
    async with http.send("GET", url, any_address=False, transport=transport) as response:
        return b"".join([piece async for piece in response.chunks])


def trusting(authority: Authority, shown: Issued | None = None) -> TransportOptions:
    if shown is None:
        return TransportOptions(ca_file=str(authority.file))
    return TransportOptions(
        ca_file=str(authority.file),
        client_cert_file=str(shown.certificate),
        client_key_file=str(shown.key),
    )


async def test_a_server_is_asked_where_its_own_authority_vouches_for_it(
    http: Way, context: ssl.SSLContext, north: Authority
) -> None:
    async with raw_server(ok(b"hi"), context=context) as server:
        for _ in range(3):
            assert await ask(http, server, trusting(north)) == b"hi"
        assert server.connections == 1


async def test_nothing_goes_to_a_server_whose_certificate_does_not_fit(
    http: Way, context: ssl.SSLContext, north: Authority, south: Authority
) -> None:
    async with raw_server(ok(b"hi"), context=context) as server:
        assert await ask(http, server, trusting(north)) == b"hi"
        for wrong in (trusting(south), None):
            with pytest.raises(ConnectionFault):
                await ask(http, server, wrong)
        assert len(server.requests) == 1


async def test_a_client_certificate_is_shown_to_the_server_that_asks_for_it(
    http: Way, mutual: ssl.SSLContext, north: Authority, client_files: Issued
) -> None:
    async with raw_server(ok(b"hi"), context=mutual) as server:
        assert await ask(http, server, trusting(north, client_files)) == b"hi"
        with pytest.raises(ConnectionFault):
            await ask(http, server, trusting(north))
        assert len(server.requests) == 1


async def test_a_certificate_that_is_the_wrong_authoritys_opens_nothing(
    http: Way, mutual: ssl.SSLContext, north: Authority
) -> None:
    async with raw_server(ok(b"hi"), context=mutual) as server:
        with pytest.raises(ConnectionFault):
            await ask(http, server, trusting(north, north.issue("stranger")))
        assert server.requests == []


async def test_a_connection_is_not_shared_by_servers_with_other_certificates(
    http: Way, north: Authority, server_files: Issued, client_files: Issued
) -> None:
    optional = serving(server_files)
    async with raw_server(ok(b"hi"), context=optional) as server:
        for transport in (trusting(north), trusting(north, client_files)) * 2:
            await ask(http, server, transport)
        assert [number for number, _ in server.requests] == [1, 2, 1, 2]


def remove(file: Path) -> None:
    file.unlink()


def empty(file: Path) -> None:
    file.write_text("no certificate")


def open_to_others(file: Path) -> None:
    file.chmod(0o666)


@pytest.mark.parametrize("damage", [remove, empty, open_to_others])
@pytest.mark.parametrize("which", ["ca_file", "client_cert_file", "client_key_file"])
async def test_a_file_that_cannot_be_used_is_the_fault_of_that_server_alone(
    http: Way,
    mutual: ssl.SSLContext,
    north: Authority,
    client_files: Issued,
    which: str,
    damage: Callable[[Path], None],
    tmp_path: Path,
) -> None:
    good = trusting(north, client_files)
    copied = tmp_path / which
    copied.write_bytes(Path(getattr(good, which)).read_bytes())
    other = TransportOptions(
        **{name: getattr(good, name) for name in TransportOptions.__slots__} | {which: str(copied)}
    )
    before = copied.read_bytes()
    damage(copied)
    async with raw_server(ok(b"hi"), context=mutual) as server:
        with pytest.raises(OwnFileFault):
            await ask(http, server, other)
        assert await ask(http, server, good) == b"hi"
        copied.write_bytes(before)
        copied.chmod(0o600)
        assert await ask(http, server, other) == b"hi"


async def test_a_server_has_a_proxy_of_its_own(http: Way) -> None:
    async with raw_server(ok(b"hi")) as proxy, raw_server(ok(b"direct")) as server:
        transport = TransportOptions(proxy=proxy.url)
        for own, answer in ((transport, b"hi"), (None, b"direct")):
            sent = http.send("GET", f"{server.url}/x", any_address=False, transport=own)
            async with sent as response:
                assert b"".join([piece async for piece in response.chunks]) == answer
        assert proxy.requests[0][1].startswith(f"GET {server.url}/x HTTP/1.1\r\n".encode())


async def test_a_server_is_checked_and_asked_with_its_certificates(
    client: Client, mutual: ssl.SSLContext, north: Authority, client_files: Issued
) -> None:
    async with raw_server(VERSION, context=mutual) as server:
        files = {
            "ca_file": str(north.file),
            "client_cert_file": str(client_files.certificate),
            "client_key_file": str(client_files.key),
        }
        url = f"https://localhost:{server.port}"
        added = await client.servers.add(name="one", url=url, **files)
        assert {name: getattr(added, name) for name in files} == files
        (check,) = await client.servers.check()
        assert (check.status, check.version) == (ServerStatus.ONLINE, "0.33.0")
        await client.servers.update("one", clear=["client_cert_file", "client_key_file"])
        (check,) = await client.servers.check()
        assert check.status is ServerStatus.OFFLINE
        assert {request.split(b" HTTP")[0] for _, request in server.requests} == {
            b"GET /api/version"
        }


async def test_the_error_names_the_server_the_file_and_what_to_look_at(
    client: Client, context: ssl.SSLContext
) -> None:
    async with raw_server(VERSION, context=context) as server:
        url = f"https://localhost:{server.port}"
        await client.servers.add(name="one", url=url, ca_file="/missing/ca.pem")
        (check,) = await client.servers.check()
    assert isinstance(check.error, ServerUnreachable)
    assert check.error.message == (
        f"server one ({url}) cannot be reached: the CA file /missing/ca.pem cannot be read: No "
        "such file or directory"
    )
    assert check.error.hint == "see the files of: ollama-admin server show one"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"url": "http://gpu", "ca_file": "/a.pem"}, "https:// only"),
        ({"url": "http://gpu", "client_cert_file": "/a.pem"}, "https:// only"),
        ({"url": "https://gpu", "client_key_file": "/a.pem"}, "no client certificate"),
        ({"url": "https://gpu", "proxy": "http://user:hunter2@proxy:3128"}, "password"),
        ({"url": "https://gpu", "proxy": "socks5://proxy:3128"}, "not an http"),
        ({"url": "https://gpu", "proxy": "http://proxy:3128/path"}, "not an http"),
        ({"url": "https://gpu", "ca_file": ""}, "not a path"),
        ({"url": "https://gpu", "ca_file": "a\0b"}, "not a path"),
    ],
)
async def test_what_would_check_nothing_is_refused(
    client: Client, columns: dict[str, str], words: str
) -> None:
    with pytest.raises(InvalidInput, match=words) as error:
        await client.servers.add(name="one", **columns)
    assert "hunter2" not in str(error.value)
    assert await client.servers.list() == []


async def test_a_url_that_checks_no_certificate_is_refused_for_a_server_with_files(
    client: Client, north: Authority
) -> None:
    await client.servers.add(name="one", url="https://gpu", ca_file=str(north.file))
    with pytest.raises(InvalidInput, match="https:// only"):
        await client.servers.update("one", url="http://gpu")
    await client.servers.update("one", url="http://gpu", clear=["ca_file"])
    assert (await client.servers.show("one")).ca_file is None
