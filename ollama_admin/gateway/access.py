"""Who may ask: the one check for all paths, of the gateway and of the REST API.

The ways in which clients give a key are all equal: a bearer token, `x-api-key`, the password of
Basic, and for the gateway's paths `/k/KEY/`.
"""

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from ollama_admin.domain.keys import Address, Key, Right, unmapped
from ollama_admin.domain.secret import Secret
from ollama_admin.gateway.refusals import Refused
from ollama_admin.rules.access import TOKEN
from ollama_admin.services.keyring import KeyRing

Headers = Iterable[tuple[bytes, bytes]]
KEY = "ollama_admin.key"  # in the scope of a request that was let in: its Key
# What tools send that must send something: `ollama launch` and others
PLACEHOLDERS = frozenset((b"", b"ollama", b"ollama-local", b"none"))
CREDENTIALS = frozenset((b"authorization", b"x-api-key", b"cookie", b"proxy-authorization"))
_HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_IN_QUERY = re.compile(
    rb"(?:^|[&;])(?:api[_-]?key|access_token|token)=|oadm_[0-9a-f]{8}_", re.IGNORECASE
)
_NAMED_KEY = re.compile(rb"(?:^|[&;])key=", re.IGNORECASE)
_HINT = (
    "send it as Authorization: Bearer KEY, as x-api-key, as the password of Basic, or in the URL: "
    "/k/KEY/"
)
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="ollama-admin"'}


class Access:
    """Knows the token by its hash alone. `hosts` are the names, without a port, under which this
    server may be asked.
    """

    def __init__(self, token: Secret, keys: KeyRing, hosts: frozenset[str]) -> None:
        self._token = _hashed(token.reveal().encode())
        self._keys = keys
        self._hosts = hosts

    async def key_of(self, scope: Mapping[str, Any], path_key: str | None = None) -> Key:
        """The key of a request, its own or that of its network. Refused with 401 where there is
        none that is taken; it does not say why.
        """
        texts = [text for text in _texts(path_key, scope["headers"]) if text not in PLACEHOLDERS]
        for text in texts:
            if hmac.compare_digest(_hashed(text), self._token):
                return TOKEN
        table, now = await self._keys.table(), self._keys.now()
        address = address_of(scope)
        if texts:
            found = (table.of_text(text, address, now) for text in texts)
            key = next((one for one in found if one is not None), None)
            message = "the key is not known"
        else:
            key = table.of_network(address, now)
            message = "a key is missing"
        if key is None:
            raise Refused(401, message, _HINT, headers=_CHALLENGE)
        if not texts:
            self._require_own_host(scope["headers"])
        self._keys.used(key, now)
        return key

    @property
    def token_hash(self) -> str:
        """SHA-256 of the token in the environment, in hex."""
        return self._token.hex()

    def is_own_host(self, header: str) -> bool:
        """Whether a Host header has a name under which this server may be asked."""
        match = _HOST.fullmatch(header.lower())
        return match is not None and match["host"].strip("[]") in self._hosts

    def _require_own_host(self, headers: Headers) -> None:
        """Refused for a name that only somebody else's name service leads here: so a page in a
        browser asks, which has its network and no key.
        """
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not self.is_own_host(hosts[0]):
            raise foreign_host()


def foreign_host() -> Refused:
    return Refused(
        403,
        "this host name is not served here",
        "allow it with: ollama-admin serve --allow-host",
    )


def require(key: Key, right: Right) -> None:
    """Refused with 403 unless the key has the right."""
    if not key.may(right):
        raise Refused(
            403,
            f"key {key.name} has no right to {right}",
            f"whoever administrates can give it: ollama-admin key update {key.name} --can {right}",
            code="forbidden",
        )


def refuse_query(query: bytes, *, may_name_one: bool = False) -> None:
    """Refused where a key stands in the query, which logs of proxies and pages keep. It may be the
    name of one where `may_name_one` says so.
    """
    if _IN_QUERY.search(query) or (_NAMED_KEY.search(query) and not may_name_one):
        raise Refused(400, "a key is not taken from the query of a URL", _HINT)


def address_of(scope: Mapping[str, Any]) -> Address | None:
    """Of the client's end of the connection; what proxies tell of others is not believed."""
    client = scope.get("client")
    if not client:
        return None
    try:
        return unmapped(ip_address(client[0].partition("%")[0]))
    except ValueError:
        return None


def _texts(path_key: str | None, headers: Headers) -> Iterator[bytes]:
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
