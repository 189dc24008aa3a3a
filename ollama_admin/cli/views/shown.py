"""How one model is shown."""

from typing import TYPE_CHECKING

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells, Wrong
from ollama_admin.cli.output import Output
from ollama_admin.cli.units import size
from ollama_admin.cli.views.texts import print_facts
from ollama_admin.domain.digests import short
from ollama_admin.safe_text import safe_text

if TYPE_CHECKING:
    from ollama_admin.domain.shown import ShownHolder, ShownModel

FIRST_LINES = 2  # of a licence, which may be a book
LINES = 20  # of another text
_LOADED = {True: "loaded", False: "no", None: "not told"}


def print_shown(output: Output, shown: "ShownModel") -> None:
    """Print facts, texts, and a line for each server that has the model."""
    build = shown.build
    print_facts(
        output,
        [
            ("name", shown.name),
            ("told by", shown.server),
            ("build", shown.digest),
            ("pinned to", shown.pinned),
            ("family", build.family),
            ("parameters", build.parameter_size),
            ("quantization", build.quantization_level),
            ("context", build.context_length),
            ("chosen context", build.num_ctx),
            ("embedding", build.embedding_length),
            ("capabilities", ", ".join(build.capabilities)),
            ("requires", build.requires),
        ],
    )
    _print_text(output, "options", build.parameters, LINES)
    _print_text(output, "template", build.template, LINES)
    _print_text(output, "system", build.system, LINES)
    _print_text(output, "licence", build.license, FIRST_LINES)
    if shown.holders:
        output.line("")
        rows = [_cells(holder, shown) for holder in shown.holders]
        print_table(output, ["SERVER", "BUILD", "SIZE", "IN MEMORY", "NOTE"], rows)
    if shown.builds > 1:
        output.note(f"{shown.builds} builds have this name")


def _print_text(output: Output, title: str, text: str | None, most: int) -> None:
    """Print the first lines of a text, set in below its title."""
    if not text or not text.strip():
        return
    lines = text.strip().splitlines()
    output.line(f"{title}:")
    for line in lines[:most]:
        output.line(f"  {safe_text(line)}")
    if len(lines) > most:
        output.line(f"  ... ({len(lines) - most} more lines; all of it: -o json)")


def _cells(holder: "ShownHolder", shown: "ShownModel") -> Cells:
    notes = [] if holder.is_active else ["inactive"]
    digest = short(holder.digest)
    if shown.pinned is not None and holder.digest is not None and holder.digest != shown.pinned:
        digest = Wrong(digest)
        notes.append("not the pinned build")
    memory = _LOADED[holder.is_loaded]
    return (str(holder.server), digest, size(holder.size), memory, ", ".join(notes))
