"""`ollama-admin key ...`"""

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.key_options import KeyOptions, takes_key
from ollama_admin.cli.options import OutputOption, YesOption, complete_key, seconds
from ollama_admin.cli.ordering import (
    LimitOption,
    ReverseOption,
    field_of,
    require_limit,
    sorted_by,
)
from ollama_admin.cli.views import keys as views

if TYPE_CHECKING:
    from ollama_admin.client import Client
    from ollama_admin.domain.keys import IssuedKey, Key

app = Commands(
    """Say who may ask `serve`, for what, and until when.

    The text of a key is shown once, when it is made: the database has only a hash of it. A change
    is in force everywhere within a second.
    """
)

KeyArgument = Annotated[
    str,
    typer.Argument(
        metavar="K",
        help="A key's id or name, never its text.",
        show_default=False,
        autocompletion=complete_key,
    ),
]
ForceOption = Annotated[
    bool, typer.Option("--force", help="Also the last key that may administrate.")
]


@app.command("add")
@takes_key
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is.", show_default=False)],
    output: OutputOption = None,
    *,
    options: KeyOptions,
) -> None:
    """Make a key and show its text, this once: on stdout, and on stderr how clients use it."""
    shell = shell_of(context, output)
    columns = options.columns()
    issued = shell.run(lambda client: client.keys.add(name=name, **columns))
    _show_issued(shell, issued, "added")


@app.command("list")
def list_keys(
    context: typer.Context,
    sort: Annotated[
        str | None, typer.Option(metavar="FIELD", help=f"By {', '.join(views.SORTABLE)}.")
    ] = None,
    reverse: ReverseOption = False,
    limit: LimitOption = None,
    output: OutputOption = None,
) -> None:
    """List all keys, revoked and expired ones marked."""
    shell = shell_of(context, output)
    field = field_of(views.SORTABLE, sort)
    require_limit(limit)
    keys = shell.run(lambda client: client.keys.list())
    shell.show(sorted_by(keys, field, reverse=reverse)[:limit], views.print_keys)


@app.command("show")
def show(context: typer.Context, key: KeyArgument, output: OutputOption = None) -> None:
    """Show everything about a key but its text."""
    shell = shell_of(context, output)
    shell.show(shell.run(lambda client: client.keys.show(key)), views.print_key)


@app.command("update")
@takes_key
def update(
    context: typer.Context,
    key: KeyArgument,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Another name.", show_default=False)
    ] = None,
    clear: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD",
            help="Empty a field: models, servers, networks, max_concurrent, requests_per_minute, "
            "tokens_per_day, expires_at, note.",
        ),
    ] = None,
    force: ForceOption = False,
    output: OutputOption = None,
    *,
    options: KeyOptions,
) -> None:
    """Change what is given and nothing else. What may be repeated replaces what was there."""
    shell = shell_of(context, output)
    columns = options.columns()

    async def work(client: "Client") -> "tuple[Key, Key]":
        before = await client.audit.found("key.update", key, client.keys.show(key))
        after = await client.keys.update(
            before.id, name=name, clear=clear or (), force=force, **columns
        )
        return before, after

    before, after = shell.run(work)
    shell.show(after, views.update_of(before))


@app.command("rotate")
def rotate(
    context: typer.Context,
    key: KeyArgument,
    overlap: Annotated[
        float,
        typer.Option(
            metavar="D", parser=seconds, help="How long the old text is taken, too: 24h, 7d."
        ),
    ] = 0,
    output: OutputOption = None,
) -> None:
    """Give a key another text, and show it. Its id and what it may stay."""
    shell = shell_of(context, output)
    time = timedelta(seconds=overlap)
    issued = shell.run(lambda client: client.keys.rotate(key, overlap=time))
    _show_issued(shell, issued, "rotated")


@app.command("revoke")
def revoke(
    context: typer.Context,
    key: KeyArgument,
    force: ForceOption = False,
    output: OutputOption = None,
) -> None:
    """Take a key no more. Only `rotate` makes it one again, with another text."""
    shell = shell_of(context, output)
    revoked = shell.run(lambda client: client.keys.revoke(key, force=force))
    shell.show_done(revoked, f"revoked key {revoked.id}, {revoked.name}")


@app.command("remove")
def remove(
    context: typer.Context,
    key: KeyArgument,
    yes: YesOption = False,
    force: ForceOption = False,
    output: OutputOption = None,
) -> None:
    """Remove a key. Receipts keep its name."""
    shell = shell_of(context, output)
    row = shell.run(lambda client: client.audit.found("key.remove", key, client.keys.show(key)))
    if not yes:  # asked between two runs: inside one, Ctrl-C would wait for the answer
        shell.confirm(f"Remove key {row.name!a} from the database?")
    removed = shell.run(lambda client: client.keys.remove(row.id, force=force))
    shell.show_done(
        {"removed": {"id": removed.id, "name": removed.name}},
        f"removed key {removed.id}, {removed.name}",
    )


def _show_issued(shell: Shell, issued: "IssuedKey", change: str) -> None:
    """Show a key's text: alone on stdout, so that a shell can take it."""
    shell.show(issued, views.print_issued)
    if not shell.output.json:
        for line in views.usage_of(issued, change):
            shell.output.note(line)
