"""How builds are shown beside one another."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells, Wrong
from ollama_admin.cli.output import Output
from ollama_admin.domain.digests import short

if TYPE_CHECKING:
    from ollama_admin.domain.builds import InstalledBuild, RegistryResult, ServerDifference

ABSENT = "(not there)"


def print_difference(output: Output, difference: "ServerDifference") -> None:
    """Print a line for each name that is not the same on both."""
    left, right = difference.left.name or "", difference.right.name or ""
    rows = list(_differences(difference))
    if rows:
        print_table(output, ["NAME", left, right], rows)
    same = "1 model is" if difference.same == 1 else f"{difference.same} models are"
    output.note(f"{same} the same on {left} and {right}")
    if difference.unknown:
        names = ", ".join(pair.name for pair in difference.unknown)
        output.note(f"of these one of the two tells no digest, so that builds may differ: {names}")


def _differences(difference: "ServerDifference") -> Iterator[Cells]:
    for pair in difference.different:
        yield (pair.name, Wrong(short(pair.left)), Wrong(short(pair.right)))
    for name in difference.only_left:
        yield (name, "there", Wrong(ABSENT))
    for name in difference.only_right:
        yield (name, Wrong(ABSENT), "there")


def print_outdated(output: Output, results: "Sequence[RegistryResult]") -> None:
    """Print a line for each build of each name, then what failed."""
    rows = [row for result in results for row in _builds(result)]
    if rows:
        print_table(output, ["MODEL", "INSTALLED", "REGISTRY", "STATE", "ON"], rows)
    else:
        output.note("nothing is outdated of what the last discovery found")
    for result in results:
        if result.error is not None:
            output.note_once(result.error.message)


def _builds(result: "RegistryResult") -> Iterator[Cells]:
    """A line for each build that servers hold under a name."""
    servers: dict[str | None, list[InstalledBuild]] = {}
    for build in result.servers:
        servers.setdefault(build.digest, []).append(build)
    for digest, builds in servers.items():
        names = ", ".join(build.server for build in builds)
        state = _state(result, builds[0])
        yield (result.name, short(digest), short(result.digest), state, names)


def _state(result: "RegistryResult", build: "InstalledBuild") -> str:
    """What is to be said of one build: of a name that is outdated, some servers may be current."""
    if result.error is not None:
        return Wrong(result.error.code)
    if build.is_current is None:
        return result.state
    if build.is_current:
        return "current"
    if build.digest == result.pinned:
        return "outdated, pinned"
    return Wrong("outdated")
