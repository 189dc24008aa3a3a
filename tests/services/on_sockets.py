"""Servers that do as a trial says, over real HTTP."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import TypeVar

from ollama_admin.domain.answers import StreamEvent
from ollama_admin.simulator.http import (
    NDJSON,
    SSE,
    Connection,
    RecordedRequest,
    encode_chunk,
    encode_head,
    encode_json,
)
from tests.fake_ollama import Answer, FakeOllama, Fault, Raw, SimulatedModel
from tests.services.asking import GENERATE, TAGS, V1_CHAT
from tests.services.rules import REMOTE_BUILD, Behaviour, Kind, Server, Tag, When
from tests.services.scripted import events
from tests.services.trials import CONSTANT_DIGESTS, LONG_AGO, Trial, digest, says

LISTS = (TAGS, "/api/version", "/v1/models")
REFUSALS: dict[Behaviour, Fault] = {
    Behaviour.CLOSED: Raw(),
    Behaviour.S404: Answer(404, {"error": "model not found"}),
    **{
        fate: Answer(int(fate), {"error": "no"})
        for fate in Behaviour
        if fate.isdecimal() and fate is not Behaviour.S404
    },
}


def with_sockets(trial: Trial) -> Trial:
    """The trial as sockets can play it: a server that refuses connections refuses all, and nobody
    waits in vain.
    """
    return replace(trial, fleet=tuple(_playable(server) for server in trial.fleet))


def _playable(server: Server) -> Server:
    if server.answering is Behaviour.SILENT:
        server = replace(server, answering=Behaviour.S500)
    if server.listing_afterwards is Behaviour.REFUSED:
        server = replace(server, listing_afterwards=Behaviour.CLOSED)
    if Behaviour.REFUSED in (server.answering, server.listing):
        return replace(server, answering=Behaviour.REFUSED, listing=Behaviour.REFUSED)
    return server


class ServerOnSocket(FakeOllama):
    """One simulated server that plays one part after another."""

    def __init__(self) -> None:
        super().__init__()
        self.told = Server(name="nobody")
        self._is_listening = False
        self._stopping: asyncio.Task[None] | None = None
        self.spoke = False

    async def become(self, told: Server) -> None:
        self.told, self.spoke = told, False
        self.requests.clear()
        self.version = "0.33.0" if told.is_ollama else None
        self.models = {tag.name: self._again(tag) for tag in told.tags}
        self.before_token = self._move_while_answering
        if self._stopping is not None:
            await self._stopping
            self._stopping = None
        await self._listen(told.answering is not Behaviour.REFUSED)

    @property
    def asked(self) -> list[str]:
        """The names that prompts came for."""
        prompts = [*self.requests_to(GENERATE), *self.requests_to(V1_CHAT)]
        return [str(request.body["model"]) for request in prompts if isinstance(request.body, dict)]

    async def answer(self, connection: Connection, request: RecordedRequest) -> None:
        path = self.local_path(request)
        if path in (GENERATE, V1_CHAT):
            await self._answer_prompt(connection, request, is_v1=path == V1_CHAT)
            return
        fate = self.told.listing_afterwards if self.asked else self.told.listing
        if path in LISTS and fate is not Behaviour.WELL:
            await REFUSALS[fate].play(self, connection, request)
        else:
            await self.simulate(connection, request)

    async def _answer_prompt(
        self, connection: Connection, request: RecordedRequest, *, is_v1: bool
    ) -> None:
        fate, name = self.told.answering, self.asked[-1]
        self.move(When.AT_SENDING, timedelta(milliseconds=-1))
        found = self.told.found([Tag(name=listed) for listed in self.models], name)
        if not found and fate not in REFUSALS:
            fate = Behaviour.S404
        self.spoke = fate not in REFUSALS
        try:
            await self._play_prompt(connection, request, found, fate, is_v1=is_v1)
        finally:
            self.stop_if_told()

    def stop_if_told(self) -> None:
        """Stop after a prompt, where the part says so."""
        if self.told.stops and self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._listen(False))

    async def _play_prompt(
        self,
        connection: Connection,
        request: RecordedRequest,
        found: list[Tag],
        fate: Behaviour,
        *,
        is_v1: bool,
    ) -> None:
        name = self.asked[-1]
        if fate in REFUSALS:
            await REFUSALS[fate].play(self, connection, request)
        elif fate is Behaviour.WELL:
            await self.simulate(connection, request)
        else:
            build = self.models[found[0].name].digest[0]
            await self._move_while_answering(1)
            await _played(events(build, name, fate, is_v1=is_v1), fate, is_v1=is_v1).play(
                self, connection, request
            )

    async def _move_while_answering(self, token: int) -> None:
        if token == 1:
            self.move(When.WHILE_ANSWERING, timedelta(0))

    def move(self, when: When, ago: timedelta) -> None:
        move = self.told.move
        if move is None or move.when is not when:
            return
        moved = {
            name: self._model(Tag(name=name, build=move.build))
            for name in self.models
            if move.build
        }
        self.models = {
            name: replace(model, modified_at=self.clock() + ago) for name, model in moved.items()
        }

    def _again(self, tag: Tag) -> SimulatedModel:
        """A name as it is from now on: where it stood for another build, it is moved now."""
        model, before = self._model(tag), self.models.get(tag.name)
        if before is None or before.digest == model.digest:
            return model
        return replace(model, modified_at=self.clock())

    def _model(self, tag: Tag) -> SimulatedModel:
        build = tag.build or "a"
        is_remote = build == REMOTE_BUILD
        return SimulatedModel(
            tag.name,
            digest(build),
            says=says(build),
            family=CONSTANT_DIGESTS if self.told.kind is Kind.EMULATION else "llama",
            remote_host="https://elsewhere.test" if is_remote else None,
            remote_model="big" if is_remote else None,
            modified_at=LONG_AGO,
        )

    async def _listen(self, should: bool) -> None:
        if should and not self._is_listening:
            await self.__aenter__()
        elif not should and self._is_listening:
            await self.stop()
        self._is_listening = should


S = TypeVar("S", bound=ServerOnSocket)


async def start(count: int, kind: type[S]) -> list[S]:
    """Servers that listen, each on its own port from now on."""
    servers = [kind() for _ in range(count)]
    for number, server in enumerate(servers):
        await server.become(Server(name=f"server-{number}"))
    return servers


async def stop(servers: Iterable[ServerOnSocket]) -> None:
    await asyncio.gather(*(server.stop() for server in servers))


def _played(told: Iterable[StreamEvent], fate: Behaviour, *, is_v1: bool) -> Fault:
    """A chunked answer with these records; one that breaks off has no end."""
    head = encode_head(
        200, {"Content-Type": SSE if is_v1 else NDJSON, "Transfer-Encoding": "chunked"}
    )
    chunks = [encode_chunk(_v1_line(event) if is_v1 else _native_line(event)) for event in told]
    end = [] if fate is Behaviour.BREAKS else [encode_chunk(b"")]
    return Raw((b"".join([head, *chunks, *end]),))


def _native_line(event: StreamEvent) -> bytes:
    if event.error is not None:
        return encode_json({"error": event.error}) + b"\n"
    remote = (
        {"remote_host": "https://elsewhere.test", "remote_model": "big"} if event.is_remote else {}
    )
    said = {"response": event.response, "done": event.done, "created_at": "2026-06-01T12:00:00Z"}
    return encode_json({"model": event.model or "", **remote, **said}) + b"\n"


def _v1_line(event: StreamEvent) -> bytes:
    if event.done:
        return b"data: [DONE]\n\n"
    if event.error is not None:
        return b"data: " + encode_json({"error": {"message": event.error}}) + b"\n\n"
    choice = {"index": 0, "delta": {"content": event.response}, "finish_reason": event.done_reason}
    return b"data: " + encode_json({"model": event.model or "", "choices": [choice]}) + b"\n\n"
