"""One answer: choose the server, send exactly what was asked, accept nothing else."""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from ollama_admin import names, routing, urls
from ollama_admin.domain import (
    ApiVersion,
    GenerateRequest,
    ListedModel,
    Model,
    Piece,
    Proof,
    Reply,
    Server,
    Target,
)
from ollama_admin.errors import (
    InvalidInput,
    ModelNotFound,
    ServerInactive,
    ServerUnreachable,
    StreamInterrupted,
    UpstreamError,
)
from ollama_admin.requests import check, unknown_options, v1_obstacle
from ollama_admin.services.answers import Answer
from ollama_admin.services.credentials import Credentials, Safe, read_credentials
from ollama_admin.services.servers import Connect
from ollama_admin.store import models as store_models
from ollama_admin.store import servers as store_servers
from ollama_admin.store.database import Database
from ollama_admin.versions import CONTEXT_4096_SINCE, PS_CONTEXT_SINCE, keeps_whole_prompt, version_key

if TYPE_CHECKING:
    from ollama_admin.ollama.endpoint import Endpoint

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Where a request goes. `model` is the server's own spelling, `listed` what is known of it."""

    target: Target
    model: str
    listed: ListedModel | None
    version: str | None

    @property
    def is_remote(self) -> bool:
        return names.is_cloud_name(self.model) or (self.listed is not None and self.listed.is_remote)


class Generation:
    def __init__(self, db: Database, connect: Connect, safe: Safe, note: Callable[[str], None]) -> None:
        self._db = db
        self._connect = connect
        self._safe = safe
        self._note = note

    async def run(self, request: GenerateRequest) -> AsyncGenerator[Piece | Reply, None]:
        """The pieces of the answer as they arrive, then the reply. Closing the generator cancels upstream."""
        check(request)
        deadline = None if request.timeout is None else asyncio.get_running_loop().time() + request.timeout
        started = time.monotonic()
        choice = await _by(deadline, self._choose(request))
        self._refuse_what_cannot_be_asked(request, choice)
        answer = Answer(
            server=choice.target.ref,
            model=choice.model,
            accepted=_accepted_names(choice, request),
            needs_reason=choice.target.api_version is ApiVersion.V1,
            allow_remote=request.allow_remote,
            started=started,
        )
        endpoint = self._connect(choice.target, None)
        async with aclosing(endpoint.generate(request, choice.model)) as events:
            while not answer.done:
                event = await _by(deadline, anext(events, None), begun=answer.first_at is not None)
                if event is None:
                    break
                piece = answer.take(event, time.monotonic())
                if piece is not None:
                    yield piece
        answer.require_end()
        truncated = await self._truncated(request, choice, answer, endpoint)
        yield self._reply(choice, answer, truncated)

    async def _choose(self, request: GenerateRequest) -> Choice:
        if request.server_url is not None:
            return await self._at_url(request, urls.server_url(request.server_url))
        if request.server is not None:
            server = await self._db.read(store_servers.find, request.server)
            if not server.is_active:
                raise ServerInactive(
                    f"server {server.name} is inactive", f"enable it with: ollama-admin server enable {server.id}"
                )
            return await self._on_server(request, server, self._safe.target(server))
        if request.model is None:
            return await self._default(request)
        return await self._among_all(request, request.model)

    async def _at_url(self, request: GenerateRequest, url: urls.ServerURL) -> Choice:
        server = await self._db.read(store_servers.find_url, url.url)
        if server is None:
            return await self._resolve(_named(request), self._safe.dynamic(url, _given_credentials(request)), None)
        if _given_credentials(request) != Credentials():
            raise InvalidInput(
                f"server {server.name} has this URL, and its own credentials",
                "leave the auth options out, or update it",
            )
        if not server.is_active:
            self._note(f"server {server.name} is inactive; it is asked because its URL was given")
        target = self._safe.target(server, ApiVersion.V1 if url.v1 else None)
        return await self._on_server(request, server, target)

    async def _on_server(self, request: GenerateRequest, server: Server, target: Target) -> Choice:
        if request.model is None:
            if server.default_model is None:
                raise InvalidInput(
                    f"no model is named, and server {server.name} has no default model",
                    f"name one with --model, or set it: ollama-admin server update {server.id} --default-model M",
                )
            self._note(f"using the default model of server {server.name}: {server.default_model}")
        return await self._resolve(request.model or server.default_model or "", target, server)

    async def _default(self, request: GenerateRequest) -> Choice:
        """Nothing named at all: the default server's model, or that of the first server with the capability."""
        servers = await self._db.read(store_servers.all_servers)
        if request.capability is None:
            chosen = next((server for server in servers if server.is_default), None)
            missing = "no model is named, and there is no default server"
            hint = "name one with --model, or set a default: ollama-admin server set-default S"
        else:
            wanted = request.capability
            chosen = next((s for s in servers if s.is_active and routing.has_capability(s.capabilities, wanted)), None)
            missing, hint = f"no model is named, and no active server has the capability {wanted!r}", "use --model"
        if chosen is None:
            raise InvalidInput(missing, hint)
        if not chosen.is_active:
            raise ServerInactive(
                f"the default server {chosen.name} is inactive", "enable it, or choose another: server set-default S"
            )
        return await self._on_server(request, chosen, self._safe.target(chosen))

    async def _among_all(self, request: GenerateRequest, model: str) -> Choice:
        (servers, unreadable), models = await self._db.read(_catalogue, model)
        for row in unreadable:
            if row.ref.id in {known.server_id for known in models}:
                self._note(f"{row.error.message}; it is passed over")
        ranking = routing.rank(servers, models, model, request)
        for note in ranking.notes:
            self._note(note)
        if not ranking.candidates:
            raise await self._not_found(request, model, servers, models)
        server = ranking.candidates[0].server
        return await self._resolve(model, self._safe.target(server), server)

    async def _resolve(self, model: str, target: Target, server: Server | None) -> Choice:
        """Find the server's own spelling of the name, asking the server for what the catalogue does not say."""
        endpoint = self._connect(target, None)
        version = server.version if server else None
        is_ollama = server.is_ollama if server else None
        if is_ollama is None:
            version = await endpoint.version()
            is_ollama = version is not None
        if not is_ollama and target.api_version is ApiVersion.NATIVE:
            hint = "if it speaks the OpenAI-compatible API, end its URL in /v1"
            raise UpstreamError(f"server {target.ref} answers, but not as Ollama", hint)
        listed: Sequence[ListedModel] = ()
        if server and is_ollama:
            listed = await self._db.read(store_models.named, model, server.id)
        if not listed:  # a program that is not Ollama may answer for any name: its own list decides, each time
            listed = await endpoint.models(is_ollama=is_ollama)
        found = [known for known in listed if routing.means(known.name, model, is_ollama=is_ollama)]
        if not found and not is_ollama:
            raise _unknown(model, target, [known.name for known in listed])
        known = routing.only_one(found, str(target.ref)) if found else None
        return Choice(target=target, model=known.name if known else model, listed=known, version=version)

    def _refuse_what_cannot_be_asked(self, request: GenerateRequest, choice: Choice) -> None:
        routing.refuse_remote(choice.model, choice.listed, request)
        if choice.target.api_version is ApiVersion.V1:
            obstacle = v1_obstacle(request)
            if obstacle:
                raise InvalidInput(
                    f"server {choice.target.ref} is spoken to as v1, which cannot carry {obstacle}",
                    "leave it out, or if the server is Ollama speak native to it"
                    + (
                        f": ollama-admin server update {choice.target.ref.id} --api-version native"
                        if choice.target.ref.id
                        else ""
                    ),
                )
        for key in unknown_options(request.options):
            self._note(f"option {key} is not one that Ollama is known to read; it is sent as given")
        if choice.is_remote:
            self._note(f"model {choice.model} answers from a remote host: the prompt leaves the fleet, as allowed")

    async def _not_found(
        self, request: GenerateRequest, asked: str, servers: list[Server], models: list[Model]
    ) -> ModelNotFound:
        """The error for a name that no active server offers, with what comes nearest as its hint."""
        inactive = {server.id: server.name for server in servers if not server.is_active}
        holders = [inactive[model.server_id] for model in models if model.server_id in inactive]
        known = await self._db.read(store_models.available_names)
        near = routing.nearest(asked, known)
        if holders:
            hint = f"inactive servers have it: {', '.join(holders)}"
        elif models and request.capability:
            hint = "it is there, without that capability: see ollama-admin models -o json"
        elif near:
            hint = f"nearest: {', '.join(near)}"
        elif not known:
            hint = "no models are known yet: run ollama-admin discover"
        else:
            hint = "see what there is: ollama-admin models; after a change on a server: ollama-admin discover"
        with_capability = f" with the capability {request.capability!r}" if request.capability else ""
        return ModelNotFound(f"no active server has model {asked!r}{with_capability}", hint)

    async def _truncated(
        self, request: GenerateRequest, choice: Choice, answer: Answer, endpoint: "Endpoint"
    ) -> bool | None:
        """Whether the prompt was cut: False (it would have been refused), True (seen), None (unknown)."""
        if choice.version is None:
            return None
        whole = keeps_whole_prompt(choice.version)
        if whole or whole is None:
            return False if whole and not request.allow_truncate else None
        context = await self._context(request, choice, endpoint)
        if answer.prompt_tokens is None or answer.prompt_tokens < context:
            return None
        self._note(
            f"server {choice.target.ref} ({choice.version}) read {answer.prompt_tokens} tokens, all that its context "
            "holds: the prompt was probably cut; give it a larger one with --option num_ctx=N"
        )
        return True

    async def _context(self, request: GenerateRequest, choice: Choice, endpoint: "Endpoint") -> int:
        """Tokens of context in force on a server that cuts in silence."""
        asked = request.options.get("num_ctx")
        version = version_key(choice.version or "")
        context = asked if isinstance(asked, int) else None
        if context is None and version >= PS_CONTEXT_SINCE:
            try:
                context = await endpoint.running_context(choice.model)
            except UpstreamError:
                context = None
        context = context or (4096 if version >= CONTEXT_4096_SINCE else 2048)
        longest = choice.listed.context_length if isinstance(choice.listed, Model) else None
        return min(context, longest or context)

    def _reply(self, choice: Choice, answer: Answer, truncated: bool | None) -> Reply:
        return Reply(
            response="".join(answer.response),
            thinking="".join(answer.thinking),
            model=choice.model,
            server=choice.target.ref,
            digest=None,
            verified=False,
            proof=Proof.REMOTE if choice.is_remote or answer.is_remote else Proof.NAME,
            drift=None,
            truncated=truncated,
            done_reason=answer.done_reason,
            stats=answer.stats(time.monotonic()),
        )


def _given_credentials(request: GenerateRequest) -> Credentials:
    return read_credentials(request.auth_type, request.auth_config, request.headers)


def _named(request: GenerateRequest) -> str:
    if request.model is None:
        raise InvalidInput("no model is named, and a server that is not registered has no default", "use --model")
    return request.model


def _catalogue(connection: Any, name: str) -> tuple[tuple[list[Server], list[store_servers.Unreadable]], list[Model]]:
    return store_servers.readable(connection), store_models.named(connection, name)


def _accepted_names(choice: Choice, request: GenerateRequest) -> frozenset[str]:
    if choice.is_remote and request.allow_remote:
        return frozenset((choice.model, names.without_cloud(choice.model)))
    return frozenset((choice.model,))


def _unknown(model: str, target: Target, listed: list[str]) -> ModelNotFound:
    near = routing.nearest(model, listed) or listed[:3]
    hint = f"it lists: {', '.join(near)}" if near else "it lists no models"
    return ModelNotFound(f"server {target.ref} does not list model {model!r}", hint)


async def _by(deadline: float | None, work: Awaitable[T], *, begun: bool = False) -> T:
    """Await `work` until `deadline`, a time of the running loop; `begun` says that a part of the answer was shown."""
    try:
        async with asyncio.timeout_at(deadline):
            return await work
    except TimeoutError as exc:
        message, hint = "the time given by the timeout is over", "give it more with --timeout"
        if begun:
            raise StreamInterrupted(f"{message} in the middle of the answer", hint) from exc
        raise ServerUnreachable(message, hint) from exc
