"""The facade: everything the command line and the REST API can do, from Python.

A service is loaded when it is asked for, so that listing servers pays for nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ollama_admin.domain.callers import OWNER, Caller, Way, log_note
from ollama_admin.domain.signatures import takes_a_request
from ollama_admin.rules import arguments
from ollama_admin.services.resources import Resources
from ollama_admin.settings import Settings

if TYPE_CHECKING:
    from ollama_admin.domain.answers import EmbedReply, Reply
    from ollama_admin.domain.explanations import Explanation
    from ollama_admin.domain.files import Pasted
    from ollama_admin.domain.models import DiscoverResult
    from ollama_admin.domain.requests import GenerateRequest, Message
    from ollama_admin.domain.servers import Target
    from ollama_admin.ollama.connecting import Times
    from ollama_admin.ollama.endpoint import Endpoint
    from ollama_admin.ollama.http import HTTP
    from ollama_admin.ollama.raw_http import RawHTTP
    from ollama_admin.services.audit import Audit
    from ollama_admin.services.dispatch import Dispatch
    from ollama_admin.services.doctor import Report
    from ollama_admin.services.generate import Stream
    from ollama_admin.services.import_env import ImportResult
    from ollama_admin.services.key_limits import KeyLimits
    from ollama_admin.services.keyring import KeyRing
    from ollama_admin.services.keys import Keys
    from ollama_admin.services.leases import LeaseTimes
    from ollama_admin.services.lookout import Lookout
    from ollama_admin.services.merged import Merged
    from ollama_admin.services.models import Models
    from ollama_admin.services.passages import Passages
    from ollama_admin.services.pins import Pins
    from ollama_admin.services.plans import Plans
    from ollama_admin.services.receipts import Receipts
    from ollama_admin.services.relay import Relay
    from ollama_admin.services.secrets import StoredSecrets
    from ollama_admin.services.selection import Selection
    from ollama_admin.services.servers import Connect, Servers
    from ollama_admin.services.whole_fleet import Fleet


class Client:
    """`async with Client() as client:` - the settings are those of the command line.

    `on_note` hears what a person should know although nothing failed (default: the logger
    `ollama_admin`). Every failure is one of `ollama_admin.errors`.
    """

    def __init__(
        self,
        *,
        database_url: str | None = None,
        environ: Mapping[str, str] | None = None,
        on_note: Callable[[str], None] = log_note,
        times: Times | None = None,
        lease_times: LeaseTimes | None = None,
        caller: Caller | None = None,
    ) -> None:
        arguments.check(database_url=database_url, environ=environ)
        if environ is None:
            environ = os.environ
        settings = Settings.read(environ, database_url)
        self._caller = caller or Caller(way=Way.PYTHON, rights=OWNER, note=on_note)
        is_command = self._caller.way is Way.CLI
        self._resources = Resources(
            settings, environ, on_note, times, lease_times, one_pool=is_command
        )

    def for_caller(self, caller: Caller) -> Self:
        """This client as somebody else's: what that caller may do, and where notes go to.

        They share connections and slots; close the one that was opened.
        """
        client = copy(self)
        client._caller = caller
        return client

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give back slots, write what is not written yet, and close every connection."""
        await self._resources.aclose()

    @property
    def servers(self) -> Servers:
        """The rows of servers, and the question whether they answer."""
        from ollama_admin.services.servers import Servers

        resources = self._resources
        db, auth, ask, note = resources.db, resources.auth, self.generate, self._caller.note
        return Servers(db, self._connect, auth, note, self.audit, ask)

    @property
    def models(self) -> Models:
        """The catalogue as discovery left it."""
        from ollama_admin.services.models import Models

        return Models(self._resources.db)

    @property
    def fleet(self) -> Fleet:
        """What concerns several servers at once: what they hold and run, and what they pull."""
        from ollama_admin.services.whole_fleet import Fleet

        return Fleet(self._resources, self._connect, self._caller)

    @property
    def plans(self) -> Plans:
        """Who may answer, from memory where that is possible."""
        from ollama_admin.services.plans import Plans

        return Plans(self._resources.registry, self._selection(), self._caller)

    @property
    def relay(self) -> Relay:
        """Calls that a model answers, passed on as they are."""
        from ollama_admin.services.relay import Relay

        return Relay(self._dispatch(self._connect))

    @property
    def passages(self) -> Passages:
        """Calls that no model works on, passed on as they are."""
        from ollama_admin.services.passages import Passages

        resources = self._resources
        return Passages(resources.db, resources.registry, self._connect, resources.auth)

    @property
    def merged(self) -> Merged:
        """The fleet as if it were one server."""
        from ollama_admin.services.merged import Merged

        resources = self._resources
        return Merged(
            resources.db, resources.registry, resources.lists, self._connect, resources.auth
        )

    @property
    def pins(self) -> Pins:
        """Which build a name means, on every server."""
        from ollama_admin.services.pins import Pins

        return Pins(self._resources.db, self._caller.note, self.audit)

    @property
    def keys(self) -> Keys:
        """Who may ask over HTTP, for what, and how much."""
        from ollama_admin.services.keys import Keys

        return Keys(self._resources.db, self.audit)

    @property
    def audit(self) -> Audit:
        """Who changed what."""
        from ollama_admin.services.audit import Audit

        return Audit(self._resources.db, self._caller)

    @property
    def keyring(self) -> KeyRing:
        """The keys as a process that serves knows them."""
        return self._resources.keyring

    @property
    def key_limits(self) -> KeyLimits:
        """The limits of keys, for a process that serves."""
        return self._resources.key_limits

    @property
    def lookout(self) -> Lookout:
        """Looks at all servers in the background, for a process that serves."""
        from ollama_admin.services.lookout import Lookout

        db, settings = self._resources.db, self._resources.settings
        return Lookout(db, settings, self.servers, self.discover, self._caller.note)

    @property
    def receipts(self) -> Receipts:
        """What became of requests."""
        from ollama_admin.services.receipts import Receipts

        return Receipts(self._resources.db, self.audit, self._resources.receipts_written)

    @property
    def secrets(self) -> StoredSecrets:
        """The state and the change of the key that stored secrets are encrypted with."""
        from ollama_admin.services.secrets import StoredSecrets

        return StoredSecrets(self._resources.db, self._resources.settings, self.audit)

    async def require_default_model(self, server: int | str) -> None:
        """Raise ModelNotFound where a server does not list its default model, or UpstreamError."""
        from ollama_admin.services.default_models import require_default_model

        resources = self._resources
        await require_default_model(resources.db, self._connect, resources.auth, server)

    @property
    def missing_file(self) -> Path | None:
        """The SQLite file in which something was looked for, if there is none."""
        return self._resources.db.missing_file

    async def discover(
        self,
        servers: Sequence[int | str] = (),
        *,
        all: bool = False,
        capability: str | None = None,
        labels: Sequence[str] = (),
        timeout: float | None = None,
        concurrency: int | None = None,
        prune: bool = False,
        on_start: Callable[[int], None] = lambda _: None,
        on_result: Callable[[DiscoverResult], None] = lambda _: None,
    ) -> list[DiscoverResult]:
        """Read what servers hold into the database; see `Discovery.run` and `Targets`."""
        from ollama_admin.services.discover import Discovery
        from ollama_admin.services.targets import Targets

        arguments.check(timeout=timeout, concurrency=concurrency)
        targets = Targets(names=servers, all=all, capability=capability, labels=labels)
        discovery = Discovery(self._resources.db, self._connect, self._resources.auth)
        return await discovery.run(
            targets,
            timeout=timeout,
            concurrency=concurrency,
            prune=prune,
            on_start=on_start,
            on_result=on_result,
        )

    @takes_a_request
    async def generate(self, **asked: Any) -> Reply:
        """The whole answer, from exactly the model that was named, or an error.

        Keyword arguments are the fields of `Question`, `Route` and `Terms` in `domain/requests.py`.
        """
        from ollama_admin.domain.requests import GenerateRequest
        from ollama_admin.services.generate import Generation

        return await Generation(self._dispatch()).whole(GenerateRequest(**asked), self._caller)

    @takes_a_request
    def stream(self, **asked: Any) -> Stream:
        """The pieces of the answer as they come; keyword arguments are those of `generate`.

        Use it in `async with` to cancel upstream when leaving early.
        """
        from ollama_admin.domain.requests import GenerateRequest

        return self.ask(GenerateRequest(**asked))

    async def chat(
        self, *, messages: Sequence[Message], tools: Sequence[Message] = (), **asked: Any
    ) -> Reply:
        """The whole answer to a conversation, as in Ollama's `/api/chat`; see `generate`."""
        arguments.need(messages=messages, tools=tools)
        return await self.generate(messages=tuple(messages), tools=tuple(tools), **asked)

    def stream_chat(
        self, *, messages: Sequence[Message], tools: Sequence[Message] = (), **asked: Any
    ) -> Stream:
        """The pieces of an answer to a conversation; arguments are those of `chat`."""
        arguments.need(messages=messages, tools=tools)
        return self.stream(messages=tuple(messages), tools=tuple(tools), **asked)

    async def embed(self, *, input: str | Sequence[str], **asked: Any) -> EmbedReply:
        """Vectors of a text, or of several; other arguments are the fields of `EmbedRequest`."""
        from ollama_admin.services.embed import Embedding

        return await Embedding(self._dispatch()).run(input, asked, self._caller)

    def ask(
        self,
        request: GenerateRequest,
        *,
        path: str | None = None,
        affinity: bytes | None = None,
        request_id: str | None = None,
    ) -> Stream:
        """The answer to a request that is already put together.

        With `path`, of Ollama's own API, it goes there as it is; see `Generation.run`. `affinity`
        is the key of the conversation that it belongs to; see `rules/affinity.py`. The receipt is
        found by `request_id`.
        """
        from ollama_admin.services.generate import Generation, Stream

        generation = Generation(self._dispatch())
        return Stream(generation.run(request, self._caller, path, affinity, request_id))

    async def ready(self) -> None:
        """Raise DatabaseUnavailable unless the database can be used now."""
        await self._resources.db.check()

    async def ready_to_serve(self) -> float | None:
        """Raise DatabaseUnavailable unless requests can be served, as `Resources` says."""
        return await self._resources.require_servable()

    @takes_a_request
    async def explain(self, **asked: Any) -> Explanation:
        """Which server would answer, and why no other; no prompt is sent."""
        from ollama_admin.domain.requests import GenerateRequest

        return await self.route(GenerateRequest(**asked))

    async def route(self, request: GenerateRequest, affinity: bytes | None = None) -> Explanation:
        """Which server would answer a request that is put together, and why no other; `affinity` is
        the key of its conversation, see `rules/affinity.py`.
        """
        from ollama_admin.services.explain import Explaining

        resources = self._resources
        explaining = Explaining(
            resources.db, self._selection(), self._connect, resources.lists, resources.loads
        )
        return await explaining.explain(request, self._caller, affinity)

    async def import_env(
        self,
        files: Sequence[Path | Pasted] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        dry_run: bool = False,
        update: bool = False,
        skip_errors: bool = False,
    ) -> ImportResult:
        """Turn legacy `.env` entries into rows; see `EnvImport.run`."""
        from ollama_admin.services.import_env import EnvImport

        arguments.check(files=files, environ=environ)
        importing = EnvImport(self._resources.db, self._resources.auth, self.audit)
        return await importing.run(
            files, environ, dry_run=dry_run, update=update, skip_errors=skip_errors
        )

    async def doctor(self) -> Report:
        """Settings, database, key and servers, with what is wrong."""
        from ollama_admin.services.doctor import Doctor

        resources = self._resources
        doctor = Doctor(
            resources.db, resources.settings, self.servers, self.secrets, resources.environ
        )
        return await doctor.examine()

    def _dispatch(self, connect: Connect | None = None) -> Dispatch:
        from ollama_admin.services.dispatch import Dispatch

        resources, connect = self._resources, connect or self._connect_to_ask
        return Dispatch(
            self._selection(connect),
            resources.slots,
            resources.recorder,
            resources.lists,
            resources.loads,
            connect,
        )

    def _selection(self, connect: Connect | None = None) -> Selection:
        from ollama_admin.services.selection import Selection

        return Selection(self._resources.db, connect or self._connect, self._resources.auth)

    def _connect(self, target: Target, timeout: float | None) -> Endpoint:
        """The way to a server; addresses that this caller may not reach are refused on it."""
        return self._endpoint(self._resources.raw_http, target, timeout)

    def _connect_to_ask(self, target: Target, timeout: float | None) -> Endpoint:
        """The way of a single question: by httpx."""
        return self._endpoint(self._resources.http, target, timeout)

    def _endpoint(self, http: HTTP | RawHTTP, target: Target, timeout: float | None) -> Endpoint:
        from ollama_admin.ollama.endpoint import Endpoint

        any_address, watch = self._caller.rights.any_address, self._caller.watch
        return Endpoint(http, target, timeout, any_address=any_address, watch=watch)
