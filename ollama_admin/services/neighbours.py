"""The other workers of one service, which are asked what no database knows: each has a socket in a
folder that only they know.
"""

import asyncio
import json
import os
import secrets
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PATIENCE = 1.0  # seconds for the answers of all
LARGEST = 150_000  # bytes of one message, which the system takes as a whole

Message = dict[str, Any]


class Neighbours:
    """`answer` gives what to tell another worker that asks."""

    def __init__(self, folder: Path, answer: Callable[[Message], Message]) -> None:
        self._folder = folder
        self._answer = answer
        self._path = folder / f"{os.getpid()}-{secrets.token_hex(4)}.sock"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._asked: dict[str, asyncio.Queue[Message]] = {}

    def start(self) -> None:
        """Be there for the others. OSError where the folder takes no socket."""
        self._socket.setblocking(False)
        self._socket.bind(str(self._path))
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._read)

    async def ask(self, question: Message) -> list[Message]:
        """What the others answer; one that is busy for too long is left out."""
        number = secrets.token_hex(8)
        answers = self._asked[number] = asyncio.Queue()
        message = {"question": question, "number": number, "from": str(self._path)}
        others = [path for path in self._folder.glob("*.sock") if path != self._path]
        asked = sum(self._send(message, str(path)) for path in others)
        heard: list[Message] = []
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    while len(heard) < asked:
                        heard.append(await answers.get())
        finally:
            del self._asked[number]
        return heard

    async def aclose(self) -> None:
        """Be there no longer."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _send(self, message: Message, path: str) -> bool:
        """Whether it was sent: not to a worker that was killed, whose socket is left."""
        data = json.dumps(message).encode()
        try:
            self._socket.sendto(data, path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return False
        except OSError:
            return False
        return True

    def _read(self) -> None:
        with suppress(BlockingIOError):
            while True:
                self._take(json.loads(self._socket.recv(2 * LARGEST)))

    def _take(self, message: Message) -> None:
        if "question" in message:
            reply = {"answer": self._answer(message["question"]), "number": message["number"]}
            self._send(reply, message["from"])
        elif message["number"] in self._asked:
            self._asked[message["number"]].put_nowait(message["answer"])
