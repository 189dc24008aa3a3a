"""The log of `serve`: lines of text for people, or of JSON for what collects them."""

import asyncio
import contextlib
import json
import re
import time
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any

from ollama_admin.cli.output import Output
from ollama_admin.safe_text import safe_text

PAUSE = 0.2  # seconds between two writes of the log
_OF_REQUEST = re.compile(r"(?P<request_id>[0-9a-f]{16}) (?P<message>.*)", re.DOTALL)
_ENDED = re.compile(r"(?P<method>\S+) (?P<path>\S+) (?P<status>\d+) (?P<ms>\d+) ms")
_NOTE = "note: "


class LogFormat(StrEnum):
    TEXT = "text"
    JSON = "json"


class ServiceLog:
    """Lines of one process, written together several times a second: to write each by itself would
    take longer than to relay a request.
    """

    def __init__(self, output: Output, form: LogFormat = LogFormat.TEXT) -> None:
        self._output = output
        self._shown = _text if form is LogFormat.TEXT else _document
        self._lines: list[tuple[float, str]] = []

    def __call__(self, line: str) -> None:
        """Take a line of the running loop."""
        if not self._lines:
            asyncio.get_running_loop().call_later(PAUSE, self.flush)
        self._lines.append((time.time(), line))

    def note(self, text: str) -> None:
        """Write at once what concerns the service as a whole."""
        self._write([self._shown(time.time(), f"{_NOTE}{text}")])

    def flush(self) -> None:
        lines, self._lines = self._lines, []
        self._write([self._shown(at, line) for at, line in lines])

    def _write(self, lines: list[str]) -> None:
        # nobody reads the log any more: the requests are answered all the same
        with contextlib.suppress(OSError):
            if lines:
                self._output.log_lines(lines)


def _text(at: float, line: str) -> str:
    return f"{_stamp(int(at))} {safe_text(line)}"


def _document(at: float, line: str) -> str:
    """One object in ASCII. `event` is `request` for the line of a request that has ended, `note`
    for what a person should know, else `failure`.
    """
    fields: dict[str, Any] = {"time": f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}
    message = line
    of_request = _OF_REQUEST.fullmatch(line)
    if of_request is not None:
        fields["request_id"], message = of_request.groups()
    ended = _ENDED.fullmatch(message)
    if of_request is not None and ended is not None:
        method, path, status, ms = ended.groups()
        fields |= {"event": "request", "method": method, "path": path}
        fields |= {"status": int(status), "ms": int(ms)}
    elif message.startswith(_NOTE):
        fields |= {"event": "note", "message": message.removeprefix(_NOTE)}
    else:
        fields |= {"event": "failure", "message": message}
    return json.dumps(fields)


@lru_cache(maxsize=2)
def _stamp(second: int) -> str:
    return f"{datetime.fromtimestamp(second, UTC):%Y-%m-%dT%H:%M:%SZ}"
