"""The one way a server's URL is read, so that two spellings of one server are equal."""

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ollama_admin.errors import InvalidInput

OLLAMA_PORT = 11434
DEFAULT_PORTS = {"http": 80, "https": 443}
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_LOOKS_NUMERIC = re.compile(r"(0x[0-9a-f]*|[0-9]+)")
_BRACKETED = re.compile(r"\[[^\]]*\](:[0-9]*)?")
_USERINFO = re.compile(r"(?P<scheme>[^/?#\\]*://)?(?P<info>[^/?#\\]*)@")
# what a program asks, as far as it stands behind the server's URL
_API_WORDS = (
    "generate|chat|embed|embeddings|tags|version|status|ps|show|pull|push|create|copy|delete|"
    "blobs/[^/]+|me|signout|user/keys/[^/]+|"
    "experimental/(?:web_search|web_fetch|model-recommendations|aliases)"
)
_V1_WORDS = (
    "chat/completions|completions|embeddings|models(?:/[^/]+)?|responses|messages|"
    "audio/transcriptions|images/(?:generations|edits)"
)
_ENDPOINT = re.compile(rf"/api/(?:{_API_WORDS})|/v1/(?:{_V1_WORDS})")
_ACCEPTED = "write http(s)://host[:port][/prefix] or host[:port]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerURL:
    """A normalised URL; `v1` and `api` say which tail it was written with.

    `endpoint` is the path of one call, such as `/api/generate`, that stood behind the server's URL
    and was cut off.
    """

    url: str
    v1: bool = False
    api: bool = False
    endpoint: str | None = None

    def __str__(self) -> str:
        if self.v1:
            return f"{self.url}/v1"
        return self.url

    @property
    def note(self) -> str | None:
        """What a person should know of how the URL was read."""
        if self.endpoint is None:
            return None
        return f"{self.endpoint} is the path of one call: the server is {self.url}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Userinfo:
    """User and password that stood inside a URL, decoded."""

    username: str
    password: str


def server_url(text: str) -> ServerURL:
    """Normalise a URL or raise InvalidInput; a user or password inside it is refused and never
    repeated.

    A host with port 443 and no scheme is https. The path of one call, as `/api/generate`, is cut
    off. The result is stable: `server_url(str(u)) == u` but for the `api` mark and the `endpoint`.
    """
    url, userinfo = split_userinfo(text)
    if userinfo:
        raise InvalidInput(
            "the URL holds a user or a password",
            "write the URL without them and give them with --auth basic --username U "
            "--secret-stdin",
        )
    return _normalise(url)


def noted(text: str, note: Callable[[str], None]) -> ServerURL:
    """The URL as `server_url` reads it; `note` hears what that cuts off."""
    url = server_url(text)
    if url.note is not None:
        note(url.note)
    return url


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


def other_spellings(url: str) -> list[str]:
    """The normalised URLs under which the same program may answer, too: with the other scheme at
    that port, and with the other names of this machine.
    """
    parts = urlsplit(url)
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    hosts = [parts.netloc.removesuffix(f":{port}")]
    if is_this_machine(parts.hostname or ""):
        hosts = ["localhost", "127.0.0.1", "[::1]"]
    spellings = []
    for scheme, usual_port in DEFAULT_PORTS.items():
        shown_port = "" if port == usual_port else f":{port}"
        spellings += [f"{scheme}://{host}{shown_port}{parts.path}" for host in hosts]
    return [spelling for spelling in spellings if spelling != url]


def is_this_machine(host: str) -> bool:
    """Whether a host, a name or an address without brackets, is the loopback of whoever asks."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


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
    whole = text
    if bare:
        whole = f"http://{text}"
    try:
        parts = urlsplit(whole)
        _refuse_bare_ipv6(parts.netloc, text)
        port = parts.port
    except ValueError as exc:
        raise _no_url(text, "its host or port cannot be read", _ACCEPTED) from exc
    scheme = parts.scheme
    if bare and port == DEFAULT_PORTS["https"]:
        scheme = "https"  # a credential must not go there in the clear
    if scheme not in DEFAULT_PORTS:
        raise _no_url(text, "the scheme is neither http nor https", _ACCEPTED)
    if parts.query or parts.fragment or "?" in text or "#" in text:
        raise _no_url(text, "it has a query or a fragment", _ACCEPTED)
    if port == 0 or parts.netloc.endswith(":"):
        raise _no_url(text, "its port is not between 1 and 65535", _ACCEPTED)
    authority = _host(parts.netloc, parts.hostname or "", text)
    if bare and port is None:
        port = OLLAMA_PORT
    if port not in (None, DEFAULT_PORTS[scheme]):
        authority = f"{authority}:{port}"
    return _with_path(f"{scheme}://{authority}", parts.path.rstrip("/"), text)


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
        raise _no_url(text, "put an IPv6 address in brackets", "write [::1]:11434")


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


def _with_path(origin: str, path: str, text: str) -> ServerURL:
    if any(segment in ("", ".", "..") for segment in path.split("/")[1:]):
        raise _no_url(text, "its path has an empty, '.' or '..' part")
    endpoint = _endpoint(path)
    if endpoint is not None:
        path = path.removesuffix(endpoint)
        tail = f"/{endpoint.split('/')[1]}"
    else:
        tail = next((tail for tail in ("/v1", "/api") if path.endswith(tail)), "")
        path = path.removesuffix(tail)
    if (endpoint or tail == "/api") and (path.endswith(("/v1", "/api")) or _endpoint(path)):
        raise _no_url(text, "it ends with two API paths", "leave one of them out")
    return ServerURL(url=f"{origin}{path}", v1=tail == "/v1", api=tail == "/api", endpoint=endpoint)


def _endpoint(path: str) -> str | None:
    """The path of one call of a server at the end of a path, the longest that there is."""
    starts = (match.start() for match in re.finditer("/", path))
    return next((path[start:] for start in starts if _ENDPOINT.fullmatch(path[start:])), None)
