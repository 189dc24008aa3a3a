"""A SIMULATED server that answers at once, and streams as fast as it is read, for what the gateway
is measured with. It takes a request apart no further than it must.
"""

import asyncio
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import uvloop

from ollama_admin.simulator.http import Reply
from tests.benchmarks.fleet import in_a_process

SHORT, PACED, WIDE = "alpha", "paced", "wide"  # the models: how each answers stands in `_asked`
PIECES = 250  # of a stream of PACED
DELAY = 0.02  # seconds between two of them
WIDE_PIECES, WIDE_SIZE = 200, 64 * 1024  # of a stream of WIDE, and bytes of one

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_LAST_CHUNK = b"0\r\n\r\n"


@contextmanager
def quick_upstream() -> Iterator[str]:
    """The URL of the server, which is a process of its own."""
    with in_a_process(_serve) as url:
        yield url


def _serve(pipe: Connection) -> None:
    async def serve() -> None:
        loop = asyncio.get_running_loop()
        answers = _answers()
        listening = await loop.create_server(lambda: _Quick(answers), "127.0.0.1", 0, backlog=1000)
        pipe.send(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        await asyncio.to_thread(pipe.recv)

    uvloop.run(serve())


def _answers() -> dict[str, bytes]:
    listed = [_listed(name, number) for number, name in enumerate((SHORT, PACED, WIDE))]
    message = {"role": "assistant", "content": "Hello there"}
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    completion = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": SHORT,
        "choices": [choice],
        "usage": usage,
    }
    documents: dict[str, Any] = {
        "/api/version": {"version": "0.33.0"},
        "/api/tags": {"models": listed},
        "/api/ps": {"models": []},
        "/api/show": {"capabilities": ["completion"], "model_info": {}},
        "/v1/chat/completions": completion,
    }
    return {path: Reply(body=_json(document)).encode() for path, document in documents.items()}


def _listed(name: str, number: int) -> dict[str, Any]:
    return {
        "name": f"{name}:latest",
        "model": f"{name}:latest",
        "modified_at": "2026-01-01T00:00:00Z",
        "size": 1,
        "digest": f"{number:064x}",
        "details": {"format": "gguf", "family": "llama", "parameter_size": "1B"},
    }


def _chunk(model: str, text: str, **more: Any) -> bytes:
    message = {"role": "assistant", "content": text}
    line = _json({"model": model, "message": message, "done": False} | more) + b"\n"
    return b"%x\r\n%s\r\n" % (len(line), line)


def _json(document: Any) -> bytes:
    """Without spaces, as Ollama writes it."""
    return json.dumps(document, separators=(",", ":")).encode()


_PACED_PIECE = _chunk(PACED, "token")
_WIDE_PIECE = _chunk(WIDE, "x" * WIDE_SIZE)


class _Quick(asyncio.Protocol):
    """One connection, whose requests come one after the other."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self._answers = answers
        self._received = b""
        self._left = 0  # pieces of a stream of WIDE
        self._may_write = True
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, blank, rest = self._received.partition(b"\r\n\r\n")
        found = _LENGTH.search(head)
        length = int(found[1]) if found else 0
        if blank and len(rest) >= length:
            self._received = rest[length:]
            self._answer(head.split(b" ", 2)[1].decode(), rest[:length])

    def _answer(self, path: str, body: bytes) -> None:
        if path != "/api/chat":
            self._transport.write(self._answers[path])
            return
        self._transport.write(_STREAM_HEAD)
        if json.loads(body)["model"] == WIDE:
            self._left = WIDE_PIECES
            self._write_wide()
        else:
            self._write_paced(PIECES, asyncio.get_running_loop().time())

    def _write_paced(self, left: int, due: float) -> None:
        if self._transport.is_closing():
            return
        if left == 0:
            self._end(PACED)
            return
        self._transport.write(_PACED_PIECE)
        due += DELAY
        asyncio.get_running_loop().call_at(due, self._write_paced, left - 1, due)

    def _write_wide(self) -> None:
        while self._left and self._may_write:
            self._left -= 1
            self._transport.write(_WIDE_PIECE)
            if not self._left:
                self._end(WIDE)

    def _end(self, model: str) -> None:
        self._transport.write(_chunk(model, "", done=True, done_reason="stop") + _LAST_CHUNK)

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        self._write_wide()


def body_for(model: str) -> bytes:
    """What is sent to ask one of the models."""
    messages: Sequence[dict[str, str]] = [{"role": "user", "content": "Say hello"}]
    return json.dumps({"model": model, "messages": messages}).encode()
