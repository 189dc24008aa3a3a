"""Whose request it is: the key that a client gives, or the one for its network. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

from ollama_admin.domain.callers import Rights
from ollama_admin.domain.keys import Address, Key, KnownKey, Right, parts_of

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_NOBODY = KnownKey(
    key=Key(
        id=-1,
        name="nobody",
        public_id="",
        can=(),
        models=(),
        servers=(),
        networks=(),
        allow_remote=False,
        allow_truncate=False,
        anonymous=False,
        is_active=False,
        max_concurrent=None,
        weight=1,
        requests_per_minute=None,
        tokens_per_day=None,
        expires_at=None,
        last_used_at=None,
        note=None,
        old_secret_expires_at=None,
        created_at=_BEGINNING,
        updated_at=_BEGINNING,
    ),
    secret_hash=None,
    old_secret_hash=None,
)
# the one of the environment, which is there before any other
TOKEN = replace(_NOBODY.key, id=0, name="OLLAMA_ADMIN_API_TOKEN", can=(Right.ADMIN,))


class KeyTable:
    """All keys at one time, by what a request gives."""

    def __init__(self, keys: Iterable[KnownKey]) -> None:
        self._by_public_id = {known.key.public_id: known for known in keys}
        self._by_id = {known.key.id: known for known in self._by_public_id.values()}
        self._anonymous = [
            known
            for known in self._by_public_id.values()
            if known.key.anonymous and known.key.is_active
        ]

    def of_text(self, text: bytes, address: Address | None, now: datetime) -> Key | None:
        """The key with this text; None for a wrong, revoked or expired one, and for one that is
        not taken from the address. To look up a wrong one takes as long.
        """
        parts = parts_of(text)
        if parts is None:
            return None
        public_id, secret = parts
        known = self._by_public_id.get(public_id, _NOBODY)
        is_secret = known.is_secret(secret, now)
        if not is_secret or not known.key.is_active or known.key.is_over(now):
            return None
        return known.key if known.is_from(address) else None

    def of_id(self, key_id: int, address: Address | None, now: datetime) -> KnownKey | None:
        """The key with this id; None for a revoked or expired one, and for one that is not taken
        from the address.
        """
        known = self._by_id.get(key_id)
        if known is None or not known.key.is_active or known.key.is_over(now):
            return None
        return known if known.is_from(address) else None

    def of_network(self, address: Address | None, now: datetime) -> Key | None:
        """The key for requests without one from this address: of the narrowest network, and of
        equal ones the oldest.
        """
        found: list[tuple[int, int, Key]] = []
        for known in self._anonymous:
            length = known.narrowest(address)
            if length is not None and not known.key.is_over(now):
                found.append((-length, known.key.id, known.key))
        if not found:
            return None
        return min(found, key=lambda one: one[:2])[2]


class RightsOfKeys:
    """`rights_of` for one `base`, worked out once for each key."""

    def __init__(self, base: Rights) -> None:
        self._base = base
        self._known: dict[int, tuple[Key, Rights]] = {}

    def of(self, key: Key) -> Rights:
        known = self._known.get(key.id)
        if known is None or known[0] is not key:  # it was changed since
            known = self._known[key.id] = key, rights_of(key, self._base)
        return known[1]


def rights_of(key: Key, base: Rights) -> Rights:
    """What somebody with this key may do, of what `base` lets everybody do."""
    return replace(
        base,
        dynamic_servers=base.dynamic_servers and key.may(Right.MANAGE) and not key.servers,
        remote=key.allow_remote,
        models=tuple(key.models),
        servers=tuple(key.servers),
    )
