"""Shapes of requests and answers, as the OpenAPI document tells them. Answers have the keys of
`documents.py`.
"""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

ID_LIMIT = 2**63 - 1
INT_LIMIT = 2**31 - 1

JsonObject = dict[str, JsonValue]
ApiVersion = Literal["native", "v1"]
AuthType = Literal["none", "basic", "bearer", "api_key"]
Name = Annotated[
    str,
    Field(min_length=1, max_length=100, description="1-100 printable characters, not all digits"),
]
Url = Annotated[
    str,
    Field(
        min_length=1, max_length=2000, description="http(s)://host[:port][/prefix] or host[:port]"
    ),
]
Word = Annotated[str, Field(min_length=1, max_length=100)]
ModelName = Annotated[str, Field(min_length=1, max_length=500)]
Path = Annotated[str, Field(min_length=1, max_length=4096)] | None
Text = Annotated[str, Field(max_length=10_000)]
Flag = bool | None
# The first wrong item tells of a million of them: each error takes 8 us to put together.
Texts = Annotated[list[str], Field(fail_fast=True)]
Words = Annotated[list[Word], Field(fail_fast=True)]
Numbers = Annotated[list[int], Field(fail_fast=True)]
JsonObjects = Annotated[list[JsonObject], Field(fail_fast=True)]

# A query has no null: what is not there is left out.
_WORD = {"type": "string", "minLength": 1, "maxLength": 100}
_NAME = {
    "type": "string",
    "minLength": 1,
    "maxLength": 500,
    "description": "a name, or a glob such as qwen*",
}
QueryWord = Annotated[
    Annotated[str, Field(min_length=1, max_length=100)] | None, WithJsonSchema(_WORD)
]
# a time or an age, as the command line takes it
Time = Annotated[
    str,
    Field(
        min_length=1, max_length=100, description="2026-01-31, 2026-01-31T12:00Z (UTC), or 90d, 24h"
    ),
]
QueryTime = Annotated[Time | None, WithJsonSchema({"type": "string", "minLength": 1})]
QueryName = Annotated[
    Annotated[str, Field(min_length=1, max_length=500)] | None, WithJsonSchema(_NAME)
]


class Strict(BaseModel):
    """A request: no other fields, no conversions, and nothing of it in a message about it."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class _ServerColumns(Strict):
    api_version: ApiVersion | None = Field(
        None, description="null: decided by the URL; one that ends in /v1 means v1"
    )
    capabilities: Words | None = Field(None, max_length=100)
    max_concurrent: int | None = Field(None, ge=1, le=INT_LIMIT)
    priority: int | None = Field(None, ge=-INT_LIMIT, le=INT_LIMIT)
    is_default: Flag = None
    is_active: Flag = None
    default_model: ModelName | None = None
    auth_type: AuthType | None = None
    auth_config: dict[str, Text] | None = Field(
        None,
        description="basic: username, password; bearer: token; api_key: header_name, key. Plain "
        "secrets, stored encrypted. References can only be set by the command line",
    )
    headers: dict[str, Text] | None = Field(
        None, description="extra headers for the server; stored encrypted"
    )
    ca_file: Path = Field(None, description="PEM file, where `serve` runs, to check it against")
    client_cert_file: Path = Field(None, description="PEM file of what it is shown")
    client_key_file: Path = Field(None, description="PEM file of the key of that")
    proxy: Path = Field(None, description="URL of a proxy without a password")


class NewServer(_ServerColumns):
    name: Name
    url: Url
    labels: dict[str, Word] | None = Field(
        None, max_length=50, description="words to mean several servers by, such as gpu: a100"
    )


class ServerChange(_ServerColumns):
    """What is left out stays. null empties `default_model`, `headers`, `labels`, the files, `proxy`
    and, with `auth_type`, the credentials.
    """

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    name: Name | None = None
    url: Url | None = None
    labels: dict[str, Word | None] | None = Field(
        None, max_length=100, description="labels to set; those with null are taken away"
    )


class Paging(Strict):
    """`cursor` is the id after which a page begins; `Link: rel="next"` has the next one."""

    model_config = ConfigDict(strict=False)  # a query is text

    limit: int = Field(100, ge=1, le=1000)
    cursor: int = Field(0, ge=0, le=ID_LIMIT)


class Filter(Strict):
    """Which servers: those with the capability and each of the labels."""

    model_config = ConfigDict(strict=False)  # a query is text

    capability: QueryWord = None
    label: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
        default=[], max_length=50, description="gpu=a100, or gpu with any value; may be repeated"
    )


class ServerFilter(Paging, Filter):
    pass


class ModelFilter(Paging):
    name: QueryName = None
    capability: QueryWord = None
    all: bool = Field(False, description="also vanished models, and those of inactive servers")


class DiscoverOptions(Strict):
    model_config = ConfigDict(strict=False)

    prune: bool = Field(False, description="delete the rows of models that have vanished")


class DiscoverAllOptions(DiscoverOptions, Filter):
    all: bool = Field(False, description="inactive servers too")


class CheckOptions(Strict):
    model_config = ConfigDict(strict=False)

    deep: QueryWord = Field(None, description="a model that is asked for one token, too")


class RemoveOptions(Strict):
    model_config = ConfigDict(strict=False)

    force: bool = Field(False, description="also while requests run there")


class _AsOllama(Strict):
    """A part of a request of Ollama's own: fields that nobody knows are passed over, as there."""

    model_config = ConfigDict(extra="ignore")


class _Asked(_AsOllama):
    """The fields that `/api/generate` and `/api/chat` have in common. null is the same as leaving a
    field out.
    """

    model: ModelName
    stream: Flag = Field(None, description="default true")
    format: Literal["json", ""] | JsonObject | None = None
    options: JsonObject | None = None
    think: bool | Literal["low", "medium", "high", "max"] | None = None
    keep_alive: int | float | str | None = Field(
        None, description="seconds, or a duration such as 5m"
    )
    truncate: Flag = None
    shift: Flag = None
    logprobs: Flag = None
    top_logprobs: int | None = Field(None, ge=0, le=20)
    server: Annotated[int, Field(ge=1, le=ID_LIMIT)] | Word | None = Field(
        None, description="only this server"
    )
    server_url: Url | None = Field(None, description="only the server at this URL")
    labels: Words | None = Field(
        None, max_length=50, description="only servers with each: gpu=a100, or gpu with any value"
    )
    digest: str | None = Field(
        None, pattern="^(sha256:)?[0-9a-fA-F]{12,64}$", description="only this build answers"
    )


class GenerateBody(_Asked):
    prompt: str | None = None
    suffix: str | None = None
    system: str | None = None
    images: Texts | None = Field(None, description="in base64")
    template: str | None = None
    context: Numbers | None = None
    raw: Flag = None


class Message(_AsOllama):
    role: str = Field(min_length=1, max_length=100)
    content: str | None = None
    thinking: str | None = None
    images: Texts | None = Field(None, description="in base64")
    tool_calls: JsonObjects | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class ChatBody(_Asked):
    messages: Annotated[list[Message], Field(fail_fast=True)] = Field(max_length=10_000)
    tools: JsonObjects | None = Field(None, max_length=1000)


class RouteBody(GenerateBody):
    """The body of `/api/generate`, or with `messages` that of `/api/chat`."""

    model_config = ConfigDict(extra="forbid")

    messages: Annotated[list[Message], Field(fail_fast=True)] | None = Field(
        None, max_length=10_000
    )
    tools: JsonObjects | None = Field(None, max_length=1000)


class ServerRef(BaseModel):
    id: int | None
    name: str | None
    url: str


class Server(ServerRef):
    id: int
    name: str
    api_version: ApiVersion
    capabilities: list[str]
    max_concurrent: int
    slots_in_use: int
    priority: int
    is_default: bool
    is_active: bool
    default_model: str | None
    auth_type: AuthType
    auth_config: dict[str, str | None] = Field(
        description="secrets as asterisks, references as they were given"
    )
    headers: dict[str, str] = Field(
        description="values as asterisks, references as they were given"
    )
    status: Literal["unknown", "online", "offline", "unauthorized", "error"]
    version: str | None
    last_error: str | None
    last_seen_at: datetime | None = Field(description="when it last answered well")
    last_discovered_at: datetime | None
    created_at: datetime
    updated_at: datetime
    labels: dict[str, str]
    is_draining: bool = Field(description="it gets no new requests; is_active stays")
    status_since: datetime | None
    status_at: datetime | None = Field(description="when the status was seen last")
    latency_ms: int | None
    failures: int = Field(description="in a row")
    asked_last_until: datetime | None
    managed_by: str | None = Field(description="the owner whose file made it")
    ca_file: str | None
    client_cert_file: str | None
    client_key_file: str | None
    proxy: str | None


class Model(BaseModel):
    id: int
    server: str
    server_id: int
    name: str
    digest: str | None
    size: int | None
    format: str | None
    family: str | None
    families: list[str] | None
    parameter_size: str | None
    quantization_level: str | None
    modified_at: datetime | None
    remote_host: str | None
    remote_model: str | None
    context_length: int | None
    embedding_length: int | None
    capabilities: list[str] | None
    is_available: bool
    pinned: str | None = Field(description="the digest that the name is pinned to")
    first_seen_at: datetime
    last_seen_at: datetime
    digest_changed_at: datetime | None


class ErrorDetail(BaseModel):
    code: str
    message: str
    hint: str | None


class ExistingErrorDetail(ErrorDetail):
    existing_id: int | None = Field(
        None, description="the server that has this name or URL already"
    )


class Problem(BaseModel):
    error: ErrorDetail


class ExistingProblem(BaseModel):
    error: ExistingErrorDetail


class Chosen(BaseModel):
    server: ServerRef
    digest: str | None


class ExplainedServer(BaseModel):
    server: ServerRef
    eligible: bool
    reason: str | None = Field(description="why it would not answer")
    digest: str | None
    priority: int | None
    slots_in_use: int | None
    max_concurrent: int | None
    status: str | None
    catalogue_age_s: int | None
    preference: list[str] = Field(
        description="what speaks for and against it among servers of the same priority"
    )


class Explanation(BaseModel):
    """`candidates` are all servers, in the order in which they are preferred."""

    chosen: Chosen | None
    candidates: list[ExplainedServer]


class DigestChange(BaseModel):
    name: str
    from_: str | None = Field(alias="from")
    to: str | None


class OffPin(BaseModel):
    name: str
    digest: str
    pinned: str


class Discovered(BaseModel):
    server: ServerRef
    added: list[str]
    changed: list[DigestChange]
    unchanged: int
    vanished: list[str]
    pruned: int
    off_pin: list[OffPin]
    error: ErrorDetail | None


class Discoveries(BaseModel):
    results: list[Discovered]
    failed: int


class Checked(BaseModel):
    server: ServerRef
    status: str
    version: str | None
    ms: int
    error: ErrorDetail | None
    model: str | None = Field(description="the one that was asked for a token, too")


class Checks(BaseModel):
    results: list[Checked]
    failed: int


class State(BaseModel):
    """`registry_age` is there when `/readyz` has something to say of it."""

    status: Literal["ok", "ready"]
    registry_age: float | None = None
