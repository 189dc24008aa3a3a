"""Runs the command line: in this process, or in one of its own with pipes and terminals."""

import json
import os
import signal
import subprocess
import sys
import termios
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from ollama_admin.cli.app import COMMANDS, app, load_command

SECONDS = 50.0  # until a process that should have spoken or ended is called stuck


@dataclass(frozen=True, slots=True)
class Ran:
    """What a run left behind."""

    exit_code: int
    stdout_bytes: bytes
    stderr_bytes: bytes

    @property
    def stdout(self) -> str:
        return self.stdout_bytes.decode()

    @property
    def stderr(self) -> str:
        return self.stderr_bytes.decode()

    @property
    def data(self) -> Any:
        """The JSON document on stdout of a run that succeeded."""
        assert self.exit_code == 0, self
        return json.loads(self.stdout)

    @property
    def json_of_any_end(self) -> Any:
        """The JSON document on stdout, also of a run that told a difference or a part that failed
        by its exit code.
        """
        return json.loads(self.stdout)

    @property
    def error(self) -> dict[str, Any]:
        """The error of a failed run with `-o json`: one line on stderr after the notes, and no
        data.
        """
        assert self.exit_code != 0, self
        assert self.stdout == "", self
        *notes, last = self.stderr.splitlines()
        assert all(note.startswith("note: ") for note in notes), self
        document = json.loads(last)
        assert document.keys() == {"error"}
        assert document["error"].keys() == {"code", "message", "hint"}
        return document["error"]

    @property
    def failure(self) -> tuple[int, str]:
        """Exit code and error code of a failed run with `-o json`."""
        return self.exit_code, self.error["code"]


def command_tree() -> Any:
    """The program's command with every one below it loaded."""
    root: Any = get_command(app)
    root.commands = {name: load_command(name) for name in COMMANDS}
    return root


def commands() -> dict[tuple[str, ...], TyperCommand]:
    """Every command, by the words that call it."""

    def below(
        command: Any, words: tuple[str, ...]
    ) -> Iterator[tuple[tuple[str, ...], TyperCommand]]:
        if not isinstance(command, TyperGroup):
            yield words, command
            return
        for name, inner in command.commands.items():
            yield from below(inner, (*words, name))

    return dict(below(command_tree(), ()))


class Cli:
    """Calls the app as the program does, with streams that are no terminals."""

    def __call__(self, *words: str, stdin: str | bytes | None = None) -> Ran:
        result = CliRunner().invoke(app, list(words), input=stdin, catch_exceptions=False)
        return Ran(result.exit_code, result.stdout_bytes, result.stderr_bytes)

    def json(self, *words: str, stdin: str | bytes | None = None) -> Ran:
        return self("-o", "json", *words, stdin=stdin)


class Process:
    """`python -m ollama_admin ...`. The streams named in `terminals` are terminals, the others
    pipes.

    A stream that is handed over as a file is the test's own business. `close` ends what is still
    there.
    """

    def __init__(
        self,
        *words: str,
        terminals: Collection[str] = (),
        columns: int = 80,
        stdin: bytes | None = b"",
        stdout: int | None = None,
        stderr: int | None = None,
        environ: Mapping[str, str | None] | None = None,
    ) -> None:
        self._ends: list[int] = []
        self._terminals = terminals
        self._columns = columns
        mine_in, theirs_in = self._input()
        mine_out, theirs_out = self._output("stdout") if stdout is None else (None, stdout)
        mine_err, theirs_err = self._output("stderr") if stderr is None else (None, stderr)
        changed = os.environ | dict(environ or {})
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ollama_admin", *words],
            stdin=theirs_in,
            stdout=theirs_out,
            stderr=theirs_err,
            env={name: value for name, value in changed.items() if value is not None},
        )
        for end in self._ends:
            os.close(end)
        self._stdin = os.fdopen(mine_in, "wb", buffering=0)
        self._stdout, self._stderr = _Collected(mine_out), _Collected(mine_err)
        if stdin is not None:
            self.type(stdin)
            if "stdin" not in terminals:
                self.end_input()

    @property
    def number(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def stdout_so_far(self) -> bytes:
        return self._stdout.content

    @property
    def stderr_so_far(self) -> bytes:
        return self._stderr.content

    def type(self, text: bytes) -> None:
        """Write to its stdin; on a terminal `\\x04` is the end of input."""
        self._stdin.write(text)

    def end_input(self) -> None:
        """Close its stdin, where that is a pipe."""
        self._stdin.close()

    def until_stdout(self, text: bytes) -> None:
        self._stdout.until(text)

    def until_stderr(self, text: bytes) -> None:
        self._stderr.until(text)

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def hang_up(self) -> None:
        """What a terminal does that goes away."""
        self._process.send_signal(signal.SIGHUP)

    @property
    def pid(self) -> int:
        return self._process.pid

    def ended(self) -> Ran:
        """Wait for its end."""
        code = self._process.wait(SECONDS)
        return Ran(code, self._stdout.all(), self._stderr.all())

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(SECONDS)
        self._stdin.close()
        self._stdout.close()
        self._stderr.close()

    def _input(self) -> tuple[int, int]:
        if "stdin" in self._terminals:
            return self._terminal()
        theirs, mine = os.pipe()
        self._ends.append(theirs)
        return mine, theirs

    def _output(self, name: str) -> tuple[int, int]:
        if name in self._terminals:
            return self._terminal()
        mine, theirs = os.pipe()
        self._ends.append(theirs)
        return mine, theirs

    def _terminal(self) -> tuple[int, int]:
        """A pair of our and their end; what is written arrives as it is, and nothing is echoed."""
        mine, theirs = os.openpty()
        mode = termios.tcgetattr(theirs)
        mode[1] &= ~termios.OPOST
        mode[3] &= ~termios.ECHO
        termios.tcsetattr(theirs, termios.TCSANOW, mode)
        termios.tcsetwinsize(theirs, (24, self._columns))
        self._ends.append(theirs)
        return mine, theirs


class _Collected:
    """What a process writes, read all the time so that it never waits for us."""

    def __init__(self, end: int | None) -> None:
        self.content = b""
        self._changed = threading.Condition()
        self._over = end is None
        self._stream: IO[bytes] | None = None if end is None else os.fdopen(end, "rb", buffering=0)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def until(self, text: bytes) -> None:
        with self._changed:
            self._changed.wait_for(lambda: text in self.content or self._over, SECONDS)
        assert text in self.content, self.content

    def all(self) -> bytes:
        self._thread.join(SECONDS)
        return self.content

    def close(self) -> None:
        self._thread.join(SECONDS)
        if self._stream is not None:
            self._stream.close()

    def _read(self) -> None:
        while self._stream is not None and (data := self._some()):
            with self._changed:
                self.content += data
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def _some(self) -> bytes:
        assert self._stream is not None
        try:
            return self._stream.read(65536) or b""
        except OSError:  # a terminal that its last user has left
            return b""
