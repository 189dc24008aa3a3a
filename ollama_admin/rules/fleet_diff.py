"""A plan as a text: the part of the fleet that a file is about, before and after. Pure."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ollama_admin.domain.fleet_file import (
    Action,
    Entry,
    Fleet,
    FleetFile,
    Noun,
    Plan,
    Row,
    WantedModel,
)
from ollama_admin.domain.names import model_key, server_key
from ollama_admin.rules.fleet_text import document_of, yaml_of


def unified(
    file: FleetFile, fleet: Fleet, plan: Plan, defaults: Mapping[str, Mapping[str, Any]]
) -> str:
    """A unified diff, empty where nothing would change."""
    before, after = _before(file, fleet, plan), _after(file, fleet)
    lines = difflib.unified_diff(
        yaml_of(document_of(before, defaults)).splitlines(keepends=True),
        yaml_of(document_of(after, defaults)).splitlines(keepends=True),
        "fleet",
        "file",
    )
    return "".join(lines)


def _before(file: FleetFile, fleet: Fleet, plan: Plan) -> FleetFile:
    removed = {(each.noun, each.name) for each in plan.steps if each.action is Action.REMOVE}

    def rows(entries: Sequence[Entry], rows: Mapping[str, Row]) -> list[Entry]:
        named: list[Entry] = [rows[entry.key] for entry in entries if entry.key in rows]
        return named + [row for row in rows.values() if (row.noun, row.name) in removed]

    default = None
    if file.default_server is not None:
        default = fleet.default_server
    return replace(
        file,
        servers=_sorted(rows(file.servers, fleet.servers)),
        pins=_sorted(rows(file.pins, fleet.pins)),
        keys=_sorted(rows(file.keys, fleet.keys)),
        models=_held(file, fleet, plan),
        default_server=default,
    )


def _after(file: FleetFile, fleet: Fleet) -> FleetFile:
    return replace(
        file,
        servers=_sorted([_spelt(entry, fleet.servers) for entry in file.servers]),
        pins=_sorted([_spelt(entry, fleet.pins) for entry in file.pins]),
        keys=_sorted([_spelt(entry, fleet.keys) for entry in file.keys]),
    )


def _held(file: FleetFile, fleet: Fleet, plan: Plan) -> list[WantedModel]:
    """Of the wanted models, those that are there, and the builds that are there instead."""
    missing = {(step.server, step.name) for step in plan.steps if step.noun is Noun.MODEL}
    held = []
    for wanted in file.models:
        if (wanted.server, wanted.model) not in missing:
            held.append(wanted)
            continue
        key = (server_key(wanted.server), model_key(wanted.model))
        held += [replace(wanted, digest=build) for build in fleet.builds.get(key, ())]
    return held


def _spelt(entry: Entry, rows: Mapping[str, Row]) -> Entry:
    """An entry with the name, and the whole digest, that its row has."""
    row = rows.get(entry.key)
    if row is None:
        return entry
    values = dict(entry.values)
    digest = row.values.get("digest")
    if digest is not None and digest.startswith(values["digest"]):
        values["digest"] = digest
    return replace(entry, name=row.name, values=values)


def _sorted(entries: Sequence[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: entry.key)
