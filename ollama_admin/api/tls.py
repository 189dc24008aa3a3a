"""TLS of `serve`: the certificate, its renewal on disk, and the handshake of a new connection."""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ollama_admin.domain.files import read_regular_file
from ollama_admin.errors import InvalidInput

FILE_LIMIT = 1024 * 1024  # bytes of a certificate with its chain, or of a key
GREETING = b"\x16"  # the first byte of every client that speaks TLS
PLAIN_LIMIT = 2**16  # bytes of a request in plain HTTP that are thrown away
PLAIN_TEXT = b"this port speaks https only\n"
PLAIN_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(PLAIN_TEXT), PLAIN_TEXT)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSFiles:
    """A certificate with its chain and its key, as PEM. `look_every` is seconds between two looks
    for a renewal.
    """

    certificate: Path
    key: Path
    look_every: float = 60.0


def tls_files(certificate: Path | None, key: Path | None) -> TLSFiles | None:
    """The files that two options name; None for neither, InvalidInput for one."""
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise InvalidInput("--tls-cert and --tls-key belong together", "give both, or neither")
    return TLSFiles(certificate=certificate, key=key)


class Certificate:
    """What new connections are shown. InvalidInput where it cannot be used at the start; a renewal
    that cannot be used is logged, and the one before stays.
    """

    def __init__(self, files: TLSFiles, log: Callable[[str], None]) -> None:
        self._files = files
        self._log = log
        self._looked = time.monotonic()
        self._stamps = _stamps(files)
        self._context = _context(files)

    def context(self) -> ssl.SSLContext:
        """The newest one, as of `look_every` seconds ago."""
        now = time.monotonic()
        if now - self._looked >= self._files.look_every:
            self._looked = now
            self._renew()
        return self._context

    def _renew(self) -> None:
        stamps = _stamps(self._files)
        if stamps == self._stamps:
            return
        try:
            self._context = _context(self._files)
        except InvalidInput as exc:
            self._log(f"the renewed certificate is not used: {exc.message}")
            return
        self._stamps = stamps
        self._log(f"new connections are shown the renewed certificate {self._files.certificate}")


class Handshake:
    """The way of an accepted socket to a connection that speaks TLS, in `seconds`."""

    def __init__(self, certificate: Certificate, seconds: float, write_idle: float) -> None:
        self._certificate = certificate
        self._seconds = seconds
        self._write_idle = write_idle

    async def __call__(self, protocol: asyncio.Protocol, accepted: socket.socket) -> None:
        """OSError where the client does not complete it."""
        loop = asyncio.get_running_loop()
        accepted.setblocking(False)
        async with asyncio.timeout(self._seconds):
            await _until_readable(loop, accepted)
            first = accepted.recv(1, socket.MSG_PEEK)
            if first != GREETING:
                _answer_plainly(accepted)
                raise ConnectionAbortedError("it does not speak TLS")
            await loop.connect_accepted_socket(
                lambda: protocol,
                accepted,
                ssl=self._certificate.context(),
                ssl_shutdown_timeout=self._write_idle,
            )


async def _until_readable(loop: asyncio.AbstractEventLoop, accepted: socket.socket) -> None:
    readable = asyncio.Event()
    loop.add_reader(accepted, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(accepted)


def _answer_plainly(accepted: socket.socket) -> None:
    """Say what is wrong; a request that is left unread would take the answer back."""
    with suppress(OSError):
        accepted.recv(PLAIN_LIMIT)
        accepted.send(PLAIN_ANSWER)
        accepted.shutdown(socket.SHUT_WR)


def _stamps(files: TLSFiles) -> list[tuple[int, ...]]:
    """What changes when one of the files does; empty while one is not there."""
    try:
        statuses = [path.stat() for path in (files.certificate, files.key)]
    except (OSError, ValueError):
        return []
    return [
        (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for status in statuses
    ]


def _context(files: TLSFiles) -> ssl.SSLContext:
    certificate = read_regular_file(files.certificate, FILE_LIMIT, "certificate")
    certificate.require_own()
    _refuse_useless(certificate.data, files.certificate)
    read_regular_file(files.key, FILE_LIMIT, "key").require_own()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])

    def password() -> str:
        raise InvalidInput(
            f"the key {files.key} is encrypted", f"write a plain one: openssl pkey -in {files.key}"
        )

    try:
        context.load_cert_chain(files.certificate, files.key, password)
    except OSError as exc:
        raise _no_pair(files, exc) from exc
    return context


def _refuse_useless(data: bytes, path: Path) -> None:
    from cryptography import x509  # noqa: PLC0415 (7 MB, for who speaks no TLS)

    try:
        certificate = x509.load_pem_x509_certificates(data)[0]
    except ValueError as exc:
        raise InvalidInput(
            f"the certificate {path} cannot be read",
            "name a PEM file of the certificate and its chain",
        ) from exc
    now = datetime.now(UTC)
    if now > certificate.not_valid_after_utc:
        end = certificate.not_valid_after_utc
        raise InvalidInput(f"the certificate {path} has expired on {end:%Y-%m-%d}", "renew it")
    if now < certificate.not_valid_before_utc:
        begin = certificate.not_valid_before_utc
        raise InvalidInput(
            f"the certificate {path} is not valid before {begin:%Y-%m-%dT%H:%M:%SZ}",
            "check this machine's clock",
        )


def _no_pair(files: TLSFiles, exc: OSError) -> InvalidInput:
    reason = getattr(exc, "reason", None) or exc.strerror
    if reason == "KEY_VALUES_MISMATCH":
        return InvalidInput(
            f"the key {files.key} does not belong to the certificate {files.certificate}",
            "name the key of the first certificate in that file",
        )
    return InvalidInput(
        f"the certificate {files.certificate} and the key {files.key} cannot be used: {reason}",
        "name an unencrypted PEM file as the key",
    )
