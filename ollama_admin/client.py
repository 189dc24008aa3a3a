"""The facade: everything the command line and the REST API can do, from Python.

HTTP and migrations are loaded when first used, so that listing servers pays for neither.
"""

import logging
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TypedDict, Unpack

from ollama_admin.domain.doors import Policy, Way
from ollama_admin.domain.explanations import Explanation
from ollama_admin.domain.generation import GenerateRequest, Piece, Reply, ThinkLevel
from ollama_admin.domain.models import DiscoverResult
from ollama_admin.domain.servers import AuthType, Target
from ollama_admin.domain.values import Given, Json
from ollama_admin.secret import Secret
from ollama_admin.services.credentials import Safe, Value
from ollama_admin.services.discover import CONCURRENCY, Discovery
from ollama_admin.services.explain import Explaining
from ollama_admin.services.generate import Generation
from ollama_admin.services.models import Models
from ollama_admin.services.pins import Pins
from ollama_admin.services.receipts import Receipts
from ollama_admin.services.recorder import Recorder
from ollama_admin.services.selection import Selection
from ollama_admin.services.servers import Servers
from ollama_admin.services.slots import LeaseTimes, Slots
from ollama_admin.settings import Settings
from ollama_admin.store.database import Database

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint
    from ollama_admin.ollama.http import HTTP, Times
    from ollama_admin.services.doctor import Report
    from ollama_admin.services.import_env import ImportResult
    from ollama_admin.services.secrets import Secrets
    from ollama_admin.vault import Vault

Note = Callable[[str], None]


class AskedOfAny(TypedDict, total=False):
    """The keyword arguments that all questions have: fields of `GenerateRequest`."""

    model: str | None
    server: int | str | None
    server_url: str | None
    capability: str | None
    format: Literal["json"] | Mapping[str, Json] | None
    options: Mapping[str, Json]
    think: bool | ThinkLevel | None
    keep_alive: float | str | None
    timeout: float | None
    wait: float
    digest: str | None
    verified: bool
    no_verify: bool
    allow_remote: bool
    allow_truncate: bool
    auth_type: AuthType | str | None
    auth_config: Mapping[str, Given] | None
    headers: Mapping[str, Given] | None


class Asked(AskedOfAny, total=False):
    """The keyword arguments of `generate` and `stream` beside the prompt."""

    system: str | None
    images: tuple[bytes, ...]


class Client:
    """`async with Client() as client:` - the settings are those of the command line.

    `on_note` hears what a person should know although nothing failed (default: the logger `ollama_admin`).
    `way` is what receipts say of where requests came from, `policy` what those who ask may do. Every failure is one of
    `ollama_admin.errors`.
    """

    def __init__(
        self,
        *,
        database_url: str | None = None,
        environ: Mapping[str, str] = os.environ,
        on_note: Note | None = None,
        times: "Times | None" = None,
        way: Way = Way.PYTHON,
        policy: Policy | None = None,
        lease_times: LeaseTimes | None = None,
    ) -> None:
        self._settings = Settings.read(environ, database_url)
        self._note = on_note or logging.getLogger("ollama_admin").warning
        self._times = times
        self._way = way
        self._policy = policy or Policy()
        self._db = Database(self._settings, self._create_schema)
        self._recorder = Recorder(self._db, self._settings.receipts, self._note)
        self._environ = environ
        self._safe = Safe(self._open_vault, self._read_secret, environ)
        self.servers = Servers(self._db, self._connect, self._safe, self._note)
        self.models = Models(self._db)
        self.pins = Pins(self._db, self._note)
        self.receipts = Receipts(self._db)
        self._slots = Slots(self._db, self._note, lease_times)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Give back slots, write the receipts that are not written yet, and close every connection."""
        try:
            if "_http" in self.__dict__:
                await self._http.aclose()
            await self._slots.aclose()
            await self._recorder.aclose()
        finally:
            self._db.close()

    async def discover(
        self,
        servers: Sequence[int | str] = (),
        *,
        all: bool = False,
        timeout: float | None = None,
        concurrency: int = CONCURRENCY,
        prune: bool = False,
        on_start: Callable[[int], None] = lambda _: None,
        on_result: Callable[[DiscoverResult], None] = lambda _: None,
    ) -> list[DiscoverResult]:
        """Read what servers hold (default: the active ones) into the database; see `Discovery.run`."""
        return await Discovery(self._db, self._connect, self._safe).run(
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

    def stream(self, *, prompt: str, **asked: Unpack[Asked]) -> "Stream":
        """The pieces of the answer as they come. Use it in `async with` to cancel upstream when leaving early."""
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
    ) -> "Stream":
        """As `chat`, in pieces; use it as `stream`."""
        return self.ask(GenerateRequest(messages=tuple(messages), tools=tuple(tools), **asked))

    def ask(self, request: GenerateRequest) -> "Stream":
        """The answer to a request that is already put together."""
        return Stream(self._generation().run(request))

    async def ready(self) -> None:
        """Raise DatabaseUnavailable unless the database can be used now."""
        await self._db.check()

    async def explain(self, *, prompt: str = "", **asked: Unpack[Asked]) -> Explanation:
        """Which server would answer, and why no other; nothing is sent."""
        return await Explaining(self._db).explain(GenerateRequest(prompt=prompt, **asked))

    async def import_env(
        self,
        files: Sequence[Path] | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        dry_run: bool = False,
        update: bool = False,
    ) -> "ImportResult":
        """Turn legacy `.env` entries into rows; see `EnvImport.run`."""
        from ollama_admin.services.import_env import EnvImport

        return await EnvImport(self._db, self._safe).run(files, environ, dry_run=dry_run, update=update)

    @cached_property
    def secrets(self) -> "Secrets":
        """The state and the change of the key that stored secrets are encrypted with."""
        from ollama_admin.services.secrets import Secrets

        return Secrets(self._db, self._settings)

    async def doctor(self) -> "Report":
        """Settings, database, key and servers, with what is wrong."""
        from ollama_admin.services.doctor import Doctor

        return await Doctor(self._db, self._settings, self.servers, self.secrets, self._environ).examine()

    @cached_property
    def _http(self) -> "HTTP":
        from ollama_admin.ollama.http import HTTP, Times

        settings, times = self._settings, self._times or Times()
        return HTTP(times, settings.proxy, settings.ca_file, any_address=self._policy.any_address)

    def _generation(self) -> Generation:
        selection = Selection(self._db, self._connect, self._safe, self._note, self._policy)
        return Generation(selection, self._slots, self._recorder, self._connect, self._note, self._way)

    def _connect(self, target: Target, timeout: float | None) -> "Endpoint":
        from ollama_admin.ollama.endpoint import Endpoint

        return Endpoint(self._http, target, timeout)

    def _open_vault(self, *, create: bool) -> "Vault":
        from ollama_admin.vault import Vault, load_keys

        return Vault(load_keys(self._settings, create=create))  # each time: another process may rotate the key

    @staticmethod
    def _read_secret(value: Value, environ: Mapping[str, str]) -> Secret:
        from ollama_admin.vault import resolve

        return resolve(value, environ)

    def _create_schema(self) -> None:
        from ollama_admin.store.migrations import upgrade

        upgrade(self._settings)


class Stream:
    """Pieces of one answer; `reply` is there when they have all come."""

    def __init__(self, events: AsyncGenerator[Piece | Reply, None]) -> None:
        self._events = events
        self._reply: Reply | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._events.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Piece:
        event = await anext(self._events)
        while isinstance(event, Reply):
            self._reply = event
            event = await anext(self._events)
        return event

    @property
    def reply(self) -> Reply:
        """The accepted answer; RuntimeError before the last piece was read."""
        if self._reply is None:
            raise RuntimeError("the answer has not been read to its end")
        return self._reply
