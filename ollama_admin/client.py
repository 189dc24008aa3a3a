"""The facade: everything the command line and the REST API can do, from Python.

A service is loaded when it is first used, so that listing servers pays for nothing else.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from ollama_admin.domain.callers import Policy, Way
from ollama_admin.settings import Settings
from ollama_admin.store.database import Database

if TYPE_CHECKING:
    from ollama_admin.domain.answers import Reply
    from ollama_admin.domain.explanations import Explanation
    from ollama_admin.domain.models import DiscoverResult
    from ollama_admin.domain.requests import Asked, AskedOfAny, GenerateRequest
    from ollama_admin.domain.secret import Secret
    from ollama_admin.domain.servers import Target
    from ollama_admin.domain.values import Json
    from ollama_admin.ollama.endpoint import Endpoint
    from ollama_admin.ollama.http import HTTP, Times
    from ollama_admin.services.doctor import Report
    from ollama_admin.services.generate import Generation, Stream
    from ollama_admin.services.import_env import ImportResult
    from ollama_admin.services.leases import LeaseTimes
    from ollama_admin.services.models import Models
    from ollama_admin.services.pins import Pins
    from ollama_admin.services.receipts import Receipts
    from ollama_admin.services.recorder import Recorder
    from ollama_admin.services.secrets import StoredSecrets
    from ollama_admin.services.servers import Servers
    from ollama_admin.services.slots import Slots
    from ollama_admin.services.upstream_auth import UpstreamAuth, Value
    from ollama_admin.vault import Vault

Note = Callable[[str], None]


class Client:
    """`async with Client() as client:` - the settings are those of the command line.

    `on_note` hears what a person should know although nothing failed (default: the logger
    `ollama_admin`). `way` is what receipts say of where requests came from, `policy` what those who
    ask may do. Every failure is one of `ollama_admin.errors`.
    """

    def __init__(
        self,
        *,
        database_url: str | None = None,
        environ: Mapping[str, str] = os.environ,
        on_note: Note | None = None,
        times: Times | None = None,
        way: Way = Way.PYTHON,
        policy: Policy | None = None,
        lease_times: LeaseTimes | None = None,
    ) -> None:
        self._settings = Settings.read(environ, database_url)
        self._note = on_note or logging.getLogger("ollama_admin").warning
        self._times = times
        self._way = way
        self._policy = policy or Policy()
        self._lease_times = lease_times
        self._environ = environ
        self._db = Database(self._settings, self._create_schema)

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
        """Give back slots, write the receipts that are not written yet, and close every
        connection.
        """
        try:
            for name in ("_http", "_slots", "_recorder"):
                if name in self.__dict__:  # it was used
                    await getattr(self, name).aclose()
        finally:
            self._db.close()

    @cached_property
    def servers(self) -> Servers:
        """The rows of servers, and the question whether they answer."""
        from ollama_admin.services.servers import Servers

        return Servers(self._db, self._connect, self._auth, self._note)

    @cached_property
    def models(self) -> Models:
        """The catalogue as discovery left it."""
        from ollama_admin.services.models import Models

        return Models(self._db)

    @cached_property
    def pins(self) -> Pins:
        """Which build a name means, on every server."""
        from ollama_admin.services.pins import Pins

        return Pins(self._db, self._note)

    @cached_property
    def receipts(self) -> Receipts:
        """What became of requests."""
        from ollama_admin.services.receipts import Receipts

        return Receipts(self._db)

    @cached_property
    def secrets(self) -> StoredSecrets:
        """The state and the change of the key that stored secrets are encrypted with."""
        from ollama_admin.services.secrets import StoredSecrets

        return StoredSecrets(self._db, self._settings)

    async def discover(
        self,
        servers: Sequence[int | str] = (),
        *,
        all: bool = False,
        timeout: float | None = None,
        concurrency: int | None = None,
        prune: bool = False,
        on_start: Callable[[int], None] = lambda _: None,
        on_result: Callable[[DiscoverResult], None] = lambda _: None,
    ) -> list[DiscoverResult]:
        """Read what servers hold (default: the active ones) into the database; see
        `Discovery.run`.
        """
        from ollama_admin.services.discover import Discovery

        return await Discovery(self._db, self._connect, self._auth).run(
            servers,
            all=all,
            timeout=timeout,
            concurrency=concurrency,
            prune=prune,
            on_start=on_start,
            on_result=on_result,
        )

    async def generate(self, *, prompt: str, **asked: Unpack[Asked]) -> Reply:
        """The whole answer, from exactly the model that was named, or an error."""
        async with self.stream(prompt=prompt, **asked) as stream:
            async for _ in stream:
                pass
            return stream.reply

    def stream(self, *, prompt: str, **asked: Unpack[Asked]) -> Stream:
        """The pieces of the answer as they come. Use it in `async with` to cancel upstream when
        leaving early.
        """
        from ollama_admin.domain.requests import GenerateRequest

        return self.ask(GenerateRequest(prompt=prompt, **asked))

    async def chat(
        self,
        *,
        messages: Sequence[Mapping[str, Json]],
        tools: Sequence[Mapping[str, Json]] = (),
        **asked: Unpack[AskedOfAny],
    ) -> Reply:
        """The whole answer to a conversation. Messages and tools are as in Ollama's `/api/chat`."""
        async with self.stream_chat(messages=messages, tools=tools, **asked) as stream:
            async for _ in stream:
                pass
            return stream.reply

    def stream_chat(
        self,
        *,
        messages: Sequence[Mapping[str, Json]],
        tools: Sequence[Mapping[str, Json]] = (),
        **asked: Unpack[AskedOfAny],
    ) -> Stream:
        """As `chat`, in pieces; use it as `stream`."""
        from ollama_admin.domain.requests import GenerateRequest

        return self.ask(GenerateRequest(messages=tuple(messages), tools=tuple(tools), **asked))

    def ask(self, request: GenerateRequest) -> Stream:
        """The answer to a request that is already put together."""
        from ollama_admin.services.generate import Stream

        return Stream(self._generation().run(request))

    async def ready(self) -> None:
        """Raise DatabaseUnavailable unless the database can be used now."""
        await self._db.check()

    async def explain(self, *, prompt: str = "", **asked: Unpack[Asked]) -> Explanation:
        """Which server would answer, and why no other; nothing is sent."""
        from ollama_admin.domain.requests import GenerateRequest
        from ollama_admin.services.explain import Explaining

        return await Explaining(self._db).explain(GenerateRequest(prompt=prompt, **asked))

    async def import_env(
        self,
        files: Sequence[Path] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        dry_run: bool = False,
        update: bool = False,
    ) -> ImportResult:
        """Turn legacy `.env` entries into rows; see `EnvImport.run`."""
        from ollama_admin.services.import_env import EnvImport

        return await EnvImport(self._db, self._auth).run(
            files, environ, dry_run=dry_run, update=update
        )

    async def doctor(self) -> Report:
        """Settings, database, key and servers, with what is wrong."""
        from ollama_admin.services.doctor import Doctor

        return await Doctor(
            self._db, self._settings, self.servers, self.secrets, self._environ
        ).examine()

    @cached_property
    def _http(self) -> HTTP:
        from ollama_admin.ollama.http import HTTP, Times

        settings, times = self._settings, self._times or Times()
        return HTTP(times, settings.proxy, settings.ca_file, any_address=self._policy.any_address)

    @cached_property
    def _auth(self) -> UpstreamAuth:
        from ollama_admin.services.upstream_auth import UpstreamAuth

        return UpstreamAuth(self._open_vault, self._read_secret, self._environ)

    @cached_property
    def _slots(self) -> Slots:
        from ollama_admin.services.slots import Slots

        return Slots(self._db, self._note, self._lease_times)

    @cached_property
    def _recorder(self) -> Recorder:
        from ollama_admin.services.recorder import Recorder

        return Recorder(self._db, self._settings.receipts, self._note)

    def _generation(self) -> Generation:
        from ollama_admin.services.generate import Generation
        from ollama_admin.services.selection import Selection

        selection = Selection(self._db, self._connect, self._auth, self._note, self._policy)
        return Generation(
            selection, self._slots, self._recorder, self._connect, self._note, self._way
        )

    def _connect(self, target: Target, timeout: float | None) -> Endpoint:
        from ollama_admin.ollama.endpoint import Endpoint

        return Endpoint(self._http, target, timeout)

    def _open_vault(self, *, create: bool) -> Vault:
        from ollama_admin.vault import Vault, load_keys

        # each time: another process may rotate the key
        return Vault(load_keys(self._settings, create=create))

    @staticmethod
    def _read_secret(value: Value, environ: Mapping[str, str]) -> Secret:
        from ollama_admin.vault import resolve

        return resolve(value, environ)

    def _create_schema(self) -> None:
        from ollama_admin.store.migrations import upgrade

        upgrade(self._settings)
