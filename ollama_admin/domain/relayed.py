"""A client's call that goes to a server as it is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Any

from ollama_admin.domain.keys import Key
from ollama_admin.domain.traces import TraceContext
from ollama_admin.domain.values import made_often

Headers = Sequence[tuple[bytes, bytes]]


class Dialect(StrEnum):
    """Whose API a client speaks, which shows in the path: the shape of errors depends on it."""

    OLLAMA = "ollama"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"


@made_often
class RelayedCall:
    """`id` is how the client knows the call. `path` is the one that APIs are documented under, such
    as `/v1/messages`; `target` is what goes out, with the client's query. `model` is the name as
    the body spells it. `asks` is for Ollama's own calls that hold something to answer, where others
    only load the model or unload it. Without `allow_truncate` Ollama's own paths are asked to
    refuse a prompt that does not fit. `options` are those of Ollama's own calls. `affinity` is the
    key of the conversation. `key` is the client's, `client` what it calls itself. `trace` is
    what the server is told to go on with, None to pass on what the client sent. `counted` hears
    at the end how many tokens prompt and answer took, told by the server or estimated.
    """

    id: str
    method: str
    path: str
    target: str
    model: str
    headers: Headers = field(repr=False)
    body: bytes = field(repr=False)
    asks: bool = False
    allow_truncate: bool = False
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    affinity: bytes | None = None
    key: Key | None = None
    client: str | None = None
    trace: TraceContext | None = None
    counted: Callable[[int], None] | None = field(default=None, repr=False)


@made_often
class RelayedHead:
    """How an answer begins: `server` and the build that is known of it, and the server's own status
    and headers.
    """

    status: int
    headers: Headers
    server: str
    server_url: str
    digest: str | None
