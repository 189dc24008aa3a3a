"""Which headers go on to a server, and which of its own come back."""

import math
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache

from ollama_admin.domain.keys import masked
from ollama_admin.domain.relayed import Headers, RelayedHead
from ollama_admin.gateway.errors import stream_of
from ollama_admin.services.budgets import Standing

NOTES_LIMIT = 10
NOTE_LENGTH = 500  # bytes of one
CLIENT_LENGTH = 200  # bytes of what a client calls itself
NOTES_LENGTH = 2000  # bytes of all: clients and proxies bound the head of an answer
_NOTE = b"x-ollama-admin-note"
_UNPRINTABLE = re.compile(rb"[^ -~]")
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # of which no header may hold any
# What a server may know of a client: nothing of who it is, how it came here or what it may do.
_SENT = frozenset(
    (
        b"accept",
        b"content-type",
        b"content-encoding",
        b"user-agent",
        b"traceparent",
        b"tracestate",
    )
)
_SENT_FAMILIES = (b"anthropic-", b"openai-", b"x-stainless-")
# About one connection (RFC 9110, 7.6.1), or ours to say.
_KEPT_BACK = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"alt-svc",
        b"date",
        b"server",
        b"set-cookie",
        b"strict-transport-security",
        b"vary",
        b"via",
        b"www-authenticate",
        b"x-request-id",
    )
)
_KEPT_BACK_FAMILIES = (b"access-control-", b"x-ollama-admin-")


def to_server(given: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Of a request's headers, those that go on."""
    return tuple(pair for pair in given if pair[0] in _SENT or pair[0].startswith(_SENT_FAMILIES))


def to_client(given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Of an answer's headers, those that come back, by their lower-case names."""
    kept = [(name.lower(), value) for name, value in given if not _CONTROL.search(value)]
    named: list[bytes] = []
    for name, value in kept:
        if name == b"connection":  # it names others that are about the connection
            named += value.lower().replace(b" ", b"").split(b",")
    return [
        pair
        for pair in kept
        if pair[0] not in _KEPT_BACK
        and not pair[0].startswith(_KEPT_BACK_FAMILIES)
        and pair[0] not in named
    ]


def of_body(given: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Of an answer's headers, those that come back with a body that is passed on as it comes. A
    stream has no length: an error may have to follow in it, and what stands behind its end is no
    part of it.
    """
    kept = to_client(given)
    if stream_of(kept) is None:
        return kept
    return [pair for pair in kept if pair[0] != b"content-length"]


def of_head(head: RelayedHead) -> list[tuple[bytes, bytes]]:
    """The headers of a relayed answer: the server's own, and who it is."""
    headers = of_body(head.headers)
    headers.append(of_server(head.server))
    if head.digest is not None:
        headers.append((b"x-ollama-admin-digest", head.digest.encode()))
    return headers


def of_server(name: str) -> tuple[bytes, bytes]:
    """The header that says which server answered; its name may be of any alphabet."""
    return b"x-ollama-admin-server", _ascii(name)


def of_notes(notes: Iterable[str]) -> Iterator[tuple[bytes, bytes]]:
    """The first notes as headers can carry them; names in them may be of any alphabet."""
    left = NOTES_LENGTH
    for text in notes:
        value = _UNPRINTABLE.sub(b" ", _ascii(text[:NOTE_LENGTH]))[: min(NOTE_LENGTH, left)]
        left -= len(value)
        if value:
            yield _NOTE, value


def of_standings(standings: Iterable[Standing]) -> list[tuple[bytes, bytes]]:
    """How the budgets of a key stand, under the names that OpenAI's clients know."""
    found: list[tuple[bytes, bytes]] = []
    for standing in standings:
        numbers = {"limit": f"{standing.limit}", "remaining": f"{standing.left}"}
        numbers["reset"] = f"{math.ceil(standing.seconds)}s"
        for what, number in numbers.items():
            found.append((f"x-ratelimit-{what}-{standing.kind}".encode(), number.encode()))
    return found


@lru_cache(maxsize=1000)
def client_of(user_agent: bytes | None) -> str | None:
    """What a client calls itself, bounded and without what a terminal obeys or a key is."""
    if user_agent is None:
        return None
    shown = _UNPRINTABLE.sub(b"?", user_agent[:CLIENT_LENGTH])
    return masked(shown.decode()) or None


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "backslashreplace")
