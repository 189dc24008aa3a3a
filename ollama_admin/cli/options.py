"""Options and arguments that several commands take."""

import inspect
import re
from collections.abc import Callable
from dataclasses import fields
from enum import StrEnum
from typing import Annotated, Any

import typer

from ollama_admin.domain.times import seconds_of
from ollama_admin.errors import InvalidInput

Command = Callable[..., None]


class OutputFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


_PLAIN = re.compile(r"[\w.@%+=,:/-]+")


def complete_server(context: typer.Context, incomplete: str) -> list[str]:
    """The names of servers; those that are no plain words have ids."""
    return _known_words(context, lambda client: client.servers.names(incomplete))


def complete_model(context: typer.Context, incomplete: str) -> list[str]:
    """The names of models."""
    return _known_words(context, lambda client: client.models.names(incomplete))


def complete_first_word(context: typer.Context, incomplete: str) -> list[str]:
    """The names of models, where the first of several words may be one."""
    if context.params.get("model") or context.params.get("words"):
        return []
    return complete_model(context, incomplete)


def complete_capability(context: typer.Context, incomplete: str) -> list[str]:  # noqa: ARG001
    """The capabilities that models and servers have; Typer keeps those that begin so."""
    return _known_words(context, lambda client: client.models.capabilities())


def complete_label(context: typer.Context, incomplete: str) -> list[str]:  # noqa: ARG001
    """The labels of servers; Typer keeps those that begin so."""
    return _known_words(context, lambda client: client.servers.known_labels())


def complete_pin(context: typer.Context, incomplete: str) -> list[str]:  # noqa: ARG001
    """The names that are pinned; Typer keeps those that begin so."""
    return _known_words(context, _pinned_names)


def complete_key(context: typer.Context, incomplete: str) -> list[str]:  # noqa: ARG001
    """The names of keys; Typer keeps those that begin so."""
    return _known_words(context, _key_names)


async def _key_names(client: Any) -> list[str]:
    return [key.name for key in await client.keys.list()]


async def _pinned_names(client: Any) -> list[str]:
    return [pin.name for pin in await client.pins.list()]


def _known_words(context: typer.Context, read: Callable[[Any], Any]) -> list[str]:
    """What is read, but for what a shell would read as more than a word."""
    root = context.find_root()
    # the root command, which sets it, does not run before completion
    root.obj.database_url = root.params.get("database_url")
    return [word for word in root.obj.known_words(read) if _PLAIN.fullmatch(word)]


OutputOption = Annotated[
    OutputFormat | None, typer.Option("-o", "--output", help="Output format: table or json.")
]
ServerArgument = Annotated[
    str,
    typer.Argument(
        metavar="S",
        help="A server's id or name.",
        show_default=False,
        autocompletion=complete_server,
    ),
]
ServersArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="S",
        help="Servers, by id or name.",
        show_default=False,
        autocompletion=complete_server,
    ),
]
ModelArgument = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A model's name.",
        show_default=False,
        autocompletion=complete_model,
    ),
]
OnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--on",
        metavar="S",
        help="A server, by id or name; may be repeated.",
        show_default=False,
        autocompletion=complete_server,
    ),
]
CapabilityFilter = Annotated[
    str | None,
    typer.Option(
        "--capability",
        metavar="C",
        help="Only those with this capability.",
        autocompletion=complete_capability,
    ),
]
LabelFilter = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="K[=V]",
        help="Only those with this label, such as gpu=a100; may be repeated.",
        autocompletion=complete_label,
        show_default=False,
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
EVERYONE = "Include inactive ones."
EveryoneOption = Annotated[bool, typer.Option("--all", help=EVERYONE)]


def seconds(text: str | float) -> float:
    """The value of an option that is a length of time: a number of seconds, or as in `5m`."""
    try:
        return seconds_of(text)
    except InvalidInput as exc:
        message = f"{str(text)[:100]!a} is not a length of time such as 30, 5m or 2h"
        raise typer.BadParameter(message) from exc


def takes(name: str, options: type[Any], *, first: bool = False) -> Callable[[Command], Command]:
    """Add options to a command, which gets them together as its argument `name`.

    `options` is a dataclass whose fields are annotated as options. With `first` they stand before
    the command's own in its help.
    """

    def decorate(command: Command) -> Command:
        added = [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=field.type,
            )
            for field in fields(options)
        ]
        own = [
            parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
            for parameter in inspect.signature(command).parameters.values()
            if parameter.name != name
        ]
        parameters = added + own if first else own + added

        def with_options(**given: Any) -> None:
            values = {parameter.name: given.pop(parameter.name) for parameter in added}
            given[name] = options(**values)
            command(**given)

        with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_options.__annotations__ = {each.name: each.annotation for each in parameters}
        with_options.__name__, with_options.__doc__ = command.__name__, command.__doc__
        return with_options

    return decorate
