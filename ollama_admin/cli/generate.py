"""`ollama-admin generate`"""

import asyncio
import errno
import json
import os
import select
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from ollama_admin.cli.auth import AuthOptions, takes_auth
from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.options import OutputOption, complete_server
from ollama_admin.cli.views.explanation import print_explanation
from ollama_admin.domain.answers import Piece, Reply
from ollama_admin.domain.requests import DEFAULT_WAIT, ThinkLevel
from ollama_admin.domain.values import Json
from ollama_admin.errors import InvalidInput
from ollama_admin.safe_text import TerminalFilter

PROMPT_LIMIT = 64 * 1024 * 1024  # bytes that come in by a pipe
STDIN_PATIENCE = 2.0  # seconds until a note says what is waited for
FILE_LIMIT = 64 * 1024 * 1024  # bytes of an image or a JSON schema


class ThinkLevelChoice(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    MAX = "max"


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command("generate")
@takes_auth
def generate(  # long because each option is a line or two, here and in the request
    context: typer.Context,
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT", help="What to ask.", show_default=False)
    ] = None,
    model: Annotated[
        str | None, typer.Option("-m", "--model", metavar="M", help="The model that answers.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(
            "-s", "--server", metavar="S", help="Only this server.", autocompletion=complete_server
        ),
    ] = None,
    server_url: Annotated[
        str | None, typer.Option(metavar="URL", help="Only the server at this URL.")
    ] = None,
    capability: Annotated[
        str | None, typer.Option(metavar="C", help="Only servers or models that have it.")
    ] = None,
    system: Annotated[str | None, typer.Option(metavar="T", help="System prompt.")] = None,
    image: Annotated[
        list[Path] | None, typer.Option(metavar="F", help="Image file; may be repeated.")
    ] = None,
    format_: Annotated[
        str | None, typer.Option("--format", metavar="json|FILE", help="JSON, or by a schema.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="K=V", help="Model option, as num_ctx=8192.")
    ] = None,
    think: Annotated[
        bool | None, typer.Option("--think/--no-think", help="Let it think first, or not.")
    ] = None,
    think_level: Annotated[
        ThinkLevelChoice | None, typer.Option(help="How much.", show_default=False)
    ] = None,
    keep_alive: Annotated[
        str | None, typer.Option(metavar="D", help="Keep it loaded: 5m, 1h, 0, -1.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds for the whole answer.")
    ] = None,
    wait: Annotated[
        float,
        typer.Option(
            metavar="S", help="Seconds to wait while the server is at its limit; 0 refuses."
        ),
    ] = DEFAULT_WAIT,
    stream: Annotated[
        bool | None,
        typer.Option("--stream/--no-stream", help="Show text as it comes, or only when accepted."),
    ] = None,
    digest: Annotated[
        str | None,
        typer.Option(metavar="D", help="Only this build answers: 12 or more digits of its digest."),
    ] = None,
    verified: Annotated[
        bool, typer.Option("--verified", help="Only the build of the last discovery answers.")
    ] = False,
    no_verify: Annotated[
        bool, typer.Option("--no-verify", help="Do not look at the build; compare names only.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which server would answer; send nothing.")
    ] = False,
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="The prompt may leave the fleet.")
    ] = False,
    allow_truncate: Annotated[
        bool, typer.Option("--allow-truncate", help="A long prompt may be cut.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Let control sequences through to a terminal.")
    ] = False,
    stats: Annotated[
        bool, typer.Option("--stats", help="Print times and tokens on stderr.")
    ] = False,
    output: OutputOption = None,
    *,
    auth: AuthOptions,
) -> None:
    """Answer a prompt from exactly the named model.

    It answers or the command fails; nothing is ever pulled.

    What comes in by a pipe or a file follows PROMPT after a newline, or is the prompt. Without
    --server and --server-url, the first active server that lists the model answers, in the order
    default, priority, id; when it is away or at its limit, the next one that holds the same build.
    """
    shell = shell_of(context, output)
    if think is False and think_level is not None:
        raise InvalidInput("--no-think and --think-level are both given", "leave one of them out")
    level: ThinkLevel | None = think_level.value if think_level else None
    asked = {
        **auth.columns(),
        "prompt": prompt or "" if explain else _prompt(shell, prompt),
        "model": model,
        "server": server,
        "server_url": server_url,
        "capability": capability,
        "system": system,
        "images": tuple(_read_file(path, "image") for path in image or ()),
        "format": _format(format_),
        "options": _options(option or ()),
        "think": level or think,
        "keep_alive": _keep_alive(keep_alive),
        "timeout": timeout,
        "wait": wait,
        "digest": digest,
        "verified": verified,
        "no_verify": no_verify,
        "allow_remote": allow_remote,
        "allow_truncate": allow_truncate,
    }
    if explain:
        _explain(shell, asked)
        return
    printer = _Printer(shell, live=not shell.output.json if stream is None else stream, raw=raw)
    reply = shell.run(lambda client: _answer(client, asked, printer))
    if stats and not shell.output.json:
        _print_stats(shell, reply)


async def _answer(client: Any, asked: dict[str, Any], printer: "_Printer") -> Reply:
    pipe = _pipe(printer.stdout)
    with _read_by_somebody(pipe):
        async with client.stream(**asked) as stream:
            try:
                async for piece in stream:
                    await _room(pipe)
                    printer.piece(piece)
            finally:
                printer.flush()
            reply: Reply = stream.reply
            printer.end(reply)  # before the client closes, which waits for the receipt
            return reply


def _explain(shell: Shell, asked: dict[str, Any]) -> None:
    found = shell.run(lambda client: client.explain(**asked))
    shell.show(found, print_explanation)


@contextmanager
def _read_by_somebody(pipe: int | None) -> Iterator[None]:
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


async def _room(pipe: int | None) -> None:
    """Wait for a slow reader here and not in a write, where no signal would be heard."""
    if pipe is None or select.select([], [pipe], [], 0)[1]:
        return
    loop, free = asyncio.get_running_loop(), asyncio.Event()
    loop.add_writer(pipe, free.set)
    try:
        await free.wait()
    finally:
        loop.remove_writer(pipe)


def _pipe(stdout: TextIO) -> int | None:
    try:
        number = stdout.fileno()
        return number if stat.S_ISFIFO(os.fstat(number).st_mode) else None
    except (OSError, ValueError):  # not a real file
        return None


class _Printer:
    """Text to stdout; thinking to stderr, on a terminal only. `live` shows pieces as they come."""

    def __init__(self, shell: Shell, *, live: bool, raw: bool) -> None:
        self._output = shell.output
        self.stdout = shell.output.stdout
        self._live = live
        self._terminal = self._output.stdout.isatty()
        self._raw = raw or not self._terminal
        self._filter, self._thinking_filter = TerminalFilter(), TerminalFilter()
        self._thinks = False
        self._last = "\n"

    def piece(self, piece: Piece) -> None:
        if not self._live:
            return
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


def _print_stats(shell: Shell, reply: Reply) -> None:
    stats = reply.stats
    told = (
        ("server", str(reply.server)),
        ("model", reply.model),
        ("total", f"{stats.total_ms} ms"),
        ("first token", _with_unit(stats.time_to_first_token_ms, "ms")),
        ("load", _with_unit(stats.load_ms, "ms")),
        ("prompt", _with_unit(stats.prompt_tokens, "tokens")),
        ("output", _with_unit(stats.output_tokens, "tokens")),
        ("speed", _with_unit(stats.tokens_per_second, "tokens/s")),
        ("ended by", reply.done_reason),
    )
    shell.output.note(", ".join(f"{name} {value}" for name, value in told if value))


def _with_unit(value: float | None, unit: str) -> str | None:
    return None if value is None else f"{value} {unit}"


def _prompt(shell: Shell, argument: str | None) -> str:
    piped = _piped(shell, asked=argument is None)
    if argument is None:
        return piped
    return f"{argument}\n{piped}" if piped else argument


def _piped(shell: Shell, *, asked: bool) -> str:
    """What comes in on stdin: all of a pipe or file, and of a terminal only when there is no other
    prompt.
    """
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        if not asked:
            return ""
        shell.output.note("write the prompt, then Ctrl-D on a line of its own")
    elif not asked and not _carries_data():
        return ""
    elif not asked and not _ready(STDIN_PATIENCE):
        shell.output.note("waiting for stdin to end; for the prompt alone, redirect it: </dev/null")
    data = sys.stdin.buffer.read(PROMPT_LIMIT + 1)
    if len(data) > PROMPT_LIMIT:
        raise InvalidInput(f"the prompt on stdin is longer than {PROMPT_LIMIT // 2**20} MiB")
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise InvalidInput(
            f"the prompt on stdin is not UTF-8 (byte {exc.start + 1})", "convert it first"
        ) from exc


def _ready(seconds: float) -> bool:
    """Whether something comes in, or the end, within this time."""
    try:
        return bool(select.select([sys.stdin], [], [], seconds)[0])
    except (OSError, ValueError):  # not a real file
        return True


def _carries_data() -> bool:
    """Whether stdin is a pipe, a socket or a file: a service's null device has nothing to add."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):  # not a real file: whoever put it there means it to be read
        return True
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _format(value: str | None) -> Any:
    if value is None or value == "json":
        return value
    data = _read_file(Path(value), "JSON schema")
    try:
        schema = json.loads(data)
    except (ValueError, RecursionError) as exc:
        raise InvalidInput(f"the JSON schema in {value} cannot be read") from exc
    if not isinstance(schema, dict):
        raise InvalidInput(f"the JSON schema in {value} is not an object")
    return schema


def _read_file(path: Path, what: str) -> bytes:
    try:
        if not path.is_file():
            raise InvalidInput(f"{what} {path} is not a file")
        if path.stat().st_size > FILE_LIMIT:
            raise InvalidInput(f"{what} {path} is longer than {FILE_LIMIT // 2**20} MiB")
        data = path.read_bytes()
    except OSError as exc:
        raise InvalidInput(f"{what} {path} cannot be read: {exc.strerror}") from exc
    if not data:
        raise InvalidInput(f"{what} {path} is empty")
    return data


def _options(pairs: Sequence[str]) -> dict[str, Json]:
    """Values are JSON where they can be read so, else text; `stop` may be repeated."""
    found: dict[str, Json] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise InvalidInput(f"option {pair!a} has no value", "write it as --option num_ctx=8192")
        value = _value(text)
        if key == "stop":
            earlier = found.get("stop", [])
            value = [
                *(earlier if isinstance(earlier, list) else []),
                *(value if isinstance(value, list) else [text]),
            ]
        elif key in found:
            raise InvalidInput(f"option {key} is given twice")
        found[key] = value
    return found


def _value(text: str) -> Json:
    try:
        value: Json = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text if isinstance(value, float) and not abs(value) < float("inf") else value


def _keep_alive(text: str | None) -> int | str | None:
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        return text
