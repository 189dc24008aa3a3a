"""Servers: rows, references to them, and what a check saw. Pure data; times are aware UTC."""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, TypedDict

from ollama_admin.domain.secret import MASK, Secret
from ollama_admin.domain.values import Given, Json, fields_of
from ollama_admin.errors import AdminError, StateChanged


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
_SECRETS = frozenset(SECRET_FIELDS.values())
# The columns of a row that people do not write.
_SEEN = (
    "slots_in_use",
    "status",
    "version",
    "last_error",
    "last_seen_at",
    "last_discovered_at",
    "status_since",
    "status_at",
    "latency_ms",
    "failures",
    "asked_last_until",
)
# a name that a shell reads as one word and this program as no option and no id
_PLAIN_NAME = re.compile(r"(?!\d+$)[\w.@%+=,:/][\w.@%+=,:/-]*")
DEFAULT_API_KEY_HEADER = "X-API-Key"


class ServerColumns(TypedDict, total=False):
    """The columns of a server that people change; see `Server`. None in `labels` takes one away."""

    api_version: ApiVersion | str | None
    capabilities: Sequence[str] | None
    max_concurrent: int | None
    priority: int | None
    is_default: bool | None
    is_active: bool | None
    default_model: str | None
    labels: Mapping[str, str | None] | None
    ca_file: str | None
    client_cert_file: str | None
    client_key_file: str | None
    proxy: str | None


class TransportColumns(TypedDict, total=False):
    """The columns of a server that say how its connections are made; see `TransportOptions`."""

    ca_file: str | None
    client_cert_file: str | None
    client_key_file: str | None
    proxy: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportOptions:
    """How the connections of one server are made, otherwise than those of all: the files are PEM.
    `ca_file` is what its certificate is checked against, `client_cert_file` with `client_key_file`
    what it is shown, `proxy` the URL of what stands before it. None is as for all servers.
    """

    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    proxy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenAuth:
    """Credentials for a row as somebody gives them, in the columns' terms; None is not given."""

    auth_type: AuthType | str | None = None
    auth_config: Mapping[str, Given] | None = None
    headers: Mapping[str, Given] | None = None

    @property
    def is_nothing(self) -> bool:
        return self.auth_type is None and self.auth_config is None and self.headers is None


class ServerStatus(StrEnum):
    """What was seen of a server last; it decides who is asked first, and excludes nobody."""

    UNKNOWN = "unknown"
    ONLINE = "online"
    OFFLINE = "offline"
    UNAUTHORIZED = "unauthorized"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerRef:
    """A server as results name it; id and name are None for a dynamic server."""

    id: int | None
    name: str | None
    url: str

    def __str__(self) -> str:
        return self.name or self.url

    @property
    def word(self) -> str:
        """What to type for the server in a command: its name, if a shell takes that as one word."""
        if self.name and _PLAIN_NAME.fullmatch(self.name):
            return self.name
        return str(self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A row of `ollama_servers`. From the store, secrets in it are sealed; from a service, they are
    masked.

    `slots_in_use` counts the requests that run there now, by whatever process or host. Of its
    health: it has had its `status` since `status_since`, as far as is known, and that was so at
    `status_at`; `last_seen_at` is when it last answered well, `latency_ms` how long its last good
    check took, `failures` how often it failed in a row. It is asked last until `asked_last_until`.

    `managed_by` is the owner whose file made it, None for people. `ca_file` is what its certificate
    is checked against, `client_cert_file` with `client_key_file` what it is shown, `proxy` the URL
    of what stands before it.
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
    labels: Mapping[str, str] = field(default_factory=dict)
    is_draining: bool = False
    status_since: datetime | None = None
    status_at: datetime | None = None
    latency_ms: int | None = None
    failures: int = 0
    asked_last_until: datetime | None = None
    managed_by: str | None = None
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    proxy: str | None = None

    def document(self) -> dict[str, Any]:
        """Where a secret stands, asterisks; a reference is shown as it was given."""
        config = {
            key: _shown(value) if key in _SECRETS else value
            for key, value in self.auth_config.items()
        }
        headers = {name: _shown(value) for name, value in self.headers.items()}
        return fields_of(self) | {"auth_config": config, "headers": headers}

    @property
    def ref(self) -> ServerRef:
        return ServerRef(id=self.id, name=self.name, url=self.url)

    @property
    def state(self) -> str:
        """A text that is another one after each change of the row by people. What checks, discovery
        and running requests write is no such change, and masked secrets are as sealed ones.
        """
        values = fields_of(self) | {
            "auth_config": sorted(self.auth_config),
            "headers": sorted(self.headers),
            "labels": sorted(self.labels.items()),
        }
        for name in _SEEN:
            del values[name]
        return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:32]

    def require_state(self, states: Collection[str] | None) -> None:
        """Raise StateChanged unless the row is in one of these states; None is any."""
        if states is not None and self.state not in states:
            raise StateChanged(
                f"server {self.name} was changed in the meantime", "read it again, then decide"
            )

    @property
    def is_ollama(self) -> bool | None:
        """Whether `/api/version` was answered at the last check; None when there was none yet."""
        if self.version is not None:
            return True
        return None if self.last_seen_at is None else False


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """All that a request needs to know of the server it goes to: a row, or a dynamic server.

    `headers` carry its credentials; `secrets` are the forms in which they must not come back in a
    message. `transport` is None where its connections are made like those of all.
    """

    ref: ServerRef
    api_version: ApiVersion
    headers: Mapping[str, Secret] = field(default_factory=dict)
    secrets: tuple[Secret, ...] = ()
    transport: TransportOptions | None = None

    def traced(self, traceparent: str) -> "Target":
        """The same, for a request that goes on with a trace."""
        headers = dict(self.headers) | {"traceparent": Secret(traceparent)}
        return replace(self, headers=headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """What a server said to the question for its version; `ms` is the time the answer took.

    `model` is the one that was asked for a token, too; None where none was.
    """

    server: ServerRef
    status: ServerStatus
    version: str | None
    ms: int
    error: AdminError | None = None
    model: str | None = None


def has_capability(capabilities: Iterable[str], wanted: str) -> bool:
    """Whether one of the capabilities is the wanted one, in whatever case."""
    return wanted.casefold() in {capability.casefold() for capability in capabilities}


def _shown(value: Json) -> str:
    return str(value) if str(value).startswith(("env:", "file:")) else MASK
