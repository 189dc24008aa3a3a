"""What a person types, or what comes in by a pipe, one entry after the other."""

import contextlib
import sys

from ollama_admin.cli.output import Output
from ollama_admin.errors import InvalidInput

PROMPT, MORE = ">>> ", "... "
MANY = '"""'  # begins and ends an entry of several lines
LIMIT = 64 * 1024 * 1024  # bytes of one line


class TypedLines:
    """On a terminal lines can be edited, and earlier ones come back with the arrow keys; they are
    kept nowhere.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self.is_terminal = sys.stdin is not None and sys.stdin.isatty()
        self._can_edit = self.is_terminal and output.stdout.isatty()
        if self._can_edit:
            with contextlib.suppress(ImportError):  # not everywhere; it works by being loaded
                import readline  # noqa: F401, PLC0415

    def next_entry(self) -> str | None:
        """The next line, or several between triple quotes; None at the end.

        Raises KeyboardInterrupt for Ctrl-C, and InvalidInput for what is no text.
        """
        line = self._line(PROMPT)
        if line is None or not line.lstrip().startswith(MANY):
            return line
        lines = [line.lstrip().removeprefix(MANY)]
        while not lines[-1].rstrip().endswith(MANY):
            following = self._line(MORE)
            if following is None:
                break
            lines.append(following)
        whole = "\n".join(lines).rstrip()
        return whole.removesuffix(MANY).strip("\n")

    def _line(self, prompt: str) -> str | None:
        """A line without its end; None at the end of all."""
        if sys.stdin is None:
            return None
        if self._can_edit:
            return self._edited(prompt)
        if self.is_terminal:
            self._output.stderr.write(prompt)
            self._output.stderr.flush()
        data = sys.stdin.buffer.readline(LIMIT + 1)
        if not data:
            return None
        if len(data) > LIMIT:
            raise InvalidInput(f"a line on stdin is longer than {LIMIT // 2**20} MiB")
        return _text(data).removesuffix("\n").removesuffix("\r")

    @staticmethod
    def _edited(prompt: str) -> str | None:
        try:
            return input(prompt)
        except EOFError:
            return None
        except UnicodeDecodeError as exc:
            raise _no_text(exc) from exc


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise _no_text(exc) from exc


def _no_text(exc: UnicodeDecodeError) -> InvalidInput:
    return InvalidInput(f"what was typed is not UTF-8 (byte {exc.start + 1})")
