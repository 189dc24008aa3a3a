"""How the results of pulls are shown."""

from typing import TYPE_CHECKING

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells, Wrong
from ollama_admin.cli.output import Output
from ollama_admin.cli.units import size
from ollama_admin.cli.views.servers import note_errors
from ollama_admin.cli.views.texts import seconds, some_of
from ollama_admin.domain.digests import short

if TYPE_CHECKING:
    from ollama_admin.domain.pulls import Build, PullReport, PullResult


def print_pulled(output: Output, report: "PullReport") -> None:
    """Print a line for each pull, then the builds where they differ, and what failed."""
    results = report.results
    if not results:
        output.note("no servers to ask; add one with: ollama-admin server add NAME URL")
        return
    headings = ["SERVER", "MODEL", "BUILD", "BEFORE", "RECEIVED", "TIME", "NOTE"]
    print_table(output, headings, [_cells(result, report) for result in results])
    if report.differs:
        for build in report.builds:
            output.note(_sentence(build))
    note_errors(output, results)


def _cells(result: "PullResult", report: "PullReport") -> Cells:
    build = short(result.digest)
    if report.differs:
        build = Wrong(build)
    before = short(result.before)
    if result.before is not None and result.before == result.digest:
        before = "same"
    note = "" if result.error is None else Wrong(result.error.code)
    received, took = size(result.received), seconds(result.ms)
    return (result.server.name, result.model, build, before, received, took, note)


def _sentence(build: "Build") -> str:
    """Which servers have a build."""
    return f"build {short(build.digest)} of {build.model} is on {some_of(build.servers)}"
