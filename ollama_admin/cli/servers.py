"""`ollama-admin server ...`"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ollama_admin.cli import draining
from ollama_admin.cli.auth import AUTH_COLUMNS
from ollama_admin.cli.context import Shell, shell_of
from ollama_admin.cli.help import Commands
from ollama_admin.cli.options import (
    CapabilityFilter,
    LabelFilter,
    OutputOption,
    ServerArgument,
    ServersArgument,
    YesOption,
    complete_model,
)
from ollama_admin.cli.ordering import LimitOption, ReverseOption, field_of, in_order
from ollama_admin.cli.results import end_with_results
from ollama_admin.cli.server_options import (
    ApiVersionOption,
    CapabilitiesOption,
    CheckChangeOption,
    CheckOption,
    ClearOption,
    ConnectionOptions,
    DefaultModelOption,
    DiscoverOption,
    InactiveOption,
    LabelsOption,
    MaxConcurrentOption,
    PriorityOption,
    takes_connection,
)
from ollama_admin.cli.target_options import TargetOptions, takes_targets
from ollama_admin.cli.views import servers as views
from ollama_admin.domain.labels import label as parsed_label
from ollama_admin.domain.servers import Server
from ollama_admin.errors import AdminError, InvalidInput, ServerUnauthorized
from ollama_admin.rules.likeness import nearest_servers

if TYPE_CHECKING:
    from ollama_admin.client import Client

app = Commands("Add, list and change servers.")


@app.command("add")
@takes_connection
def add(  # long because each option is a line or two, here and in the call
    context: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What to call it.", show_default=False)
    ],
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Its URL, or host and port.", show_default=False)
    ],
    api_version: ApiVersionOption = None,
    capability: CapabilitiesOption = None,
    max_concurrent: MaxConcurrentOption = None,
    priority: PriorityOption = None,
    default: Annotated[bool, typer.Option("--default", help="Make it the default server.")] = False,
    inactive: InactiveOption = False,
    default_model: DefaultModelOption = None,
    label: LabelsOption = None,
    check: CheckOption = True,
    discover: DiscoverOption = False,
    output: OutputOption = None,
    *,
    auth: ConnectionOptions,
) -> None:
    """Add a server.

    A server that does not answer is added all the same, with a warning.
    """
    shell = shell_of(context, output)
    if "://" in name and "://" not in url:
        raise InvalidInput(
            f"{name!a} is a URL: the name comes first",
            f"ollama-admin server add {url} {name}",
        )
    credentials = auth.columns()

    async def work(client: "Client") -> Server:
        await _note_mistyped(shell, client, capability or ())
        if default:
            await _note_default(shell, client, name)
        added = await client.servers.add(
            name=name,
            url=url,
            api_version=api_version,
            capabilities=capability or (),
            max_concurrent=1 if max_concurrent is None else max_concurrent,
            priority=priority or 0,
            is_default=default,
            is_active=not inactive,
            default_model=default_model,
            labels=dict(map(parsed_label, label or ())),
            **credentials,
        )
        return await _check_or_discover(
            shell, client, added, default_model, check=check, discover=discover
        )

    _show_changed(shell, shell.run(work), "added")


@app.command("list")
def list_servers(
    context: typer.Context,
    label: LabelFilter = None,
    capability: CapabilityFilter = None,
    sort: Annotated[
        str | None, typer.Option(metavar="FIELD", help=f"By {', '.join(views.SORTABLE)}.")
    ] = None,
    reverse: ReverseOption = False,
    limit: LimitOption = None,
    output: OutputOption = None,
) -> None:
    """List all servers, and mark inactive ones.

    Without --sort, in the order in which they are chosen.
    """
    shell = shell_of(context, output)
    field = field_of(views.SORTABLE, sort)
    counts: dict[int, int] = {}
    filters = {"capability": capability, "labels": label or ()}
    read = partial(_servers, shell, counts, filters)
    view = views.server_list(counts, is_filtered=bool(capability or label))
    shell.show_list(in_order(read, field, reverse=reverse, limit=limit), view)


async def _servers(
    shell: Shell, counts: dict[int, int], filters: dict[str, Any], client: "Client"
) -> AsyncGenerator[Sequence[Server], None]:
    """Every row; `counts` is filled with how many models each has."""
    if not shell.output.json:  # a column of the table alone
        counts.update(await client.servers.model_counts())
    async with aclosing(client.servers.stream(**filters)) as batches:
        async for batch in batches:
            yield batch


@app.command("show")
def show(context: typer.Context, server: ServerArgument, output: OutputOption = None) -> None:
    """Show everything about a server."""
    shell = shell_of(context, output)
    shell.show(shell.run(lambda client: client.servers.show(server)), views.print_server)


@app.command("update")
@takes_connection
def update(  # long because each option is a line or two, here and in the call
    context: typer.Context,
    server: ServerArgument,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="New name.", show_default=False)
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="New URL.", show_default=False)
    ] = None,
    api_version: ApiVersionOption = None,
    capability: CapabilitiesOption = None,
    max_concurrent: MaxConcurrentOption = None,
    priority: PriorityOption = None,
    default: Annotated[
        bool | None,
        typer.Option("--default/--no-default", help="Make it the default server, or not."),
    ] = None,
    inactive: InactiveOption = False,
    default_model: DefaultModelOption = None,
    label: LabelsOption = None,
    remove_label: Annotated[
        list[str] | None,
        typer.Option(
            "--remove-label",
            metavar="K",
            help="Take the label with this key away; may be repeated.",
            show_default=False,
        ),
    ] = None,
    clear: ClearOption = None,
    check: CheckChangeOption = None,
    discover: DiscoverOption = False,
    output: OutputOption = None,
    *,
    auth: ConnectionOptions,
) -> None:
    """Change what you give, and nothing else.

    A new URL makes its models unavailable until they are discovered there. A server that refuses
    the credentials is changed all the same, and that is an error.
    """
    shell = shell_of(context, output)
    # the secret is read between two runs: inside one, Ctrl-C would wait for it
    current = None
    if auth.needs_current:
        current = shell.run(lambda client: client.servers.show(server)).auth_type
    credentials = auth.columns(current)

    async def work(client: "Client") -> tuple[Server, Server]:
        before = await client.audit.found("server.update", server, client.servers.show(server))
        await _note_mistyped(shell, client, capability or ())
        if default:
            await _note_default(shell, client, before.name)
        changed = await client.servers.update(
            server,
            name=name,
            url=url,
            api_version=api_version,
            capabilities=capability,
            max_concurrent=max_concurrent,
            priority=priority,
            is_default=default,
            is_active=False if inactive else None,
            default_model=default_model,
            labels=_label_changes(label or (), remove_label or ()),
            clear=clear or (),
            **credentials,
        )
        let_in = _check_or_discover(
            shell, client, changed, default_model, check=asks, discover=discover, must_let_in=True
        )
        return before, await let_in

    given = {name for name, value in credentials.items() if value is not None}
    asks = url is not None or bool(given)
    if check is not None:
        asks = check
    before, after = shell.run(work)
    shell.show(after, partial(views.print_update, before, is_auth_given=bool(given & AUTH_COLUMNS)))


@app.command("remove")
def remove(
    context: typer.Context,
    server: ServerArgument,
    yes: YesOption = False,
    force: Annotated[bool, typer.Option("--force", help="Even while requests run there.")] = False,
    output: OutputOption = None,
) -> None:
    """Remove a server and its models from the database. Nothing is deleted on the server itself."""
    shell = shell_of(context, output)
    row = shell.run(
        lambda client: client.audit.found("server.remove", server, client.servers.find(server))
    )
    if not yes:  # asked between two runs: inside one, Ctrl-C would wait for the answer
        shell.confirm(f"Remove server {row.name!a} ({row.url}) and its models from the database?")
    removed = shell.run(lambda client: client.servers.remove(row.id or server, force=force))
    shell.show_done(
        {"removed": {"id": removed.id, "name": removed.name}},
        f"removed server {removed.id}, {removed.name}",
    )


@app.command("enable")
def enable(context: typer.Context, server: ServerArgument, output: OutputOption = None) -> None:
    """Let a server answer again."""
    shell = shell_of(context, output)
    _show_changed(shell, shell.run(lambda client: client.servers.enable(server)), "enabled")


@app.command("disable")
def disable(context: typer.Context, server: ServerArgument, output: OutputOption = None) -> None:
    """Keep a server from being chosen."""
    shell = shell_of(context, output)
    _show_changed(shell, shell.run(lambda client: client.servers.disable(server)), "disabled")


app.command("drain")(draining.drain)
app.command("resume")(draining.resume)


@app.command("set-default")
def set_default(
    context: typer.Context, server: ServerArgument, output: OutputOption = None
) -> None:
    """Make a server the default."""
    shell = shell_of(context, output)

    async def work(client: "Client") -> Server:
        row = await client.servers.find(server)
        await _note_default(shell, client, row.name)
        return await client.servers.set_default(server)

    _show_changed(shell, shell.run(work), "made default:")


@app.command("check")
@takes_targets
def check_servers(
    context: typer.Context,
    servers: ServersArgument = None,
    deep: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Ask for one token of this model, too.",
            show_default=False,
            autocompletion=complete_model,
        ),
    ] = None,
    output: OutputOption = None,
    *,
    chosen: TargetOptions,
) -> None:
    """Check whether servers answer. Without S, all active ones."""
    shell = shell_of(context, output)
    asked = chosen.arguments(servers) | {"deep": deep}
    checks = shell.run(lambda client: client.servers.check(**asked))
    is_one_named = servers is not None and len(servers) == 1
    end_with_results(shell, checks, views.print_checks, is_one_named=is_one_named)


async def _check_or_discover(
    shell: Shell,
    client: "Client",
    server: Server,
    default_model: str | None,
    *,
    check: bool,
    discover: bool,
    must_let_in: bool = False,
) -> Server:
    """Check or discover a server, as the options say, and give its row; a failure is a note, and so
    is a default model that was given and is not listed. With `must_let_in` raises
    ServerUnauthorized.
    """
    if not check and not discover:
        return server
    if discover:
        error = (await client.discover([server.id]))[0].error
    else:
        error = (await client.servers.check([server.id]))[0].error
    if error is None and default_model is not None:
        error = await _absence_of_default(client, server)
    if must_let_in and isinstance(error, ServerUnauthorized):
        raise ServerUnauthorized(f"{error.message} (the change is kept)", error.hint)
    if error is not None:
        shell.output.note(f"{error.message} (the server is kept)")
        if error.hint:
            shell.output.note(error.hint)
    return await client.servers.show(server.id)


def _label_changes(given: Sequence[str], removed: Sequence[str]) -> dict[str, str | None] | None:
    """The labels to set, and with None those to take away; None where none is given."""
    if not given and not removed:
        return None
    labels = dict(map(parsed_label, given))
    for key in removed:
        if key in labels:
            raise InvalidInput(f"label {key!a} is both given and removed", "leave one of them out")
    return dict.fromkeys(removed) | labels


async def _absence_of_default(client: "Client", server: Server) -> AdminError | None:
    """The error of a server that does not list its default model, or cannot say."""
    try:
        await client.require_default_model(server.id)
    except AdminError as exc:
        return exc
    return None


async def _note_mistyped(shell: Shell, client: "Client", capabilities: Sequence[str]) -> None:
    """Refuse several capabilities in one word, and note one that is nearly a known one."""
    for capability in capabilities:
        if "," in capability:
            raise InvalidInput(
                f"capability {capability!a} has a comma",
                "give each on its own: --capability vision --capability tools",
            )
    if capabilities:
        known = await client.models.capabilities()
        for capability in capabilities:
            near = nearest_servers(capability, known)
            if capability.casefold() not in map(str.casefold, known) and near:
                shell.output.note(f"capability {capability!a} is a new one; is {near[0]} meant?")


async def _note_default(shell: Shell, client: "Client", name: str | None) -> None:
    """Say which server is no longer the default one."""
    with suppress(AdminError):  # a row that cannot be read keeps nobody from another default
        async with aclosing(client.servers.stream()) as batches:
            servers = await anext(batches, None)
        if servers and servers[0].is_default and servers[0].name != name:  # it comes first
            shell.output.note(f"the default server was {servers[0].name}")


def _show_changed(shell: Shell, server: Server, change: str) -> None:
    shell.show_done(server, views.changed_server(server, change))
