"""Help pages: what a command says of itself, its options in groups, and examples.

It loads nothing but Typer, as `--help` must be quick.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

F = TypeVar("F", bound=Callable[..., Any])

# Whole command lines that can be typed as they stand, by the words of the command that they show.
EXAMPLES: dict[str, tuple[str, ...]] = {
    "": (
        "ollama-admin server add first http://localhost:11434 --default",
        "ollama-admin discover",
        'ollama-admin generate -m llama3.2:3b "Why is the sky blue?"',
    ),
    "server": (
        "ollama-admin server add first http://localhost:11434 --default",
        "ollama-admin server list",
    ),
    "server add": (
        "ollama-admin server add first http://localhost:11434 --default",
        "ollama-admin server add gpu 192.168.1.20 --max-concurrent 4 --discover",
        "ollama-admin server add vllm gpu:8000/v1 --auth bearer --secret-env KEY",
    ),
    "server list": (
        "ollama-admin server list",
        "ollama-admin server list --label gpu=a100",
        "ollama-admin server list --capability vision -o json",
        "ollama-admin server list --sort name --limit 10",
    ),
    "server show": ("ollama-admin server show first",),
    "server update": (
        "ollama-admin server update first --priority 10 --max-concurrent 2",
        "ollama-admin server update first --label gpu=a100 --remove-label room",
        "ollama-admin server update first --auth bearer --secret-stdin < token.txt",
        "ollama-admin server update first --clear auth",
    ),
    "server remove": ("ollama-admin server remove first --yes",),
    "server enable": ("ollama-admin server enable first",),
    "server disable": ("ollama-admin server disable first",),
    "server drain": (
        "ollama-admin server drain first",
        "ollama-admin server drain first --timeout 5m",
    ),
    "server resume": ("ollama-admin server resume first",),
    "server set-default": ("ollama-admin server set-default first",),
    "server check": (
        "ollama-admin server check",
        "ollama-admin server check --label gpu=a100",
        "ollama-admin server check first --deep llama3.2:3b",
        "ollama-admin server check first -o json",
    ),
    "discover": ("ollama-admin discover", "ollama-admin discover first --timeout 30 --prune"),
    "models": (
        "ollama-admin models --name 'qwen*'",
        "ollama-admin models first --capability vision",
        "ollama-admin models --label gpu=a100",
        "ollama-admin models --sort size --limit 10",
        "ollama-admin models --by-model",
    ),
    "ps": ("ollama-admin ps", "ollama-admin ps first --watch", "ollama-admin ps -o json"),
    "show": ("ollama-admin show llama3.2:3b", "ollama-admin show llama3.2:3b --server first"),
    "pull": (
        "ollama-admin pull llama3.2:3b --on first",
        "ollama-admin pull llama3.2:3b --all --parallel 2",
        "ollama-admin pull llama3.2:3b --on first --on second --digest a80c4f17acd5",
    ),
    "top": (
        "ollama-admin top",
        "ollama-admin top --once --sort used",
        "ollama-admin top --url http://127.0.0.1:8421",
    ),
    "sync": (
        "ollama-admin sync --from first --to second --dry-run",
        "ollama-admin sync --from first --all --model 'qwen*'",
        "ollama-admin sync --from first --to second --prune --yes",
    ),
    "diff": (
        "ollama-admin diff first second",
        "ollama-admin diff first second -o json",
        "ollama-admin diff fleet.yaml",
    ),
    "plan": (
        "ollama-admin plan fleet.yaml",
        "ollama-admin plan fleet.yaml --prune --exit-code",
        "ollama-admin plan - < fleet.yaml",
    ),
    "apply": (
        "ollama-admin apply fleet.yaml",
        "ollama-admin apply fleet.yaml --pull --yes",
        "ollama-admin apply fleet.yaml --prune --yes --keys-file new-keys.txt",
    ),
    "validate": ("ollama-admin validate fleet.yaml",),
    "export": (
        "ollama-admin export > fleet.yaml",
        "ollama-admin export --owner team -o json",
        "ollama-admin export --to litellm > config.yaml",
    ),
    "outdated": (
        "ollama-admin outdated",
        "ollama-admin outdated llama3.2:3b 'qwen*' -o json",
        "ollama-admin outdated --registry http://mirror.lan:5000 --all",
    ),
    "rm": ("ollama-admin rm llama3.2:3b --on first", "ollama-admin rm llama3.2:3b --all --yes"),
    "cp": ("ollama-admin cp llama3.2:3b mine:1 --on first",),
    "load": ("ollama-admin load llama3.2:3b --on first --keep-alive 1h",),
    "unload": ("ollama-admin unload llama3.2:3b --all",),
    "generate": (
        'ollama-admin generate llama3.2:3b "Why is the sky blue?"',
        "ollama-admin generate -m llava:7b --image photo.png 'What is this?'",
        'cat notes.txt | ollama-admin generate -m llama3.2:3b -s first "Sum this up:"',
        'ollama-admin generate -m llama3.2:3b --explain "Hello"',
    ),
    "chat": (
        "ollama-admin chat llama3.2:3b",
        "ollama-admin chat -m llama3.2:3b -s first --system 'Answer in one sentence.'",
        "ollama-admin chat -m llama3.2:3b -o json < questions.txt",
    ),
    "embed": (
        'ollama-admin embed -m nomic-embed-text "Why is the sky blue?"',
        "cat notes.txt | ollama-admin embed -m nomic-embed-text -o json",
        "ollama-admin embed -m nomic-embed-text --lines -o json < sentences.txt",
    ),
    "pin": (
        "ollama-admin pin set llama3.2:3b --server first",
        "ollama-admin pin list",
    ),
    "pin set": (
        "ollama-admin pin set llama3.2:3b",
        "ollama-admin pin set llama3.2:3b --digest a80c4f17acd5",
    ),
    "pin list": ("ollama-admin pin list",),
    "pin remove": ("ollama-admin pin remove llama3.2:3b",),
    "key": (
        "ollama-admin key add team",
        "ollama-admin key list",
    ),
    "key add": (
        "ollama-admin key add team --model 'qwen*' --expires-at 90d",
        "ollama-admin key add office --anonymous --network 10.0.0.0/8",
        "ollama-admin key add lab --server label:gpu=a100",
        "ollama-admin key add app --requests-per-minute 60 --tokens-per-day 1000000",
        "ollama-admin key add boss --can admin",
    ),
    "key list": ("ollama-admin key list --sort used",),
    "key show": ("ollama-admin key show team",),
    "key update": (
        "ollama-admin key update team --can ask --can read",
        "ollama-admin key update team --clear models",
    ),
    "key rotate": ("ollama-admin key rotate team --overlap 7d",),
    "key revoke": ("ollama-admin key revoke team",),
    "key remove": ("ollama-admin key remove team --yes",),
    "usage": (
        "ollama-admin usage --since 7d",
        "ollama-admin usage --key team --csv > usage.csv",
    ),
    "audit": ("ollama-admin audit list --since 7d",),
    "audit list": (
        "ollama-admin audit list --since 7d",
        "ollama-admin audit list --action key -o json",
        "ollama-admin audit list --refused",
    ),
    "audit prune": (
        "ollama-admin audit prune --dry-run",
        "ollama-admin audit prune --before 180d --yes",
    ),
    "receipts": (
        "ollama-admin receipts list --since 24h --failed",
        "ollama-admin receipts stats --model llama3.2:3b",
    ),
    "receipts list": (
        "ollama-admin receipts list --since 24h --failed",
        "ollama-admin receipts list --server first --limit 10 -o json",
        "ollama-admin receipts list --sort total",
    ),
    "receipts show": ("ollama-admin receipts show 17",),
    "receipts stats": (
        "ollama-admin receipts stats --model llama3.2:3b --since 7d",
        "ollama-admin receipts stats --by key",
    ),
    "receipts prune": (
        "ollama-admin receipts prune --before 30d --dry-run",
        "ollama-admin receipts prune --before 30d --yes",
    ),
    "import-env": (
        "ollama-admin import-env --dry-run .env",
        "ollama-admin import-env .env --discover",
    ),
    "migrate": ("ollama-admin migrate --wait 60", "ollama-admin migrate --check"),
    "db": (
        "ollama-admin db copy sqlite:////var/lib/ollama-admin.db env:NEW_DATABASE_URL",
        "ollama-admin db backup nightly.db",
    ),
    "db copy": ("ollama-admin db copy sqlite:////var/lib/ollama-admin.db env:NEW_DATABASE_URL",),
    "db backup": ("ollama-admin db backup nightly.db",),
    "db restore": ("ollama-admin db restore nightly.db --yes",),
    "doctor": ("ollama-admin doctor",),
    "secrets": ("ollama-admin secrets status", "ollama-admin secrets rotate"),
    "secrets status": ("ollama-admin secrets status",),
    "secrets rotate": ("ollama-admin secrets rotate",),
    "secrets generate-key": ("ollama-admin secrets generate-key",),
    "serve": (
        "ollama-admin serve",
        "ollama-admin serve --host 0.0.0.0 --allow-host models.example.com",
        "ollama-admin serve --workers 4 --log-format json",
    ),
    "demo": ("ollama-admin demo", "ollama-admin demo --keep"),
}

SHORT = {"ls": "list", "rm": "remove"}  # in every group that holds what they stand for
_ONCE = ("model", "server", "server_url", "capability", "digest")  # options given once at most
_KINDS = {"int": "a whole number", "float": "a number"}


class Page:
    """A command with a page of help in our form; a mistake in its options names this page."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        with _named(ctx):
            self._refuse_twice(ctx, args)
            words: list[str] = super().parse_args(ctx, args)  # type: ignore[misc]
        return words

    def _refuse_twice(self, ctx: Any, args: list[str]) -> None:
        """Refuse two answers to the question who answers, of which the parser takes the last."""
        if ctx.resilient_parsing:  # completion
            return
        given = self.make_parser(ctx).parse_args(args=list(args))[2]  # type: ignore[attr-defined]
        for param in given:
            if param.name in _ONCE and not param.multiple and given.count(param) > 1:
                ctx.fail(f"{param.opts[-1]} is given twice")

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The words of the first line; an argument that must be given stands there bare."""
        pieces: list[str] = super().collect_usage_pieces(ctx)  # type: ignore[misc]
        return [piece.strip("{}") for piece in pieces]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments, options in the groups that they name, and commands."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        for param in self.get_params(ctx):  # type: ignore[attr-defined]
            record = param.get_help_record(ctx)
            if record is None:
                continue
            heading = getattr(param, "rich_help_panel", None) or "Options"
            if param.param_type_name == "argument":
                heading, record = "Arguments", (param.metavar, param.help)
            sections.setdefault(heading, []).append(record)
        for heading, records in sections.items():
            if not records:
                continue
            with formatter.section(heading):
                formatter.write_dl(records)
        if isinstance(self, TyperGroup):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """The examples."""
        lines = EXAMPLES.get(" ".join(ctx.command_path.split()[1:]), ())
        if lines:
            formatter.write("\nExamples:\n")
        for line in lines:
            formatter.write(f"  {line}\n")


class CommandPage(Page, TyperCommand):
    """A command that does something."""


class GroupPage(Page, TyperGroup):
    """A command that only holds others: without one of them it shows its help."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and SHORT.get(args[0]) in self.commands:
            args = [SHORT[args[0]]] + args[1:]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        if ctx._protected_args:
            return super().invoke(ctx)
        return typer.echo(ctx.get_help())


class Commands(typer.Typer):
    """The commands of a module, each with a page of help in our form."""

    def __init__(self, text: str | None = None) -> None:
        super().__init__(cls=GroupPage, help=text, add_completion=False, rich_markup_mode=None)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[F], F]:
        decorate: Callable[[F], F] = super().command(name, cls=CommandPage, **settings)
        return decorate


@contextmanager
def _named(ctx: Any) -> Iterator[None]:
    """Say of a mistake in the options of which command they are, as the parser does not always,
    and what a value has to be.
    """
    try:
        yield
    except TyperException as exc:
        if getattr(exc, "ctx", ctx) is None:
            exc.ctx = ctx  # type: ignore[attr-defined]
        if hasattr(exc.__cause__, "errors"):  # pydantic's own words are about its types
            exc.message = _refused(exc)
        raise


def _refused(exc: Any) -> str:
    """That a value is not what its option takes."""
    value = exc.__cause__.errors()[0]["input"]
    param = exc.param
    kind = param.type_descriptor
    if kind.is_choice:
        return f"{value!r} is not one of {', '.join(kind.choices)}"
    words = _KINDS.get(param.bare_type(), "what this takes")
    if param.min is not None and param.max is not None:
        words += f" from {param.min} to {param.max}"
    elif param.min is not None:
        words += f" of {param.min} or more"
    return f"{value!r} is not {words}"
