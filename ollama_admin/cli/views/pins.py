"""How pins are shown."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ollama_admin.cli.context import print_table
from ollama_admin.cli.lists import Cells, Wrong
from ollama_admin.cli.ordering import Field
from ollama_admin.cli.output import Output
from ollama_admin.cli.views.texts import age
from ollama_admin.domain.digests import short

if TYPE_CHECKING:
    from ollama_admin.domain.pins import CheckedPin, Pin

SORTABLE: "Mapping[str, Field[CheckedPin]]" = {
    "name": Field(value=lambda pin: pin.name.casefold()),
    "agree": Field(value=lambda pin: pin.agree, descending=True),
    "differ": Field(value=lambda pin: pin.differ, descending=True),
    "set": Field(value=lambda pin: pin.updated_at, descending=True),
}


def print_pins(output: Output, pins: "Sequence[CheckedPin]") -> None:
    """Print a line for each pin, with how many servers agree."""
    if not pins:
        output.note("no pins; set one with: ollama-admin pin set NAME")
        return
    print_table(output, ["NAME", "DIGEST", "AGREE", "DIFFER", "SET"], map(_cells, pins))


def _cells(pin: "CheckedPin") -> Cells:
    differ = Wrong(pin.differ) if pin.differ else "0"
    return (pin.name, short(pin.digest), str(pin.agree), differ, age(pin.updated_at))


def pinned(pin: "Pin") -> str:
    """What was pinned, and what it was before."""
    sentence = f"pinned {pin.name} to {short(pin.digest)}"
    if pin.before is None:
        return sentence
    if pin.before == pin.digest:
        return f"{sentence} (as before)"
    return f"{sentence} (was {short(pin.before)})"
