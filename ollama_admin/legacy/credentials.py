"""What the auth variables of one server amount to, in the terms of `auth_type`, `auth_config` and `headers`."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ollama_admin.domain import AuthType
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.layouts import Role

SECRET_ROLES = frozenset({Role.KEY, Role.PASSWORD, Role.BASIC, Role.HEADER, Role.HEADERS})
DEFAULT_HEADER = "X-API-Key"
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The value of one auth variable and where it stood; it may be a secret."""

    value: str = field(repr=False)
    source: Binding


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What would be stored: `secret` is the password, the token or the key."""

    auth_type: AuthType
    secret: str = field(repr=False)
    username: str | None = None
    header_name: str | None = None


def credential(pieces: Mapping[Role, Piece]) -> Credential | None:
    """The one credential that the pieces make; None when they are incomplete or of a kind that is not spoken.

    A user with a password is `basic`, a key alone `bearer`, a key with the name of a header `api_key`.
    """
    scheme = _text(pieces, Role.SCHEME).lower()
    header = _text(pieces, Role.HEADER)
    if scheme not in ("", "basic", "bearer", "api_key", "api-key", "apikey", "token"):
        return None
    if scheme != "bearer" and pieces.get(Role.USERNAME) and pieces.get(Role.PASSWORD):
        return _basic(pieces[Role.USERNAME].value, pieces[Role.PASSWORD].value)
    if scheme in ("", "basic") and Role.BASIC in pieces:
        return _from_basic(pieces[Role.BASIC].value)
    if scheme != "basic" and Role.KEY in pieces:
        return _from_key(pieces[Role.KEY].value, header, scheme)
    return _from_header(header)


def extra_headers(pieces: Mapping[Role, Piece]) -> Mapping[str, str] | None:
    """The headers of a JSON object; None when there are none or they cannot be read."""
    try:
        document = json.loads(_text(pieces, Role.HEADERS) or "null")
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or not document:
        return None
    good = all(isinstance(value, str) and _HEADER_NAME.fullmatch(name) for name, value in document.items())
    return document if good else None


def _text(pieces: Mapping[Role, Piece], role: Role) -> str:
    return pieces[role].value.strip() if role in pieces else ""


def _basic(username: str, password: str) -> Credential:
    return Credential(auth_type=AuthType.BASIC, username=username, secret=password)


def _from_basic(text: str) -> Credential | None:
    """From `user:password`, plain or in base64, with or without the word Basic."""
    text = text.strip().removeprefix("Basic ").strip()
    if ":" not in text:
        try:
            text = base64.b64decode(text, validate=True).decode()
        except (binascii.Error, ValueError):
            return None
    username, colon, password = text.partition(":")
    return _basic(username, password) if colon else None


def _from_key(key: str, header: str, scheme: str) -> Credential:
    key = key.strip().removeprefix("Bearer ").strip()
    named = _HEADER_NAME.fullmatch(header) and header.lower() != "authorization"
    if named or (scheme.startswith("api") and not header):
        return Credential(auth_type=AuthType.API_KEY, header_name=header or DEFAULT_HEADER, secret=key)
    return Credential(auth_type=AuthType.BEARER, secret=key)


def _from_header(line: str) -> Credential | None:
    """From a whole header, as in `Authorization: Bearer TOKEN`, or from what stands behind the colon."""
    if line.lower().startswith(("bearer ", "basic ")):
        line = f"Authorization: {line}"
    name, _, value = (part.strip() for part in line.partition(":"))
    if not value or not _HEADER_NAME.fullmatch(name):
        return None
    if name.lower() != "authorization":
        return Credential(auth_type=AuthType.API_KEY, header_name=name, secret=value)
    if value.lower().startswith("basic "):
        return _from_basic(value[6:])
    return Credential(auth_type=AuthType.BEARER, secret=value.removeprefix("Bearer ").strip())
