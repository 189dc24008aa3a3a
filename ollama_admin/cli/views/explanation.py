"""How an explanation of a choice is shown: which server would answer, and why no other."""

from typing import TYPE_CHECKING

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells
from ollama_admin.cli.output import Output
from ollama_admin.cli.views.texts import ago
from ollama_admin.domain.digests import short

if TYPE_CHECKING:
    from ollama_admin.domain.explanations import ExplainedServer, Explanation

HEADINGS = ["SERVER", "ANSWERS", "DIGEST", "USED", "STATUS", "DISCOVERED", "WHY"]


def print_explanation(output: Output, explanation: "Explanation") -> None:
    """Print a line for each server that was considered."""
    rows = [_cells(explanation, candidate) for candidate in explanation.candidates]
    print_table(output, HEADINGS, rows)
    if explanation.chosen is None:
        output.note("no server would answer")


def _cells(explanation: "Explanation", candidate: "ExplainedServer") -> Cells:
    return (
        candidate.server.name or candidate.server.url,
        _answers(explanation, candidate),
        short(candidate.digest),
        _used(candidate),
        candidate.status,
        _discovered(candidate),
        candidate.reason or ", ".join(candidate.preference),
    )


def _answers(explanation: "Explanation", candidate: "ExplainedServer") -> str:
    chosen = explanation.chosen
    if chosen is not None and chosen.server == candidate.server:
        return "yes"
    return "next" if candidate.eligible else "no"


def _used(candidate: "ExplainedServer") -> str | None:
    if candidate.max_concurrent is None:
        return None
    return f"{candidate.slots_in_use}/{candidate.max_concurrent}"


def _discovered(candidate: "ExplainedServer") -> str | None:
    if candidate.catalogue_age_s is None:
        return None
    return ago(candidate.catalogue_age_s)
