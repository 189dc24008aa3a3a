"""The prompt: what stands behind the command, and what comes in by a pipe or file, or is typed."""

import os
import re
import select
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from ollama_admin.cli.context import Shell
from ollama_admin.cli.output import Output
from ollama_admin.domain.names import MODEL_NAME_LIMIT
from ollama_admin.errors import InvalidInput, ModelNotFound

PROMPT_LIMIT = 64 * 1024 * 1024  # bytes that come in by a pipe
_WITH_TAG = re.compile(r"[\w./-]*[a-zA-Z][\w./-]*:[\w.-]+")
_WITHOUT_TAG = re.compile(r"[\w./-]+")
NEAR = 3  # names that an error shows
STDIN_PATIENCE = 2.0  # seconds until a note says what is waited for


def model_and_prompt(
    shell: Shell, words: Sequence[str], model: str | None, command: str = "generate"
) -> tuple[str | None, str | None]:
    """What the words of a command are: the prompt, after the model where that is not named yet and
    the first word is one that is known. `command` is the one that an error's hint writes out.
    """
    if not words:
        return model, None
    if model is None and _is_model(shell, words[0]):
        if len(words) > 1:
            return words[0], " ".join(words[1:])
        _require_prompt(shell, words[0], command)
    elif model is None and len(words) > 1:
        _refuse_mistyped_model(shell, words[0])
    return model, " ".join(words)


def _refuse_mistyped_model(shell: Shell, word: str) -> None:
    """Refuse a first word that is written as a model with its tag and looks like a known one, or is
    a known one's name without its tag: the default model would answer in its place.
    """
    if _WITH_TAG.fullmatch(word):
        near = shell.run(lambda client: client.models.near(word))
    elif _WITHOUT_TAG.fullmatch(word):
        near = shell.run(lambda client: client.models.names(f"{word}:"))[:NEAR]
    else:
        return
    if near:
        raise ModelNotFound(
            f"no server lists model {word!a}",
            f"nearest: {', '.join(near)}; if it begins a prompt, put the prompt in quotes",
        )


def _is_model(shell: Shell, word: str) -> bool:
    if not word.isprintable() or not word.strip() or len(word) > MODEL_NAME_LIMIT or " " in word:
        return False
    return shell.run(lambda client: client.models.knows(word))


def _require_prompt(shell: Shell, word: str, command: str) -> None:
    """Refuse the name of a model as a prompt, unless a person says that it is one."""
    question = f"{word!a} is a model. Send this word as a prompt to the default model?"
    if shell.can_ask() and shell.output.agreed(question):
        return
    raise InvalidInput(
        f"{word!a} is a model, but no prompt is given",
        f"ollama-admin {command} {word} PROMPT, or as a prompt: ollama-admin {command} -m M {word}",
    )


def read_prompt(output: Output, argument: str | None, *, stdin: bool | None = None) -> str:
    """What follows the command and then, after a newline, what comes in; either alone will do.

    `stdin` says whether to read it beside a prompt. None reads a pipe and a file, as `llm` and
    `ollama run` do, but no file that another program has begun to read: it is the input of a loop
    that this command runs in, as `while read -r line; do ...; done < file`.
    """
    if argument is None:
        if stdin is False:
            raise InvalidInput(
                "no prompt is given, and --no-stdin leaves stdin alone",
                "write the prompt after the command",
            )
        return _read_all(output, asked=True)
    if not _is_wanted(output, stdin):
        return argument
    piped = _read_all(output, asked=False)
    if not piped:
        return argument
    if stdin is None and _is_shared_pipe():
        output.note(
            "stdin, which the calling script reads too, became a part of the prompt; --no-stdin "
            "leaves it alone, --stdin says that this is meant"
        )
    return f"{argument}\n{piped}"


def _is_wanted(output: Output, stdin: bool | None) -> bool:
    """Whether to read stdin although there is a prompt; a terminal only if that was said."""
    if stdin is not None:
        return stdin
    if sys.stdin is None or sys.stdin.isatty():
        return False
    if _is_begun_file():
        output.note(
            "stdin is a file that another program reads: it is left alone; --stdin takes the rest "
            "of it"
        )
        return False
    return _carries_data()


def _read_all(output: Output, *, asked: bool) -> str:
    """All that comes in on stdin; `asked` says that there is no other prompt."""
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        output.note("write the prompt, then Ctrl-D on a line of its own")
    elif not asked and not _ready(STDIN_PATIENCE):
        output.note("waiting for stdin to end; for the prompt alone, add --no-stdin")
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


def _is_begun_file() -> bool:
    """Whether stdin is a file of which a part was read already, by whoever handed it on."""
    try:
        number = sys.stdin.fileno()
        is_file = stat.S_ISREG(os.fstat(number).st_mode)
        return is_file and os.lseek(number, 0, os.SEEK_CUR) > 0
    except (OSError, ValueError):
        return False


def _is_shared_pipe() -> bool:
    """Whether the program that started this one has the same pipe as its stdin, as a loop behind a
    pipe has; False where the system does not tell.
    """
    try:
        own = os.fstat(sys.stdin.fileno())
        parents = Path(f"/proc/{os.getppid()}/fd/0").stat()
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(own.st_mode) and os.path.samestat(own, parents)
