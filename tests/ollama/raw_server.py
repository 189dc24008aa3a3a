"""A server for one test: it reads requests, writes the bytes that it is given, and remembers."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import cast

from ollama_admin.simulator.socket import stop_listening

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answer = bytes | Callable[["Client"], Awaitable[None]]


@dataclass(slots=True)
class Client:
    """One connection to the server, at the `number`th since it began."""

    number: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def left(self) -> None:
        """Wait until the client has closed the connection; what it sends is dropped."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass

    def stop_reading(self) -> None:
        cast("asyncio.Transport", self.writer.transport).pause_reading()

    def close(self) -> None:
        self.writer.close()


@dataclass(slots=True)
class RawServer:
    """`requests` holds each request as it came, with the number of its connection."""

    answers: list[Answer]
    port: int = 0
    connections: int = 0
    requests: list[tuple[int, bytes]] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        client = Client(self.connections, reader, writer)
        self.changed.set()
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while not writer.is_closing():
                    await self._answer(client)
        finally:
            self.closed.append(client.number)
            self.changed.set()
            writer.transport.abort()

    async def _answer(self, client: Client) -> None:
        head = await client.reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
        if isinstance(answer, bytes):
            head += await client.reader.readexactly(length)
        self.requests.append((client.number, head))
        self.changed.set()
        if isinstance(answer, bytes):
            await client.send(answer)
        else:
            await answer(client)


@asynccontextmanager
async def listening(serve: Serve, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A port at which each connection is served that way; in the end all of them are closed."""
    writers: list[asyncio.StreamWriter] = []
    tasks: list[asyncio.Future[None]] = []

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        tasks.append(asyncio.ensure_future(serve(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context, limit=2**20)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await stop_listening(server)
        for writer in writers:
            writer.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def raw_server(
    *answers: Answer, context: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """The server, which gives these answers in turn, then the last one again and again. One that is
    a function reads the body itself.
    """
    made = RawServer(list(answers))
    async with listening(made.serve, context) as made.port:
        yield made


def ok(body: bytes = b"{}", *lines: bytes, status: bytes = b"200 OK") -> bytes:
    """An answer with a length."""
    head = b"".join(line + b"\r\n" for line in lines)
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, head, len(body), body)
