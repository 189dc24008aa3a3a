"""What commands about a fleet file take, and how they read it."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from ollama_admin.cli.options import takes
from ollama_admin.domain.files import read_regular_file
from ollama_admin.errors import InvalidInput

LONGEST = 64 * 2**20  # bytes
STDIN = "-"

FileArgument = Annotated[
    str,
    typer.Argument(
        metavar="FILE", help="A fleet file in YAML or JSON; - is stdin.", show_default=False
    ),
]
ParallelOption = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="Pulls at once; by default as many as helps."),
]


@dataclass(frozen=True, kw_only=True)
class PlanOptions:
    prune: Annotated[
        bool,
        typer.Option(
            "--prune", help="Remove rows that this owner's file made and no longer names."
        ),
    ] = False
    adopt: Annotated[
        bool, typer.Option("--adopt", help="Take over rows of the file that people made.")
    ] = False

    def arguments(self) -> dict[str, bool]:
        return {"prune": self.prune, "adopt": self.adopt}


takes_plan = takes("options", PlanOptions)


def read_data(file: str) -> bytes:
    """The bytes of a file, or of stdin. Raises InvalidInput."""
    if file != STDIN:
        return read_regular_file(Path(file), LONGEST, "fleet file").data
    if sys.stdin is None:
        raise InvalidInput("there is no stdin to read the file from")
    data = sys.stdin.buffer.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise InvalidInput(f"the file on stdin is longer than {LONGEST // 1024} KiB")
    return data
