"""Printing without tables: JSON, errors and notes. Loads nothing heavy."""

import json
import os
import sys
from collections.abc import Sequence
from textwrap import indent
from typing import Any, TextIO

from ollama_admin.documents import document
from ollama_admin.errors import AdminError
from ollama_admin.safe_text import safe_json, safe_text

WHOLE = 4000  # characters; a pipe of Linux keeps 4,096 bytes together


class Output:
    """Data on stdout; errors, hints and notes on stderr."""

    def __init__(self, *, json: bool, stdout: TextIO, stderr: TextIO) -> None:
        self.json = json
        self.verbose = False
        self.quiet = False
        self._noted: set[str] = set()
        self.has_progress = False  # something else shows that there is life
        self._is_waiting_shown = False
        self._has_printed = False
        self.stdout = stdout
        self.stderr = stderr

    def data(self, value: Any) -> None:
        """One JSON document."""
        self.line(self.json_text(value, indent=2))

    def record(self, value: Any) -> None:
        """One line of NDJSON, at once."""
        self.line(self.json_text(value))
        self.stdout.flush()

    def json_text(self, value: Any, indent: int | None = None) -> str:
        """JSON for stdout: text as it is where that is UTF-8, else in ASCII; control characters as
        escapes.
        """
        return _json_for(self.stdout, document(value), indent)

    @property
    def can_show_waiting(self) -> bool:
        """Whether a person looks on who wants to know what is waited for."""
        is_plain = os.environ.get("TERM") == "dumb"
        return self.stderr.isatty() and not self.quiet and not is_plain

    def show_waiting(self, text: str) -> None:
        """A line on the terminal that is erased before anything else is printed; none once data
        were printed, for the cursor may stand behind them.
        """
        if self.has_progress or self._has_printed:
            return
        columns = os.get_terminal_size(self.stderr.fileno()).columns
        self.stderr.write(f"\r{safe_text(text)[: max(columns - 1, 1)]}\x1b[K")
        self.stderr.flush()
        self._is_waiting_shown = True

    def erase_waiting(self) -> None:
        """Take the line of `show_waiting` away."""
        if self._is_waiting_shown:
            self.stderr.write("\r\x1b[K")
            self.stderr.flush()
            self._is_waiting_shown = False

    def begin_data(self) -> None:
        """Data are printed from now on."""
        self.erase_waiting()
        self._has_printed = True

    def begin_turn(self) -> None:
        """The cursor is at the beginning of a line again, and what comes may be waited for."""
        self._has_printed = False

    def line(self, text: str) -> None:
        """A line of our own; foreign text in it is already safe."""
        self.begin_data()
        print(text, file=self.stdout)

    def text(self, text: str) -> None:
        """Whole lines of a file, which are safe to show."""
        self.begin_data()
        self.stdout.write(text)

    def coloured(self, text: str, colour: str) -> None:
        """A sentence in a colour of ANSI's, as `32`, where a terminal shows colours."""
        text = safe_text(text)
        plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
        if self.stdout.isatty() and not plain:
            text = f"\x1b[{colour}m{text}\x1b[0m"
        self.line(text)

    def sentence(self, text: str) -> None:
        """A line that says what was done or found; names in it are made safe."""
        self.line(safe_text(text))

    def error(self, error: AdminError) -> None:
        if self.json:
            self._to_stderr(_json_for(self.stderr, {"error": error.document()}))
            return
        for line in error.lines:
            self._to_stderr(f"error: {safe_text(line)}")
        if error.hint:
            self._to_stderr(f"hint: {safe_text(error.hint)}")

    def problem(self, code: str, message: str, hint: str | None = None) -> None:
        """An error that no class of ours stands for, as one of usage."""
        described = {"code": code, "message": message, "hint": hint}
        if self.json:
            self._to_stderr(_json_for(self.stderr, {"error": described}))
            return
        self._to_stderr(f"error: {safe_text(message)}")
        if hint:
            self._to_stderr(f"hint: {hint}")

    def note(self, text: str) -> None:
        """What a person should know although nothing failed; nothing with `--quiet`."""
        if not self.quiet:
            self._to_stderr(f"note: {safe_text(text)}")

    def note_once(self, text: str) -> None:
        """A note that is not repeated in this run."""
        if text not in self._noted:
            self._noted.add(text)
            self.note(text)

    def log_lines(self, lines: Sequence[str]) -> None:
        """Lines of a program that runs on, which are safe to show; no more in one write than a pipe
        keeps together, for another worker may write at the same time.
        """
        text: list[str] = []
        size = 0
        for line in lines:
            if text and size + len(line) > WHOLE:
                self._to_stderr("\n".join(text))
                text, size = [], 0
            text.append(line)
            size += len(line) + 1
        self._to_stderr("\n".join(text))

    def detail(self, text: str) -> None:
        """For `--verbose` only."""
        if self.verbose:
            self._to_stderr(f"detail: {safe_text(text)}")

    def agreed(self, question: str) -> bool:
        """Ask a person on stderr; anything but y or yes, the end of input too, is a no."""
        print(f"{question} [y/N]: ", end="", file=self.stderr, flush=True)
        typed = sys.stdin.buffer.readline()
        if not typed.endswith(b"\n"):
            self._to_stderr("")
        return typed.strip().lower() in (b"y", b"yes")

    def _to_stderr(self, text: str) -> None:
        self.erase_waiting()
        self.stderr.write(f"{text}\n")  # in one piece: print would write the end by itself
        self.stderr.flush()


def _json_for(stream: TextIO, value: Any, indent: int | None = None) -> str:
    encoding = (stream.encoding or "").lower()
    if encoding not in ("utf-8", "utf8"):
        return json.dumps(value, indent=indent)
    return safe_json(json.dumps(value, indent=indent, ensure_ascii=False))


class JSONList:
    """One JSON list, printed as it comes: each part when the next one is there, or the end.

    So of a list that is not longer than a part, all is printed or nothing.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._waiting: Sequence[Any] = ()
        self._is_begun = False

    def add(self, items: Sequence[Any]) -> None:
        if items:
            self._print()
            self._waiting = items

    def end(self) -> bool:
        """Print what is left; whether the list was empty."""
        self._print()
        self._output.line("\n]" if self._is_begun else "[]")
        return not self._is_begun

    def _print(self) -> None:
        for item in self._waiting:
            text = indent(self._output.json_text(item, indent=2), "  ")
            before = "," if self._is_begun else "["
            self._output.begin_data()
            self._output.stdout.write(f"{before}\n{text}")
            self._is_begun = True
        self._waiting = ()
