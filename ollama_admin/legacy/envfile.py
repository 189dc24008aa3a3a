"""Reads a `.env` file as python-dotenv would, but loses nothing silently and never looks into the
environment.

The text of the file is all there is: `${VAR}` and `${VAR:-default}` are filled from earlier lines
and their defaults, inside single quotes too, as python-dotenv does; `$VAR` stays as it is.
"""

import codecs
import io
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dotenv.parser import Binding as ParsedBinding
from dotenv.parser import parse_stream

from ollama_admin.errors import InvalidInput

SIZE_LIMIT = 2**20  # bytes of a file
FILLED_LIMIT = 4 * 2**20  # characters of all values after filling: references can multiply
BLANK_LIMIT = 1000  # python-dotenv's time grows with the square of a run of blanks

_NEWLINE = re.compile(r"\r\n|\n|\r")
_BLANKS = re.compile(r"[^\S\r\n]+")
# bounds keep it linear
_REFERENCE = re.compile(r"\$\{(?P<name>[^}:]{0,100})(?::-(?P<default>[^}]{0,500}))?\}")
_SPELLING = (
    "check the quotes: a value is KEY=plain, KEY='text' or KEY=\"text\", with nothing but "
    "a comment behind it"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """One `KEY=value`. `value` is None for a key without `=`; `file` and `line` are None for the
    environment.

    `references` are the names that its `${...}` mention, `unfilled` those that nothing gave a
    value. The value may be a secret, so it is in no repr.
    """

    file: str | None
    line: int | None
    key: str
    value: str | None = field(repr=False)
    references: tuple[str, ...] = ()
    unfilled: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """Where it stands, for a message."""
        if self.file is None:
            return f"environment variable {self.key}"
        if self.line is None:
            return f"{self.file}: {self.key}"
        return f"{self.file}, line {self.line}: {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvFile:
    """What one source holds, in its order; `file` is None for the environment."""

    file: str | None
    bindings: tuple[Binding, ...]
    readable_by_others: bool = False


def read(path: Path) -> EnvFile:
    """Read a regular file of at most 1 MiB; a FIFO or a device is refused without waiting for it.

    A file that ends in `.json` counts as one list of servers. Raises InvalidInput, naming the file
    and the line.
    """
    data, mode = _read_bytes(path)
    name = str(path)
    text = decode(data, name)
    if path.suffix == ".json":
        bindings: tuple[Binding, ...] = (
            Binding(file=name, line=None, key="ollama_servers", value=text),
        )
    else:
        bindings = parse(text, name)
    return EnvFile(file=name, bindings=bindings, readable_by_others=bool(mode & stat.S_IROTH))


def decode(data: bytes, file: str) -> str:
    """The text without a byte order mark, or InvalidInput with the line of the first byte that is
    not UTF-8.
    """
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        line = 1 + _newlines(data[: exc.start].decode("latin-1"))
        raise InvalidInput(
            f"{file}, line {line}: not UTF-8 text", "save the file as UTF-8"
        ) from exc
    if "\0" in text:
        line = 1 + _newlines(text[: text.index("\0")])
        raise InvalidInput(
            f"{file}, line {line}: holds a NUL character", "save the file as UTF-8 text"
        )
    return text


def parse(text: str, file: str) -> tuple[Binding, ...]:
    """All bindings, their values filled; raises InvalidInput at the first statement that cannot be
    read.
    """
    _refuse_long_blanks(text, file)
    known: dict[str, str | None] = {}
    bindings = []
    room = FILLED_LIMIT
    for line, parsed in _statements(text):
        if parsed.error:
            raise InvalidInput(
                f"{file}, line {line}: the statement that begins here cannot be read", _SPELLING
            )
        if parsed.key is None:
            continue
        binding = _filled(file, line, parsed.key, parsed.value, known, room)
        room -= len(binding.value or "")
        known[parsed.key] = binding.value
        bindings.append(binding)
    return tuple(bindings)


def from_environ(environ: Mapping[str, str]) -> EnvFile:
    """The variables of a process, as they are: nothing in them is filled."""
    bindings = (
        Binding(file=None, line=None, key=key, value=value)
        for key, value in sorted(environ.items())
    )
    return EnvFile(file=None, bindings=tuple(bindings))


def _read_bytes(path: Path) -> tuple[bytes, int]:
    hint = "name a .env file, or run the command in the folder that holds it"
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise InvalidInput(f"{path} is not a regular file", hint)
            data = file.read(SIZE_LIMIT + 1)
    except IsADirectoryError as exc:
        raise InvalidInput(f"{path} is not a regular file", hint) from exc
    except OSError as exc:
        raise InvalidInput(
            f"cannot read {path}: {(exc.strerror or 'unknown error').lower()}", hint
        ) from exc
    except ValueError as exc:
        raise InvalidInput(f"{path} is not a path", hint) from exc
    if len(data) > SIZE_LIMIT:
        raise InvalidInput(f"{path} is larger than {SIZE_LIMIT // 2**20} MiB", hint)
    return data, mode


def _statements(text: str) -> Iterator[tuple[int, ParsedBinding]]:
    """Each statement with its own line: python-dotenv counts from the blank lines before it."""
    line = 1
    for parsed in parse_stream(io.StringIO(text, newline="")):
        original = parsed.original.string
        blank = _newlines(original[: len(original) - len(original.lstrip())])
        yield line + blank, parsed
        line += _newlines(original)


def _filled(
    file: str, line: int, key: str, value: str | None, known: Mapping[str, str | None], room: int
) -> Binding:
    if value is None or "${" not in value:
        return Binding(file=file, line=line, key=key, value=value)
    pieces = []
    references: dict[str, None] = {}
    unfilled: dict[str, None] = {}
    end = 0
    for match in _REFERENCE.finditer(value):
        name, default = match["name"], match["default"]
        references[name] = None
        given = default
        if name in known:
            given = known[name]
        if given is None:
            unfilled[name] = None
        pieces += [value[end : match.start()], given or ""]
        end = match.end()
        room -= len(given or "")
        if room < 0:
            raise InvalidInput(
                f"{file}, line {line}: its ${{...}} references make the values too long"
            )
    pieces.append(value[end:])
    return Binding(
        file=file,
        line=line,
        key=key,
        value="".join(pieces),
        references=tuple(references),
        unfilled=tuple(unfilled),
    )


def _refuse_long_blanks(text: str, file: str) -> None:
    for run in _BLANKS.finditer(text):
        if run.end() - run.start() > BLANK_LIMIT:
            line = 1 + _newlines(text[: run.start()])
            raise InvalidInput(
                f"{file}, line {line}: holds more than {BLANK_LIMIT} blanks in a row"
            )


def _newlines(text: str) -> int:
    return len(_NEWLINE.findall(text))
