"""Options and arguments that several commands take."""

import re
from enum import StrEnum
from typing import Annotated

import typer


class OutputFormat(StrEnum):
    TABLE = "table"
    JSON = "json"


_PLAIN = re.compile(r"[\w.@%+=,/-]+")


def complete_server(context: typer.Context, incomplete: str) -> list[str]:
    """The names of servers, but for those that a shell would read as more than a word: such servers
    have ids.
    """
    root = context.find_root()
    # the root command, which sets it, does not run before completion
    root.obj.database_url = root.params.get("database_url")
    return [name for name in root.obj.server_names(incomplete) if _PLAIN.fullmatch(name)]


OutputOption = Annotated[
    OutputFormat | None, typer.Option("-o", "--output", help="How to print: table or json.")
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
CapabilityFilter = Annotated[
    str | None, typer.Option("--capability", metavar="C", help="Only what has this capability.")
]
EVERYONE = "Also inactive ones."
EveryoneOption = Annotated[bool, typer.Option("--all", help=EVERYONE)]
