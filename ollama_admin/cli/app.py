"""The root command: options that all commands share, and the one place where errors become exit
codes.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

import ollama_admin
from ollama_admin.cli.context import Shell, new_shell, shell_of
from ollama_admin.cli.help import EXAMPLES, GroupPage
from ollama_admin.cli.options import OutputOption
from ollama_admin.cli.startup import coerce_lightly
from ollama_admin.errors import AdminError

PROGRAM = "ollama-admin"
USAGE = 2
INTERRUPTED = 130
PIPE_CLOSED = 141

# The module of each command and its line in the list, in the order in which a newcomer needs them.
# A module is loaded when its command is asked for: all of them take longer than Typer itself.
COMMANDS = {
    "server": ("servers", "Add, list and change servers."),
    "discover": ("discover", "Read what servers hold into the database."),
    "models": ("models", "List the models that servers hold."),
    "ps": ("ps", "Show what runs where, and how busy servers are."),
    "show": ("show", "Show a model: what it is, and on which servers."),
    "pull": ("pulling", "Have servers pull a model, and compare their builds."),
    "top": ("top", "Watch what servers are doing: health, load, speed, models in memory."),
    "sync": ("sync", "Have servers pull what another one holds."),
    "diff": (
        "diff",
        "Show what differs between two servers, or between the fleet and a file.",
    ),
    "outdated": (
        "outdated",
        "Show which installed models their registries have newer builds of.",
    ),
    "rm": ("rm", "Delete a model on servers."),
    "cp": ("cp", "Give a model a second name on servers."),
    "load": ("load", "Have servers load a model into memory."),
    "unload": ("unload", "Have servers let go of a model in memory."),
    "generate": ("generate", "Answer a prompt from exactly the named model."),
    "chat": ("chat", "Talk with exactly the named model, and nobody else."),
    "embed": ("embed", "Print the vector of a text, by exactly the named model."),
    "pin": ("pins", "Fix which build a model name means, on every server."),
    "key": ("keys", "Say who may ask `serve`, for what, and until when."),
    "plan": ("plan", "Show what `apply` would do so that the fleet is as a file says."),
    "apply": ("apply", "Make the fleet as a file says: all rows in one transaction, or none."),
    "validate": ("validate", "Tell every mistake in a fleet file, with its line and column."),
    "export": ("export", "Write the fleet as a file, or as another tool's settings."),
    "usage": (
        "usage",
        "Show what each key used on each day of UTC: requests, and tokens in and out.",
    ),
    "audit": ("audit", "Show who changed what: servers, pins, keys, secrets, receipts."),
    "receipts": ("receipts", "Show what became of requests, one by one or added up."),
    "import-env": ("import_env", "Import servers from legacy .env files."),
    "migrate": ("migrate", "Bring the database schema up to date."),
    "db": ("db", "Copy a database, back it up, restore it."),
    "doctor": ("doctor", "Show settings, database, key and servers, and what is wrong."),
    "secrets": ("secrets", "Manage the key that encrypts stored secrets."),
    "serve": ("serve", "Serve the fleet at one URL, until SIGTERM, SIGHUP or Ctrl-C."),
    "demo": ("demo", "Try it all out on two simulated servers."),
}

# commands of `ollama` that are taken for one of ours
ALIASES = {"ls": "models", "list": "models", "run": "generate"}
# what to type instead of a command of `ollama` that has another name here
OF_OLLAMA = {
    "stop": "let go of a model in memory with: ollama-admin unload MODEL --on S",
}


class RootGroup(GroupPage):
    """Gives every run a shell, and turns every known error into a line and an exit code.

    Its commands are names with a line of help, for lists and suggestions, until one is called.
    """

    def __init__(self, **attributes: Any) -> None:
        attributes["commands"] = {
            name: TyperCommand(name, help=line) for name, (_, line) in COMMANDS.items()
        }
        super().__init__(**attributes)
        coerce_lightly(self)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, _usual(ctx, args))
        if name and command:
            return name, load_command(name), rest
        return name, None, rest

    def main(self, args: Sequence[str] | None = None, *_: Any, **extra: Any) -> Any:
        argv = list(sys.argv[1:] if args is None else args)
        shell = new_shell(argv)
        extra |= {"prog_name": PROGRAM, "standalone_mode": False, "obj": shell}
        try:
            code = super().main(argv, **extra)
        except typer.Abort:
            with _perhaps_unread():
                shell.output.problem("declined", "nothing was done")
            code = USAGE
        except TyperException as exc:
            with _perhaps_unread():
                shell.output.problem("invalid_input", *_usage(exc))
            code = exc.exit_code
        if not isinstance(code, int):  # what a command gives back is no exit code
            code = 0
        sys.exit(code)

    def make_context(
        self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        shell = extra.get("obj")
        if shell is None:  # somebody only looks at the options
            return super().make_context(info_name, args, parent, **extra)
        with _exit_codes(shell):  # help is printed while the options are read
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _exit_codes(ctx.obj):
            super().invoke(ctx)
            sys.stdout.flush()


def _usual(ctx: Any, args: list[str]) -> list[str]:
    """The words of a command by its own name, where they begin with what people of `ollama` type:
    `run` is a question, or without one a conversation.
    """
    if not args or args[0] not in ALIASES:
        return args
    name, rest = ALIASES[args[0]], args[1:]
    if name == "generate" and sys.stdin is not None and sys.stdin.isatty():
        command = load_command(name)
        given = command.make_context(name, list(rest), parent=ctx, resilient_parsing=True).params
        words = len(given["words"] or ()) + (given["model"] is not None)
        if words < 2:  # the model, and nothing to say to it
            name = "chat"
    return [name] + rest


@contextlib.contextmanager
def _exit_codes(shell: Shell) -> Iterator[None]:
    """Print known errors and raise typer.Exit with their codes."""
    try:
        yield
    except AdminError as exc:
        with _perhaps_unread():
            shell.output.error(exc)
            _detail(shell, exc)
        raise typer.Exit(exc.exit_code) from exc
    except BrokenPipeError as exc:
        _forget(sys.stdout)
        raise typer.Exit(PIPE_CLOSED) from exc
    except OSError as exc:
        if exc.filename is not None:
            raise
        _forget(sys.stdout)
        with _perhaps_unread():
            reason = f"the output could not be written: {exc.strerror}"
            shell.output.problem("output_failed", reason)
        raise typer.Exit(1) from exc


@contextlib.contextmanager
def _perhaps_unread() -> Iterator[None]:
    """Say why a command failed; where nobody reads it any more, its exit code says so alone."""
    try:
        yield
    except BrokenPipeError:
        _forget(sys.stdout)
        _forget(sys.stderr)


app = typer.Typer(
    name=PROGRAM,
    cls=RootGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def load_command(name: str) -> Any:
    """One command with all its options and the commands below it."""
    module, _ = COMMANDS[name]
    return coerce_lightly(typer.main.get_command(import_module(f"ollama_admin.cli.{module}").app))


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"{PROGRAM} {ollama_admin.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    database_url: Annotated[
        str | None,
        typer.Option(
            "--database-url",
            metavar="URL",
            help="Database URL; a password in it shows in process lists.",
        ),
    ] = None,
    output: OutputOption = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more on stderr.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print no notes on stderr.")] = False,
    version: Annotated[  # noqa: ARG001
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Ask exactly the Ollama server and model you named, or get an error.

    Servers and models live in a database. No .env file, OLLAMA_HOST or OLLAMA_MODEL changes what a
    command does.

    As with `ollama`, `ls` and `list` are `models`, and `run` is `generate`, or without a prompt
    `chat`. Where a command holds `list` and `remove`, `ls` and `rm` are taken for them.
    """
    shell = shell_of(context, output)
    shell.output.verbose, shell.output.quiet = verbose, quiet
    shell.database_url = database_url
    if database_url and _has_password(database_url):
        shell.output.note(
            "the password in --database-url shows in process lists; use OLLAMA_ADMIN_DATABASE_URL"
        )


def main() -> None:
    """Run the command line of this process."""
    # closed by whoever started us; what is printed there must not go to stdout instead
    if sys.stderr is None:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 (open as long as the process)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # what a terminal cannot show is shown as its escape
            stream.reconfigure(errors="backslashreplace")
    if sys.stdout is None:
        new_shell(sys.argv[1:]).output.problem(
            "output_failed", "the output could not be written: stdout is closed"
        )
        sys.exit(1)
    typer.main.get_command(app).main()


def _has_password(database_url: str) -> bool:
    """Whether a user stands in the URL with a password; the URL need not be a good one."""
    before_host = database_url.split("://", 1)[-1].rpartition("@")[0]
    return ":" in before_host


def _usage(exc: TyperException) -> tuple[str, str]:
    """Message and hint of an error in the words of a command."""
    context = getattr(exc, "ctx", None)
    path = context.command_path if context else PROGRAM
    message = exc.format_message().rstrip(".")
    near = getattr(exc, "possibilities", None)
    hint = f"see: {path} --help"
    if near:
        message = message.partition(" (Possible")[0]
        hint = f"did you mean {near[0]}? {hint}"
    unknown = re.match(r"No such command '([\w-]+)'", message)
    if unknown and path == PROGRAM and (instead := _instead_of(unknown[1])):
        message, hint = unknown[0], instead
    return message[:1].lower() + message[1:], hint


def _instead_of(word: str) -> str | None:
    """What to type for a command of `ollama`, or of one of our groups, that stands alone."""
    if word in OF_OLLAMA:
        return OF_OLLAMA[word]
    below = [path for path in EXAMPLES if path.split()[1:] == [word]]
    if below:
        return f"commands: {', '.join(below)}"
    return None


def _detail(shell: Shell, exc: BaseException) -> None:
    """Name the kinds of the causes; their texts may hold secrets."""
    cause = exc.__cause__
    while cause is not None:
        shell.output.detail(f"caused by {type(cause).__module__}.{type(cause).__name__}")
        cause = cause.__cause__ or cause.__context__


def _forget(stream: TextIO) -> None:
    """Nobody reads it any more: keep the interpreter from complaining when it flushes at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
