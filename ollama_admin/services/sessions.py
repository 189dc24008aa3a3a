"""Sessions of browsers: who signed in with a key may come again without it, for a while.

A session is bound to the key's secret: a key that was revoked, rotated or has expired opens nothing
any more, and what a key may do is read anew each time.
"""

import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta

from ollama_admin.domain.keys import Address, KnownKey, hash_of
from ollama_admin.domain.sessions import Session, SessionRow
from ollama_admin.rules.access import TOKEN, KeyTable
from ollama_admin.store import sessions as store
from ollama_admin.store.database import Database

LIFETIME = timedelta(hours=12)
TOKEN_BYTES = 32


class Sessions:
    """`table` gives the keys as they are now; `token_hash` is that of the token in the
    environment, which is a key too.
    """

    def __init__(
        self,
        db: Database,
        table: Callable[[], Awaitable[KeyTable]],
        now: Callable[[], datetime],
        token_hash: str,
    ) -> None:
        self._db = db
        self._table = table
        self._now = now
        self._token_hash = token_hash

    async def open(self, text: bytes, address: Address | None) -> str | None:
        """The token of a new session for a key; without a text for the one of the network. None
        where no key is taken. Raises DatabaseUnavailable.
        """
        known = await self._known_by_text(text, address)
        if known is None:
            return None
        token, now = secrets.token_urlsafe(TOKEN_BYTES), self._now()
        row = SessionRow(
            token_hash=hash_of(token.encode()),
            key_id=known.key.id or None,
            csrf_token=_bound(token, known.secret_hash or ""),
            created_at=now,
            expires_at=now + LIFETIME,
        )
        await self._db.write(store.add, row)
        return token

    async def of(self, token: str, address: Address | None) -> Session | None:
        """The session of a token; None where it is over or its key opens nothing any more. Raises
        DatabaseUnavailable where that cannot be known.
        """
        now = self._now()
        row = await self._db.read(store.find, hash_of(token.encode()), now)
        if row is None:
            return None
        known = await self._known_by_id(row.key_id, address)
        if known is None:
            return None
        tokens = [_bound(token, secret_hash) for secret_hash in _live_hashes(known, now)]
        if not any(hmac.compare_digest(one, row.csrf_token) for one in tokens):
            return None
        return Session(key=known.key, csrf_token=row.csrf_token)

    async def close(self, token: str) -> None:
        """Forget a session, if there is one."""
        await self._db.write(store.remove, hash_of(token.encode()))

    async def _known_by_text(self, text: bytes, address: Address | None) -> KnownKey | None:
        if text and hmac.compare_digest(hash_of(text), self._token_hash):
            return self._of_environment()
        table, now = await self._table(), self._now()
        key = table.of_network(address, now)
        if text:
            key = table.of_text(text, address, now)
        if key is None:
            return None
        return table.of_id(key.id, address, now)

    async def _known_by_id(self, key_id: int | None, address: Address | None) -> KnownKey | None:
        if key_id is None:
            return self._of_environment()
        table = await self._table()
        return table.of_id(key_id, address, self._now())

    def _of_environment(self) -> KnownKey:
        return KnownKey(key=TOKEN, secret_hash=self._token_hash, old_secret_hash=None)


def _live_hashes(known: KnownKey, now: datetime) -> Iterator[str]:
    """The hashes of the secrets that are taken for a key now."""
    yield known.secret_hash or ""
    ends = known.key.old_secret_expires_at
    if known.old_secret_hash is not None and ends is not None and now < ends:
        yield known.old_secret_hash


def _bound(token: str, secret_hash: str) -> str:
    """What only this session of a key with this secret has, and tells neither of the two."""
    return hmac.new(token.encode(), secret_hash.encode(), hashlib.sha256).hexdigest()
