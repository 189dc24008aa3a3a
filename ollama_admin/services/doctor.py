"""One look at everything that decides what a command does, and at every server."""

import glob
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from ollama_admin.domain import urls
from ollama_admin.domain.servers import AuthType, CheckResult, Server, ServerRef, ServerStatus
from ollama_admin.errors import AdminError
from ollama_admin.ollama.certificates import authorities_of
from ollama_admin.rules.versions import version_key
from ollama_admin.services.secrets import SecretsStatus, StoredSecrets
from ollama_admin.services.servers import Servers
from ollama_admin.settings import (
    DATABASE_URL,
    SETTINGS,
    Setting,
    Settings,
    ignored_variables,
    unknown_variables,
)
from ollama_admin.store.database import Database
from ollama_admin.store.engines import is_file_missing
from ollama_admin.store.servers import all_servers
from ollama_admin.store.tables import HEAD
from ollama_admin.store.urls import shown_url
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
    """`revision` is None where there is no database yet, or it could not be read; `secrets` is None
    then, too, in the second case.
    """

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
        findings = list(self.findings)
        for health in self.servers:
            findings += health.findings
        return tuple(findings)


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
        findings = [_warning(f"{name} is set and has no effect here") for name in ignored]
        findings += [_warning(text) for text in unknown_variables(self._environ)]
        findings += _file_findings(self._settings)
        findings += _authority_findings(self._settings.ca_file)
        secrets: SecretsStatus | None = None
        healths: tuple[ServerHealth, ...] = ()
        revision: str | None = None
        try:
            secrets = await self._secrets.status()
            servers = await self._db.read(all_servers)
            healths = await self._examine_servers(servers)
            revision = None if is_file_missing(self._settings) else HEAD
        except AdminError as exc:
            findings.append(_problem(_with_hint(exc)))
        if secrets is not None:
            findings += _secret_findings(secrets, self._settings)
        return Report(
            settings=tuple(_in_force(setting, self._settings) for setting in SETTINGS),
            ignored_variables=ignored,
            revision=revision,
            head=HEAD,
            secrets=secrets,
            servers=healths,
            findings=tuple(findings),
        )

    async def _examine_servers(self, servers: Sequence[Server]) -> tuple[ServerHealth, ...]:
        """Ask every server; one that was added or removed meanwhile is left out."""
        rows = {server.id: server for server in servers}
        checks = await self._servers.check(all=True)
        return tuple(
            _health(rows[check.server.id], check) for check in checks if check.server.id in rows
        )


def shown_database(settings: Settings) -> str:
    """The URL of the database without its password."""
    if not settings.is_postgresql:
        return f"sqlite:///{settings.sqlite_path}"
    return shown_url(settings)


def _in_force(setting: Setting, settings: Settings) -> SettingInForce:
    value = settings.describe(setting)
    if setting.variable == DATABASE_URL:  # where its password ends, the store alone can tell
        value = shown_database(settings)
    return SettingInForce(name=setting.name, value=value, source=settings.source_of(setting))


def _problem(text: str) -> Finding:
    return Finding(level="problem", text=text)


def _warning(text: str) -> Finding:
    return Finding(level="warning", text=text)


def _health(row: Server, check: CheckResult) -> ServerHealth:
    findings = []
    if check.error is not None:
        level: Literal["problem", "warning"] = "problem" if row.is_active else "warning"
        findings.append(Finding(level=level, text=_with_hint(check.error)))
    findings += _version_findings(check.version)
    findings += _exposure_findings(row, answers=check.error is None)
    return ServerHealth(
        server=row.ref,
        status=check.status,
        version=check.version,
        is_active=row.is_active,
        findings=tuple(findings),
    )


def _version_findings(version: str | None) -> list[Finding]:
    if not version or not (0, 0, 0) < version_key(version) < SAFE_VERSION:
        return []
    safe = ".".join(map(str, SAFE_VERSION))
    return [_warning(f"Ollama {version} has known vulnerabilities; update it to {safe} or newer")]


def _exposure_findings(row: Server, *, answers: bool) -> list[Finding]:
    """What others on the way to the server, or at its port, can do."""
    parts = urlsplit(row.url)
    if urls.is_this_machine(parts.hostname or ""):
        return []
    if row.auth_type is not AuthType.NONE or row.headers:
        if parts.scheme != "http":
            return []
        text = "its credentials travel over plain http: anyone on the way can read them"
        return [_warning(text)]
    if answers:
        return [_warning("it answers anyone who can reach its port, without credentials")]
    return []


def _secret_findings(status: SecretsStatus, settings: Settings) -> list[Finding]:
    findings = []
    has_key = settings.secret_key is not None or settings.secret_key_file is not None
    if has_key and status.problem and not status.secrets:
        findings.append(_warning(f"no secret can be stored: {status.problem}"))
    if status.unreadable:
        way_back = status.problem or "give them again: ollama-admin server update S --secret-stdin"
        servers = ", ".join(status.unreadable)
        findings.append(_problem(f"the secrets of {servers} cannot be read: {way_back}"))
    if status.stale:
        text = (
            f"{status.stale} secrets are encrypted under an older key; run: "
            "ollama-admin secrets rotate"
        )
        findings.append(_warning(text))
    return findings


def _file_findings(settings: Settings) -> list[Finding]:
    """Warn of files that others on this machine can read."""
    return [
        _warning(f"the {what} {path} can be read by others; run: chmod 600 {path}")
        for what, path in _private_files(settings)
        if _is_open_to_others(path)
    ]


def _authority_findings(ca_file: Path | None) -> list[Finding]:
    if ca_file is None:
        return []
    try:
        authorities_of(ca_file)
    except AdminError as exc:
        return [_problem(f"no https server can be asked: {_with_hint(exc)}")]
    return []


def _private_files(settings: Settings) -> list[tuple[str, Path]]:
    """The files that hold secrets, prompts or keys, and what each is called."""
    files = []
    if settings.secret_key_file is not None:
        files.append(("key file", settings.secret_key_file))
    if settings.is_postgresql:
        return files
    path = settings.sqlite_path
    files += [
        ("database file", path),
        ("key file", own_key_file(settings)),
        ("log", path.with_name(f"{path.name}-wal")),
        ("index of the log", path.with_name(f"{path.name}-shm")),
    ]
    backups = sorted(path.parent.glob(f"{glob.escape(path.name)}.bak-*"))
    files += [("backup", backup) for backup in backups]
    return files


def _is_open_to_others(path: Path) -> bool:
    try:
        return bool(path.stat().st_mode & 0o077)
    except OSError:  # not there, or behind a folder that is closed to us too
        return False


def _with_hint(error: AdminError) -> str:
    if not error.hint:
        return error.message
    return f"{error.message} ({error.hint})"
