"""Keys of clients: who may ask, for what, and how much. Pure data; times are aware UTC."""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any, TypedDict

from ollama_admin.domain.secret import MASK, Secret
from ollama_admin.domain.values import fields_of
from ollama_admin.errors import StateChanged

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

SECRET_BYTES = 32  # 43 characters of base64
_KEY = re.compile(rb"oadm_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_IN_TEXT = re.compile(r"oadm_([0-9a-f]{8})_[A-Za-z0-9_-]{8,}")
_NO_HASH = "0" * 64


class Right(StrEnum):
    """What a key may do: ask models; read what is stored; change servers and what they hold; have
    everything, keys too.
    """

    ASK = "ask"
    READ = "read"
    MANAGE = "manage"
    ADMIN = "admin"


# what a right stands for beside itself
_IMPLIED = {
    Right.ASK: {Right.ASK},
    Right.READ: {Right.READ},
    Right.MANAGE: {Right.READ, Right.MANAGE},
    Right.ADMIN: set(Right),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRef:
    """A key as receipts name it; `id` is None for the token in the environment."""

    id: int | None
    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A row of `ollama_keys` without its secret, of which `public_id` is the part that may be seen.

    `models` and `servers` are names or globs, an empty one is all; `networks` are those from which
    it is taken, an empty one is all. Limits are None where there are none. With `anonymous`,
    requests without a key from its networks are its own. A key that is not `is_active` was revoked.
    The token in the environment has no row, and the id 0. `managed_by` is the owner whose file made
    it, None for people.
    """

    id: int
    name: str
    public_id: str
    can: Sequence[Right]
    models: Sequence[str]
    servers: Sequence[str]
    networks: Sequence[str]
    allow_remote: bool
    allow_truncate: bool
    anonymous: bool
    is_active: bool
    max_concurrent: int | None
    weight: int
    requests_per_minute: int | None
    tokens_per_day: int | None
    expires_at: datetime | None
    last_used_at: datetime | None
    note: str | None
    old_secret_expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    managed_by: str | None = None

    @property
    def ref(self) -> KeyRef:
        return KeyRef(id=self.id or None, name=self.name)

    @property
    def state(self) -> str:
        """A text that is another one after each change of the row, but not after a use of the
        key.
        """
        values = fields_of(self) | {"last_used_at": None}
        return hashlib.sha256(repr(sorted(values.items())).encode()).hexdigest()[:32]

    def require_state(self, state: str) -> None:
        """Raise StateChanged unless the row is in this state."""
        if self.state != state:
            raise StateChanged(
                f"key {self.name} was changed in the meantime", "read it again, then decide"
            )

    def may(self, right: Right) -> bool:
        return any(right in _IMPLIED[own] for own in self.can)

    def is_over(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    @property
    def is_limited(self) -> bool:
        is_free = self.max_concurrent is None and self.requests_per_minute is None
        return not is_free or self.tokens_per_day is not None


class KeyColumns(TypedDict, total=False):
    """The columns of a key that people give; see `Key`."""

    can: Sequence[str] | None
    models: Sequence[str] | None
    servers: Sequence[str] | None
    networks: Sequence[str] | None
    allow_remote: bool | None
    allow_truncate: bool | None
    anonymous: bool | None
    max_concurrent: int | None
    weight: int | None
    requests_per_minute: int | None
    tokens_per_day: int | None
    expires_at: datetime | None
    note: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """A key with what it takes to know it again: the hashes of its secret, and of the one before,
    which ends with `key.old_secret_expires_at`.
    """

    key: Key
    secret_hash: str | None = field(repr=False)
    old_secret_hash: str | None = field(repr=False)
    networks: Sequence[Network] = ()

    def is_secret(self, secret: bytes, now: datetime) -> bool:
        """Whether the secret is this key's now; it takes as long for a wrong one."""
        given = hash_of(secret)
        ends = self.key.old_secret_expires_at
        is_current = hmac.compare_digest(given, self.secret_hash or _NO_HASH)
        is_old = hmac.compare_digest(given, self.old_secret_hash or _NO_HASH)
        return is_current or (is_old and ends is not None and now < ends)

    def is_from(self, address: Address | None) -> bool:
        """Whether it is taken from an address; None is one that is not known."""
        if not self.networks:
            return True
        return self.narrowest(address) is not None

    def narrowest(self, address: Address | None) -> int | None:
        """The prefix length of its narrowest network that holds the address; None for none."""
        if address is None:
            return None
        lengths = [network.prefixlen for network in self.networks if address in network]
        return max(lengths, default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedKey:
    """A key with its text, which is known only now."""

    key: Key
    text: Secret

    def document(self) -> dict[str, Any]:
        return fields_of(self.key) | {"key": self.text.reveal()}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSecret:
    """What is made for a key: its whole text, and the hash that is stored of its secret."""

    text: Secret
    hash: str


def new_public_id() -> str:
    return secrets.token_hex(4)


def new_secret(public_id: str) -> NewSecret:
    secret = secrets.token_urlsafe(SECRET_BYTES)
    return NewSecret(text=Secret(f"oadm_{public_id}_{secret}"), hash=hash_of(secret.encode()))


def parts_of(text: bytes) -> tuple[str, bytes] | None:
    """The public id and the secret of a key; None for what has not the form of one."""
    match = _KEY.fullmatch(text)
    if match is None:
        return None
    return match[1].decode(), match[2]


def masked(text: str) -> str:
    """The text without the secrets of keys."""
    if "oadm_" not in text:
        return text
    return _IN_TEXT.sub(rf"oadm_\1_{MASK}", text)


def hash_of(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()


def network(text: str) -> Network:
    """A network as `10.0.0.0/8`, or one address; ValueError for what is neither."""
    return ip_network(text)


def unmapped(address: Address) -> Address:
    """The address itself, where IPv6 only carries one of IPv4."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def rights(values: Iterable[str]) -> tuple[Right, ...]:
    """Rights by their names, each once, in their usual order; ValueError for another word."""
    given = {Right(value) for value in values}
    return tuple(right for right in Right if right in given)
