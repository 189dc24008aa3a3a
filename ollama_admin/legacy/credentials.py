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

from ollama_admin.domain.secret import check_header_value, header_name
from ollama_admin.domain.servers import DEFAULT_API_KEY_HEADER, OPEN_FIELDS, SECRET_FIELDS, AuthType
from ollama_admin.domain.values import Json
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import forms, values
from ollama_admin.legacy.layouts import AUTH_ROLES, CF_HEADERS, Role
from ollama_admin.legacy.servers import (
    AUTH_CONFIG,
    AUTH_TYPE,
    HEADERS,
    PlanEntry,
    Sourced,
    unreadable,
)

SECRET_ROLES = AUTH_ROLES - {Role.USERNAME, Role.SCHEME}
VERBATIM_ROLES = AUTH_ROLES - {Role.SCHEME, Role.HEADERS}
_SPOKEN: Mapping[str, frozenset[AuthType]] = {
    "": frozenset(AuthType),
    "basic": frozenset({AuthType.BASIC}),
    "bearer": frozenset({AuthType.BEARER}),
    "token": frozenset({AuthType.BEARER, AuthType.API_KEY}),
    "apikey": frozenset({AuthType.API_KEY}),
}
_NOT_SPOKEN = ("session", "system_oauth", "digest", "negotiate", "ntlm")
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
_COLUMNS = {Role.SCHEME: "auth_type", Role.HEADERS: "headers"}

Pieces = Mapping[Role, Sourced]
Outcome = tuple[dict[str, Sourced], list[PlanEntry]]


@dataclass(frozen=True, slots=True)
class Credential:
    """`secret` is the password, the token or the key; `subject` the user name of basic, the header
    of api_key.
    """

    auth_type: AuthType
    secret: Sourced
    subject: Sourced | None = None


def credential(pieces: Pieces) -> Credential | None:
    """The one credential that the pieces make; None when they are incomplete or of a kind that is
    not spoken.
    """
    spoken = _SPOKEN.get(_scheme(pieces), frozenset())
    made = (candidate for candidate in _candidates(pieces) if candidate is not None)
    return next((candidate for candidate in made if candidate.auth_type in spoken), None)


def auth_fields(pieces: Pieces) -> Outcome:
    """What the pieces say, by field, and what of them goes nowhere."""
    chosen = credential(pieces)
    fields, skipped = _credential_fields(chosen, pieces.get(Role.SCHEME))
    for role, piece in pieces.items():
        if role is Role.HEADERS:
            outcome = _header_fields(piece, chosen)
        elif role in CF_HEADERS:
            outcome = _header(CF_HEADERS[role], piece)
        elif _is_used(role, piece, chosen):
            continue
        else:
            outcome = {}, _skipped(piece, _why(role, pieces, chosen), skipped_column(role))
        fields |= outcome[0]
        skipped += outcome[1]
    return fields, skipped


def skipped_column(role: Role) -> str:
    """The column of a variable that goes nowhere."""
    return _COLUMNS.get(role, "auth_config")


def _is_used(role: Role, piece: Sourced, chosen: Credential | None) -> bool:
    if chosen is None:
        return False
    return role is Role.SCHEME or any(piece.source == p.source for p in _parts(chosen))


def _parts(chosen: Credential) -> list[Sourced]:
    return [part for part in (chosen.secret, chosen.subject) if part is not None]


def _skipped(piece: Sourced, why: str, column: str) -> list[PlanEntry]:
    return [PlanEntry(binding=source, why=why, field=column) for source in piece.sources]


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


def _credential_fields(chosen: Credential | None, scheme: Sourced | None) -> Outcome:
    if chosen is None:
        return {}, []
    kind, secret, subject = chosen.auth_type, chosen.secret, chosen.subject
    remark = _INFERRED[kind]
    fields = {
        AUTH_TYPE: Sourced(value=kind.value, source=secret.source, given=False, remark=remark)
    }
    if scheme:
        fields[AUTH_TYPE] = replace(scheme, value=kind.value)
    problems = [_problem(secret, f"{kind} {SECRET_FIELDS[kind]}")]
    if subject:
        problems.append(_problem(subject, OPEN_FIELDS[kind]))
        if kind is AuthType.BASIC and ":" in subject.text:
            error = values.problem(subject.source, "holds a user name with a ':' in it")
            problems.append(unreadable(subject.source, error))
        fields[AUTH_CONFIG + OPEN_FIELDS[kind]] = replace(subject, value=subject.text)
    fields[AUTH_CONFIG + SECRET_FIELDS[kind]] = secret
    skipped = [problem for problem in problems if problem]
    if skipped:
        return {}, skipped
    return fields, []


def _problem(part: Sourced, what: str) -> PlanEntry | None:
    """What keeps a header from carrying it."""
    try:
        check_header_value(what, part.text)
    except InvalidInput as exc:
        error = InvalidInput(f"{part.source.place}: {exc.message}", exc.hint)
        return unreadable(part.source, error)
    return None


def _why(role: Role, pieces: Pieces, chosen: Credential | None) -> str:
    """Why a piece is in no credential."""
    scheme, partner = _scheme(pieces), _PARTNERS.get(role)
    if scheme in _NOT_SPOKEN:
        return f"{scheme} authentication is not spoken"
    if scheme == "none":
        return "the auth scheme is none"
    if scheme not in _SPOKEN:
        return "the auth scheme is not known"
    complete = role is Role.KEY or partner in pieces
    if chosen and (complete or partner is None):
        return _another(chosen)
    if complete:
        return f"the auth scheme is {scheme}"
    return _INCOMPLETE[role]


def _another(chosen: Credential) -> str:
    return f"another credential counts: {chosen.secret.source.place}"


def _header_fields(piece: Sourced, chosen: Credential | None) -> Outcome:
    """The extra headers of a JSON object; an Authorization in it is no extra header, but a
    credential.
    """
    document = _document(piece)
    if not document:
        return {}, _skipped(piece, "no JSON object of headers", "headers")
    fields: dict[str, Sourced] = {}
    skipped: list[PlanEntry] = []
    taken = _own_header(chosen)
    for name, value in document.items():
        if name.casefold() == "authorization":
            skipped += _authorization(name, piece, chosen)
            continue
        why = _name_problem(name) or _value_problem(value, twice=name.casefold() in taken)
        if why:
            skipped += _skipped(piece, why, "headers")
            continue
        taken.add(name.casefold())
        one, problems = _header(name, piece.part(str(value)))
        fields |= one
        skipped += problems
    return fields, skipped


def _authorization(name: str, piece: Sourced, chosen: Credential | None) -> list[PlanEntry]:
    if chosen is None:
        return _skipped(piece, "no credential that can be read", HEADERS + name)
    if chosen.secret.source != piece.source:
        return _skipped(piece, _another(chosen), HEADERS + name)
    return []


def _header(name: str, piece: Sourced) -> Outcome:
    problem = _problem(piece, f"header {name}")
    if problem:
        return {}, [problem]
    return {HEADERS + name: piece}, []


def _document(piece: Sourced) -> dict[str, Json]:
    """A JSON object; empty when it is none."""
    try:
        document = json.loads(piece.text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(document, dict):
        return {}
    return document


def _own_header(chosen: Credential | None) -> set[str]:
    """The header that the credential itself is sent in, if it is one of its own."""
    if chosen is None or chosen.auth_type is not AuthType.API_KEY:
        return set()
    name = DEFAULT_API_KEY_HEADER
    if chosen.subject:
        name = chosen.subject.text
    return {name.casefold()}


def _name_problem(name: str) -> str | None:
    try:
        header_name(name)
    except InvalidInput as exc:
        return exc.message[:200]
    return None


def _value_problem(value: Json, *, twice: bool) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return "a header without a text"
    if twice:
        return "a header that is given twice"
    if forms.is_placeholder(value.strip()):
        return forms.PLACEHOLDER
    return None
