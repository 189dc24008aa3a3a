"""What the fleet is doing now: its servers, and the requests on their way. Times are aware UTC."""

from dataclasses import dataclass
from datetime import datetime

from ollama_admin.domain.keys import KeyRef
from ollama_admin.domain.running import RunningModel
from ollama_admin.domain.servers import ServerRef, ServerStatus
from ollama_admin.errors import AdminError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerActivity:
    """One server. It has had its `status` since `status_since`. `in_flight` are the slots in use
    and `waiting` the requests that would take one, of all processes: one that may go to several
    servers waits at each. `tokens_per_second` are those of the last minute, of answers that ended
    in it and of those on their way that are told with it. `models` are in memory, None where that
    is not known; `error` says why it could not be read.
    """

    server: ServerRef
    is_active: bool
    is_draining: bool
    status: ServerStatus
    status_since: datetime | None
    in_flight: int
    max_concurrent: int
    waiting: int
    tokens_per_second: float
    models: tuple[RunningModel, ...] | None = None
    error: AdminError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestActivity:
    """One request on its way. `id` is the `X-Request-Id` of its answer, None for one that did not
    come over HTTP. `server` is the one that was asked last, None while it waits for its
    turn; `output_tokens` came so far, None where nothing tells them before the end.
    """

    id: str | None
    started_at: datetime
    model: str | None
    server: ServerRef | None
    key: KeyRef | None
    client: str | None
    ms: int
    output_tokens: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetActivity:
    """All servers that may be asked about, in their order, and the requests of the service
    that tells this, the oldest first; None for a process that serves none.
    """

    at: datetime
    servers: tuple[ServerActivity, ...]
    requests: tuple[RequestActivity, ...] | None
