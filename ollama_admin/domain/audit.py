"""Who changed what, or tried to."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ollama_admin.domain.callers import Way

OK = "ok"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """A row of `ollama_audit`. `who` is the key's name over HTTP, else the user and the host;
    `action` is a noun and a verb, as in `server.update`; `before` and `after` have no secrets.
    `outcome` is `ok`, or the code of the error that refused it. `id` is None before it is written.
    """

    id: int | None = None
    created_at: datetime
    way: Way
    who: str
    key_id: int | None = None
    action: str
    subject: str | None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    outcome: str = OK
    request_id: str | None = None
