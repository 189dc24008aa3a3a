"""Reads a `.env` file as python-dotenv would, but loses nothing silently and never looks into the
environment; and the `environment:` of a compose file.

`${VAR}`, and `${VAR:-default}` with what a shell knows beside it, are filled from earlier lines and
their defaults, inside single quotes too, as python-dotenv does; `$VAR` stays as it is.
"""

import codecs
import io
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from dotenv.parser import Binding as ParsedBinding
from dotenv.parser import parse_stream

from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import compose
from ollama_admin.legacy.references import Filler

SIZE_LIMIT = 2**20  # bytes of a file
BLANK_LIMIT = 1000  # python-dotenv's time grows with the square of a run of blanks

_NEWLINE = re.compile(r"\r\n|\n|\r")
_BLANKS = re.compile(r"[^\S\r\n]+")
_KEY = re.compile(r"\s*(?:export\s+)?([A-Za-z_][\w.-]{0,199})\s*=")
_COMMAND = re.compile(r"\s*([A-Za-z.\[][^\s='\"]*)((?:[^\S\n\r]+[^\s='\"]+)*)\s*")
# values in backticks, as other readers of .env files take them over several lines
_BACKTICKS = re.compile(
    r"^(?P<key>[^\S\r\n]*(?:export[^\S\r\n]+)?[\w.-]{1,200}=)`(?P<text>[^`\r\n]*[\r\n][^`]*)`",
    re.MULTILINE,
)
_EXPORTS = re.compile(r"^(?:declare -x|typeset -x|readonly) (?=\w+=)", re.MULTILINE)
_QUOTED = re.compile(r"(?P<quote>['\"])(?P<text>(?:(?!(?P=quote)).)*)(?P=quote)", re.DOTALL)
_SPELLING = (
    "check the quotes: a value is KEY=plain, KEY='text' or KEY=\"text\", with nothing but "
    "a comment behind it"
)
_UNREADABLE = "the statement that begins here cannot be read"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """One `KEY=value`; the value, which may be a secret, is None without `=` and in no repr.

    `file` and `line` are None for the environment. `references` are the names that its `${...}`
    mention, `unfilled` those that nothing gave a value. `error` says why a statement cannot be
    read. `scope` tells apart the parts of a file that several programs read.
    """

    file: str | None
    line: int | None
    key: str
    value: str | None = field(repr=False)
    references: tuple[str, ...] = ()
    unfilled: tuple[str, ...] = ()
    error: InvalidInput | None = None
    is_unset: bool = False
    scope: int = 0

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

    def scopes(self) -> Iterator[list[Binding]]:
        """What belongs together: all of a `.env` file, each `environment:` of a compose file."""
        for _, bindings in groupby(self.bindings, lambda binding: binding.scope):
            yield list(bindings)


def read(path: Path) -> EnvFile:
    """Read a regular file of at most 1 MiB; a FIFO or a device is refused without waiting for it.

    A file that ends in `.json` counts as one list of servers, one in `.yml` or `.yaml` as a compose
    file. Raises InvalidInput, naming the file and the line.
    """
    data, mode = _read_bytes(path)
    name = str(path)
    text = decode(data, name)
    bindings: tuple[Binding, ...]
    if path.suffix == ".json":
        bindings = (Binding(file=name, line=None, key="ollama_servers", value=text),)
    elif path.suffix in (".yml", ".yaml"):
        bindings = parse_compose(text, name)
    else:
        bindings = parse(text, name)
    return EnvFile(file=name, bindings=bindings, readable_by_others=bool(mode & stat.S_IROTH))


def decode(data: bytes, file: str) -> str:
    """The text without a byte order mark; InvalidInput names the first line that is not UTF-8."""
    data = data.removeprefix(codecs.BOM_UTF8)
    end, what = data.find(b"\0"), "holds a NUL character"
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        end, what = exc.start, "not UTF-8 text"
    if end < 0:
        return text
    line = 1 + _newlines(data[:end].decode("latin-1"))
    raise InvalidInput(f"{file}, line {line}: {what}", "save the file as UTF-8 text")


def parse(text: str, file: str) -> tuple[Binding, ...]:
    """All bindings, their values filled; one that cannot be read holds its error."""
    for run in _BLANKS.finditer(text):
        if run.end() - run.start() > BLANK_LIMIT:
            line = 1 + _newlines(text[: run.start()])
            what = f"holds more than {BLANK_LIMIT} blanks in a row"
            raise InvalidInput(f"{file}, line {line}: {what}")
    filler = Filler()
    bindings: list[Binding] = []
    for line, parsed in _statements(_with_quotes(text)):
        read: list[Binding] = []
        if parsed.error:
            read = _no_assignment(file, line, parsed.original.string)
        elif parsed.key is not None:
            binding = Binding(file=file, line=line, key=parsed.key, value=parsed.value)
            read = [_filled(binding, filler)]
        filler.known.update({binding.key: binding.value for binding in read})
        bindings += read
    return tuple(bindings)


def parse_compose(text: str, file: str) -> tuple[Binding, ...]:
    """The variables under each `environment:` of a compose file; `${VAR}` has its default alone."""
    return tuple(
        _filled(Binding(file=file, line=line, key=key, value=value, scope=block), Filler())
        for line, block, key, value in compose.variables(text)
    )


def from_environ(environ: Mapping[str, str]) -> EnvFile:
    """The variables of a process as they are, but for the quotes of `docker run --env-file`."""
    bindings = []
    for key, value in sorted(environ.items()):
        quoted = _QUOTED.fullmatch(value)
        plain = quoted["text"] if quoted else value
        bindings.append(Binding(file=None, line=None, key=key, value=plain))
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
        reason = (exc.strerror or "unknown error").lower()
        raise InvalidInput(f"cannot read {path}: {reason}", hint) from exc
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


def _with_quotes(text: str) -> str:
    """The text as python-dotenv can read it: single quotes in place of backticks around several
    lines, `export` in place of what says the same.
    """

    def quoted(match: re.Match[str]) -> str:
        inner = match["text"].replace("\\", "\\\\").replace("'", "\\'")
        return f"{match['key']}'{inner}'"

    return _EXPORTS.sub("export ", _BACKTICKS.sub(quoted, text))


def _no_assignment(file: str, line: int, text: str) -> list[Binding]:
    """What python-dotenv cannot read: a shell's command says nothing, but for `unset NAME`."""
    command = _COMMAND.fullmatch(text)
    if command is None:
        key = _KEY.match(text)
        binding = Binding(file=file, line=line, key=key[1] if key else "", value=None)
        return [_unreadable(binding, InvalidInput(_UNREADABLE, _SPELLING))]
    names, is_unset = [command[1]], command[1] == "unset"
    if is_unset:
        names = [word for word in command[2].split() if not word.startswith("-")]
    return [
        Binding(file=file, line=line, key=name, value=None, is_unset=is_unset)
        for name in dict.fromkeys(names)
    ]


def _filled(binding: Binding, filler: Filler) -> Binding:
    if binding.value is None:
        return binding
    names: dict[str, bool] = {}
    try:
        value = filler.fill(binding.value, names)
    except InvalidInput as exc:
        return _unreadable(binding, exc)
    unfilled = tuple(name for name, is_unfilled in names.items() if is_unfilled)
    return replace(binding, value=value, references=tuple(names), unfilled=unfilled)


def _unreadable(binding: Binding, exc: InvalidInput) -> Binding:
    error = InvalidInput(f"{binding.file}, line {binding.line}: {exc.message}", exc.hint)
    return replace(binding, value=None, error=error)


def _newlines(text: str) -> int:
    return len(_NEWLINE.findall(text))
