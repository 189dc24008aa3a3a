"""Changes of what servers hold and have in memory: remove, copy, load, unload a model there."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

from ollama_admin.domain.callers import Rights
from ollama_admin.domain.digests import short
from ollama_admin.domain.holdings import Change, ChangeResult, Removal
from ollama_admin.domain.models import ListedModel, Listing, Model
from ollama_admin.domain.names import ModelName, model_key
from ollama_admin.domain.pins import Pin
from ollama_admin.domain.running import RunningModel
from ollama_admin.domain.servers import Server
from ollama_admin.errors import (
    Conflict,
    InvalidInput,
    ModelNotFound,
    RemoteNotAllowed,
    UpstreamError,
)
from ollama_admin.ollama import managing
from ollama_admin.ollama.endpoint import Endpoint
from ollama_admin.ollama.running import running_models
from ollama_admin.rules import arguments
from ollama_admin.rules.request_checks import check_keep_alive
from ollama_admin.services.audit import Audit
from ollama_admin.services.discover import Discovery
from ollama_admin.services.fleet import Answered, Failed, ask_each
from ollama_admin.services.health import HealthBook
from ollama_admin.services.managed import changeable, one_model, require_said
from ollama_admin.services.servers import Connect
from ollama_admin.services.targets import Targets
from ollama_admin.services.tasks import WorkLimit
from ollama_admin.services.upstream_auth import UpstreamAuth
from ollama_admin.store import models as store_models
from ollama_admin.store.database import Database

Done: TypeAlias = tuple[Change, str | None]  # what was done, and the digest that it was done to
Work: TypeAlias = Callable[[Server, Endpoint], Awaitable[Done]]


class Holdings:
    """What fails at one server is its result, and costs the others nothing."""

    def __init__(
        self,
        db: Database,
        connect: Connect,
        auth: UpstreamAuth,
        health: HealthBook,
        discovery: Discovery,
        audit: Audit,
        rights: Rights,
    ) -> None:
        self._db = db
        self._connect = connect
        self._auth = auth
        self._health = health
        self._discovery = discovery
        self._audit = audit
        self._rights = rights

    async def removal(self, model: str, targets: Targets) -> Removal:
        """What `remove` would be about, as the last discovery knows it; nobody is asked. Raises
        InvalidInput where nothing says at which servers, and ServerNotFound.
        """
        name = one_model(model, self._rights)
        require_said(targets)
        return await self._db.read(_removal, name, targets, self._rights)

    async def remove(self, model: str, targets: Targets) -> list[ChangeResult]:
        """Delete a model, which is let go of before where it is loaded. That a server has it not is
        an error only of one that is named; ModelNotFound where none has it.
        """
        name = one_model(model, self._rights)

        async def work(server: Server, endpoint: Endpoint) -> Done:
            listed = _listed(await endpoint.listing(), name, server)
            if _running(await running_models(endpoint), listed):
                await managing.keep(endpoint, listed.name, 0)
            await managing.delete(endpoint, listed.name)
            return Change.REMOVED, listed.digest

        return await self._each(name, targets, work, audited="model.delete", may_lack=True)

    async def copy(self, source: str, destination: str, targets: Targets) -> list[ChangeResult]:
        """Give a model a second name. Conflict where that name stands for another build,
        InvalidInput for one name twice.
        """
        name = one_model(source, self._rights, "source")
        new = one_model(destination, self._rights, "destination")
        if name.key == new.key:
            raise InvalidInput(
                f"{source!a} and {destination!a} are one name", "give the copy another name"
            )

        async def work(server: Server, endpoint: Endpoint) -> Done:
            listing = await endpoint.listing()
            listed = _listed(listing, name, server)
            _refuse_taken(listing, listed, new, server)
            await managing.copy(endpoint, listed.name, new.text)
            return Change.COPIED, listed.digest

        return await self._each(new, targets, work, audited="model.copy")

    async def load(
        self, model: str, targets: Targets, keep_alive: float | str | None = None
    ) -> list[ChangeResult]:
        """Have a model in memory, without a prompt, for as long as `keep_alive` says; None leaves
        that to the server. Nothing is pulled.
        """
        arguments.check(keep_alive=keep_alive)
        if keep_alive is not None:
            check_keep_alive(keep_alive)
        name = one_model(model, self._rights)

        async def work(server: Server, endpoint: Endpoint) -> Done:
            listed = _listed(await endpoint.listing(), name, server)
            if listed.is_remote:
                raise RemoteNotAllowed(
                    f"{listed.name!r} on server {server.name} runs elsewhere: nothing can be loaded"
                )
            await managing.keep(endpoint, listed.name, keep_alive)
            return Change.LOADED, listed.digest

        return await self._each(name, targets, work)

    async def unload(self, model: str, targets: Targets) -> list[ChangeResult]:
        """Let go of a model in memory; requests that run there end as they would. Who has it not is
        as for `remove`.
        """
        name = one_model(model, self._rights)

        async def work(server: Server, endpoint: Endpoint) -> Done:
            listed = _listed(await endpoint.listing(), name, server)
            if not _running(await running_models(endpoint), listed):
                return Change.NOT_LOADED, listed.digest
            await managing.keep(endpoint, listed.name, 0)
            return Change.UNLOADED, listed.digest

        return await self._each(name, targets, work, may_lack=True)

    async def _each(
        self,
        name: ModelName,
        targets: Targets,
        work: Work,
        *,
        audited: str | None = None,
        may_lack: bool = False,
    ) -> list[ChangeResult]:
        """Do the work at each server. With `may_lack` a server that is not named need not have the
        model.
        """
        require_said(targets)
        servers = await self._db.read(changeable, targets, self._rights)
        may_lack = may_lack and not targets.names

        async def ask(server: Server) -> Done:
            return await self._done(server, work, may_lack=may_lack)

        async def conclude(outcome: Answered[Done] | Failed) -> ChangeResult:
            result = _result(name.text, outcome)
            if audited is not None and result.change is not Change.NOT_THERE:
                await self._record(audited, result)
            return result

        results = await ask_each(servers, ask, conclude, limit=WorkLimit())
        if results and all(result.change is Change.NOT_THERE for result in results):
            raise ModelNotFound(f"no server has model {name.text!r}", "see: ollama-admin models")
        return results

    async def _done(self, server: Server, work: Work, *, may_lack: bool) -> Done:
        if server.is_ollama is False:
            raise UpstreamError(f"server {server.name} is not Ollama: nothing can be changed there")
        endpoint = self._connect(await self._auth.target(server), None)
        try:
            with self._health.kept(server):
                return await work(server, endpoint)
        except ModelNotFound:
            if may_lack:
                return Change.NOT_THERE, None
            raise

    async def _record(self, action: str, result: ChangeResult) -> None:
        """Read what the server holds now, and write into the audit what became of the change."""
        if result.error is None and result.server.id is not None:
            await self._discovery.run(Targets(names=[result.server.id]))
        subject = f"model {result.model} on server {result.server.name}"
        digest = {"digest": result.digest}
        if result.error is not None:
            await self._audit.record(action, subject, result.error.code)
        elif result.change is Change.REMOVED:
            await self._audit.record(action, subject, before=digest)
        else:
            await self._audit.record(action, subject, after=digest)


def _result(model: str, outcome: Answered[Done] | Failed) -> ChangeResult:
    change, digest, error = Change.FAILED, None, None
    if isinstance(outcome, Failed):
        error = outcome.error
    else:
        change, digest = outcome.answer
    return ChangeResult(
        server=outcome.server.ref,
        model=model,
        change=change,
        digest=digest,
        ms=outcome.ms,
        error=error,
    )


def _listed(listing: Listing, name: ModelName, server: Server) -> ListedModel:
    """The model as the server spells it; ModelNotFound where it does not list it."""
    models = listing.named(name)
    if not models:
        raise ModelNotFound(f"server {server.name} has no model {name.text!r}")
    if len(models) > 1:
        names = " and ".join(repr(model.name) for model in models)
        raise Conflict(f"{name.text!r} means {names} on server {server.name}", "rename one there")
    return models[0]


def _running(models: Sequence[RunningModel], listed: ListedModel) -> bool:
    key = model_key(listed.name)
    return any(model.digest == listed.digest or model_key(model.name) == key for model in models)


def _refuse_taken(listing: Listing, source: ListedModel, new: ModelName, server: Server) -> None:
    for taken in listing.named(new):
        if taken.digest != source.digest:
            raise Conflict(
                f"{taken.name!r} is build {short(taken.digest)} on server {server.name}, which the "
                "copy would replace",
                f"remove it first: ollama-admin rm {taken.name} --on {server.ref.word}",
            )


def _removal(connection: Any, name: ModelName, targets: Targets, rights: Rights) -> Removal:
    servers = changeable(connection, targets, rights)
    rows, pin = store_models.named(connection, name)
    ids = {server.id for server in servers}
    holding = {row.server_id for row in rows}
    breaks = [
        f"{server.name} answers with {server.default_model} when no model is named"
        for server in servers
        if server.default_model is not None and model_key(server.default_model) == name.key
    ]
    if pin is not None and _loses_pin(rows, pin, ids):
        breaks.append(
            f"no other server is known to have build {short(pin.digest)}, which is pinned"
        )
    return Removal(
        model=name.text,
        servers=tuple(server.ref for server in servers),
        holders=tuple(server.ref for server in servers if server.id in holding),
        breaks=tuple(breaks),
    )


def _loses_pin(rows: Sequence[Model], pin: Pin, without: set[int]) -> bool:
    """Whether the pinned build is on those servers and on no other one."""
    holders = {row.server_id for row in rows if row.digest == pin.digest}
    return bool(holders) and holders <= without
