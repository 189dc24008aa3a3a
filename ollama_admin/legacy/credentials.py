"""What the auth variables of one server amount to, as fields of `auth_type`, `auth_config` and
`headers`.

Values are checked when they are used: what cannot stand in a header is an InvalidInput that names
its place.
"""

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ollama_admin.domain.secret import Secret, check_header_value, header_name
from ollama_admin.domain.servers import DEFAULT_API_KEY_HEADER, OPEN_FIELDS, SECRET_FIELDS, AuthType
from ollama_admin.domain.values import Json
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import forms, values
from ollama_admin.legacy.envfile import Binding
from ollama_admin.legacy.layouts import AUTH_ROLES, CF_HEADERS, Role
from ollama_admin.legacy.servers import (
    AUTH_CONFIG,
    AUTH_TYPE,
    HEADERS,
    Skipped,
    Sourced,
    unreadable,
)

SECRET_ROLES = AUTH_ROLES - {Role.USERNAME, Role.SCHEME}
VERBATIM_ROLES = AUTH_ROLES - {Role.SCHEME, Role.HEADERS}
PLACEHOLDER = "a placeholder"
_SPOKEN: Mapping[str, frozenset[AuthType]] = {
    "": frozenset(AuthType),
    "basic": frozenset({AuthType.BASIC}),
    "bearer": frozenset({AuthType.BEARER}),
    "token": frozenset({AuthType.BEARER, AuthType.API_KEY}),
    "api_key": frozenset({AuthType.API_KEY}),
    "api-key": frozenset({AuthType.API_KEY}),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """The value of one auth variable, which may be a secret, and where it stood; `also` say the
    same.
    """

    value: str = field(repr=False)
    source: Binding
    also: tuple[Binding, ...] = ()
    remark: str | None = None

    @property
    def sources(self) -> tuple[Binding, ...]:
        return (self.source, *self.also)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a credential, and the piece that it was read from."""

    text: str = field(repr=False)
    piece: Piece


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """`secret` is the password, the token or the key; `subject` the user name of basic, the header
    of api_key.
    """

    auth_type: AuthType
    secret: Part
    subject: Part | None = None

    @property
    def parts(self) -> list[Part]:
        if self.subject is None:
            return [self.secret]
        return [self.secret, self.subject]


def credential(pieces: Mapping[Role, Piece]) -> Credential | None:
    """The one credential that the pieces make; None when they are incomplete or of a kind that is
    not spoken.

    A user with a password is `basic`, a key alone `bearer`, a key with the name of a header
    `api_key`.
    """
    spoken = _SPOKEN.get(_scheme(pieces), frozenset())
    for candidate in _candidates(pieces):
        if candidate is not None and candidate.auth_type in spoken:
            return candidate
    return None


def auth_fields(pieces: Mapping[Role, Piece]) -> tuple[dict[str, Sourced], list[Skipped]]:
    """What the pieces say, by field, and what of them goes nowhere."""
    chosen = credential(pieces)
    fields: dict[str, Sourced] = {}
    skipped: list[Skipped] = []
    used = []
    if chosen is not None:
        used = [part.piece for part in chosen.parts]
        skipped = _problems(chosen)
        if not skipped:
            fields = _credential_fields(chosen, pieces.get(Role.SCHEME))
    for role in CF_HEADERS.keys() & pieces.keys():
        headers, others = _one_header(CF_HEADERS[role], pieces[role])
        fields |= headers
        skipped += others
    for role, piece in pieces.items():
        if (
            role is Role.HEADERS
            or role in CF_HEADERS
            or piece in used
            or (role is Role.SCHEME and chosen)
        ):
            continue
        why = _why(role, pieces, chosen)
        name = skipped_field(role)
        skipped += [Skipped(binding=source, why=why, field=name) for source in piece.sources]
    if Role.HEADERS in pieces:
        headers, others = _header_fields(pieces[Role.HEADERS], chosen)
        fields |= headers
        skipped += others
    return fields, skipped


def skipped_field(role: Role) -> str:
    """The field of a variable that goes nowhere."""
    return {Role.SCHEME: "auth_type", Role.HEADERS: "headers"}.get(role, "auth_config")


def _candidates(pieces: Mapping[Role, Piece]) -> Iterator[Credential | None]:
    username, password = pieces.get(Role.USERNAME), pieces.get(Role.PASSWORD)
    if username and password:
        yield _basic(Part(username.value, username), Part(password.value, password))
    if Role.BASIC in pieces:
        yield _from_basic(pieces[Role.BASIC].value, pieces[Role.BASIC])
    if Role.KEY in pieces:
        yield _from_key(pieces[Role.KEY], pieces.get(Role.HEADER), _scheme(pieces))
    if Role.HEADER in pieces:
        yield _from_header(pieces[Role.HEADER].value, pieces[Role.HEADER])
    if Role.HEADERS in pieces:
        headers = _document(pieces[Role.HEADERS])
        yield from (
            _from_header(f"{name}: {value}", pieces[Role.HEADERS])
            for name, value in headers.items()
            if name.casefold() == "authorization" and isinstance(value, str)
        )


def _scheme(pieces: Mapping[Role, Piece]) -> str:
    if Role.SCHEME not in pieces:
        return ""
    return pieces[Role.SCHEME].value.strip().lower()


def _basic(username: Part, password: Part) -> Credential | None:
    if not username.text or not password.text:
        return None
    return Credential(auth_type=AuthType.BASIC, subject=username, secret=password)


def _from_basic(text: str, piece: Piece) -> Credential | None:
    """From `user:password`, plain or in base64, with or without the word Basic."""
    text = _without("basic", text)
    if ":" not in text:
        try:
            text = base64.b64decode(text.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            return None
    username, _, password = text.partition(":")
    return _basic(Part(username, piece), Part(password, piece))


def _from_key(piece: Piece, header: Piece | None, scheme: str) -> Credential:
    secret = Part(_without("bearer", piece.value), piece)
    if header is None:
        is_api_key = scheme.startswith("api")
        kind = AuthType.API_KEY if is_api_key else AuthType.BEARER
        return Credential(auth_type=kind, secret=secret)
    name = header.value.strip()
    if _name_problem(name) or name.lower() == "authorization":
        return Credential(auth_type=AuthType.BEARER, secret=secret)
    return Credential(auth_type=AuthType.API_KEY, subject=Part(name, header), secret=secret)


def _from_header(line: str, piece: Piece) -> Credential | None:
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
        return _from_basic(value, piece)
    if name.lower() == "authorization" and value.lower().startswith("bearer "):
        return Credential(auth_type=AuthType.BEARER, secret=Part(_without("bearer", value), piece))
    return Credential(
        auth_type=AuthType.API_KEY, subject=Part(name, piece), secret=Part(value, piece)
    )


def _without(scheme: str, text: str) -> str:
    """The text without the word that names an auth scheme; its other blanks stay."""
    word, blank, rest = text.partition(" ")
    if blank and word.lower() == scheme:
        return rest.lstrip(" ")
    return text


def _problems(chosen: Credential) -> list[Skipped]:
    """The parts of a credential that no header can carry."""
    kind, subject = chosen.auth_type, chosen.subject
    problems = [_problem(chosen.secret, f"{kind} {SECRET_FIELDS[kind]}")]
    if subject:
        problems.append(_problem(subject, OPEN_FIELDS[kind]))
        if kind is AuthType.BASIC and ":" in subject.text:
            error = values.problem(subject.piece.source, "holds a user name with a ':' in it")
            problems.append(unreadable(subject.piece.source, error))
    return [problem for problem in problems if problem]


def _problem(part: Part, what: str) -> Skipped | None:
    source = part.piece.source
    try:
        check_header_value(what, part.text)
    except InvalidInput as exc:
        return unreadable(source, InvalidInput(f"{source.place}: {exc.message}", exc.hint))
    return None


def _one_header(name: str, piece: Piece) -> tuple[dict[str, Sourced], list[Skipped]]:
    problem = _problem(Part(piece.value, piece), f"header {name}")
    if problem:
        return {}, [problem]
    return {HEADERS + name: _sourced(Secret(piece.value), piece)}, []


def _credential_fields(chosen: Credential, scheme: Piece | None) -> dict[str, Sourced]:
    kind, secret, subject = chosen.auth_type, chosen.secret, chosen.subject
    fields = {AUTH_TYPE: _auth_type(chosen, scheme)}
    if subject:
        fields[AUTH_CONFIG + OPEN_FIELDS[kind]] = _sourced(subject.text, subject.piece)
    fields[AUTH_CONFIG + SECRET_FIELDS[kind]] = _sourced(Secret(secret.text), secret.piece)
    return fields


def _auth_type(chosen: Credential, scheme: Piece | None) -> Sourced:
    kind = chosen.auth_type
    if scheme:
        return _sourced(kind.value, scheme)
    source = chosen.secret.piece.source
    return Sourced(value=kind.value, source=source, given=False, remark=_INFERRED[kind])


def _sourced(value: str | Secret, piece: Piece) -> Sourced:
    return Sourced(value=value, source=piece.source, also=piece.also, remark=piece.remark)


def _why(role: Role, pieces: Mapping[Role, Piece], chosen: Credential | None) -> str:
    """Why a piece is in no credential."""
    scheme, partner = _scheme(pieces), _PARTNERS.get(role)
    if scheme not in _SPOKEN:
        return _why_not_spoken(scheme)
    complete = role is Role.KEY or partner in pieces
    if chosen and (complete or partner is None):
        return _another(chosen)
    if complete:
        return f"the auth scheme is {scheme}"
    return _INCOMPLETE[role]


def _why_not_spoken(scheme: str) -> str:
    if scheme in _NOT_SPOKEN:
        return f"{scheme} authentication is not spoken"
    if scheme == "none":
        return "the auth scheme is none"
    return "the auth scheme is not known"


def _another(chosen: Credential) -> str:
    return f"another credential counts: {chosen.secret.piece.source.place}"


def _header_fields(
    piece: Piece, chosen: Credential | None
) -> tuple[dict[str, Sourced], list[Skipped]]:
    """The extra headers of a JSON object; an Authorization in it is no extra header, but a
    credential.
    """
    document = _document(piece)
    fields: dict[str, Sourced] = {}
    skips = []
    errors: list[Skipped] = []
    if not document:
        skips.append(("headers", "no JSON object of headers"))
    taken = _own_header(chosen)
    for name, value in document.items():
        if name.casefold() == "authorization":
            if chosen is None:
                skips.append((HEADERS + name, "no credential that can be read"))
            elif chosen.secret.piece is not piece:
                skips.append((HEADERS + name, _another(chosen)))
            continue
        why = _name_problem(name) or _value_problem(value, twice=name.casefold() in taken)
        if why or not isinstance(value, str):
            skips.append(("headers", why or ""))
            continue
        taken.add(name.casefold())
        one, problems = _one_header(name, Piece(value=value, source=piece.source, also=piece.also))
        fields |= one
        errors += problems
    return fields, errors + [
        Skipped(binding=source, why=why, field=name)
        for name, why in skips
        for source in piece.sources
    ]


def _document(piece: Piece) -> dict[str, Json]:
    """A JSON object; empty when it is none."""
    try:
        document = json.loads(piece.value)
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
        return PLACEHOLDER
    return None
