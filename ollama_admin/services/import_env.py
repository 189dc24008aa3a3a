"""Turns legacy variables into servers: reads them, plans against the rows there are, and writes in
one transaction.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ollama_admin.domain.files import Pasted
from ollama_admin.domain.servers import (
    OPEN_FIELDS,
    SECRET_FIELDS,
    ApiVersion,
    AuthType,
    GivenAuth,
    Server,
)
from ollama_admin.domain.values import Json
from ollama_admin.errors import AdminError, InvalidInput, all_of
from ollama_admin.legacy import envfile
from ollama_admin.legacy.comparison import Comparison, Held
from ollama_admin.legacy.credentials import AUTH_CONFIG, AUTH_TYPE, HEADERS
from ollama_admin.legacy.plan import Counts, Plan, Spot, plan
from ollama_admin.legacy.reader import Legacy, read
from ollama_admin.legacy.servers import PlanEntry, State
from ollama_admin.services.audit import Audit, Told
from ollama_admin.services.upstream_auth import UpstreamAuth, changed_columns, read_auth
from ollama_admin.store import servers as store
from ollama_admin.store.database import Database
from ollama_admin.store.locks import lock_writers

DEFAULT_FILE = Path(".env")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportResult:
    """What was planned and, unless it was a dry run, done.

    `applied` counts the entries that were written, `failed` the conflicts and the errors;
    `server_ids` are the rows that the changes made or changed. `deletable` names the lines that can
    go now, `errors` are of the lines that cannot be read.
    """

    entries: tuple[PlanEntry, ...]
    applied: int
    failed: int
    counts: Counts
    deletable: tuple[Spot, ...]
    warnings: tuple[str, ...]
    errors: tuple[InvalidInput, ...] = ()
    server_ids: tuple[int, ...] = ()

    def document(self) -> dict[str, Json]:
        results: list[Json] = [entry.document() for entry in self.entries]
        return {"results": results, "applied": self.applied, "failed": self.failed}


class EnvImport:
    """Compares with what the auth opens, and seals what is new for the server's origin; no plan
    shows a secret.
    """

    def __init__(self, db: Database, auth: UpstreamAuth, audit: Audit) -> None:
        self._db = db
        self._auth = auth
        self._audit = audit

    async def run(
        self,
        files: Sequence[Path | Pasted] | None = None,
        environ: Mapping[str, str] | None = None,
        *,
        dry_run: bool = False,
        update: bool = False,
        skip_errors: bool = False,
    ) -> ImportResult:
        """Import the files, by default `.env`, or the given environment, or both.

        Raises InvalidInput, before anything is written, for a file that cannot be read, and for a
        line that cannot be read unless `skip_errors`; a dry run gives back all such errors. Raises
        SecretUnavailable when there is no key for the secrets to be stored.
        """
        if not files and environ is None:
            files = [DEFAULT_FILE]
        paths = list(dict.fromkeys(files or ()))
        legacy = await asyncio.to_thread(_read_all, paths, environ)
        if dry_run:
            planned = await self._db.read(_plan_only, self._auth, legacy, update)
            return _result(legacy, planned, planned.deletable_now)
        if legacy.errors and not skip_errors:
            raise all_of(legacy.errors)
        planned, server_ids = await self._audit.change(
            "import-env",
            "files",
            lambda connection: _plan_and_apply(connection, self._auth, legacy, update),
            lambda result: _told_of(paths, result[1]),
            makes=True,
        )
        return _result(legacy, planned, planned.deletable, planned.count(State.NEW), server_ids)


def _told_of(paths: Sequence[Path | Pasted], server_ids: Sequence[int]) -> Told | None:
    if not server_ids:
        return None
    return Told(subject=", ".join(map(str, paths)), after={"servers": list(server_ids)})


def _read_all(paths: Sequence[Path | Pasted], environ: Mapping[str, str] | None) -> Legacy:
    files = [envfile.read(path) for path in paths]
    if environ is not None:
        files.append(envfile.from_environ(environ))
    return read(files)


def _plan_only(connection: Any, auth: UpstreamAuth, legacy: Legacy, update: bool) -> Plan:
    return plan(
        store.all_servers(connection), legacy, lambda row: _stored(auth, row), update=update
    )


def _plan_and_apply(
    connection: Any, auth: UpstreamAuth, legacy: Legacy, update: bool
) -> tuple[Plan, tuple[int, ...]]:
    # what the plan compares with must not change before it is written
    lock_writers(connection)
    planned = _plan_only(connection, auth, legacy, update)
    return planned, tuple(_apply(connection, auth, change) for change in planned.changes)


def _stored(auth: UpstreamAuth, row: Server) -> dict[str, Held]:
    """A row's credentials by the fields of the plan; an error stands for each secret when they
    cannot be opened.
    """
    kind = row.auth_type
    secret: Held | None
    headers: Mapping[str, Held]
    try:
        opened = auth.opened(row)
        secret, headers = opened.secret, opened.headers
    except AdminError as exc:
        secret, headers = exc, dict.fromkeys(row.headers, exc)
    fields = {HEADERS + name.casefold(): value for name, value in headers.items()}
    if kind is AuthType.NONE or secret is None:
        return fields
    fields[AUTH_TYPE] = kind.value
    fields[AUTH_CONFIG + SECRET_FIELDS[kind]] = secret
    if kind in OPEN_FIELDS:
        fields[AUTH_CONFIG + OPEN_FIELDS[kind]] = str(row.auth_config.get(OPEN_FIELDS[kind]))
    return fields


def _apply(connection: Any, auth: UpstreamAuth, change: Comparison) -> int:
    """Write a change; gives back the id of its row."""
    columns: dict[str, Any] = dict(change.columns)
    if change.make_default:
        columns["is_default"] = True
    given = change.auth or GivenAuth()
    if change.row is not None:
        before = change.row
        columns |= changed_columns(auth, before, columns.get("url", before.url), given)
        return store.change(connection, before.id, columns).id
    version = ApiVersion(columns.pop("api_version", ApiVersion.NATIVE))
    credentials = read_auth(given.auth_type, given.auth_config, given.headers)
    columns |= auth.columns(credentials, columns["url"])
    return store.add(connection, store.NewServer(api_version=version, **columns)).id


def _result(
    legacy: Legacy,
    planned: Plan,
    deletable: tuple[Spot, ...],
    applied: int = 0,
    server_ids: tuple[int, ...] = (),
) -> ImportResult:
    return ImportResult(
        entries=tuple(replace(entry, told=entry.value) for entry in planned.entries),  # no secret
        applied=applied,
        failed=planned.count(State.CONFLICT) + len(legacy.errors),
        counts=planned.counts,
        deletable=deletable,
        warnings=legacy.warnings,
        errors=legacy.errors,
        server_ids=server_ids,
    )
