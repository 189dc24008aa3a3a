"""What belongs beside the program: its manual page, and what a shell completes its words by. The
wheel holds them; they are made when it is built, and need nothing but Typer.
"""

import re
from collections.abc import Iterator
from typing import Any

from typer._completion_shared import get_completion_script
from typer.main import get_command

import ollama_admin
from ollama_admin.cli.app import COMMANDS, PROGRAM, app, load_command

_SUMMARY = "registry and gateway for fleets of Ollama servers"
# where shells look for it, below share/
_COMPLETIONS = {
    "bash": "bash-completion/completions/ollama-admin",
    "zsh": "zsh/site-functions/_ollama-admin",
    "fish": "fish/vendor_completions.d/ollama-admin.fish",
}


def shared_files() -> dict[str, str]:
    """What each file below `share/` holds."""
    files = {f"man/man1/{PROGRAM}.1": manual()}
    for shell, path in _COMPLETIONS.items():
        script = get_completion_script(
            prog_name=PROGRAM, complete_var="_OLLAMA_ADMIN_COMPLETE", shell=shell
        )
        files[path] = f"{script}\n"
    return files


def manual() -> str:
    """The manual page, in the words of `--help`."""
    title = f'.TH OLLAMA-ADMIN 1 "" "{PROGRAM} {ollama_admin.__version__}"'
    name = f".SH NAME\n{_escaped(PROGRAM)} \\- {_SUMMARY}"
    (_, root), *others = helps()
    parts = [title, name, f".SH DESCRIPTION\n{_literal(root)}", ".SH COMMANDS"]
    parts += [f".SS {_escaped(words)}\n{_literal(text)}" for words, text in others]
    return "\n".join(parts) + "\n"


def helps() -> Iterator[tuple[str, str]]:
    """Each command with what its help says, a group before what is in it."""
    root: Any = get_command(app)
    root.commands = {name: load_command(name) for name in COMMANDS}
    context = root.make_context(PROGRAM, [], resilient_parsing=True)
    yield PROGRAM, context.get_help()
    yield from _below(root, context)


def _below(command: Any, parent: Any) -> Iterator[tuple[str, str]]:
    for name, child in getattr(command, "commands", {}).items():
        context = child.make_context(name, [], parent=parent, resilient_parsing=True)
        yield context.command_path, context.get_help()
        yield from _below(child, context)


def _literal(text: str) -> str:
    return f".nf\n{_escaped(text.strip())}\n.fi"


def _escaped(text: str) -> str:
    """Text that roff shows as it is: a line that begins with a dot or an apostrophe would be an
    order.
    """
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", text, flags=re.MULTILINE)
