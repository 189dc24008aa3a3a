"""How the results of discovery are shown."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells, Wrong
from ollama_admin.cli.output import Output
from ollama_admin.cli.views.servers import note_errors
from ollama_admin.domain.digests import short

if TYPE_CHECKING:
    from ollama_admin.domain.models import DiscoverResult


def print_discovered(output: Output, results: "Sequence[DiscoverResult]") -> None:
    """Print a line for each server, then which builds are others now, and what failed."""
    if not results:
        output.note("no servers to ask; add one with: ollama-admin server add NAME URL")
        return
    rows = [_cells(result) for result in results]
    print_table(output, ["SERVER", "ADDED", "CHANGED", "SAME", "VANISHED", "NOTE"], rows)
    for result in results:
        _note_builds(output, result)
    note_errors(output, results)


def _cells(result: "DiscoverResult") -> Cells:
    if result.error:
        return (result.server.name, "-", "-", "-", "-", Wrong(result.error.code))
    return (
        result.server.name,
        str(len(result.added)),
        str(len(result.changed)),
        str(result.unchanged),
        str(len(result.vanished)),
        f"{result.pruned} pruned" if result.pruned else "",
    )


def _note_builds(output: Output, result: "DiscoverResult") -> None:
    for change in result.changed:
        move = f"{short(change.before)} -> {short(change.after)}"
        output.note(f"{change.name} on {result.server} is now another build: {move}")
    for build in result.off_pin:
        digests = f"{short(build.digest)}, not the pinned {short(build.pinned)}"
        output.note(f"{build.name} on {result.server} is build {digests}")
