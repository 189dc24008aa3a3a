"""Whose certificates are trusted, and which one is shown. Loads no HTTP library."""

import asyncio
import ssl
from pathlib import Path
from time import monotonic

import certifi

from ollama_admin.domain.files import read_regular_file
from ollama_admin.domain.servers import TransportOptions
from ollama_admin.errors import InvalidInput
from ollama_admin.ollama.response import OwnFileFault

FRESH = 60.0  # seconds until the files of a server are read again, for connections made from then
_LIMIT = 8 * 1024 * 1024  # bytes
_HINT = "see OLLAMA_ADMIN_CA_FILE"


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """certifi's certificates, or those of the file that was named instead. Takes 40 ms."""
    if ca_file is None:
        return ssl.create_default_context(cafile=certifi.where())
    return authorities_of(ca_file)


def authorities_of(ca_file: Path) -> ssl.SSLContext:
    """A context that trusts what is in a PEM file and nothing else; raises InvalidInput for a file
    that cannot be read, that others can change, or that holds no certificate.
    """
    try:
        read_regular_file(ca_file, _LIMIT, "CA file", hint=_HINT).require_own()
        return ssl.create_default_context(cafile=ca_file)
    except InvalidInput as exc:
        raise InvalidInput(exc.message, exc.hint or _HINT) from exc
    except ssl.SSLError as exc:
        raise InvalidInput(f"the CA file {ca_file} holds no certificate in PEM", _HINT) from exc
    except OSError as exc:
        raise InvalidInput(f"the CA file {ca_file} cannot be read: {exc.strerror}", _HINT) from exc


class ServerContexts:
    """The TLS contexts of servers that have files of their own. `ca_file` is that of all servers,
    for one that has none.
    """

    def __init__(self, ca_file: Path | None) -> None:
        self._ca_file = ca_file
        self._contexts: dict[TransportOptions, tuple[float, asyncio.Task[ssl.SSLContext]]] = {}

    async def of(self, transport: TransportOptions) -> ssl.SSLContext:
        """The context of a server, read in a thread; raises OwnFileFault for a file that cannot be
        used.
        """
        read_at, reading = self._contexts.get(transport, (0.0, None))
        if reading is None or monotonic() - read_at > FRESH:
            reading = asyncio.create_task(asyncio.to_thread(self._read, transport))
            self._contexts[transport] = (monotonic(), reading)
        try:
            return await asyncio.shield(reading)
        except OwnFileFault:
            self._contexts.pop(transport, None)  # the file may be mended
            raise

    def _read(self, transport: TransportOptions) -> ssl.SSLContext:
        ca_file = self._ca_file
        if transport.ca_file is not None:
            ca_file = Path(transport.ca_file)
        try:
            context = tls_context(ca_file)
            if transport.client_cert_file is not None:
                _show(context, Path(transport.client_cert_file), transport.client_key_file)
        except InvalidInput as exc:
            raise OwnFileFault(exc.message) from exc
        context.set_alpn_protocols(["http/1.1"])
        return context


def _show(context: ssl.SSLContext, certificate: Path, key: str | None) -> None:
    """Have the context show a client certificate; its key is in the same file or in one of its
    own.
    """
    read_regular_file(certificate, _LIMIT, "client certificate").require_own()
    if key is not None:
        read_regular_file(Path(key), _LIMIT, "client key").require_own()
    try:
        # an encrypted key would otherwise be asked the password of on the terminal
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError, ValueError) as exc:
        raise InvalidInput(
            f"the client certificate {certificate} and its key cannot be used: they are no PEM, do "
            "not belong together, or the key is encrypted"
        ) from exc
