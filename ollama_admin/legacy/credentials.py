"""What the auth variables of one server make: fields of `auth_type`, `auth_config`, `headers`.

A user with a password is `basic`, a key alone `bearer`, a key with the name of a header `api_key`.
What no header can carry is an error that names its place.
"""

import base64
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TypeAlias

from ollama_admin.domain.secret import check_header_value, header_name
from ollama_admin.domain.servers import DEFAULT_API_KEY_HEADER, OPEN_FIELDS, SECRET_FIELDS, AuthType
from ollama_admin.domain.values import Json
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import values
from ollama_admin.legacy.layouts import CF_HEADERS, COLUMNS, Role
from ollama_admin.legacy.servers import PlanEntry, Sourced, unreadable

# Fields of credentials: `auth_type`, `auth_config.password` and its like, `headers.NAME`.
AUTH_TYPE = "auth_type"
AUTH_CONFIG = "auth_config."
HEADERS = "headers."

_API_KEY = frozenset({AuthType.API_KEY})
_SPOKEN: Mapping[str, frozenset[AuthType]] = {
    "": frozenset(AuthType),
    "basic": frozenset({AuthType.BASIC}),
    "bearer": frozenset({AuthType.BEARER}),
    "token": frozenset({AuthType.BEARER, AuthType.API_KEY}),
} | dict.fromkeys(("apikey", "api_key", "api-key"), _API_KEY)
_NOT_SPOKEN = {
    scheme: f"{scheme} authentication is not supported"
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
Fields: TypeAlias = dict[str, Sourced]  # `auth_type`, then those of `auth_config`


def credential(pieces: Pieces) -> Fields | None:
    """The one credential that the pieces make, if it is whole and of a kind that is spoken."""
    spoken = _SPOKEN.get(_scheme(pieces), frozenset())
    whole = filter(None, _candidates(pieces))
    return next((fields for fields in whole if fields[AUTH_TYPE].text in spoken), None)


def auth(pieces: Pieces) -> Iterator[tuple[str, Sourced] | PlanEntry]:
    """The fields that the pieces make, and what of them goes nowhere."""
    chosen = credential(pieces)
    used = [part.source for part in (chosen or {}).values()]
    if chosen is not None:
        said = chosen.copy()
        if Role.SCHEME in pieces:
            said[AUTH_TYPE] = replace(pieces[Role.SCHEME], value=chosen[AUTH_TYPE].value)
        yield from _problems(chosen) or said.items()
    for role, piece in pieces.items():
        if role == Role.HEADERS:
            yield from _headers(piece, chosen)
        elif role in CF_HEADERS:
            yield _header(CF_HEADERS[Role(role)], piece)
        elif chosen is None or (role != Role.SCHEME and piece.source not in used):
            yield from skipped(piece, _why(Role(role), pieces, chosen), COLUMNS[role])


def skipped(piece: Sourced, why: str, column: str) -> Iterator[PlanEntry]:
    return (PlanEntry(binding=source, why=why, field=column) for source in piece.sources)


def another(used: Sourced) -> str:
    return f"another credential is used: {used.source.place}"


def _scheme(pieces: Pieces) -> str:
    return pieces[Role.SCHEME].text.strip().lower() if Role.SCHEME in pieces else ""


def _candidates(pieces: Pieces) -> Iterator[Fields | None]:
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


def _credential(kind: AuthType, secret: Sourced, subject: Sourced | None = None) -> Fields:
    """A password, a token or a key, with the user name of basic or the header of a key."""
    fields = {AUTH_TYPE: Sourced.inferred(kind.value, secret.source, _INFERRED[kind])}
    if subject is not None:
        fields[AUTH_CONFIG + OPEN_FIELDS[kind]] = replace(subject, value=subject.text)
    return fields | {AUTH_CONFIG + SECRET_FIELDS[kind]: secret}


def _basic(username: Sourced, password: Sourced) -> Fields | None:
    if not username.text or not password.text:
        return None
    return _credential(AuthType.BASIC, password, username)


def _from_basic(piece: Sourced, text: str) -> Fields | None:
    """From `user:password`, plain or in base64, with or without the word Basic."""
    text = _without("basic", text)
    if ":" not in text:
        try:
            text = base64.b64decode(text.strip(), validate=True).decode()
        except ValueError:
            return None
    username, _, password = text.partition(":")
    return _basic(piece.part(username), piece.part(password))


def _from_key(piece: Sourced, header: Sourced | None, scheme: str) -> Fields:
    secret = piece.part(_without("bearer", piece.text))
    if header is None:
        kind = AuthType.API_KEY if _SPOKEN.get(scheme) == _API_KEY else AuthType.BEARER
        return _credential(kind, secret)
    name = header.text.strip()
    if _name_problem(name) or name.lower() == "authorization":
        return _credential(AuthType.BEARER, secret)
    return _credential(AuthType.API_KEY, secret, header.part(name))


def _from_header(piece: Sourced, line: str) -> Fields | None:
    """From a header, as in `Authorization: Bearer TOKEN`, or from what is behind its colon."""
    line = line.lstrip(" ")
    if line.lower().startswith(("bearer ", "basic ")):
        line = f"Authorization: {line}"
    name, _, value = line.partition(":")
    name, value = name.strip(" "), value.lstrip(" ")
    if _name_problem(name) or not value or values.is_placeholder(value, key=True):
        return None
    if name.lower() == "authorization" and value.lower().startswith("basic "):
        return _from_basic(piece, value)
    if name.lower() == "authorization" and value.lower().startswith("bearer "):
        return _credential(AuthType.BEARER, piece.part(_without("bearer", value)))
    return _credential(AuthType.API_KEY, piece.part(value), piece.part(name))


def _without(scheme: str, text: str) -> str:
    """The text without the word that names an auth scheme; its other blanks stay."""
    word, blank, rest = text.partition(" ")
    if blank and word.lower() == scheme:
        return rest.lstrip(" ")
    return text


def _problems(chosen: Fields) -> list[PlanEntry]:
    """What keeps a header from carrying a credential."""
    problems = []
    kind = chosen[AUTH_TYPE].text
    for field, part in chosen.items():
        what = field.removeprefix(AUTH_CONFIG)
        problems.append(_problem(part, what if what in OPEN_FIELDS.values() else f"{kind} {what}"))
        if what == "username" and ":" in part.text:
            error = values.problem(part.source, "holds a user name with a ':' in it")
            problems.append(unreadable(part.source, error))
    return list(filter(None, problems))


def _problem(part: Sourced, what: str) -> PlanEntry | None:
    try:
        with values.at(part.source):
            check_header_value(what, part.text)
    except InvalidInput as exc:
        return unreadable(part.source, exc)
    return None


def _why(role: Role, pieces: Pieces, chosen: Fields | None) -> str:
    """Why a piece is in no credential."""
    scheme, partner = _scheme(pieces), _PARTNERS.get(role)
    if scheme not in _SPOKEN:
        return _NOT_SPOKEN.get(scheme, "the auth scheme is not known")
    is_complete = role is Role.KEY or partner in pieces
    if chosen and (is_complete or partner is None):
        return another(chosen[AUTH_TYPE])
    if is_complete:
        return f"the auth scheme is {scheme}"
    return _INCOMPLETE[role]


def _headers(piece: Sourced, chosen: Fields | None) -> Iterator[tuple[str, Sourced] | PlanEntry]:
    """The extra headers of a JSON object; an Authorization in it is a credential instead."""
    taken = set()
    if chosen and chosen[AUTH_TYPE].text == AuthType.API_KEY:
        own = chosen.get(f"{AUTH_CONFIG}header_name")
        taken.add((own.text if own else DEFAULT_API_KEY_HEADER).casefold())
    document = _document(piece)
    if not document:
        yield from skipped(piece, "no JSON object of headers", "headers")
    for name, value in document.items():
        why = _header_problem(name, value, is_twice=name.casefold() in taken)
        if name.casefold() != "authorization" and why:
            yield from skipped(piece, why, "headers")
        elif name.casefold() != "authorization":
            taken.add(name.casefold())
            yield _header(name, piece.part(str(value)))
        elif chosen is None:
            yield from skipped(piece, "no credential that can be read", HEADERS + name)
        elif chosen[AUTH_TYPE].source != piece.source:
            yield from skipped(piece, another(chosen[AUTH_TYPE]), HEADERS + name)


def _header(name: str, piece: Sourced) -> tuple[str, Sourced] | PlanEntry:
    return _problem(piece, f"header {name}") or (HEADERS + name, piece)


def _document(piece: Sourced) -> dict[str, Json]:
    """A JSON object; empty when it is none."""
    with suppress(InvalidInput):
        document = values.parsed_json(piece.source, piece.text)
        if isinstance(document, dict):
            return document
    return {}


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
    if values.is_placeholder(value.strip()):
        return values.PLACEHOLDER
    return None
