"""Servers: the rows, and the question whether they answer."""

from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

from ollama_admin.domain import names, urls
from ollama_admin.domain.labels import changed as changed_labels
from ollama_admin.domain.labels import spelt
from ollama_admin.domain.servers import (
    ApiVersion,
    AuthType,
    CheckResult,
    GivenAuth,
    Server,
    ServerColumns,
    ServerRef,
    Target,
    TransportColumns,
)
from ollama_admin.domain.values import Given, fields_of
from ollama_admin.errors import InvalidInput
from ollama_admin.rules import arguments
from ollama_admin.services import server_columns
from ollama_admin.services.audit import Audit, Told
from ollama_admin.services.checks import Ask, asked_for_a_token, check_result, version_of
from ollama_admin.services.draining import require_patience, wait_until_empty
from ollama_admin.services.fleet import Answered, Failed, ask_each
from ollama_admin.services.targets import Targets
from ollama_admin.services.tasks import Batches, WorkLimit
from ollama_admin.services.upstream_auth import (
    Auth,
    UpstreamAuth,
    changed_columns,
    read_auth,
)
from ollama_admin.store import checks as store_checks
from ollama_admin.store import models as store_models
from ollama_admin.store import servers as store
from ollama_admin.store.database import Database
from ollama_admin.store.locks import lock_writers

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint

Connect = Callable[[Target, float | None], "Endpoint"]

PAGE = 500  # rows that are read at once


class Servers:
    """`connect` makes an endpoint; it is a function so that HTTP is loaded when first used. `ask`
    is `Client.generate`.
    """

    def __init__(
        self,
        db: Database,
        connect: Connect,
        auth: UpstreamAuth,
        note: Callable[[str], None],
        audit: Audit,
        ask: Ask,
    ) -> None:
        self._db = db
        self._audit = audit
        self._connect = connect
        self._auth = auth
        self._note = note
        self._ask = ask

    async def add(
        self,
        *,
        name: str,
        url: str,
        api_version: ApiVersion | str | None = None,
        capabilities: Sequence[str] = (),
        max_concurrent: int = 1,
        priority: int = 0,
        is_default: bool = False,
        is_active: bool = True,
        default_model: str | None = None,
        auth_type: AuthType | str | None = None,
        auth_config: Mapping[str, Given] | None = None,
        headers: Mapping[str, Given] | None = None,
        labels: Mapping[str, str] | None = None,
        **transport: Unpack[TransportColumns],
    ) -> Server:
        """Write a row; nothing is asked of the server. Raises InvalidInput and ServerExists.
        Secrets in `auth_config` and all `headers` are sealed for the URL's origin.
        """
        arguments.need(name=name, url=url, capabilities=capabilities)
        arguments.check(default_model=default_model, is_default=is_default, is_active=is_active)
        arguments.check(auth_config=auth_config, headers=headers)
        parsed = urls.noted(url, self._note)
        credentials = read_auth(auth_type, auth_config, headers)
        new = store.NewServer(
            name=names.server_name(name),
            url=parsed.url,
            api_version=server_columns.api_version(api_version) or server_columns.api_of(parsed),
            capabilities=server_columns.capabilities(capabilities),
            max_concurrent=server_columns.within(max_concurrent, "max_concurrent", 1),
            priority=server_columns.within(priority, "priority", -server_columns.INT_LIMIT),
            is_default=is_default,
            is_active=is_active,
            default_model=server_columns.default_model(default_model),
            labels=server_columns.new_labels(labels or {}),
            **server_columns.transport(**transport),
        )
        return await self._masked(await self._with_note(await self._insert(new, credentials)))

    async def _insert(self, new: store.NewServer, credentials: Auth) -> Server:
        server_columns.require_fitting(new.url, fields_of(new))

        # seals while writers are locked out: the key cannot change meanwhile
        def insert(connection: Any) -> Server:
            sealed = self._auth.columns(credentials, new.url)
            return store.add(connection, replace(new, **sealed))

        return await self._audit.change(
            "server.add",
            new.name,
            insert,
            lambda row: Told(subject=called(row), after=row),
            makes=True,
        )

    async def list(
        self, *, capability: str | None = None, labels: Sequence[str] = ()
    ) -> list[Server]:
        """Every row with the capability and the labels, inactive ones too, in the order in which
        servers are chosen. A label is `gpu=a100`, or `gpu` with any value.
        """
        batches = self.stream(capability=capability, labels=labels)
        return [server async for batch in batches for server in batch]

    async def stream(
        self, *, capability: str | None = None, labels: Sequence[str] = ()
    ) -> AsyncGenerator[Sequence[Server], None]:
        """The rows of `list`, at most PAGE at a time. One that is removed meanwhile is left out."""
        targets = Targets(all=True, capability=capability, labels=labels)
        ids = await self._db.read(store.ids)
        for start in range(0, len(ids), PAGE):
            rows = await self._db.read(store.among, ids[start : start + PAGE])
            yield await self._auth.masked(targets.among(rows))

    async def page(
        self,
        *,
        after: int = 0,
        limit: int = 100,
        capability: str | None = None,
        labels: Sequence[str] = (),
    ) -> Sequence[Server]:
        """At most `limit` rows by id, from the first one after the id `after`.

        Rows that come and go between two pages make no other appear twice or be left out.
        """
        targets = Targets(all=True, capability=capability, labels=labels)
        servers: list[Server] = []
        while True:
            rows = await self._db.read(store.page, after, PAGE)
            servers.extend(await self._auth.masked(targets.among(rows)))
            if len(servers) >= limit or len(rows) < PAGE:
                return servers[:limit]
            after = rows[-1].id

    async def _masked(self, row: Server) -> Server:
        (masked,) = await self._auth.masked([row])
        return masked

    async def names(self, beginning: str = "") -> Sequence[str]:
        """The names that begin so, whatever their case."""
        return await self._db.read(store.names, beginning)

    async def known_labels(self) -> Sequence[str]:
        """The labels that servers have, as they are typed, each once and sorted."""
        rows = await self._db.read(store.all_servers)
        return sorted({text for row in rows for text in spelt(row.labels)})

    async def model_counts(self) -> Mapping[int, int]:
        """How many available models each server has, by its id; none for a server without any."""
        return await self._db.read(store_models.counts)

    async def find(self, server: int | str) -> ServerRef:
        """Which row an id or a name means, whether or not all of it can be read."""
        return await self._db.read(store.find_ref, server)

    async def show(self, server: int | str) -> Server:
        return await self._masked(await self._db.read(store.find, server))

    async def update(
        self,
        server: int | str,
        *,
        name: str | None = None,
        url: str | None = None,
        auth_type: AuthType | str | None = None,
        auth_config: Mapping[str, Given] | None = None,
        headers: Mapping[str, Given] | None = None,
        clear: Sequence[str] = (),
        if_state: Collection[str] | None = None,
        **columns: Unpack[ServerColumns],
    ) -> Server:
        """Change what is given; `clear` names columns to empty, and None in `labels` takes one
        away. Raises StateChanged for a row whose `state` is none of `if_state`; None is any.

        Another URL makes the server's models unavailable until the next discovery. Another scheme,
        host or port also drops the credentials that are not given again in the same call.
        """
        arguments.check(name=name, url=url)
        parsed = None if url is None else urls.noted(url, self._note)
        values = server_columns.new_values(clear, parsed, name=name, **columns)
        given = GivenAuth(auth_type=auth_type, auth_config=auth_config, headers=headers)
        return await self._update(server, values, given, clear, if_state)

    async def _update(
        self,
        server: int | str,
        values: dict[str, Any],
        given: GivenAuth,
        clear: Sequence[str],
        if_state: Collection[str] | None,
    ) -> Server:
        arguments.check(auth_config=given.auth_config, headers=given.headers)
        if not values and given.is_nothing:
            raise InvalidInput("no change was given", "see: ollama-admin server update --help")
        before, after = await self._audit.change(
            "server.update",
            server,
            lambda connection: self._change(connection, server, values, given, clear, if_state),
            told_of,
        )
        if before.url != after.url:
            await self._with_note(after)
        had_credentials = before.auth_config or before.headers
        if had_credentials and urls.origin(before.url) != urls.origin(after.url):
            origin = urls.origin(before.url)
            self._note(
                f"the credentials that server {after.name} had for {origin} were dropped; "
                "only what was given with the new URL is kept"
            )
        return await self._masked(after)

    async def _with_note(self, server: Server) -> Server:
        """The row, once a note has said which others may be the same server under another URL."""
        spellings = urls.other_spellings(server.url)
        for other in await self._db.read(store.at_urls, spellings):
            self._note(
                f"{server.url} and {other.url} of server {other.name} may be the same "
                "server; each row has its own limit"
            )
        return server

    def _change(
        self,
        connection: Any,
        server: int | str,
        values: dict[str, Any],
        given: GivenAuth,
        clear: Sequence[str],
        if_state: Collection[str] | None,
    ) -> tuple[Server, Server]:
        """The row before and after, in one transaction."""
        if values.get("is_default"):
            lock_writers(connection)
        before = store.find(connection, server, hold=True)
        before.require_state(if_state)
        url = values.get("url", before.url)
        if values.get("labels"):
            values = values | {"labels": changed_labels(before.labels, values["labels"])}
        server_columns.require_fitting(url, fields_of(before) | values)
        columns = changed_columns(self._auth, before, url, given, clear=clear)
        return before, store.change(connection, before.id, values | columns)

    async def remove(
        self, server: int | str, *, force: bool = False, if_state: Collection[str] | None = None
    ) -> ServerRef:
        """Delete the row and its models; gives back which it was. `if_state` is as for `update`.

        Raises Conflict while requests run there; with `force` they end as they would, and nothing
        counts them any more.
        """

        def remove(connection: Any) -> ServerRef:
            if if_state is not None:
                store.find(connection, server, hold=True).require_state(if_state)
            return store.remove(connection, server, force=force)

        return await self._audit.change(
            "server.remove",
            server,
            remove,
            lambda ref: Told(subject=f"server {ref.id}, {ref.name}", before=ref),
        )

    async def enable(self, server: int | str) -> Server:
        return await self._masked(await self._set("server.enable", server, is_active=True))

    async def disable(self, server: int | str) -> Server:
        changed = await self._set("server.disable", server, is_active=False)
        if changed.is_default:
            self._note(
                f"server {changed.name} is still the default; choose another with: server "
                "set-default"
            )
        return await self._masked(changed)

    async def drain(
        self,
        server: int | str,
        *,
        timeout: float | None = None,
        on_left: Callable[[Server], None] = lambda _: None,
    ) -> Server:
        """Let a server get no new requests, and wait until none runs there, at most `timeout`
        seconds; see `wait_until_empty`. `is_active` stays as it is.
        """
        arguments.check(timeout=timeout)
        require_patience(timeout)
        row = await self._set("server.drain", server, is_draining=True)
        return await self._masked(await wait_until_empty(self._db, row.id, timeout, on_left))

    async def begin_to_drain(self, server: int | str) -> Server:
        """Let a server get no new requests; those that run there come to their ends."""
        return await self._masked(await self._set("server.drain", server, is_draining=True))

    async def resume(self, server: int | str) -> Server:
        """Let a server that was drained get requests again."""
        return await self._masked(await self._set("server.resume", server, is_draining=False))

    async def set_default(self, server: int | str) -> Server:
        return await self._masked(await self._set("server.set-default", server, is_default=True))

    async def _set(self, action: str, server: int | str, **values: bool) -> Server:
        """The row with these columns set."""

        def change(connection: Any) -> tuple[Server, Server]:
            if "is_default" in values:
                lock_writers(connection)
            before = store.find(connection, server, hold=True)
            return before, store.change(connection, server, values)

        _, after = await self._audit.change(action, server, change, told_of)
        return after

    async def check(
        self,
        servers: Sequence[int | str] = (),
        *,
        all: bool = False,
        capability: str | None = None,
        labels: Sequence[str] = (),
        deep: str | None = None,
    ) -> tuple[CheckResult, ...]:
        """Ask servers for their version (default: the active ones) and record what they said. Which
        ones, `Targets` says. With `deep`, the name of a model, each is asked for one token of it,
        too, by the rules of `generate`: its runner may be stuck behind an API that answers.
        """
        deep = server_columns.default_model(deep)
        targets = Targets(names=servers, all=all, capability=capability, labels=labels)
        chosen = await self._db.read(targets.servers)
        for server in chosen[:1]:  # loads HTTP, which is no time of a server's
            self._connect(Target(ref=server.ref, api_version=server.api_version), None)
        checks = Batches[CheckResult, CheckResult](
            lambda batch: self._db.write(store_checks.record_checks, batch)
        )

        async def record(outcome: Answered[str | None] | Failed) -> CheckResult:
            return await checks.add(check_result(outcome, deep))

        async def ask(server: Server) -> str | None:
            version = await self._ask_version(server)
            if deep is not None:
                await asked_for_a_token(self._ask, server, deep)
            return version

        return tuple(await ask_each(chosen, ask, record, limit=WorkLimit()))

    async def _ask_version(self, server: Server) -> str | None:
        return await version_of(self._connect(await self._auth.target(server), None), server)


def called(server: Server) -> str:
    """A server as the audit names it."""
    return f"server {server.id}, {server.name}"


def told_of(rows: tuple[Server, Server]) -> Told:
    """A server before and after a change, for the audit."""
    before, after = rows
    return Told(subject=called(after), before=before, after=after)
