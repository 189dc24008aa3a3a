"""The nouns: servers, models, requests and replies. Pure data; times are aware UTC, sizes bytes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, TypeAlias

from ollama_admin import names
from ollama_admin.errors import AdminError
from ollama_admin.secret import Reference, Secret

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"

Given: TypeAlias = str | Secret | Reference  # a credential as callers hand it in; plain text is taken as a secret


class ApiVersion(StrEnum):
    """The dialect spoken to a server: Ollama's own `/api/*`, or the OpenAI-compatible `/v1/*`."""

    NATIVE = "native"
    V1 = "v1"


class AuthType(StrEnum):
    NONE = "none"
    BASIC = "basic"
    BEARER = "bearer"
    API_KEY = "api_key"


# The keys of `auth_config`: of the secret, and of what may be shown.
SECRET_FIELDS = {AuthType.BASIC: "password", AuthType.BEARER: "token", AuthType.API_KEY: "key"}
OPEN_FIELDS = {AuthType.BASIC: "username", AuthType.API_KEY: "header_name"}
DEFAULT_API_KEY_HEADER = "X-API-Key"

CONSTANT_DIGESTS = "koboldcpp"  # the family of a program that emulates Ollama and shows one digest, whatever it runs
DEFAULT_WAIT = 300.0  # seconds that a request waits for a place at a server


class ServerStatus(StrEnum):
    """What the last check saw; for people to read, it excludes no server from anything."""

    UNKNOWN = "unknown"
    ONLINE = "online"
    OFFLINE = "offline"
    UNAUTHORIZED = "unauthorized"
    ERROR = "error"


class Proof(StrEnum):
    """What was learnt about the build that answered; the table in `proof.py` says when each holds."""

    DIGEST = "digest"
    DRIFT = "drift"
    CHANGED = "changed"
    UNREAD = "unread"
    REMOTE = "remote"
    NAME = "name"


class Way(StrEnum):
    """By which front door a request came in."""

    CLI = "cli"
    API = "api"
    PYTHON = "python"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a front door lets requests do: everything, where the one who asks owns this machine.

    `dynamic_servers`: name the URL of a server that no row has. `inactive_by_url`: reach an inactive row by its URL.
    `any_address`: connect to link-local, multicast, unspecified and metadata addresses.
    """

    dynamic_servers: bool = True
    inactive_by_url: bool = True
    any_address: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRef:
    """A server as results name it; id and name are None for a dynamic server."""

    id: int | None
    name: str | None
    url: str

    def __str__(self) -> str:
        return self.name or self.url


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A row of `ollama_servers`. From the store, secrets in it are sealed; from a service, they are masked.

    `slots_in_use` counts the requests that run there now, by whatever process or host.
    """

    id: int
    name: str
    url: str
    api_version: ApiVersion
    capabilities: tuple[str, ...]
    max_concurrent: int
    slots_in_use: int = 0
    priority: int
    is_default: bool
    is_active: bool
    default_model: str | None
    auth_type: AuthType
    auth_config: Mapping[str, Json] = field(repr=False)
    headers: Mapping[str, Json] = field(repr=False)
    status: ServerStatus
    version: str | None
    last_error: str | None
    last_seen_at: datetime | None
    last_discovered_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def ref(self) -> ServerRef:
        return ServerRef(id=self.id, name=self.name, url=self.url)

    @property
    def is_ollama(self) -> bool | None:
        """Whether `/api/version` was answered at the last check; None when there was none yet."""
        if self.version is not None:
            return True
        return None if self.last_seen_at is None else False


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """All that a request needs to know of the server it goes to: a row, or a dynamic server.

    `headers` carry its credentials; `secrets` are the forms in which they must not come back in a message.
    """

    ref: ServerRef
    api_version: ApiVersion
    headers: Mapping[str, Secret] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What only `/api/show` tells of a build; they belong to the digest, not to the server."""

    capabilities: tuple[str, ...]
    context_length: int | None
    embedding_length: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedModel:
    """A model as a server lists it. Servers that are not Ollama tell the name only; None is unknown."""

    name: str
    digest: str | None = None
    size: int | None = None
    format: str | None = None
    family: str | None = None
    families: tuple[str, ...] | None = None
    parameter_size: str | None = None
    quantization_level: str | None = None
    modified_at: datetime | None = None
    remote_host: str | None = None
    remote_model: str | None = None

    @property
    def build(self) -> str | None:
        """The digest, where it tells builds apart."""
        return None if self.family == CONSTANT_DIGESTS else self.digest

    @property
    def is_remote(self) -> bool:
        """Whether a prompt to it leaves the fleet."""
        return bool(self.remote_host or self.remote_model) or names.is_cloud_name(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Model(ListedModel):
    """A row of `ollama_models`: this server holds this model. `pinned` is the digest that its name is pinned to."""

    id: int
    server_id: int
    server: str
    context_length: int | None
    embedding_length: int | None
    capabilities: tuple[str, ...] | None
    is_available: bool
    first_seen_at: datetime
    last_seen_at: datetime
    digest_changed_at: datetime | None
    pinned: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestChange:
    """A name that now stands for another build; `before` is None where no digest was known."""

    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OffPin:
    """A listed build that is not the one its name is pinned to."""

    name: str
    digest: str
    pinned: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverResult:
    """What discovery found on one server; `error` says why it found nothing, and the rows are then untouched."""

    server: ServerRef
    added: tuple[str, ...] = ()
    changed: tuple[DigestChange, ...] = ()
    unchanged: int = 0
    vanished: tuple[str, ...] = ()
    pruned: int = 0
    off_pin: tuple[OffPin, ...] = ()
    error: AdminError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a server said to the question for its version; `ms` is the time the answer took."""

    server: ServerRef
    status: ServerStatus
    version: str | None
    ms: int
    error: AdminError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlace:
    """One server of a name in the by-model view."""

    server: str
    digest: str | None
    is_available: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelGroup:
    """One name over the fleet; `builds` counts the distinct known digests, `pinned` is the digest it is pinned to."""

    name: str
    builds: int
    pinned: str | None = None
    servers: tuple[ModelPlace, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A row of `ollama_pins`: the digest that a name means for the whole fleet.

    `before` is the digest that it replaced, known only when it was just set.
    """

    name: str
    digest: str
    created_at: datetime
    updated_at: datetime
    before: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedPin(Pin):
    """A pin beside the catalogue: how many available models of active servers are the pinned build, or another."""

    agree: int
    differ: int


ThinkLevel = Literal["low", "medium", "high", "max"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """What was asked for. `timeout` in seconds bounds the whole; None leaves it to the per-step limits.

    `wait` is seconds for a free place at a server. `digest` (12 to 64 hex digits) and `verified` (the stored digest)
    demand a build; `no_verify` leaves the look at the build out.

    `messages` is a conversation to be answered instead of a prompt, each message as Ollama takes it. `native` holds
    further fields of Ollama's own API, sent as they are. `verbatim` is for callers that speak that API themselves:
    nothing is added to what they ask for, and they get the records as the server sent them.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of an answer as it arrives: text, thinking, calls of tools. `record` is how a native server sent it."""

    response: str = ""
    thinking: str = ""
    tool_calls: tuple[Mapping[str, Json], ...] = ()
    record: Mapping[str, Json] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """Times in ms: total and first token by our clock, load by the server's. None is not told."""

    total_ms: int
    load_ms: int | None
    prompt_tokens: int | None
    output_tokens: int | None
    tokens_per_second: float | None
    time_to_first_token_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One server that was tried and failed before the one that answered."""

    server: ServerRef
    error: AdminError
    ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An answer that was accepted. `truncated`: False (the server would have refused), True (seen), None (unknown).

    `record` is the last record as a native server sent it; it and `tool_calls` are no part of the JSON of a reply.
    """

    response: str
    thinking: str
    model: str
    server: ServerRef
    digest: str | None
    verified: bool
    proof: Proof
    drift: DigestChange | None
    truncated: bool | None
    done_reason: str | None
    stats: Stats
    attempts: tuple[Attempt, ...] = ()
    tool_calls: tuple[Mapping[str, Json], ...] = ()
    record: Mapping[str, Json] | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """What would become of one server if a request were made now; `reason` is None where nothing is to be said.

    `status` and `catalogue_age_s` (seconds since its last discovery) are for people to read: they exclude nothing.
    """

    server: ServerRef
    eligible: bool
    reason: str | None
    digest: str | None
    priority: int | None
    slots_in_use: int | None
    max_concurrent: int | None
    status: ServerStatus | None
    catalogue_age_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The server that would answer; `digest` is None where it is not known."""

    server: ServerRef
    digest: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Which server would answer, and why each other one would not, in the order in which they are preferred."""

    chosen: Chosen | None
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A row of `ollama_receipts`: what became of one request; never the prompt or the answer.

    `outcome` is `ok`, `cancelled`, or the code of the error. `server` is None when none was chosen, and the counts and
    times are None where they were not told. `attempts` counts the servers that were tried. `id` is None before it is
    written.
    """

    id: int | None = None
    created_at: datetime
    way: Way
    asked_model: str | None
    model: str | None
    server: ServerRef | None
    digest: str | None
    proof: Proof | None
    verified: bool
    outcome: str
    attempts: int
    stats: Stats | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptStats:
    """Receipts of one model on one server, added up. Sums and times are None where no receipt tells them.

    `tokens_per_second` is weighted by time: all tokens over all the time that they took.
    """

    model: str | None
    server: ServerRef | None
    count: int
    failures: int
    prompt_tokens: int | None
    output_tokens: int | None
    tokens_per_second: float | None
    time_to_first_token_p50_ms: int | None
    time_to_first_token_p95_ms: int | None
