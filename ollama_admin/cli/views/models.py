"""How models are shown: one by one, and grouped by name."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ollama_admin.cli.lists import Cells, Layout, ListView, Wrong
from ollama_admin.cli.ordering import Field
from ollama_admin.cli.units import size
from ollama_admin.cli.views.texts import MOST_NAMED, age, some_of, text_of
from ollama_admin.domain.digests import short

if TYPE_CHECKING:
    from ollama_admin.domain.models import Model, ModelGroup, ModelHolder

ABSENCE = "no such models; read what servers have with: ollama-admin discover"
UNEQUAL = "\u2260"

SORTABLE: "Mapping[str, Field[Model]]" = {
    "name": Field(value=lambda model: model.name.casefold()),
    "server": Field(value=lambda model: model.server.casefold()),
    "size": Field(value=lambda model: model.size, descending=True),
    "modified": Field(value=lambda model: model.modified_at, descending=True),
    "seen": Field(value=lambda model: model.last_seen_at, descending=True),
    "context": Field(value=lambda model: model.context_length, descending=True),
}
GROUPS_SORTABLE: "Mapping[str, Field[ModelGroup]]" = {
    "name": Field(value=lambda group: group.name.casefold()),
    "servers": Field(value=lambda group: len(group.servers), descending=True),
    "builds": Field(value=lambda group: group.builds, descending=True),
}


def model_list() -> "ListView[Model]":
    return ListView(layout=_model_layout)


def _model_layout(first: "Sequence[Model]", is_all: bool) -> "Layout[Model]":
    # a long list has the column in any case: who knows what is still to come
    with_pin = not is_all or any(_is_off_pin(model.digest, model.pinned) for model in first)
    headings = ["NAME", "SERVER", "DIGEST", "SIZE", "MODIFIED"]
    if with_pin:
        headings.insert(3, "PIN")
    return Layout(
        headings=headings,
        more=["SEEN", "PARAMETERS", "QUANTIZATION", "CONTEXT", "CAPABILITIES"],
        cells=partial(_model_cells, with_pin=with_pin),
    )


def _model_cells(model: "Model", *, with_pin: bool) -> Cells:
    name = model.name if model.is_available else Wrong(f"{model.name} (vanished)")
    cells: list[str | None] = [
        name,
        model.server,
        short(model.digest),
        _size(model),
        age(model.modified_at),
        age(model.last_seen_at),
        model.parameter_size,
        model.quantization_level,
        text_of(model.context_length),
        ", ".join(model.capabilities or ()),
    ]
    if with_pin:
        cells.insert(3, _pin_mark(model.pinned, [model.digest]))
    return cells


def group_list() -> "ListView[ModelGroup]":
    return ListView(layout=_group_layout)


def _group_layout(first: "Sequence[ModelGroup]", is_all: bool) -> "Layout[ModelGroup]":
    with_pin = not is_all or any(_has_off_pin(group) for group in first)
    headings = ["NAME", "SERVERS", "BUILD", "ON"]
    if with_pin:
        headings.insert(3, "PIN")
    return Layout(headings=headings, cells=partial(_group_cells, with_pin=with_pin))


def _group_cells(group: "ModelGroup", *, with_pin: bool) -> Cells:
    cells: list[str | None] = [
        group.name,
        str(len(group.servers)),
        _build(group),
        some_of([_holder(holder, group) for holder in _seldom_first(group)]),
    ]
    if with_pin:
        digests = [holder.digest for holder in group.servers]
        cells.insert(3, _pin_mark(group.pinned, digests))
    return cells


def _seldom_first(group: "ModelGroup") -> "Sequence[ModelHolder]":
    """Of more servers than are named, those with a build that few have come first."""
    if group.builds < 2 or len(group.servers) <= MOST_NAMED:
        return group.servers
    counts = Counter(holder.digest for holder in group.servers)
    return sorted(group.servers, key=lambda holder: counts[holder.digest])


def _build(group: "ModelGroup") -> str:
    """The one build that all have, as far as servers tell it, or how many there are."""
    if group.builds > 1:
        return Wrong(f"{group.builds} builds differ")
    return short(next((holder.digest for holder in group.servers if holder.digest), None))


def _holder(holder: "ModelHolder", group: "ModelGroup") -> str:
    """A server, with its build where builds differ, and marked where that is not the pinned one."""
    words = [holder.server]
    if group.builds > 1:
        words.append(short(holder.digest))
    if _is_off_pin(holder.digest, group.pinned):
        words.append(f"{UNEQUAL} pin")
    return " ".join(words)


def _size(model: "Model") -> str:
    """The size of the file; a remote model has none worth telling."""
    return "remote" if model.is_remote else size(model.size)


def _pin_mark(pinned: str | None, digests: Sequence[str | None]) -> str | None:
    """The pinned build where it is not the one that is listed."""
    if pinned is None or not any(digests):
        return None
    if any(_is_off_pin(digest, pinned) for digest in digests):
        return Wrong(f"{UNEQUAL} {short(pinned)}")
    return "same"


def _has_off_pin(group: "ModelGroup") -> bool:
    return any(_is_off_pin(holder.digest, group.pinned) for holder in group.servers)


def _is_off_pin(digest: str | None, pinned: str | None) -> bool:
    """Whether both are known, and differ."""
    return None not in (digest, pinned) and digest != pinned
