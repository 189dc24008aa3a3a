"""The credentials that servers want: checked when given, sealed for the database, opened for a
request.
"""

import asyncio
import base64
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, quote_plus

from ollama_admin.domain import urls
from ollama_admin.domain.secret import MASK, Reference, Secret, check_header_value, header_name
from ollama_admin.domain.servers import (
    DEFAULT_API_KEY_HEADER,
    OPEN_FIELDS,
    SECRET_FIELDS,
    ApiVersion,
    AuthType,
    GivenAuth,
    Server,
    ServerRef,
    Target,
    TransportOptions,
)
from ollama_admin.domain.values import Given, Json
from ollama_admin.errors import AdminError, InvalidInput, SecretUnavailable

if TYPE_CHECKING:
    from ollama_admin.vault import Vault

Value = Secret | Reference

ROTATIONS = 3  # changes of the key, one right after the other, that whoever reads secrets outlives


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    """What a request is given beside its body. `subject` is the user name of basic, the header name
    of api_key.
    """

    auth_type: AuthType = AuthType.NONE
    subject: str | None = None
    secret: Value | None = None
    headers: Mapping[str, Value] = field(default_factory=dict)


def read_auth(
    auth_type: AuthType | str | None,
    auth_config: Mapping[str, Given] | None,
    headers: Mapping[str, Given] | None,
) -> Auth:
    """Check credentials as they are given, in the columns' terms; InvalidInput names what is
    missing or wrong.
    """
    kind = _auth_type(auth_type)
    config = dict(auth_config or {})
    subject, secret = None, None
    if kind is not AuthType.NONE:
        subject = _subject(kind, config.pop(OPEN_FIELDS.get(kind, ""), None))
        secret = _value(f"{kind} {SECRET_FIELDS[kind]}", config.pop(SECRET_FIELDS[kind], None))
    if config:
        raise InvalidInput(f"auth {kind} has no {', '.join(sorted(config))}", _wanted(kind))
    given = {
        header_name(name): _value(f"header {name}", value)
        for name, value in (headers or {}).items()
    }
    _refuse_twice(given, kind, subject)
    return Auth(auth_type=kind, subject=subject, secret=secret, headers=given)


class OpenVault(Protocol):
    """Loads the vault; with `create`, a database that keeps its own key gets one."""

    def __call__(self, *, create: bool) -> "Vault": ...


class UpstreamAuth:
    """Seals and opens what rows hold. The vault, and the key, are loaded when a row needs them."""

    def __init__(
        self,
        open_vault: "OpenVault",
        resolve: Callable[[Value, Mapping[str, str]], Secret],
        environ: Mapping[str, str],
        reread: Callable[[Server], Server] = lambda server: server,
    ) -> None:
        self._open_vault = open_vault
        self._reread = reread
        self._resolve = resolve
        self._environ = environ

    def columns(self, credentials: Auth, url: str) -> dict[str, Any]:
        """The columns that keep credentials for the origin of `url`; it reads the key, so call it
        in a thread.
        """
        origin = urls.origin(url)
        config: dict[str, Json] = {}
        kind = credentials.auth_type
        if credentials.secret is not None:
            if kind in OPEN_FIELDS:
                config[OPEN_FIELDS[kind]] = credentials.subject
            config[SECRET_FIELDS[kind]] = self._sealed(credentials.secret, origin)
        headers = {name: self._sealed(value, origin) for name, value in credentials.headers.items()}
        return {"auth_type": kind, "auth_config": config, "headers": headers}

    def _sealed(self, value: Value, origin: str) -> Json:
        return self._open_vault(create=True).seal(value, origin)

    def opened(self, server: Server) -> Auth:
        """The credentials of a row; SecretUnavailable when they cannot be opened for the row's own
        origin.

        The key may have been changed, and the older one dropped, since the row was read: then what
        stands in the row now is opened.
        """
        for _ in range(ROTATIONS):
            try:
                return self._opened(server)
            except SecretUnavailable:
                current = self._reread(server)
                if (current.auth_config, current.headers) == (server.auth_config, server.headers):
                    raise
                if (current.url, current.auth_type) != (server.url, server.auth_type):
                    raise
                server = current
        return self._opened(server)

    def _opened(self, server: Server) -> Auth:
        kind = server.auth_type
        if kind is AuthType.NONE and not server.headers:
            return Auth()
        origin = urls.origin(server.url)
        vault = self._open_vault(create=False)
        secret = None
        if kind is not AuthType.NONE:
            secret = vault.open(server.auth_config.get(SECRET_FIELDS[kind]), origin)
        return Auth(
            auth_type=kind,
            subject=_stored_subject(server),
            secret=secret,
            headers={name: vault.open(sealed, origin) for name, sealed in server.headers.items()},
        )

    async def target(self, server: Server, api_version: ApiVersion | None = None) -> Target:
        """Where requests to a row's server go, with its credentials read now, in a thread: a file
        system may not answer. SecretUnavailable names the server.
        """
        api_version = api_version or server.api_version
        if server.auth_type is AuthType.NONE and not server.headers:
            return Target(ref=server.ref, api_version=api_version, transport=_transport_of(server))
        return await asyncio.to_thread(self._opened_target, server, api_version)

    def _opened_target(self, server: Server, api_version: ApiVersion) -> Target:
        try:
            target = self._target(server.ref, api_version, self.opened(server))
            return replace(target, transport=_transport_of(server))
        except SecretUnavailable as exc:
            raise SecretUnavailable(f"server {server.name}: {exc.message}", exc.hint) from exc

    async def dynamic(self, url: urls.ServerURL, credentials: Auth) -> Target:
        """Where requests to a URL go that no row has, with its credentials read now."""
        version = ApiVersion.NATIVE
        if url.v1:
            version = ApiVersion.V1
        ref = ServerRef(id=None, name=None, url=url.url)
        if credentials == Auth():
            return Target(ref=ref, api_version=version)
        return await asyncio.to_thread(self._target, ref, version, credentials)

    async def masked(self, rows: Sequence[Server]) -> list[Server]:
        """The rows with references as they were given, and asterisks for secrets.

        The key is read in a thread: a file system may not answer.
        """
        if not any(row.auth_config or row.headers for row in rows):
            return list(rows)
        return await asyncio.to_thread(lambda: [self.masked_row(row) for row in rows])

    def masked_row(self, server: Server) -> Server:
        """One row of `masked`; it reads the key, so call it in a thread."""
        if not server.auth_config and not server.headers:
            return server
        origin = urls.origin(server.url)
        config = dict(server.auth_config)
        secret = SECRET_FIELDS.get(server.auth_type)
        if secret is not None and secret in config:
            config[secret] = self._masked(config[secret], origin)
        headers = {name: self._masked(value, origin) for name, value in server.headers.items()}
        return replace(server, auth_config=config, headers=headers)

    def _masked(self, sealed: Json, origin: str) -> Json:
        try:
            value = self._open_vault(create=False).open(sealed, origin)
        except AdminError:
            return MASK
        return str(value)

    def _target(self, ref: ServerRef, version: ApiVersion, credentials: Auth) -> Target:
        headers = {
            name: self._resolve(value, self._environ) for name, value in credentials.headers.items()
        }
        secrets = [value.reveal() for value in headers.values()]
        if credentials.secret is not None:
            secret = self._resolve(credentials.secret, self._environ).reveal()
            name, value = _authorization(credentials, secret)
            headers[name] = Secret(value)
            secrets += [secret, value, value.removeprefix("Basic ")]
        return Target(ref=ref, api_version=version, headers=headers, secrets=_forms(secrets))


def _transport_of(server: Server) -> TransportOptions | None:
    given = (server.ca_file, server.client_cert_file, server.client_key_file, server.proxy)
    if given == (None, None, None, None):
        return None
    return TransportOptions(
        ca_file=server.ca_file,
        client_cert_file=server.client_cert_file,
        client_key_file=server.client_key_file,
        proxy=server.proxy,
    )


def changed_columns(
    auth: UpstreamAuth, before: Server, url: str, given: GivenAuth, *, clear: Sequence[str] = ()
) -> dict[str, Any]:
    """The columns of a row whose credentials or URL change.

    What is not given again stays, at the same origin only, unless `clear` names it: "auth" or
    "headers".
    """
    moved = urls.origin(url) != urls.origin(before.url)
    if given.is_nothing and not moved:
        return {}
    columns: dict[str, Any] = {
        "auth_type": before.auth_type,
        "auth_config": dict(before.auth_config),
        "headers": dict(before.headers),
    }
    if moved or "auth" in clear:
        columns |= {"auth_type": AuthType.NONE, "auth_config": {}}
    if moved or "headers" in clear:
        columns["headers"] = {}
    if given.auth_type is not None or given.auth_config is not None:
        kind = given.auth_type or before.auth_type
        config = _with_same_subject(before, kind, dict(given.auth_config or {}))
        sealed = auth.columns(read_auth(kind, config, None), url)
        columns |= {"auth_type": sealed["auth_type"], "auth_config": sealed["auth_config"]}
    if given.headers is not None:
        fresh = auth.columns(read_auth(None, None, given.headers), url)["headers"]
        columns["headers"] = _replaced(columns["headers"], fresh)
    kind, subject = AuthType(columns["auth_type"]), columns["auth_config"].get("header_name")
    _refuse_twice(columns["headers"], kind, subject)
    return columns


def _with_same_subject(
    before: Server, kind: AuthType | str, config: dict[str, Given]
) -> dict[str, Given]:
    """A new secret of the same kind is for the user, or goes into the header, that the row has."""
    field = OPEN_FIELDS.get(before.auth_type, "")
    if kind == before.auth_type and field in before.auth_config and field not in config:
        config[field] = str(before.auth_config[field])
    return config


def _replaced(headers: Mapping[str, Json], fresh: Mapping[str, Json]) -> dict[str, Json]:
    """Headers with new ones over those of the same name, whatever its case."""
    folded = {name.casefold() for name in fresh}
    kept = {name: value for name, value in headers.items() if name.casefold() not in folded}
    return kept | dict(fresh)


def _stored_subject(server: Server) -> str | None:
    subject = server.auth_config.get(OPEN_FIELDS.get(server.auth_type, ""))
    if subject is None:
        return None
    return str(subject)


def _authorization(credentials: Auth, secret: str) -> tuple[str, str]:
    match credentials.auth_type:
        case AuthType.BASIC:
            pair = f"{credentials.subject}:{secret}".encode()
            return "Authorization", f"Basic {base64.b64encode(pair).decode()}"
        case AuthType.API_KEY:
            # a row can be edited
            return header_name(credentials.subject or DEFAULT_API_KEY_HEADER), secret
    return "Authorization", f"Bearer {secret}"


def _forms(secrets: list[str]) -> tuple[Secret, ...]:
    """As they are, in base64, in a URL, in JSON; the longest first, so that a form inside another
    does not hide it.
    """
    forms: set[str] = set()
    for text in secrets:
        forms |= {text, text.upper(), text.lower(), json.dumps(text)[1:-1]}
        for encoding in ("utf-8", "latin-1"):
            forms |= _encoded(text.encode(encoding, "replace"))
    return tuple(Secret(form) for form in sorted(forms, key=len, reverse=True))


def _encoded(secret: bytes) -> set[str]:
    """A secret as URLs and base64 write it."""
    return {
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        base64.b64encode(secret).decode().rstrip("="),
        base64.urlsafe_b64encode(secret).decode().rstrip("="),
    }


def _auth_type(value: AuthType | str | None) -> AuthType:
    try:
        return AuthType(value or AuthType.NONE)
    except ValueError as exc:
        raise InvalidInput(f"auth type {value!a} is not one of {', '.join(AuthType)}") from exc


def _subject(kind: AuthType, given: Given | None) -> str | None:
    if kind is AuthType.BEARER:
        return None
    if kind is AuthType.API_KEY:
        return header_name(str(given or DEFAULT_API_KEY_HEADER))
    if not isinstance(given, str) or not given:
        raise InvalidInput("auth basic has no username", "give it with --username")
    if ":" in given:
        raise InvalidInput("a user name of auth basic cannot have a ':' in it")
    check_header_value("user name", given)
    return given


def _value(what: str, given: Given | None) -> Value:
    if given is None:
        raise InvalidInput(
            f"the {what} is missing", "give it with --secret-stdin, --secret-env or --secret-ref"
        )
    if isinstance(given, Reference):
        return Reference.parse(str(given))  # by the rules, however it was made
    if not isinstance(given, Secret):
        given = Secret(str(given))
    check_header_value(what, given.reveal())
    return given


def _refuse_twice(headers: Mapping[str, object], kind: AuthType, subject: str | None) -> None:
    folded = [name.casefold() for name in headers]
    if "authorization" in folded:
        raise InvalidInput(
            "the header Authorization is given as a header", "give it with --auth basic or bearer"
        )
    if kind is AuthType.API_KEY:
        folded.append((subject or "").casefold())
    if len(set(folded)) != len(folded):
        raise InvalidInput("a header is given twice")


def _wanted(kind: AuthType) -> str:
    """The hint for a field that this kind of auth has not."""
    fields = [name for name in (OPEN_FIELDS.get(kind), SECRET_FIELDS.get(kind)) if name]
    if not fields:
        return "choose another --auth"
    return f"it takes {' and '.join(fields)}"
