"""The options of `server add` and `server update`."""

from typing import Annotated

import typer

from ollama_admin.cli.options import complete_capability, complete_label, complete_model
from ollama_admin.domain.servers import ApiVersion

ApiVersionOption = Annotated[
    ApiVersion | None,
    typer.Option(help="API to use; by default v1 if the URL ends in /v1.", show_default=False),
]
CapabilitiesOption = Annotated[
    list[str] | None,
    typer.Option(
        "--capability",
        metavar="C",
        autocompletion=complete_capability,
        help="What it can do; may be repeated, replaces what was there.",
    ),
]
MaxConcurrentOption = Annotated[
    int | None, typer.Option(metavar="N", help="Requests it answers at once.")
]
PriorityOption = Annotated[
    int | None, typer.Option(metavar="N", help="Higher goes first; a new server has 0.")
]
DefaultModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="M",
        help="Model to use when none is named.",
        show_default=False,
        autocompletion=complete_model,
    ),
]
LabelsOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="K=V",
        help="Set a label, such as gpu=a100; may be repeated.",
        autocompletion=complete_label,
        show_default=False,
    ),
]
InactiveOption = Annotated[bool, typer.Option("--inactive", help="Never choose it; see enable.")]
DiscoverOption = Annotated[bool, typer.Option("--discover", help="Read its models afterwards.")]
CheckOption = Annotated[bool, typer.Option("--check/--no-check", help="Check whether it answers.")]
CheckChangeOption = Annotated[
    bool | None,
    typer.Option(
        "--check/--no-check",
        help="Check whether it answers; without either, after a change of URL or credentials.",
        show_default=False,
    ),
]
