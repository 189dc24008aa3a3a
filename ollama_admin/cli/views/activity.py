"""How the activity of the fleet is printed once."""

from datetime import datetime

from ollama_admin.cli.activity_cells import (
    ELSEWHERE,
    HEADINGS,
    REQUEST_HEADINGS,
    Doc,
    ordered,
    request_cells,
    server_cells,
)
from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells
from ollama_admin.cli.output import Output


def print_activity(output: Output, activity: Doc, sort: str, *, reverse: bool) -> None:
    """Print it once, as tables."""
    at = datetime.fromisoformat(activity["at"])
    rows: list[Cells] = [
        server_cells(row, at) for row in ordered(activity["servers"], sort, reverse=reverse)
    ]
    if rows:
        print_table(output, HEADINGS, rows)
    else:
        output.note("no servers; add one with: ollama-admin server add NAME URL")
    requests = activity["requests"]
    if requests is None:
        output.note(ELSEWHERE)
    elif requests:
        output.line("")
        print_table(output, REQUEST_HEADINGS, map(request_cells, requests))
