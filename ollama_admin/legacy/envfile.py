"""Reads a `.env` file as python-dotenv would, but loses nothing silently and never looks into the
environment; and the `environment:` of a compose file.

`${VAR}`, and `${VAR:-default}` with what a shell knows beside it, are filled from earlier lines and
their defaults, inside single quotes too, as python-dotenv does; `$VAR` stays as it is.
"""

import codecs
import io
import os
import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path

from dotenv.parser import Binding as ParsedBinding
from dotenv.parser import parse_stream

from ollama_admin.domain.files import Pasted, read_regular_file
from ollama_admin.errors import InvalidInput
from ollama_admin.legacy import compose

SIZE_LIMIT = 2**20  # bytes of a file
FILLED_LIMIT = 4 * 2**20  # characters of all values after filling: references can multiply
DEPTH_LIMIT = 10  # references inside of defaults
BLANK_LIMIT = 1000  # python-dotenv's time grows with the square of a run of blanks

_LONG_BLANKS = re.compile(rf"(?<![^\S\r\n])[^\S\r\n]{{{BLANK_LIMIT + 1},}}")
_NEWLINE = re.compile(r"\r\n|\n|\r")
_KEY = re.compile(r"\s*(?:export\s+)?([A-Za-z_][\w.-]{0,199})\s*=")
_COMMAND = re.compile(r"\s*([A-Za-z.\[][^\s='\"]*)((?:[^\S\n\r]+[^\s='\"]+)*)\s*")
# values in backticks, as other readers of .env files take them over several lines
_BACKTICKS = re.compile(
    r"^(?P<key>[^\S\r\n]*(?:export[^\S\r\n]+)?[\w.-]{1,200}=)`(?P<text>[^`\r\n]*[\r\n][^`]*)`",
    re.MULTILINE,
)
_EXPORTS = re.compile(r"^(?:declare -x|typeset -x|readonly) (?=\w+=)", re.MULTILINE)
_QUOTED = re.compile(r"\A(?P<quote>['\"])(?P<text>(?:(?!(?P=quote)).)*)(?P=quote)\Z", re.DOTALL)
_UNREADABLE = "the statement that begins here cannot be read"
_SPELLING = (
    "check the quotes: a value is KEY=plain, KEY='text' or KEY=\"text\", with nothing but "
    "a comment behind it"
)
_NAME = re.compile(r"\$\{(?P<name>\w{0,100})(?::?(?P<operator>[-=?+]))?")
_BRACE = re.compile(r"\$\{|\}")


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
        line = "" if self.line is None else f", line {self.line}"
        return f"{self.file}{line}: {self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvFile:
    """What one source holds, in its order; `file` and `status` are None for the environment."""

    file: str | None
    bindings: tuple[Binding, ...]
    status: os.stat_result | None = None

    def scopes(self) -> list[list[Binding]]:
        """What belongs together: all of a `.env` file, each `environment:` of a compose file."""
        return [list(group) for _, group in groupby(self.bindings, lambda binding: binding.scope)]


def read(path: Path | Pasted) -> EnvFile:
    """Read a regular file of at most 1 MiB: one in `.json` is a list of servers, one in `.yml` or
    `.yaml` a compose file; or what was pasted. Raises InvalidInput, naming the file and the line.
    """
    if isinstance(path, Pasted):
        text = decode(path.text.encode("utf-8", "surrogatepass"), path.name)
        return EnvFile(file=path.name, bindings=parse(text, path.name))
    hint = "name a .env file, or run the command in the folder that holds it"
    opened = read_regular_file(path, SIZE_LIMIT, hint=hint)
    name = str(path)
    text = decode(opened.data, name)
    if path.suffix in (".yml", ".yaml"):
        bindings = parse_compose(text, name)
    elif path.suffix == ".json":
        bindings = (Binding(file=name, line=None, key="ollama_servers", value=text),)
    else:
        bindings = parse(text, name)
    return EnvFile(file=name, bindings=bindings, status=opened.status)


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
    line = 1 + len(_NEWLINE.findall(data[:end].decode("latin-1")))
    raise InvalidInput(f"{file}, line {line}: {what}", "save the file as UTF-8 text")


def parse(text: str, file: str) -> tuple[Binding, ...]:
    """All bindings, their values filled; one that cannot be read holds its error."""
    blanks = _LONG_BLANKS.search(text)
    if blanks:
        line = 1 + len(_NEWLINE.findall(text[: blanks.start()]))
        raise InvalidInput(f"{file}, line {line}: holds more than {BLANK_LIMIT} blanks in a row")
    text = _with_quotes(text)
    ends = [end.end() for end in _NEWLINE.finditer(text)]
    filler = _Filler()
    bindings: list[Binding] = []
    start = 0  # python-dotenv counts blank lines before it, and may cut \r\n in two
    for parsed in parse_stream(io.StringIO(text, newline="")):
        original = parsed.original.string
        blank = len(original) - len(original.lstrip())
        if parsed.error or parsed.key is not None:
            read = _bindings(file, 1 + bisect_right(ends, start + blank), parsed)
            bindings += [filler.filled(binding) for binding in read]
        start += len(original)
    return tuple(bindings)


def parse_compose(text: str, file: str) -> tuple[Binding, ...]:
    """The variables under each `environment:` of a compose file; `${VAR}` has its default alone."""
    return tuple(
        _Filler().filled(Binding(file=file, line=line, key=key, value=value, scope=block))
        for line, block, key, value in compose.variables(text)
    )


def from_environ(environ: Mapping[str, str]) -> EnvFile:
    """The variables of a process as they are, but for the quotes of `docker run --env-file`."""
    bindings = (
        Binding(file=None, line=None, key=key, value=_QUOTED.sub(r"\g<text>", value))
        for key, value in sorted(environ.items())
    )
    return EnvFile(file=None, bindings=tuple(bindings))


def _with_quotes(text: str) -> str:
    """The text as python-dotenv can read it, with `export` and without backticks around lines."""

    def quoted(match: re.Match[str]) -> str:
        inner = match["text"].replace("\\", "\\\\").replace("'", "\\'")
        return f"{match['key']}'{inner}'"

    return _EXPORTS.sub("export ", _BACKTICKS.sub(quoted, text))


def _bindings(file: str, line: int, parsed: ParsedBinding) -> list[Binding]:
    """What a statement says; of a shell's commands, `unset NAME` alone says something."""
    binding = Binding(file=file, line=line, key=parsed.key or "", value=parsed.value)
    if not parsed.error:
        return [binding]
    command = _COMMAND.fullmatch(parsed.original.string)
    if command is None:
        key = _KEY.match(parsed.original.string)
        binding = replace(binding, key=key[1] if key else "")
        return [_unreadable(binding, InvalidInput(_UNREADABLE, _SPELLING))]
    if command[1] != "unset":
        return [replace(binding, key=command[1])]
    names = [word for word in command[2].split() if not word.startswith("-")]
    return [replace(binding, key=name, is_unset=True) for name in dict.fromkeys(names)]


def _unreadable(binding: Binding, exc: InvalidInput) -> Binding:
    error = InvalidInput(f"{binding.file}, line {binding.line}: {exc.message}", exc.hint)
    return replace(binding, value=None, error=error)


@dataclass(slots=True)
class _Filler:
    """Fills the references of one file after another; `known` holds the values of earlier lines,
    `names` those of the references in a value, and whether nothing gave them one.
    """

    known: dict[str, str | None] = field(default_factory=dict)
    names: dict[str, bool] = field(default_factory=dict)
    room: int = FILLED_LIMIT

    def filled(self, binding: Binding) -> Binding:
        if binding.value is not None:
            self.names = {}
            try:
                binding = replace(binding, value=self._fill(binding.value))
            except InvalidInput as exc:
                binding = _unreadable(binding, exc)
            unfilled = tuple(name for name, is_unfilled in self.names.items() if is_unfilled)
            binding = replace(binding, references=tuple(self.names), unfilled=unfilled)
        self.known[binding.key] = binding.value
        return binding

    def _fill(self, text: str, depth: int = 0) -> str:
        """A name counts as set when a line before sets it, to nothing too, as in python-dotenv."""
        pieces = []
        end = 0
        while depth < DEPTH_LIMIT and (match := _NAME.search(text, end)):
            close = _close(text, match.end())
            if close is None:
                break
            value = text[match.start() : close + 1]
            if match["operator"] or match.end() == close:
                value = self._value(match, text[match.end() : close], depth)
            pieces += [text[end : match.start()], value]
            end = close + 1
        filled = "".join(pieces) + text[end:]
        self.room -= len(filled)
        if self.room < 0:
            raise InvalidInput("its ${...} references make the values too long")
        return filled

    def _value(self, match: re.Match[str], rest: str, depth: int) -> str:
        name, operator = match["name"], match["operator"]
        value = self.known.get(name)
        is_unfilled = value is None and operator in (None, "?")
        self.names[name] = self.names.get(name, False) or is_unfilled
        if operator == "+" and value is None:
            return ""
        if operator == "+" or (operator in ("-", "=") and value is None):
            return self._fill(rest, depth + 1)
        return value or ""


def _close(text: str, start: int) -> int | None:
    """Where the brace ends that is open before `start`."""
    depth = 1
    for brace in _BRACE.finditer(text, start):
        depth += 1 if brace[0] == "${" else -1
        if depth == 0:
            return brace.start()
    return None
