"""Pages of browsers that may ask: those that Ollama itself lets in, and those that are allowed."""

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from ollama_admin.gateway.refusals import Refused

# Ollama 0.33, envconfig.AllowedOrigins
_SCHEMES = (
    "app",
    "file",
    "tauri",
    "vscode-webview",
    "vscode-file",
    "chrome-extension",
    "moz-extension",
    "safari-web-extension",
)
_HOSTS = ("localhost", "127.0.0.1", "0.0.0.0", "::1")  # noqa: S104 (names of pages)
_METHODS = "GET, HEAD, POST, DELETE"
_HEADERS = (
    "authorization",
    "content-type",
    "user-agent",
    "accept",
    "x-requested-with",
    "openai-beta",
    "x-api-key",
    "anthropic-version",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
)
_STAINLESS = re.compile(r"x-stainless-[a-z-]{1,40}")
_SHOWN = "X-Request-Id, X-Ollama-Admin-Server, X-Ollama-Admin-Digest"
AGE = "43200"  # seconds that a browser keeps the answer


class Origins:
    """`allowed` are further origins, or `*` for every one."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._allowed = frozenset(origin.rstrip("/").lower() for origin in allowed)

    def headers(self, origin: str, host: str) -> list[tuple[bytes, bytes]]:
        """What an answer to a page of this origin carries; Refused for a foreign one."""
        if not self._is_allowed(origin, host):
            raise Refused(
                403, "requests from other origins are refused", "allow it with --allow-origin"
            )
        return [
            (b"access-control-allow-origin", origin.encode("latin-1")),
            (b"access-control-expose-headers", _SHOWN.encode()),
            (b"vary", b"Origin"),
        ]

    def _is_allowed(self, origin: str, host: str) -> bool:
        text = origin.lower()
        if "*" in self._allowed or text.rstrip("/") in self._allowed:
            return True
        try:
            url = urlsplit(text)
            return (
                url.scheme in _SCHEMES
                or url.netloc == host.lower()
                or (url.scheme in ("http", "https") and url.hostname in _HOSTS)
            )
        except ValueError as exc:
            raise Refused(400, "the header Origin cannot be read") from exc


def preflight(asked: str) -> list[tuple[bytes, bytes]]:
    """What the answer to an OPTIONS request says may be sent, of the headers that it asks for."""
    names = [name.strip().lower() for name in asked.split(",")]
    more = [name for name in names if _STAINLESS.fullmatch(name)]
    allowed = ", ".join(list(_HEADERS) + more)
    return [
        (b"access-control-allow-methods", _METHODS.encode()),
        (b"access-control-allow-headers", allowed.encode()),
        (b"access-control-max-age", AGE.encode()),
    ]
