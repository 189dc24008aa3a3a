"""How changes of what servers hold are shown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells, Wrong
from ollama_admin.cli.output import Output
from ollama_admin.cli.views.servers import note_errors
from ollama_admin.cli.views.texts import seconds
from ollama_admin.domain.digests import short

if TYPE_CHECKING:
    from ollama_admin.domain.holdings import ChangeResult


def print_changes(output: Output, results: "Sequence[ChangeResult]") -> None:
    """Print a line for each server, and what failed."""
    if not results:
        output.note("no servers to ask; add one with: ollama-admin server add NAME URL")
        return
    headings = ["SERVER", "MODEL", "BUILD", "CHANGE", "TIME", "NOTE"]
    print_table(output, headings, [_cells(result) for result in results])
    note_errors(output, results)


def _cells(result: "ChangeResult") -> Cells:
    change: str = result.change
    note = None
    if result.error is not None:
        change, note = Wrong(change), Wrong(result.error.code)
    name, model, build = result.server.name, result.model, short(result.digest)
    return (name, model, build, change, seconds(result.ms), note)
