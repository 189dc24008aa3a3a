"""The prompt: what stands behind the command, and what comes in by a pipe or file, or is typed."""

import os
import select
import stat
import sys
from collections.abc import Sequence

from ollama_admin.cli.context import Shell
from ollama_admin.cli.output import Output
from ollama_admin.domain.names import MODEL_NAME_LIMIT
from ollama_admin.errors import InvalidInput

PROMPT_LIMIT = 64 * 1024 * 1024  # bytes that come in by a pipe
STDIN_PATIENCE = 2.0  # seconds until a note says what is waited for


def model_and_prompt(
    shell: Shell, words: Sequence[str], model: str | None
) -> tuple[str | None, str | None]:
    """What the words of a command are: the prompt, after the model where that is not named yet and
    the first word is one that is known.
    """
    if not words:
        return model, None
    if model is None and _is_model(shell, words[0]):
        if len(words) > 1:
            return words[0], " ".join(words[1:])
        _require_prompt(shell, words[0])
    return model, " ".join(words)


def _is_model(shell: Shell, word: str) -> bool:
    if not word.isprintable() or not word.strip() or len(word) > MODEL_NAME_LIMIT or " " in word:
        return False
    return shell.run(lambda client: client.models.knows(word))


def _require_prompt(shell: Shell, word: str) -> None:
    """Refuse the name of a model as a prompt, unless a person says that it is one."""
    question = f"{word!a} is a model. Send this word as a prompt to the default model?"
    if shell.can_ask() and shell.output.agreed(question):
        return
    raise InvalidInput(
        f"{word!a} is a model, and no prompt is given",
        f"ollama-admin generate {word} PROMPT, or as a prompt: ollama-admin generate -m M {word}",
    )


def read_prompt(output: Output, argument: str | None) -> str:
    """What follows the command and then, after a newline, what comes in; either alone will do."""
    piped = _piped(output, asked=argument is None)
    if argument is None:
        return piped
    return f"{argument}\n{piped}" if piped else argument


def _piped(output: Output, *, asked: bool) -> str:
    """What comes in on stdin: all of a pipe or file, and of a terminal only when there is no other
    prompt.
    """
    if sys.stdin is None:
        return ""
    if sys.stdin.isatty():
        if not asked:
            return ""
        output.note("write the prompt, then Ctrl-D on a line of its own")
    elif not asked and not _carries_data():
        return ""
    elif not asked and not _ready(STDIN_PATIENCE):
        output.note("waiting for stdin to end; for the prompt alone, redirect it: </dev/null")
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
