"""The one way a server's URL is read, so that two spellings of one server are equal."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ollama_admin.errors import InvalidInput

OLLAMA_PORT = 11434
DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_LOOKS_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)")
_BRACKETED = re.compile(r"\[[^\]]*\](:[0-9]*)?")
_USERINFO = re.compile(r"(?P<scheme>[^/?#\\]*://)?(?P<info>[^/?#\\]*)@")
_ACCEPTED = "write http(s)://host[:port][/prefix] or host[:port]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerURL:
    """A normalised URL; `v1` and `api` say which tail it was written with."""

    url: str
    v1: bool = False
    api: bool = False

    def __str__(self) -> str:
        if self.v1:
            return f"{self.url}/v1"
        return self.url


@dataclass(frozen=True, slots=True, kw_only=True)
class Userinfo:
    """User and password that stood inside a URL, decoded."""

    username: str
    password: str


def server_url(text: str) -> ServerURL:
    """Normalise a URL or raise InvalidInput; a user or password inside it is refused and never
    repeated.

    The result is stable: `server_url(str(u)) == u` but for the `api` mark.
    """
    url, userinfo = split_userinfo(text)
    if userinfo:
        raise InvalidInput(
            "the URL holds a user or a password",
            "write the URL without them and give them with --auth basic --username U "
            "--secret-stdin",
        )
    return _normalise(url)


def split_userinfo(text: str) -> tuple[str, Userinfo | None]:
    """The text without `user:password@`, and what stood there (None when nothing did)."""
    text = text.strip()
    match = _USERINFO.match(text)
    if not match:
        return text, None
    username, _, password = match["info"].partition(":")
    url = (match["scheme"] or "") + text[match.end() :]
    return url, Userinfo(username=unquote(username), password=unquote(password))


def origin(url: str) -> str:
    """Scheme, host and port of a normalised URL, the port always written: what a credential is
    bound to.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    return f"{parts.scheme}://{host}:{port}"


def _no_url(text: str, reason: str, hint: str | None = None) -> InvalidInput:
    """The error for a text that is no server URL; what could be a secret is left out of it."""
    return InvalidInput(f"{_masked(text)} is not a server URL: {reason}", hint)


def _masked(text: str) -> str:
    """A refused URL for a message: without what could be a secret."""
    if "@" in text:
        return "'***'"
    without_query = re.split(r"[?#]", text, maxsplit=1)[0]
    return ascii(without_query[:200])


def _normalise(text: str) -> ServerURL:
    bare = "://" not in text
    _refuse_characters(text)
    whole = f"http://{text}" if bare else text
    try:
        parts = urlsplit(whole)
        _refuse_bare_ipv6(parts.netloc, text)
        port = parts.port
    except ValueError as exc:
        raise _no_url(text, "its host or port cannot be read", _ACCEPTED) from exc
    if parts.scheme not in DEFAULT_PORTS:
        raise _no_url(text, "the scheme is neither http nor https", _ACCEPTED)
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise _no_url(text, "it has a query or a fragment", _ACCEPTED)
    if port == 0 or parts.netloc.endswith(":"):
        raise _no_url(text, "its port is not between 1 and 65535", _ACCEPTED)
    authority = _host(parts.netloc, parts.hostname or "", text)
    if bare and port is None:
        port = OLLAMA_PORT
    if port not in (None, DEFAULT_PORTS[parts.scheme]):
        authority = f"{authority}:{port}"
    prefix, v1, api = _prefix(parts.path, text)
    return ServerURL(url=f"{parts.scheme}://{authority}{prefix}", v1=v1, api=api)


def _refuse_characters(text: str) -> None:
    if not text:
        raise InvalidInput("the server URL is empty", _ACCEPTED)
    if len(text) > 2000:
        raise InvalidInput("the server URL is longer than 2000 characters")
    if not text.isascii():
        raise _no_url(text, "not ASCII", "write the host in its xn-- form")
    if not text.isprintable() or " " in text or "\\" in text:
        raise _no_url(text, "it has a space, a backslash or a control character")


def _refuse_bare_ipv6(netloc: str, text: str) -> None:
    if netloc.count(":") > 1 and not netloc.startswith("["):
        raise _no_url(text, "an IPv6 address stands in brackets", "write [::1]:11434")


def _host(netloc: str, host: str, text: str) -> str:
    if netloc.startswith("["):
        # urlsplit forgets what stands between the bracket and the port
        if not _BRACKETED.fullmatch(netloc):
            raise _no_url(text, "something follows its address", _ACCEPTED)
        return _ipv6(host, text)
    labels = host.split(".")
    if not host or len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _no_url(text, "its host is not a name or an address", _ACCEPTED)
    if _LOOKS_NUMERIC.fullmatch(labels[-1]):
        return _ipv4(host, text)
    return host


def _ipv4(host: str, text: str) -> str:
    try:
        address = ipaddress.IPv4Address(host)
    except ValueError as exc:
        hint = "write all four numbers, as in 127.0.0.1"
        raise _no_url(text, "its host is not a full IPv4 address", hint) from exc
    _refuse_unspecified(address, text)
    return str(address)


def _ipv6(host: str, text: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError as exc:
        raise _no_url(text, "its host is not an IPv6 address") from exc
    if address.scope_id:
        raise _no_url(text, "an address with a zone cannot be used")
    if address.ipv4_mapped:
        raise InvalidInput(
            f"{_masked(text)} is an IPv4 address in IPv6 form", f"write {address.ipv4_mapped}"
        )
    _refuse_unspecified(address, text)
    return f"[{address}]"


def _refuse_unspecified(address: ipaddress.IPv4Address | ipaddress.IPv6Address, text: str) -> None:
    if address.is_unspecified:
        raise InvalidInput(
            f"{_masked(text)} is an address to listen on, not one to connect to",
            "write 127.0.0.1 for this machine, or the server's own address",
        )


def _prefix(path: str, text: str) -> tuple[str, bool, bool]:
    path = path.rstrip("/")
    segments = path.split("/")[1:]
    if any(segment in ("", ".", "..") for segment in segments):
        raise _no_url(text, "its path has an empty, '.' or '..' part")
    if segments and segments[-1] == "v1":
        return path.removesuffix("/v1"), True, False
    if segments and segments[-1] == "api":
        rest = path.removesuffix("/api")
        if rest.endswith(("/v1", "/api")):
            raise _no_url(text, "it ends with two API paths", "leave one of them out")
        return rest, False, True
    return path, False, False
