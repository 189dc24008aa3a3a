"""One look at everything that decides what a command does, and at every server."""

import glob
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ollama_admin import settings as names
from ollama_admin.domain.servers import AuthType, CheckResult, Server, ServerRef, ServerStatus
from ollama_admin.errors import AdminError
from ollama_admin.rules.versions import version_key
from ollama_admin.services.secrets import SecretsStatus, StoredSecrets
from ollama_admin.services.servers import Servers
from ollama_admin.settings import Settings, ignored_variables
from ollama_admin.store.database import Database
from ollama_admin.store.engines import shown_url
from ollama_admin.store.servers import all_servers
from ollama_admin.store.tables import HEAD
from ollama_admin.vault import own_key_file

SAFE_VERSION = (0, 17, 1)  # older ones have published holes that whoever reaches the port can use


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A `problem` keeps something from working; a `warning` is for a person to weigh."""

    level: Literal["problem", "warning"]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingInForce:
    name: str
    value: str | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerHealth:
    server: ServerRef
    status: ServerStatus
    version: str | None
    is_active: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """`revision` is None where the database could not be read; `secrets` is None then, too."""

    settings: tuple[SettingInForce, ...]
    ignored_variables: tuple[str, ...]
    revision: str | None
    head: str
    secrets: SecretsStatus | None
    servers: tuple[ServerHealth, ...]
    findings: tuple[Finding, ...]

    @property
    def has_problems(self) -> bool:
        return any(finding.level == "problem" for finding in self.all_findings)

    @property
    def all_findings(self) -> tuple[Finding, ...]:
        return (
            *self.findings,
            *(finding for health in self.servers for finding in health.findings),
        )


class Doctor:
    def __init__(
        self,
        db: Database,
        settings: Settings,
        servers: Servers,
        secrets: StoredSecrets,
        environ: Mapping[str, str],
    ) -> None:
        self._db = db
        self._settings = settings
        self._servers = servers
        self._secrets = secrets
        self._environ = environ

    async def examine(self) -> Report:
        """Look at settings, database, key and servers; what fails is a finding, never an error."""
        ignored = tuple(ignored_variables(self._environ))
        findings = [
            Finding(level="warning", text=f"{name} is set and has no effect here")
            for name in ignored
        ]
        findings += _file_findings(self._settings)
        secrets: SecretsStatus | None = None
        healths: tuple[ServerHealth, ...] = ()
        revision: str | None = None
        try:
            secrets = await self._secrets.status()
            servers = await self._db.read(all_servers)
            rows = {server.id: server for server in servers}
            checks = await self._servers.check(all=True)
            healths = tuple(
                _health(rows[check.server.id], check) for check in checks if check.server.id in rows
            )
            revision = HEAD
        except AdminError as exc:
            findings.append(Finding(level="problem", text=_with_hint(exc)))
        if secrets is not None:
            findings += _secret_findings(secrets, self._settings)
        return Report(
            settings=tuple(_in_force(self._settings, self._environ)),
            ignored_variables=ignored,
            revision=revision,
            head=HEAD,
            secrets=secrets,
            servers=healths,
            findings=tuple(findings),
        )


def database_place(settings: Settings) -> str:
    """The database without its password."""
    if not settings.is_postgresql:
        return f"sqlite:///{settings.sqlite_path}"
    return shown_url(settings)


def _in_force(settings: Settings, environ: Mapping[str, str]) -> list[SettingInForce]:
    receipts_source = names.RECEIPTS if names.RECEIPTS in environ else "default"
    key_source = names.SECRET_KEY if settings.secret_key is not None else "default"
    proxy = urlsplit(settings.proxy.reveal()).hostname if settings.proxy else None
    ca_file = str(settings.ca_file) if settings.ca_file else None
    key_file = str(settings.secret_key_file) if settings.secret_key_file else None
    return [
        SettingInForce(
            name="database", value=database_place(settings), source=settings.database_source
        ),
        SettingInForce(
            name="secret key",
            value="set" if settings.secret_key is not None else None,
            source=key_source,
        ),
        SettingInForce(
            name="secret key file",
            value=key_file,
            source=names.SECRET_KEY_FILE if key_file else "default",
        ),
        SettingInForce(name="proxy", value=proxy, source=names.PROXY if proxy else "default"),
        SettingInForce(
            name="CA file", value=ca_file, source=names.CA_FILE if ca_file else "default"
        ),
        SettingInForce(
            name="receipts", value="on" if settings.receipts else "off", source=receipts_source
        ),
    ]


def _health(row: Server, check: CheckResult) -> ServerHealth:
    findings = []
    if check.error is not None:
        findings.append(
            Finding(level="problem" if row.is_active else "warning", text=_with_hint(check.error))
        )
    if check.version and (0, 0, 0) < version_key(check.version) < SAFE_VERSION:
        text = (
            f"Ollama {check.version} has known holes; bring it to "
            f"{'.'.join(map(str, SAFE_VERSION))} or newer"
        )
        findings.append(Finding(level="warning", text=text))
    parts = urlsplit(row.url)
    has_credentials = row.auth_type is not AuthType.NONE or bool(row.headers)
    if not _is_loopback(parts.hostname or ""):
        if has_credentials and parts.scheme == "http":
            text = "its credentials travel over plain http: everybody on the way can read them"
            findings.append(Finding(level="warning", text=text))
        if not has_credentials and check.error is None:
            text = "it answers without credentials to whoever reaches its port"
            findings.append(Finding(level="warning", text=text))
    return ServerHealth(
        server=row.ref,
        status=check.status,
        version=check.version,
        is_active=row.is_active,
        findings=tuple(findings),
    )


def _secret_findings(status: SecretsStatus, settings: Settings) -> list[Finding]:
    found = []
    has_key = settings.secret_key is not None or settings.secret_key_file is not None
    if has_key and status.problem and not status.secrets:
        found.append(Finding(level="warning", text=f"no secret can be stored: {status.problem}"))
    if status.secrets and status.problem:
        found.append(
            Finding(
                level="problem",
                text=f"{status.secrets} stored secrets cannot be read: {status.problem}",
            )
        )
    elif status.unreadable:
        text = (
            f"the key does not open the secrets of {', '.join(status.unreadable)}; give them "
            "again with server update"
        )
        found.append(Finding(level="problem", text=text))
    if status.stale:
        text = f"{status.stale} secrets are under an older key; run: ollama-admin secrets rotate"
        found.append(Finding(level="warning", text=text))
    return found


def _file_findings(settings: Settings) -> list[Finding]:
    """Files that others on this machine can read."""
    files = [("key file", settings.secret_key_file)]
    if not settings.is_postgresql:
        path = settings.sqlite_path
        files += [("database file", path), ("key file", own_key_file(settings))]
        files += [
            ("log", path.with_name(f"{path.name}-wal")),
            ("index of the log", path.with_name(f"{path.name}-shm")),
        ]
        files += [
            ("backup", backup)
            for backup in sorted(path.parent.glob(f"{glob.escape(path.name)}.bak-*"))
        ]
    return [
        Finding(
            level="warning", text=f"the {what} {path} can be read by others; run: chmod 600 {path}"
        )
        for what, path in files
        if path is not None and _is_open_to_others(path)
    ]


def _is_open_to_others(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o077)
    except OSError:  # not there, or behind a folder that is closed to us too
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _with_hint(error: AdminError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
