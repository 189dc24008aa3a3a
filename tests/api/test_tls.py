"""`serve` with TLS, on both loops that it may have: which files it takes, what it speaks, and what
clients that do not complete a handshake can hold up.
"""

import os
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ollama_admin.api.tls import Certificate, TLSFiles
from ollama_admin.gateway.limits import Limits
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import HoldAt
from tests.api.conftest import Serve, register
from tests.api.service import AUTHORIZED, SECONDS, UNVERIFIED, Service, answer_of, read_all, request
from tests.api.test_leaving import asked, is_held_back, until
from tests.api.test_serve import Spawn, started
from tests.api.watchdog import WatchedLoop
from tests.cli.running import Cli

LIST = request("GET", "/api/servers")
DAY = timedelta(days=1)


def write_pair(
    folder: Path,
    name: str = "one",
    *,
    begins: timedelta = -DAY,
    ends: timedelta = 30 * DAY,
    password: bytes | None = None,
) -> TLSFiles:
    """A certificate for localhost and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    files = TLSFiles(certificate=folder / f"{name}.crt", key=folder / f"{name}.key", look_every=0)
    files.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    )
    files.certificate.chmod(0o644)
    files.key.chmod(0o600)
    return files


@pytest.fixture
def files(tmp_path: Path) -> TLSFiles:
    return write_pair(tmp_path)


Start = Callable[..., Service]


@pytest.fixture(params=[WatchedLoop, uvloop.new_event_loop], ids=["asyncio", "uv"])
def start(request: pytest.FixtureRequest, sqlite_url: str, files: TLSFiles) -> Iterator[Start]:
    """Starts services that show the certificate of `files`."""
    with ExitStack() as stack:

        def start(**more: Any) -> Service:
            service = Service(sqlite_url, tls=files, loop_factory=request.param, **more)
            return stack.enter_context(service)

        yield start


def trusting(files: TLSFiles) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(files.certificate))


def connected(service: Service, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(service.connect(), server_hostname="localhost")


def name_of(connection: ssl.SSLSocket) -> str:
    """The common name in the certificate that was shown."""
    shown = connection.getpeercert(binary_form=True)
    assert shown is not None
    name = x509.load_der_x509_certificate(shown).subject.rfc4514_string()
    return name.removeprefix("CN=")


# what it speaks


def test_it_says_and_serves_https(start: Start, files: TLSFiles) -> None:
    service = start()
    assert service.url.startswith("https://127.0.0.1:")
    with httpx.Client(verify=trusting(files), trust_env=False, headers=AUTHORIZED) as client:
        url = f"https://localhost:{service.port}"
        assert client.get(f"{url}/healthz").json() == {"status": "ok"}
        body = {"name": "gpu", "url": "10.0.0.1"}
        assert client.post(f"{url}/api/servers", json=body).status_code == 201
        assert client.get(f"{url}/openapi.json").status_code == 200


def test_it_speaks_tls_1_2_and_newer_and_http_1_1_only(start: Start, files: TLSFiles) -> None:
    service, context = start(), trusting(files)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with connected(service, context) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
        assert connection.version() == "TLSv1.3"
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with connected(service, context) as connection:
        assert connection.version() == "TLSv1.2"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_it_speaks_no_older_tls(start: Start, files: TLSFiles) -> None:
    service, context = start(), trusting(files)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connected(service, context)


def test_a_stream_comes_whole_and_a_client_that_leaves_gives_its_slot_back(
    start: Start, files: TLSFiles, fakes: Serve
) -> None:
    hold = HoldAt(1)
    fake = fakes(SimulatedModel("alpha", says="one two three"), before_token=hold)
    service = start()
    register(service, fake)
    with connected(service, trusting(files)) as connection:
        connection.sendall(asked())
        fake.run(hold.reached.wait(), SECONDS)
    fake.run(fake.fakes[0].client_left.wait(), SECONDS)
    fake.call(hold.release.set)
    with connected(service, trusting(files)) as connection:
        connection.sendall(asked())
        assert read_all(connection).endswith(b"\r\n0\r\n\r\n")


def test_a_refused_head_is_told_so(start: Start, files: TLSFiles) -> None:
    service = start()
    with connected(service, trusting(files)) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\nHost: localhost\n\n")
        assert answer_of(read_all(connection))[0] == 400


def test_plain_http_is_told_what_is_spoken_here(start: Start, files: TLSFiles) -> None:
    service = start()
    answer = service.raw(LIST)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.endswith(b"this port speaks https only\n")
    assert ask_list(service, files) == 200


def ask_list(service: Service, files: TLSFiles) -> int:
    with connected(service, trusting(files)) as connection:
        connection.sendall(LIST)
        return answer_of(read_all(connection))[0]


# handshakes


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01"])
def test_a_handshake_that_does_not_come_to_its_end_is_not_waited_for(
    start: Start, begun: bytes
) -> None:
    service = start(limits=Limits(handshake_time=0.3))
    with service.connect() as connection:
        connection.sendall(begun)
        assert read_all(connection) == b""
    assert service.logged == []


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01"])
def test_handshakes_that_wait_make_room(start: Start, files: TLSFiles, begun: bytes) -> None:
    service = start(limits=Limits(connections=5, handshake_time=SECONDS))
    with ExitStack() as stack:
        waiting = [stack.enter_context(service.connect()) for _ in range(20)]
        for connection in waiting:
            connection.sendall(begun)
        assert ask_list(service, files) == 200
        assert read_all(waiting[0]) == b""


def test_a_client_that_speaks_nonsense_is_no_line_of_the_log(
    start: Start, files: TLSFiles, caplog: pytest.LogCaptureFixture
) -> None:
    service = start()
    for nonsense in (b"\x16\x03\x01\x00\x05nonse", b"\x16" * 1000, b"\x00"):
        with service.connect() as connection:
            connection.sendall(nonsense)
            connection.shutdown(socket.SHUT_WR)
            read_all(connection)
    assert ask_list(service, files) == 200
    assert [line for line in service.logged if " GET " not in line] == []
    assert caplog.records == []


@pytest.mark.parametrize("begun", [b"", b"\x16\x03\x01"])
def test_a_handshake_holds_up_no_stop(start: Start, begun: bytes) -> None:
    service = start(limits=Limits(handshake_time=10 * SECONDS), grace=10 * SECONDS)
    with service.connect() as connection:
        connection.sendall(begun)
        service.stop()
        service.ended()


def test_an_idle_client_that_does_not_answer_the_end_of_tls_holds_up_no_stop(
    start: Start, files: TLSFiles
) -> None:
    service = start(grace=10 * SECONDS)
    with connected(service, trusting(files)) as connection:
        connection.sendall(LIST.replace(b"Connection: close\r\n", b""))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        service.stop()
        service.ended()


def test_answers_whose_time_is_over_are_told_so(
    start: Start, files: TLSFiles, fakes: Serve
) -> None:
    hold = HoldAt(1)
    fake = fakes(SimulatedModel("alpha", says="one two three"), before_token=hold)
    service = start(grace=0.1)
    register(service, fake)
    with connected(service, trusting(files)) as connection:
        connection.sendall(asked())
        fake.run(hold.reached.wait(), SECONDS)
        service.stop()
        assert b'"server_stopping"' in read_all(connection)
    service.ended()


def test_a_client_that_reads_nothing_holds_up_no_stop(
    start: Start, files: TLSFiles, fakes: Serve
) -> None:
    fake = fakes(
        SimulatedModel("alpha", says=f"{'x' * 2000} y", endless=True, context_length=10**6),
        context=10**6,
    )
    service = start(grace=0.1)
    register(service, fake)
    with connected(service, trusting(files)) as connection:
        connection.sendall(asked())
        until(lambda: is_held_back(service))
        service.stop()
        service.ended()


# files


def test_a_renewed_certificate_is_shown_to_new_connections(
    start: Start, files: TLSFiles, tmp_path: Path
) -> None:
    service = start()
    trust = UNVERIFIED
    with connected(service, trust) as before:
        renewed = write_pair(tmp_path, "two")
        renewed.certificate.replace(files.certificate)
        with connected(service, trust) as between:
            assert name_of(between) == "one"  # its key is not there yet
        renewed.key.replace(files.key)
        with connected(service, trust) as after:
            assert name_of(after) == "two"
        before.sendall(LIST)
        assert answer_of(read_all(before))[0] == 200
    assert [line for line in service.logged if "certificate" in line] == [
        (
            f"the renewed certificate is not used: the key {files.key} does not belong to the "
            f"certificate {files.certificate}"
        ),
        f"new connections are shown the renewed certificate {files.certificate}",
    ]


def test_files_that_are_gone_change_nothing(start: Start, files: TLSFiles) -> None:
    service, trust = start(), trusting(files)
    files.certificate.unlink()
    with connected(service, trust) as connection:
        assert name_of(connection) == "one"
    [line] = service.logged
    assert line == (
        f"the renewed certificate is not used: the certificate {files.certificate} cannot be "
        "read: No such file or directory"
    )


def test_files_are_looked_at_once_in_their_time(files: TLSFiles) -> None:
    seldom = TLSFiles(certificate=files.certificate, key=files.key, look_every=3600)
    logged: list[str] = []
    certificate = Certificate(seldom, logged.append)
    files.certificate.unlink()
    assert certificate.context() is certificate.context()
    assert logged == []


Break = Callable[[TLSFiles], Any]
BROKEN: dict[str, tuple[Break, str]] = {
    "no certificate": (
        lambda files: files.certificate.unlink(),
        "the certificate CERT cannot be read: No such file or directory",
    ),
    "no key": (
        lambda files: files.key.unlink(),
        "the key KEY cannot be read: No such file or directory",
    ),
    "no PEM": (
        lambda files: files.certificate.write_text("x"),
        "the certificate CERT cannot be read",
    ),
    "a key that is none": (
        lambda files: files.key.write_text("x"),
        "the certificate CERT and the key KEY cannot be used: ",
    ),
    "another key": (
        lambda files: write_pair(files.key.parent, "two").key.replace(files.key),
        "the key KEY does not belong to the certificate CERT",
    ),
    "an encrypted key": (
        lambda files: write_pair(files.key.parent, password=b"secret"),
        "the key KEY is encrypted",
    ),
    "an expired certificate": (
        lambda files: write_pair(files.key.parent, begins=-3 * DAY, ends=-DAY),
        "the certificate CERT has expired on 20",
    ),
    "a certificate of tomorrow": (
        lambda files: write_pair(files.key.parent, begins=DAY),
        "the certificate CERT is not valid before 20",
    ),
    "a key that others can change": (
        lambda files: files.key.chmod(0o666),
        "the key KEY (mode 0666) can be changed by other users",
    ),
    "a key of somebody else": (
        lambda files: os.chown(files.key, 12345, -1),
        "the key KEY (mode 0600) belongs to user 12345, who can change it",
    ),
    "a pipe": (
        lambda files: (files.key.unlink(), os.mkfifo(files.key)),
        "the key KEY is not a regular file",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_cannot_be_used_are_one_error_before_it_listens(
    sqlite_cli: Cli, files: TLSFiles, name: str
) -> None:
    spoil, message = BROKEN[name]
    spoil(files)
    ran = sqlite_cli.json(
        "serve", "--port", "0", "--tls-cert", str(files.certificate), "--tls-key", str(files.key)
    )
    assert ran.failure == (2, "invalid_input")
    expected = message.replace("CERT", str(files.certificate)).replace("KEY", str(files.key))
    assert ran.error["message"].startswith(expected)
    assert ran.error["hint"]
    assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize("option", ["--tls-cert", "--tls-key"])
def test_one_file_is_not_enough(sqlite_cli: Cli, option: str) -> None:
    ran = sqlite_cli.json("serve", option, "x.pem")
    assert ran.failure == (2, "invalid_input")
    assert ran.error["message"] == "--tls-cert and --tls-key belong together"


def test_the_command_serves_https_and_ends_as_without(
    sqlite_url: str, spawn: Spawn, files: TLSFiles
) -> None:
    words = ("--tls-cert", str(files.certificate), "--tls-key", str(files.key))
    process, url = started(spawn, sqlite_url, *words, "--host", "0.0.0.0")
    assert url.startswith("https://0.0.0.0:")
    port = int(url.rpartition(":")[2])
    with httpx.Client(verify=trusting(files), trust_env=False) as client:
        assert client.get(f"https://localhost:{port}/healthz").json() == {"status": "ok"}
    process.terminate()
    ran = process.ended()
    assert (ran.exit_code, ran.stdout) == (0, "")
    assert "no TLS" not in ran.stderr
