"""A server on a loopback socket: connections, what was asked, and who left before the end."""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from types import TracebackType
from typing import Self

from ollama_admin.simulator.http import (
    TEXT,
    Connection,
    MalformedRequestError,
    RecordedRequest,
    Reply,
)

_HOST = "127.0.0.1"
_STEPS_OF_ACCEPTING = 3  # of the event loop


class SocketServer:
    """Listens while entered. Subclasses say how a request is answered.

    `requests` are in order of arrival, `abandoned` those whose client left before the answer's
    end; `connections` counts those that were opened. Leaving closes every connection; an
    exception of a subclass is raised then.
    """

    def __init__(self, *, port: int = 0) -> None:
        self.requests: list[RecordedRequest] = []
        self.abandoned: list[RecordedRequest] = []
        self.client_left = asyncio.Event()
        self.connections = 0
        self.in_flight = 0
        self.peak_in_flight = 0
        self._port = port
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._failures: list[BaseException] = []
        self._changed = asyncio.Event()

    @property
    def port(self) -> int:
        """The port listened on; known once the server was entered, and kept after it."""
        return self._port

    @property
    def url(self) -> str:
        return f"http://{_HOST}:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, _HOST, self._port)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
        if self._failures and exc is None:
            raise self._failures[0]

    async def stop(self) -> None:
        """Refuses new connections and drops the open ones; entering again starts anew."""
        server, self._server = self._server, None
        if server is None:
            return
        await stop_listening(server)
        while self._serving:
            await _cancel(self._serving)
        await server.wait_closed()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Waits for a condition on what this server has seen; checked whenever that changes."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def answer(self, connection: Connection, request: RecordedRequest) -> None:
        raise NotImplementedError

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:
            writer.transport.abort()
            return
        self.connections += 1
        task = asyncio.create_task(self._serve(Connection(reader, writer)))
        self._serving.add(task)
        task.add_done_callback(partial(self._finish_serving, writer))

    def _finish_serving(self, writer: asyncio.StreamWriter, task: asyncio.Task[None]) -> None:
        self._serving.discard(task)
        if not writer.is_closing():  # cancelled before its first step
            writer.transport.abort()
        if not task.cancelled() and (failure := task.exception()) is not None:
            self._failures.append(failure)

    async def _serve(self, connection: Connection) -> None:
        try:
            while (request := await connection.read_request()) is not None:
                await self._exchange(connection, request)
                if connection.is_closing or request.wants_close:
                    break
        except MalformedRequestError as exc:
            text = f"400 Bad Request: {exc}".encode()
            await connection.write(Reply(status=400, body=text, content_type=TEXT).encode())
        except ConnectionError:
            pass  # the client vanished; _exchange has recorded what it left
        finally:
            await connection.close()

    async def _exchange(self, connection: Connection, request: RecordedRequest) -> None:
        self._arrived(request)
        answering = asyncio.create_task(self.answer(connection, request))
        leaving = asyncio.create_task(connection.client_left())
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if _was_abandoned(answering) and not connection.was_ended:
                self._left(request)
        finally:
            await _cancel((answering, leaving))
            self.in_flight -= 1
            self._changed.set()
        if not answering.cancelled():
            answering.result()

    def _arrived(self, request: RecordedRequest) -> None:
        self.requests.append(request)
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        self._changed.set()

    def _left(self, request: RecordedRequest) -> None:
        self.abandoned.append(request)
        self.client_left.set()
        self._changed.set()


async def stop_listening(server: asyncio.Server) -> None:
    """Close a server once all connections that were taken have come to its callback.

    One that asyncio has taken and not yet handed on when its server closes is never closed, as
    CPython 3.11 has it (`Server._attach` fails).
    """
    for listening in server.sockets:
        asyncio.get_running_loop().remove_reader(listening.fileno())
    for _ in range(_STEPS_OF_ACCEPTING):
        await asyncio.sleep(0)
    server.close()


def _was_abandoned(answering: asyncio.Task[None]) -> bool:
    return not answering.done() or isinstance(answering.exception(), ConnectionError)


async def _cancel(tasks: Iterable[asyncio.Task[None]]) -> None:
    tasks = tuple(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
