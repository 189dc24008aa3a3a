"""An answer that is passed on byte for byte, and looked at while it passes.

What counts is found in the bytes: whose name the answer carries, where it ends, what it counts.
Only lines that look like one of these are read as JSON, never one for each token. Sources of the
shapes: `docs/api.md` and `docs/api/openai-compatibility.mdx` of Ollama 0.33, and the streams that
the clients of OpenAI and Anthropic read.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from enum import Enum
from functools import lru_cache
from typing import Any

from ollama_admin.ollama import wire
from ollama_admin.ollama.counting import NOTHING_COUNTED, with_counts
from ollama_admin.ollama.response import LINE_LIMIT, BadAnswer, read_json, refuse_wide

DOCUMENT_LIMIT = 8 * 2**20  # bytes of an answer that is no stream
COUNTS_LIMIT = 2**19  # bytes of lines that are searched for counts; only text makes them longer
_OVERLAP = 600  # bytes in which a name may stand across two chunks
_MODEL, _ERROR = b'"model"', b'"error"'
_NAME = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.){0,500}")')
# What is looked for in a stream, all at once: to search a long piece for each takes ten times that.
_MARKS = re.compile(rb'"(?=(model"|error"|remote_|usage"|done"\s*:\s*true))')
_NAMED, _FAILED, _REMOTE, _COUNTS = b'model"', b'error"', b"remote_", b'usage"'


class Shape(Enum):
    """How an answer is written: in lines of Ollama's, in events of one of the other APIs, or as one
    document, which `VECTORS` are not read for their length, and `TEXT` may be no JSON.
    """

    LINES = "lines"
    COMPLETIONS = "completions"
    RESPONSES = "responses"
    MESSAGES = "messages"
    DOCUMENT = "document"
    TEXT = "text"
    VECTORS = "vectors"


_EVENTS = {"/v1/responses": Shape.RESPONSES, "/v1/messages": Shape.MESSAGES}
_VECTORS = ("/api/embed", "/api/embeddings", "/v1/embeddings")
_TEXTS = ("/v1/audio/transcriptions",)
# What may be the last record; whether it is shows in its JSON.
_ENDS = {
    Shape.LINES: re.compile(rb'"done"\s*:\s*true'),
    Shape.COMPLETIONS: re.compile(rb"\[DONE\]"),
    Shape.RESPONSES: re.compile(rb"response\.(completed|incomplete|failed)"),
    Shape.MESSAGES: re.compile(rb"message_stop"),
}
_LAST_TYPES = ("response.completed", "response.incomplete", "response.failed", "message_stop")
_STREAMS = {b"application/x-ndjson": Shape.LINES, b"text/event-stream": Shape.COMPLETIONS}


class OtherModel(Exception):
    """The answer carries the name of a model that was not asked."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def shape_of(path: str, content_type: bytes) -> Shape:
    """How an answer to this path with this `Content-Type` is written."""
    stream = _STREAMS.get(content_type.partition(b";")[0].strip().lower())
    if stream is Shape.COMPLETIONS:
        return _EVENTS.get(path, stream)
    if stream is not None:
        return stream
    if path in _TEXTS:
        return Shape.TEXT
    return Shape.VECTORS if path in _VECTORS else Shape.DOCUMENT


def passing(shape: Shape, accepted: frozenset[str], *, holds: bool) -> "Passing":
    """The one that looks at an answer of this shape, which may carry the names `accepted`.

    With `holds`, it keeps back what tells a client that the answer is whole; see `Passing.held`.
    """
    names = _names(accepted)
    if shape is Shape.DOCUMENT or shape is Shape.TEXT:
        return _Document(names, may_be_text=shape is Shape.TEXT)
    if shape is Shape.VECTORS:
        return _Vectors(names)
    return _Records(shape, names, holds=holds)


class Passing:
    """What is known of an answer so far.

    `is_named`: it carries an accepted name. `is_remote`: a remote host gave it. `error` is what it
    says of its own failure, `reason` why Ollama's last record says that it ended. `has_ended`: its
    end mark was seen. `held` are the bytes that were kept back; they belong to its end. `kept` is
    how many bytes are kept now, but for little. `mark` stands once in each record of a stream,
    which is about a token. `numbers` is there at the end, with the counts that it tells.
    """

    mark = b"data: "

    def __init__(self, names: "_Names") -> None:
        self._names = names
        self.is_named = False
        self.is_remote = False
        self.error: str | None = None
        self.reason: str | None = None
        self.has_ended = False
        self.held = b""
        self.kept = 0
        self.numbers = NOTHING_COUNTED

    def take(self, chunk: bytes) -> bytes:
        """What may be passed on now. Raises OtherModel and BadAnswer."""
        raise NotImplementedError

    def end(self) -> bool:
        """Nothing more comes: whether the answer is whole. Raises as `take` does."""
        raise NotImplementedError

    def _look_at(self, record: Any) -> None:
        """Read whose a record is, and whether it tells of a failure."""
        if not isinstance(record, dict):
            return
        if record.get("error"):
            self.error = wire.refusal(record).text or "it does not say what"
        for part in (record, record.get("response"), record.get("message")):
            self._look_at_name(part)
        if record.get("remote_host") or record.get("remote_model"):
            self.is_remote = True

    def _look_at_name(self, part: Any) -> None:
        name = part.get("model") if isinstance(part, dict) else None
        if not isinstance(name, str) or not name:  # Ollama's /v1 writes "" where a stream broke
            return
        if name not in self._names.accepted:
            raise OtherModel(name)
        self.is_named = True


class _Names:
    """The names that an answer may carry, as its bytes show them."""

    def __init__(self, accepted: frozenset[str]) -> None:
        self.accepted = accepted
        spellings = (json.dumps(name, ensure_ascii=False).encode() for name in accepted)
        self._written = tuple(b'"model":' + spelling for spelling in spellings)

    def are_all_in(self, data: bytes, found: int) -> bool:
        """Whether `data`, which has `found` keys of a name, has accepted names under all of
        them.
        """
        for written in self._written:
            found -= data.count(written)
            if not found:
                return True
        return False


_names = lru_cache(maxsize=1000)(_Names)


class _Records(Passing):
    """A stream: lines of JSON, or events with JSON in their `data`."""

    def __init__(self, shape: Shape, names: _Names, *, holds: bool) -> None:
        super().__init__(names)
        self._is_lines = shape is Shape.LINES
        if self._is_lines:
            self.mark = b"\n"
        self._is_end = _ENDS[shape]
        self._holds = holds
        self._rest = b""  # of a line that is not complete
        self._counted: list[bytes] = []  # the lines that tell counts

    def take(self, chunk: bytes) -> bytes:
        """Whole lines, so that an error can follow what was passed on."""
        if self.has_ended:
            return self._behind_the_end(chunk)
        data = self._rest + chunk if self._rest else chunk
        complete = self._complete(data)
        self._rest = data[complete:]
        self.kept = len(self._rest)
        if len(self._rest) > LINE_LIMIT:
            raise BadAnswer(f"a line is longer than {LINE_LIMIT} bytes")
        lines = data[:complete]
        if not lines:
            return b""
        marks = _MARKS.findall(lines)
        self._inspect(lines, marks)
        if self._is_lines and marks.count(_NAMED) == len(marks):
            return lines  # the last record has one more
        ends = self._ending(lines)
        if ends is None:
            return lines
        start, stop = ends
        if self.error is not None:  # an answer that failed has no proper end
            return lines[:start]
        behind, self._rest = self._rest, b""
        self.has_ended = True
        if self._holds:
            self.held = lines[start:stop]
            stop = start
        return lines[:stop] + self._behind_the_end(behind)

    def end(self) -> bool:
        if self._rest.strip():  # of an answer that has ended there is none
            self._end_within_a_line()
        self._count_kept()
        return self.has_ended and self.error is None

    def _complete(self, data: bytes) -> int:
        """How many bytes are whole lines; the name of an event goes with what it names."""
        complete = data.rfind(b"\n") + 1
        if self._is_lines:
            return complete
        last = data.rfind(b"\n", 0, complete - 1) + 1
        return last if data.startswith(b"event:", last) else complete

    def _end_within_a_line(self) -> None:
        """Ollama's last record may lack the end of its line; anything else was cut off."""
        last, self._rest = self._rest + b"\n", b""
        with suppress(BadAnswer):
            self._inspect(last, _MARKS.findall(last))
            self.has_ended = self._ending(last) is not None
            self.held = last[:-1]

    def _behind_the_end(self, chunk: bytes) -> bytes:
        """Nothing stands there but the empty line of the last event."""
        if chunk not in (b"\n", b"\r\n", b"\r", b"\n\r\n"):
            return b""
        if not self._holds:
            return chunk
        self.held += chunk
        return b""

    def _inspect(self, lines: bytes, marks: list[bytes]) -> None:
        """Look closer at lines that may name another model, fail, or come from a remote host."""
        found = marks.count(_NAMED)
        if found and self._names.are_all_in(lines, found):
            self.is_named = True
            found = 0
        if self._is_lines:  # whose last record tells the counts
            is_special = _REMOTE in marks
        else:
            is_special = b"\nerror:" in lines or lines.startswith(b"error:")
            self._keep_counts(lines, marks)
        if found or is_special or _FAILED in marks:
            for line in _split(lines):
                self._look_at(self._record(line))

    def _keep_counts(self, lines: bytes, marks: list[bytes]) -> None:
        if _COUNTS not in marks or len(lines) > COUNTS_LIMIT:
            return
        self._counted += [line for line in _split(lines) if b'"usage"' in line]
        del self._counted[1:-2]  # the first one, which may count the prompt, and the last ones

    def _count_kept(self) -> None:
        for line in self._counted:
            with suppress(BadAnswer):  # it has passed, and a count is not worth the answer
                self.numbers = with_counts(self.numbers, self._record(line))
        self._counted.clear()

    def _ending(self, lines: bytes) -> tuple[int, int] | None:
        """Where the last record begins and what belongs to it ends; None before it is there."""
        stop = 0
        for match in self._is_end.finditer(lines):
            if match.start() < stop:  # of a line that was read: it is read once, not for each match
                continue
            start = lines.rfind(b"\n", 0, match.start()) + 1
            stop = lines.index(b"\n", match.end())
            line = lines[start:stop].strip()
            if not self._is_last(line):
                continue
            if not self._is_lines:
                start = _event_start(lines, start)
            while lines[stop : stop + 1] in (b"\n", b"\r"):
                stop += 1
            return start, stop
        return None

    def _is_last(self, line: bytes) -> bool:
        record = self._record(line)
        if record is _DONE:
            return True
        if not isinstance(record, dict):
            return False
        if not (self._is_done(record) if self._is_lines else record.get("type") in _LAST_TYPES):
            return False
        self._count_kept()
        with suppress(BadAnswer):
            self.numbers = with_counts(self.numbers, record)
        return True

    def _is_done(self, record: Mapping[str, Any]) -> bool:
        reason = record.get("done_reason")
        self.reason = reason if isinstance(reason, str) else None
        return record.get("done") is True

    def _record(self, line: bytes) -> Any:
        """The JSON of a line; None for one that carries none."""
        if self._is_lines:
            return read_json(line)
        field, _, value = line.partition(b":")
        value = value.strip()
        if field == b"error":  # how llama.cpp spells an error in mid-stream
            return {"error": value.decode(errors="replace")}
        if field != b"data" or not value:
            return None
        if value == b"[DONE]":
            return _DONE
        record = read_json(value)
        if isinstance(record, dict) and record.get("type") == "error" and "error" not in record:
            return {"error": record.get("message") or "error"}
        return record


class _Document(Passing):
    """One JSON document, passed on when all of it is there."""

    def __init__(self, names: _Names, *, may_be_text: bool) -> None:
        super().__init__(names)
        self._may_be_text = may_be_text
        self._chunks: list[bytes] = []

    def take(self, chunk: bytes) -> bytes:
        self._chunks.append(chunk)
        self.kept += len(chunk)
        if self.kept > DOCUMENT_LIMIT:
            raise BadAnswer(f"the answer is longer than {DOCUMENT_LIMIT // 2**20} MiB")
        return b""

    def end(self) -> bool:
        self.held, self._chunks = b"".join(self._chunks), []
        try:
            refuse_wide(self.held)
            record = read_json(self.held)
        except BadAnswer:
            return self._may_be_text and self.held.lstrip()[:1] not in (b"{", b"[")
        self._look_at(record)
        if self.error is not None:
            return False
        self.numbers = with_counts(self.numbers, record)
        self.reason = self.numbers.done_reason
        return not isinstance(record, dict) or record.get("done", True) is True


class _Vectors(Passing):
    """A document of numbers, which is not read: only its name is looked for."""

    def __init__(self, names: _Names) -> None:
        super().__init__(names)
        self._before = b""

    def take(self, chunk: bytes) -> bytes:
        seen = self._before + chunk
        self._look_at_names(seen)  # a name that is cut has no end yet, and is read with the next
        self._before = seen[-_OVERLAP:]
        passed, self.held = self.held, chunk
        return passed

    def end(self) -> bool:
        self._look_at_names(self._before)
        if _ERROR in self._before:  # a short document may be one of a failure
            with suppress(BadAnswer):
                self._look_at(read_json(self._before))
        return self.error is None and self._before.rstrip().endswith(b"}")

    def _look_at_names(self, data: bytes) -> None:
        found = data.count(_MODEL)
        if not found:
            return
        if not self._names.are_all_in(data, found):
            for match in _NAME.finditer(data):
                self._look_at_name({"model": read_json(match[1])})
            return
        self.is_named = True


_DONE = object()


def _split(lines: bytes) -> Iterator[bytes]:
    for line in lines.split(b"\n"):
        stripped = line.strip()
        if stripped:
            yield stripped


def _event_start(lines: bytes, start: int) -> int:
    """Where the event begins whose `data` begins at `start`: with its name, if it has one."""
    before = lines.rfind(b"\n", 0, start - 1) + 1
    if before < start and lines.startswith(b"event:", before):
        return before
    return start
