"""Whose certificates are trusted. Loads no HTTP library."""

import ssl
from pathlib import Path

import certifi

from ollama_admin.domain.files import read_regular_file
from ollama_admin.errors import InvalidInput

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
