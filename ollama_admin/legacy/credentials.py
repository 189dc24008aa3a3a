"""What the auth variables of one server amount to, as fields of `auth_type`, `auth_config` and
`headers`.

A user with a password is `basic`, a key alone `bearer`, a key with the name of a header `api_key`.
What no header can carry is an error that names its place.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from ollama_admin.domain.secret import check_header_value, header_name
from ollama_admin.domain.servers import DEFAULT_API_KEY_HEADER, OPEN_FIELDS, SECRET_FIELDS, AuthType
from ollama_admin.domain.values import Json
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import forms, values
from ollama_admin.legacy.layouts import CF_HEADERS, COLUMNS, Role
from ollama_admin.legacy.servers import (
    AUTH_CONFIG,
    AUTH_TYPE,
    HEADERS,
    PlanEntry,
    Sourced,
    unreadable,
)

_SPOKEN: Mapping[str, frozenset[AuthType]] = {
    "": frozenset(AuthType),
    "basic": frozenset({AuthType.BASIC}),
    "bearer": frozenset({AuthType.BEARER}),
    "token": frozenset({AuthType.BEARER, AuthType.API_KEY}),
    "apikey": frozenset({AuthType.API_KEY}),
}
_NOT_SPOKEN = {
    scheme: f"{scheme} authentication is not spoken"
    for scheme in ("session", "system_oauth", "digest", "negotiate", "ntlm")
} | {"none": "the auth scheme is none"}
_INFERRED = {
    AuthType.BASIC: "a user name with a password",
    AuthType.BEARER: "a key alone",
    AuthType.API_KEY: "a key with the name of a header",
}
_PARTNERS = {Role.USERNAME: Role.PASSWORD, Role.PASSWORD: Role.USERNAME}
_INCOMPLETE = {
    Role.USERNAME: "a user name without a password",
    Role.PASSWORD: "a password without a user name",
    Role.BASIC: "neither user:password nor its base64",
    Role.HEADER: "neither a whole header nor the name of one with a key",
    Role.SCHEME: "no credential belongs to it",
}

Pieces: TypeAlias = Mapping[str, Sourced]  # by their role
Field: TypeAlias = tuple[str, Sourced]  # the name of a field, and what it gets


@dataclass(frozen=True, slots=True)
class Credential:
    """`secret` is the password, the token or the key; `subject` the user name of basic, the header
    of api_key.
    """

    auth_type: AuthType
    secret: Sourced
    subject: Sourced | None = None

    @property
    def parts(self) -> list[Sourced]:
        return [part for part in (self.secret, self.subject) if part is not None]

    @property
    def own_header(self) -> str | None:
        """The header that it is sent in, in small letters, if it is one of its own."""
        if self.auth_type is not AuthType.API_KEY:
            return None
        if self.subject is None:
            return DEFAULT_API_KEY_HEADER.casefold()
        return self.subject.text.casefold()


def credential(pieces: Pieces) -> Credential | None:
    """The one credential that the pieces make; None when they are incomplete or of a kind that is
    not spoken.
    """
    spoken = _SPOKEN.get(_scheme(pieces), frozenset())
    made = (candidate for candidate in _candidates(pieces) if candidate is not None)
    return next((candidate for candidate in made if candidate.auth_type in spoken), None)


def auth(pieces: Pieces) -> Iterator[Field | PlanEntry]:
    """What the pieces say, and what of them goes nowhere."""
    chosen = credential(pieces)
    if chosen is not None:
        yield from _problems(chosen) or _credential(chosen, pieces.get(Role.SCHEME))
    for role, piece in pieces.items():
        if role == Role.HEADERS:
            yield from _headers(piece, chosen)
        elif role in CF_HEADERS:
            yield _header(CF_HEADERS[Role(role)], piece)
        elif chosen is None or not (role == Role.SCHEME or _is_part(piece, chosen)):
            yield from _skipped(piece, _why(Role(role), pieces, chosen), COLUMNS[role])


def _is_part(piece: Sourced, chosen: Credential) -> bool:
    return any(piece.source == part.source for part in chosen.parts)


def _skipped(piece: Sourced, why: str, column: str) -> Iterator[PlanEntry]:
    return (PlanEntry(binding=source, why=why, field=column) for source in piece.sources)


def _candidates(pieces: Pieces) -> Iterator[Credential | None]:
    if Role.USERNAME in pieces and Role.PASSWORD in pieces:
        yield _basic(pieces[Role.USERNAME], pieces[Role.PASSWORD])
    if Role.BASIC in pieces:
        yield _from_basic(pieces[Role.BASIC], pieces[Role.BASIC].text)
    if Role.KEY in pieces:
        yield _from_key(pieces[Role.KEY], pieces.get(Role.HEADER), _scheme(pieces))
    if Role.HEADER in pieces:
        yield _from_header(pieces[Role.HEADER], pieces[Role.HEADER].text)
    if Role.HEADERS in pieces:
        for name, value in _document(pieces[Role.HEADERS]).items():
            if name.casefold() == "authorization" and isinstance(value, str):
                yield _from_header(pieces[Role.HEADERS], f"{name}: {value}")


def _scheme(pieces: Pieces) -> str:
    if Role.SCHEME not in pieces:
        return ""
    word = pieces[Role.SCHEME].text.strip().lower()
    if word in ("api_key", "api-key"):
        return "apikey"
    return word


def _basic(username: Sourced, password: Sourced) -> Credential | None:
    if not username.text or not password.text:
        return None
    return Credential(AuthType.BASIC, password, username)


def _from_basic(piece: Sourced, text: str) -> Credential | None:
    """From `user:password`, plain or in base64, with or without the word Basic."""
    text = _without("basic", text)
    if ":" not in text:
        try:
            text = base64.b64decode(text.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            return None
    username, _, password = text.partition(":")
    return _basic(piece.part(username), piece.part(password))


def _from_key(piece: Sourced, header: Sourced | None, scheme: str) -> Credential:
    secret = piece.part(_without("bearer", piece.text))
    if header is None and scheme == "apikey":
        return Credential(AuthType.API_KEY, secret)
    if header is None:
        return Credential(AuthType.BEARER, secret)
    name = header.text.strip()
    if _name_problem(name) or name.lower() == "authorization":
        return Credential(AuthType.BEARER, secret)
    return Credential(AuthType.API_KEY, secret, header.part(name))


def _from_header(piece: Sourced, line: str) -> Credential | None:
    """From a whole header, as in `Authorization: Bearer TOKEN`, or from what stands behind the
    colon.
    """
    line = line.lstrip(" ")
    if line.lower().startswith(("bearer ", "basic ")):
        line = f"Authorization: {line}"
    name, _, value = line.partition(":")
    name, value = name.strip(" "), value.lstrip(" ")
    if _name_problem(name) or not value or forms.is_placeholder(value, key=True):
        return None
    if name.lower() == "authorization" and value.lower().startswith("basic "):
        return _from_basic(piece, value)
    if name.lower() == "authorization" and value.lower().startswith("bearer "):
        return Credential(AuthType.BEARER, piece.part(_without("bearer", value)))
    return Credential(AuthType.API_KEY, piece.part(value), piece.part(name))


def _without(scheme: str, text: str) -> str:
    """The text without the word that names an auth scheme; its other blanks stay."""
    word, blank, rest = text.partition(" ")
    if blank and word.lower() == scheme:
        return rest.lstrip(" ")
    return text


def _credential(chosen: Credential, scheme: Sourced | None) -> Iterator[Field]:
    kind, secret, subject = chosen.auth_type, chosen.secret, chosen.subject
    if scheme is None:
        scheme = Sourced(value="", source=secret.source, given=False, remark=_INFERRED[kind])
    yield AUTH_TYPE, replace(scheme, value=kind.value)
    if subject is not None:
        yield AUTH_CONFIG + OPEN_FIELDS[kind], replace(subject, value=subject.text)
    yield AUTH_CONFIG + SECRET_FIELDS[kind], secret


def _problems(chosen: Credential) -> list[PlanEntry]:
    """What keeps a header from carrying it."""
    kind, subject = chosen.auth_type, chosen.subject
    problems = [_problem(chosen.secret, f"{kind} {SECRET_FIELDS[kind]}")]
    if subject is not None:
        problems.append(_problem(subject, OPEN_FIELDS[kind]))
        if kind is AuthType.BASIC and ":" in subject.text:
            error = values.problem(subject.source, "holds a user name with a ':' in it")
            problems.append(unreadable(subject.source, error))
    return [problem for problem in problems if problem is not None]


def _problem(part: Sourced, what: str) -> PlanEntry | None:
    try:
        with values.at(part.source):
            check_header_value(what, part.text)
    except InvalidInput as exc:
        return unreadable(part.source, exc)
    return None


def _why(role: Role, pieces: Pieces, chosen: Credential | None) -> str:
    """Why a piece is in no credential."""
    scheme, partner = _scheme(pieces), _PARTNERS.get(role)
    if scheme not in _SPOKEN:
        return _NOT_SPOKEN.get(scheme, "the auth scheme is not known")
    is_complete = role is Role.KEY or partner in pieces
    if chosen and (is_complete or partner is None):
        return _another(chosen)
    if is_complete:
        return f"the auth scheme is {scheme}"
    return _INCOMPLETE[role]


def _another(chosen: Credential) -> str:
    return f"another credential counts: {chosen.secret.source.place}"


def _headers(piece: Sourced, chosen: Credential | None) -> Iterator[Field | PlanEntry]:
    """The extra headers of a JSON object; an Authorization in it is no extra header, but a
    credential.
    """
    document = _document(piece)
    if not document:
        yield from _skipped(piece, "no JSON object of headers", "headers")
    taken = {chosen and chosen.own_header}
    for name, value in document.items():
        why = _header_problem(name, value, is_twice=name.casefold() in taken)
        if name.casefold() == "authorization":
            yield from _authorization(name, piece, chosen)
        elif why:
            yield from _skipped(piece, why, "headers")
        else:
            taken.add(name.casefold())
            yield _header(name, piece.part(str(value)))


def _authorization(name: str, piece: Sourced, chosen: Credential | None) -> Iterator[PlanEntry]:
    if chosen is None:
        yield from _skipped(piece, "no credential that can be read", HEADERS + name)
    elif chosen.secret.source != piece.source:
        yield from _skipped(piece, _another(chosen), HEADERS + name)


def _header(name: str, piece: Sourced) -> Field | PlanEntry:
    return _problem(piece, f"header {name}") or (HEADERS + name, piece)


def _document(piece: Sourced) -> dict[str, Json]:
    """A JSON object; empty when it is none."""
    try:
        document = json.loads(piece.text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    return document


def _name_problem(name: str) -> str | None:
    try:
        header_name(name)
    except InvalidInput as exc:
        return exc.message[:200]
    return None


def _header_problem(name: str, value: Json, *, is_twice: bool) -> str | None:
    if _name_problem(name):
        return _name_problem(name)
    if not isinstance(value, str) or not value.strip():
        return "a header without a text"
    if is_twice:
        return "a header that is given twice"
    if forms.is_placeholder(value.strip()):
        return forms.PLACEHOLDER
    return None
