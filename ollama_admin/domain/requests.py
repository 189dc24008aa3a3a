"""What is asked of a model: the request, and the keyword arguments that make one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypedDict

from ollama_admin.domain.servers import AuthType
from ollama_admin.domain.values import Given, Json

DEFAULT_WAIT = 300.0  # seconds that a request waits for a slot at a server

ThinkLevel = Literal["low", "medium", "high", "max"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """What was asked for. `timeout` in seconds bounds the whole; None leaves it to the per-step
    limits.

    `wait` is seconds for a free place at a server. `digest` (12 to 64 hex digits) and `verified`
    (the stored digest) demand a build; `no_verify` leaves the look at the build out.

    `messages` is a conversation to be answered instead of a prompt, each message as Ollama takes
    it. `native` holds further fields of Ollama's own API, sent as they are. `verbatim` is for
    callers that speak that API themselves: nothing is added to what they ask for, and they get the
    records as the server sent them.
    """

    prompt: str = ""
    messages: tuple[Mapping[str, Json], ...] | None = None
    tools: tuple[Mapping[str, Json], ...] = ()
    native: Mapping[str, Json] = field(default_factory=dict)
    verbatim: bool = False
    model: str | None = None
    server: int | str | None = None
    server_url: str | None = None
    capability: str | None = None
    system: str | None = None
    images: tuple[bytes, ...] = ()
    format: Literal["json"] | Mapping[str, Json] | None = None
    options: Mapping[str, Json] = field(default_factory=dict)
    think: bool | ThinkLevel | None = None
    keep_alive: float | str | None = None
    timeout: float | None = None
    wait: float = DEFAULT_WAIT
    digest: str | None = None
    verified: bool = False
    no_verify: bool = False
    allow_remote: bool = False
    allow_truncate: bool = False
    auth_type: AuthType | str | None = None
    auth_config: Mapping[str, Given] | None = field(default=None, repr=False)
    headers: Mapping[str, Given] | None = field(default=None, repr=False)


class AskedOfAny(TypedDict, total=False):
    """The keyword arguments of `Client` that all questions have: fields of `GenerateRequest`."""

    model: str | None
    server: int | str | None
    server_url: str | None
    capability: str | None
    format: Literal["json"] | Mapping[str, Json] | None
    options: Mapping[str, Json]
    think: bool | ThinkLevel | None
    keep_alive: float | str | None
    timeout: float | None
    wait: float
    digest: str | None
    verified: bool
    no_verify: bool
    allow_remote: bool
    allow_truncate: bool
    auth_type: AuthType | str | None
    auth_config: Mapping[str, Given] | None
    headers: Mapping[str, Given] | None


class Asked(AskedOfAny, total=False):
    """The keyword arguments of `generate` and `stream` beside the prompt."""

    system: str | None
    images: tuple[bytes, ...]
