"""A simulated Ollama server on a real loopback socket.

It answers with the routes, JSON shapes and error texts of real servers (0.33; with a lower
`version` as older ones do), for models that always say the same. `ollama-admin demo` runs a fleet
of them, and the tests script faults on top.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from ollama_admin.simulator.ask import Ask, RefusedError, parse_body, read_name
from ollama_admin.simulator.ask_v1 import read_form
from ollama_admin.simulator.endpoints import NATIVE, TEXT_ENDPOINTS, V1
from ollama_admin.simulator.http import (
    JSON,
    NDJSON,
    PLAIN_JSON,
    TEXT,
    ChunkedBody,
    Connection,
    RecordedRequest,
    Reply,
    encode_json,
)
from ollama_admin.simulator.memory import Memory
from ollama_admin.simulator.model import (
    SimulatedModel,
    find_listed,
    is_cloud,
    is_valid,
    parse_version,
    with_tag,
    without_cloud,
)
from ollama_admin.simulator.pulling import Registry
from ollama_admin.simulator.run import Run, Token, check_abilities, plan_run
from ollama_admin.simulator.socket import SocketServer
from ollama_admin.simulator.vectors import embedded
from ollama_admin.simulator.wire import (
    RUNNER_KILLED,
    Clock,
    Identity,
    Shape,
    native_error,
    show_record,
    tags_entry,
    v1_models_entry,
)
from ollama_admin.simulator.wire_v1 import messages_error, v1_error

Answering = Callable[[Connection, RecordedRequest], Awaitable[None]]

_LIST_LENGTHS_SINCE = (0, 30, 0)
_PS_CONTEXT_SINCE = (0, 10, 0)
# A server that is not Ollama is taken for the newest one where behaviour has changed.
_NOT_OLLAMA = (1, 0, 0)
_TRANSCRIPTIONS_SINCE = (0, 20, 0)


class RunnerKilledError(Exception):
    """Raised by `before_token`: the inference process dies at this token."""


@dataclass(frozen=True, slots=True)
class HoldAt:
    """A `before_token` that stops every stream at one token (0: before the first byte)."""

    index: int
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, index: int) -> None:
        if index == self.index:
            self.reached.set()
            await self.release.wait()


class SimulatedServer(SocketServer):
    """`models` maps a listed name to the build it stands for now, and may be changed any time.

    `version` None is a server that is not Ollama: it speaks only `/v1`, and compares names byte
    for byte; with `answers_any_model` it answers unknown names as its first model.
    `before_token` is awaited with the token's number, `token_delay` (seconds) follows.
    `context` is the server's own context length, in tokens. `registry` is where pulls come from.
    """

    def __init__(
        self,
        *models: SimulatedModel,
        version: str | None = "0.33.0",
        context: int = 4096,
        token_delay: float = 0,
        before_token: Callable[[int], Awaitable[None]] | None = None,
        answers_any_model: bool = False,
        prefix: str = "",
        port: int = 0,
        clock: Clock = lambda: datetime.now(UTC),
        registry: Registry | None = None,
    ) -> None:
        super().__init__(port=port)
        self.version = version
        self.context = context
        self.token_delay = token_delay
        self.before_token = before_token
        self.answers_any_model = answers_any_model
        self.prefix = prefix
        self.clock = clock
        self.models = {self._list_as(model.name): model for model in models}
        self.registry = registry or Registry()
        self.memory = Memory(clock)

    @property
    def url(self) -> str:
        return super().url + self.prefix

    def point(self, name: str, model: SimulatedModel) -> None:
        """Makes the name stand for this build from now on, as a pull or copy does."""
        self.models[self._list_as(name)] = replace(model, modified_at=self.clock())

    def remove(self, name: str) -> None:
        del self.models[self._list_as(name)]

    def local_path(self, request: RecordedRequest) -> str:
        """The path below `prefix`; empty when it is not below it."""
        if not request.path.startswith(self.prefix):
            return ""
        return request.path.removeprefix(self.prefix)

    async def answer(self, connection: Connection, request: RecordedRequest) -> None:
        path = self.local_path(request)
        methods, answering = self._routes().get(path, ((request.method,), _not_found))
        if request.method not in methods:
            await _send(connection, request, _wrong_method(methods))
            return
        try:
            await answering(connection, request)
        except RefusedError as refused:
            await _send(connection, request, _refusal(refused, path))

    def _routes(self) -> dict[str, tuple[tuple[str, ...], Answering]]:
        v1: dict[str, tuple[tuple[str, ...], Answering]] = {
            "/v1/models": (("GET",), self._v1_models),
            "/v1/embeddings": (("POST",), self._embed),
        }
        v1 |= {
            path: (("POST",), self._text)
            for path, endpoint in V1.items()
            if self._numbers >= endpoint.since
        }
        if self._numbers >= _TRANSCRIPTIONS_SINCE:
            v1["/v1/audio/transcriptions"] = (("POST",), self._transcribe)
        if self.version is None:
            return v1
        return (
            v1
            | {
                "/": (("GET", "HEAD"), _root),
                "/api/version": (("GET", "HEAD"), self._version),
                "/api/tags": (("GET", "HEAD"), self._tags),
                "/api/ps": (("GET",), self._ps),
                "/api/show": (("POST",), self._show),
                "/api/pull": (("POST",), self._pull),
                "/api/copy": (("POST",), self._copy),
                "/api/delete": (("DELETE",), self._delete),
                "/api/embed": (("POST",), self._embed),
                "/api/embeddings": (("POST",), self._embed),
            }
            | dict.fromkeys(NATIVE, (("POST",), self._text))
        )

    async def _version(self, connection: Connection, request: RecordedRequest) -> None:
        await _send(connection, request, Reply(body=encode_json({"version": self.version})))

    async def _tags(self, connection: Connection, request: RecordedRequest) -> None:
        lengths = self._numbers >= _LIST_LENGTHS_SINCE
        entries = [tags_entry(n, m, with_lengths=lengths) for n, m in self._newest_first()]
        await _send(connection, request, Reply(body=encode_json({"models": entries})))

    async def _ps(self, connection: Connection, request: RecordedRequest) -> None:
        entries = self.memory.entries(tells_context=self._numbers >= _PS_CONTEXT_SINCE)
        await _send(connection, request, Reply(body=encode_json({"models": entries})))

    async def _show(self, connection: Connection, request: RecordedRequest) -> None:
        body = parse_body(request.raw, "ShowRequest", when_empty="missing request body")
        name = read_name(body, empty=RefusedError(400, "model is required"))
        listed = find_listed(self.models, name)
        if listed is None:
            raise RefusedError(404, f"model '{with_tag(name)}' not found")
        record = show_record(listed, self.models[listed])
        await _send(connection, request, Reply(body=encode_json(record)))

    async def _pull(self, connection: Connection, request: RecordedRequest) -> None:
        body = parse_body(request.raw, "PullRequest", when_empty="missing request body")
        name = read_name(body, empty=RefusedError(400, "invalid model name"))
        stream = ChunkedBody(connection, NDJSON)
        async with aclosing(self.registry.pull(name, self.point)) as records:
            async for record in records:
                await stream.write(encode_json(record) + b"\n")
        await stream.end()

    async def _copy(self, connection: Connection, request: RecordedRequest) -> None:
        body = parse_body(request.raw, "CopyRequest", when_empty="missing request body")
        names = {which: str(body.get(which) or "") for which in ("source", "destination")}
        for which, name in names.items():
            if not is_valid(name):
                raise RefusedError(400, f'{which} "{name}" is invalid')
        listed = find_listed(self.models, names["source"])
        if listed is None:
            raise RefusedError(404, f'model "{names["source"]}" not found')
        self.point(names["destination"], self.models[listed])
        await _send(connection, request, Reply(content_type=None))

    async def _delete(self, connection: Connection, request: RecordedRequest) -> None:
        """What is loaded of it stays in memory, as on a real server."""
        body = parse_body(request.raw, "DeleteRequest", when_empty="missing request body")
        name = str(body.get("model") or body.get("name") or "")
        if not is_valid(name):
            raise RefusedError(400, f'name "{name}" is invalid')
        listed = find_listed(self.models, name)
        if listed is None:
            raise RefusedError(404, f"model '{name}' not found")
        self.remove(listed)
        await _send(connection, request, Reply(content_type=None))

    async def _v1_models(self, connection: Connection, request: RecordedRequest) -> None:
        data = [v1_models_entry(name, model) for name, model in self._newest_first()]
        listed = {"object": "list", "data": data or None}
        body = encode_json(listed) + b"\n"
        await _send(connection, request, Reply(body=body, content_type=PLAIN_JSON))

    async def _text(self, connection: Connection, request: RecordedRequest) -> None:
        endpoint = TEXT_ENDPOINTS[self.local_path(request)]
        ask = endpoint.read(
            parse_body(request.raw, endpoint.struct, when_empty=endpoint.when_empty)
        )
        identity, model = self._resolve(ask.name)
        shape = endpoint.shape(ask, identity, self.clock, len(self.requests))
        await self._speak(connection, ask, model, shape)

    async def _embed(self, connection: Connection, request: RecordedRequest) -> None:
        path = self.local_path(request)
        body = parse_body(request.raw, "EmbedRequest", when_empty="missing request body")
        name = read_name(body, empty=RefusedError(400, "model is required"))
        identity, model = self._resolve(name)
        num_ctx = min(self.context, model.context_length)
        answer = embedded(path, identity.name, body, num_ctx)
        self._load(name, model, num_ctx, body.get("keep_alive"))
        content_type = PLAIN_JSON if path.startswith("/v1/") else JSON
        await _send(connection, request, Reply(body=answer, content_type=content_type))

    async def _transcribe(self, connection: Connection, request: RecordedRequest) -> None:
        """A recording is heard as what the model says."""
        form = read_form(request.headers.get("content-type", ""), request.raw)
        if "file" not in form:
            raise RefusedError(400, "file is required")
        name = form.get("model", b"").decode(errors="replace")
        name = read_name({"model": name}, empty=RefusedError(400, "model is required"))
        _, model = self._resolve(name)
        if "audio" not in model.capabilities:
            raise RefusedError(400, f'"{name}" does not support audio')
        self._load(name, model, self.context)
        if form.get("response_format") == b"text":
            reply = Reply(body=model.says.encode(), content_type="text/plain; charset=utf-8")
        else:
            reply = Reply(body=encode_json({"text": model.says}), content_type=PLAIN_JSON)
        await _send(connection, request, reply)

    async def _speak(
        self, connection: Connection, ask: Ask, model: SimulatedModel, shape: Shape
    ) -> None:
        check_abilities(ask, model, self._numbers)
        run = plan_run(ask, model, self._numbers, self.context)
        self._load(ask.name, model, run.num_ctx, ask.keep_alive)
        if ask.stream and not ask.only_loads:
            await self._stream(connection, run, shape)
        else:
            await self._send_whole(connection, run, shape)
        if ask.unload:
            self.memory.unload(model.digest)

    async def _stream(self, connection: Connection, run: Run, shape: Shape) -> None:
        body = ChunkedBody(connection, shape.stream_type)
        try:
            for index, token in enumerate(run.tokens):
                await self._pace(index)
                await body.write(shape.token(token))
        except RunnerKilledError as exc:
            if not body.has_begun:
                raise RefusedError(500, RUNNER_KILLED) from exc
            await body.write(shape.killed())
        else:
            for piece in shape.last(run):
                await body.write(piece)
        await body.end()

    async def _send_whole(self, connection: Connection, run: Run, shape: Shape) -> None:
        tokens: list[Token] = []
        try:
            for index, token in enumerate(run.tokens):
                await self._pace(index)
                tokens.append(token)
        except RunnerKilledError as exc:
            raise RefusedError(500, RUNNER_KILLED) from exc
        body = shape.whole(tokens, run)
        await connection.write(Reply(body=body, content_type=shape.whole_type).encode())

    async def _pace(self, index: int) -> None:
        if self.before_token is not None:
            await self.before_token(index)
        if self.token_delay:
            await asyncio.sleep(self.token_delay)

    def _resolve(self, name: str) -> tuple[Identity, SimulatedModel]:
        """The model that answers to a name, and whom its replies name."""
        if self.version is None:
            return self._resolve_opaque(name)
        listed = find_listed(self.models, name)
        if listed is None and is_cloud(name):
            raise RefusedError(403, "ollama cloud is disabled: remote model is unavailable")
        if listed is None:
            raise RefusedError(404, f"model '{name}' not found")
        model = self.models[listed]
        if is_cloud(name):
            return Identity(name=without_cloud(name)), model
        remote = {"remote_model": model.remote_model, "remote_host": model.remote_host}
        return Identity(name=name, **remote), model

    def _resolve_opaque(self, name: str) -> tuple[Identity, SimulatedModel]:
        if name in self.models:
            return Identity(name=name), self.models[name]
        if not self.answers_any_model or not self.models:
            raise RefusedError(404, f"The model `{name}` does not exist.")
        listed, model = next(iter(self.models.items()))
        return Identity(name=listed), model

    def _load(
        self, name: str, model: SimulatedModel, num_ctx: int, keep_alive: object = None
    ) -> None:
        self.memory.load(find_listed(self.models, name) or name, model, num_ctx, keep_alive)

    def _newest_first(self) -> list[tuple[str, SimulatedModel]]:
        listed = [(self._list_as(name), model) for name, model in self.models.items()]
        return sorted(listed, key=lambda item: item[1].modified_at, reverse=True)

    def _list_as(self, name: str) -> str:
        if self.version is None:
            return name
        return with_tag(name)

    @property
    def _numbers(self) -> tuple[int, ...]:
        if not self.version:
            return _NOT_OLLAMA
        return parse_version(self.version)


async def _root(connection: Connection, request: RecordedRequest) -> None:
    reply = Reply(body=b"Ollama is running", content_type="text/plain; charset=utf-8")
    await _send(connection, request, reply)


async def _not_found(connection: Connection, request: RecordedRequest) -> None:
    reply = Reply(status=404, body=b"404 page not found", content_type=TEXT)
    await _send(connection, request, reply)


async def _send(connection: Connection, request: RecordedRequest, reply: Reply) -> None:
    await connection.write(reply.encode(head_only=request.method == "HEAD"))


def _wrong_method(allowed: Iterable[str]) -> Reply:
    headers = {"Allow": ", ".join(allowed)}
    return Reply(status=405, body=b"405 method not allowed", content_type=TEXT, headers=headers)


def _refusal(refused: RefusedError, path: str) -> Reply:
    status, message = refused.status, refused.message
    if path == "/v1/messages":
        body = messages_error(status, message)
        return Reply(status=status, body=body, content_type=PLAIN_JSON)
    if path.startswith("/v1/"):
        return Reply(status=status, body=v1_error(status, message), content_type=PLAIN_JSON)
    return Reply(status=status, body=native_error(message))
