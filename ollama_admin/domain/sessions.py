"""Sessions of browsers at the pages. Pure data; times are aware UTC."""

from dataclasses import dataclass, field
from datetime import datetime

from ollama_admin.domain.keys import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRow:
    """A row of `ollama_sessions`; `key_id` is None for the token in the environment."""

    token_hash: str = field(repr=False)
    key_id: int | None
    csrf_token: str = field(repr=False)
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A browser that is signed in: its key as it is now, and the text that every form which changes
    something must give back.
    """

    key: Key
    csrf_token: str = field(repr=False)
