"""An answer on its way to a terminal, a pipe or a file: whoever reads it may be slow, or leave."""

import asyncio
import errno
import os
import select
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from ollama_admin.cli.output import Output
from ollama_admin.domain.answers import Piece, Reply
from ollama_admin.safe_text import TerminalFilter


@contextmanager
def read_by_somebody(pipe: int | None) -> Iterator[None]:
    """Raise BrokenPipeError when the reader of our pipe leaves, even while the model is silent."""
    if pipe is None:
        yield
        return
    loop, task, left = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()

    def leave() -> None:
        loop.remove_reader(pipe)
        left.set()
        if task is not None:
            task.cancel()

    # there is never anything to read at our end: only the other end's closing wakes us
    loop.add_reader(pipe, leave)
    try:
        yield
    except asyncio.CancelledError:
        if left.is_set():
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
        raise
    finally:
        loop.remove_reader(pipe)


async def wait_for_room(pipe: int | None) -> None:
    """Wait for a slow reader here and not in a write, where no signal would be heard."""
    if pipe is None or select.select([], [pipe], [], 0)[1]:
        return
    loop, free = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(pipe, free.set)
    try:
        await free.wait()
    finally:
        loop.remove_writer(pipe)


def pipe_of(stdout: TextIO) -> int | None:
    """The descriptor of a pipe that we write into, None for anything else."""
    try:
        number = stdout.fileno()
        return number if stat.S_ISFIFO(os.fstat(number).st_mode) else None
    except (OSError, ValueError):  # not a real file
        return None


class AnswerPrinter:
    """Text to stdout; thinking to stderr, on a terminal only. `live` shows pieces as they come."""

    def __init__(self, output: Output, *, live: bool, raw: bool) -> None:
        self._output = output
        self.stdout = output.stdout
        self._live = live
        self._terminal = self._output.stdout.isatty()
        self._raw = raw or not self._terminal
        self._filter, self._thinking_filter = TerminalFilter(), TerminalFilter()
        self._thinks = False
        self._last = "\n"

    def piece(self, piece: Piece) -> None:
        if not self._live:
            return
        self._output.begin_data()
        if self._output.json:
            parts = {"thinking": piece.thinking, "response": piece.response}
            for key, text in parts.items():
                if text:
                    self._output.record({key: text})
            return
        self._think(piece.thinking)
        self._write(piece.response)

    def end(self, reply: Reply) -> None:
        """The rest, once the reply is accepted."""
        if self._output.json:
            self._output.record(reply) if self._live else self._output.data(reply)
            return
        self._output.begin_data()
        if not self._live:
            self._think(reply.thinking)
            self._write(reply.response)
            self.flush()

    def flush(self) -> None:
        """Bring cursor and colours back, also after an error in mid-answer."""
        self._stop_thinking()
        if self._terminal and not self._output.json and not self._last.endswith("\n"):
            self._write("\n")
        self._output.stdout.flush()

    def _write(self, text: str) -> None:
        if not text:
            return
        self._stop_thinking()
        shown = text if self._raw else self._filter.feed(text)
        self._last = shown or self._last
        binary = getattr(self._output.stdout, "buffer", None)
        if binary is None or self._terminal:
            self._output.stdout.write(shown)
        else:  # a pipe gets the model's text byte for byte, whatever the locale
            self._output.stdout.flush()
            binary.write(shown.encode())
        self._output.stdout.flush()

    def _think(self, text: str) -> None:
        if not text or not self._output.stderr.isatty():
            return
        if not self._thinks and self._colours():
            self._output.stderr.write("\x1b[2m")
        self._thinks = True
        self._output.stderr.write(self._thinking_filter.feed(text))
        self._output.stderr.flush()

    def _stop_thinking(self) -> None:
        if self._thinks:
            self._output.stderr.write("\x1b[0m\n" if self._colours() else "\n")
            self._output.stderr.flush()
            self._thinks = False

    @staticmethod
    def _colours() -> bool:
        return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
