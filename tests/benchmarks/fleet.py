"""SIMULATED servers in a process of their own: one that speaks, or a fleet that is discovered."""

import asyncio
import json
import multiprocessing
import re
import resource
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import httpx

from ollama_admin.simulator.http import Reply
from ollama_admin.simulator.model import SimulatedModel
from ollama_admin.simulator.server import SimulatedServer

# every server of the fleet holds them
MODELS = tuple(SimulatedModel(f"model-{number}") for number in range(40))
READ_ONLY = ("/api/version", "/api/tags")

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")


@contextmanager
def simulated(words: Sequence[str], *, token_delay: float = 0) -> Iterator[str]:
    """The URL of a SIMULATED server, whose model `alpha` says the words, one a token, `token_delay`
    seconds apart.
    """
    with in_a_process(_serve_one, tuple(words), token_delay) as url:
        yield url


@contextmanager
def simulated_fleet(count: int) -> Iterator[list[str]]:
    """The URLs of SIMULATED servers that can be discovered: all hold the same models, and none
    generates.

    They answer with the bytes that a `SimulatedServer` sends, from memory, so that they take as
    little as possible of the time that is measured.
    """
    with in_a_process(_serve_fleet, count) as urls:
        yield urls


@contextmanager
def in_a_process(serve: Callable[..., None], *arguments: Any) -> Iterator[Any]:
    """What `serve` sends when it listens; it ends when it is sent something."""
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe()
    process = spawning.Process(target=serve, args=(there, *arguments), daemon=True)
    process.start()
    there.close()
    try:
        yield here.recv()
    finally:
        here.send(None)
        process.join()


def _serve_one(pipe: Connection, words: tuple[str, ...], token_delay: float) -> None:
    async def serve() -> None:
        model = SimulatedModel("alpha", says=" ".join(words))
        async with SimulatedServer(model, token_delay=token_delay) as server:
            pipe.send(server.url)
            await asyncio.to_thread(pipe.recv)

    asyncio.run(serve())


def _serve_fleet(pipe: Connection, count: int) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    async def serve() -> None:
        answers = await _answers()
        loop = asyncio.get_running_loop()
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        for listening in sockets:
            await loop.create_server(lambda: _Answering(answers), sock=listening)
        pipe.send([f"http://127.0.0.1:{listening.getsockname()[1]}" for listening in sockets])
        await asyncio.to_thread(pipe.recv)

    asyncio.run(serve())


async def _answers() -> Mapping[tuple[str, str], bytes]:
    """Whole answers by path and the name of the model that is asked for, as a `SimulatedServer`
    gives them.
    """
    async with (
        SimulatedServer(*MODELS) as server,
        httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
    ):
        read = {(path, ""): (await client.get(path)).content for path in READ_ONLY}
        for model in server.models:
            shown = await client.post("/api/show", json={"model": model})
            read["/api/show", model] = shown.raise_for_status().content
    return {asked: Reply(body=body).encode() for asked, body in read.items()}


class _Answering(asyncio.Protocol):
    """One connection. A request that no answer is known for ends it."""

    def __init__(self, answers: Mapping[tuple[str, str], bytes]) -> None:
        self._answers = answers
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (asked := self._next_request()) is not None and self._transport is not None:
            if asked not in self._answers:
                self._transport.abort()
                return
            self._transport.write(self._answers[asked])

    def _next_request(self) -> tuple[str, str] | None:
        """The path and the model that are asked for; None while a part of the request has not come
        yet.
        """
        head, blank, rest = self._received.partition(b"\r\n\r\n")
        found = _LENGTH.search(head)
        length = int(found[1]) if found else 0
        if not blank or len(rest) < length:
            return None
        body, self._received = rest[:length], rest[length:]
        path = head.split(b" ", 2)[1].decode()
        return path, json.loads(body)["model"] if body else ""
