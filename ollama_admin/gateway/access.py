"""Who may ask: the ways in which clients give a key, all equal."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable, Iterator

from ollama_admin.domain.secret import Secret
from ollama_admin.gateway.refusals import Refused

Headers = Iterable[tuple[bytes, bytes]]
# What tools send that must send something: `ollama launch` and others
PLACEHOLDERS = frozenset((b"", b"ollama", b"ollama-local", b"none"))
CREDENTIALS = frozenset((b"authorization", b"x-api-key", b"cookie", b"proxy-authorization"))


class Access:
    """Knows the one token by its hash alone."""

    def __init__(self, token: Secret) -> None:
        self._token = _hashed(token.reveal().encode())

    def require(self, path_key: str | None, headers: Headers) -> None:
        """Refused unless one of the keys that a request gives is the token."""
        keys = [key for key in _keys(path_key, headers) if key not in PLACEHOLDERS]
        if any(hmac.compare_digest(_hashed(key), self._token) for key in keys):
            return
        message = "the key is not known" if keys else "a key is missing"
        raise Refused(
            401,
            message,
            "send it as Authorization: Bearer KEY, as x-api-key, as the password of Basic, or in "
            "the URL: /k/KEY/",
            headers={"WWW-Authenticate": 'Bearer realm="ollama-admin"'},
        )


def _keys(path_key: str | None, headers: Headers) -> Iterator[bytes]:
    if path_key is not None:
        yield path_key.encode("utf-8", "surrogateescape")
    for name, value in headers:
        if name == b"x-api-key":
            yield value.strip()
        elif name == b"authorization":
            yield _authorized(value)


def _authorized(value: bytes) -> bytes:
    """The key of an `Authorization` header, empty where it has none that we know."""
    scheme, _, rest = value.partition(b" ")
    rest = rest.strip()
    if scheme.lower() == b"bearer":
        return rest
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(rest, validate=True).partition(b":")[2]
        except binascii.Error:
            return b""
    return b""


def _hashed(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
